//! Numbers from their text, exactly: one scan finds the digits, the point and the exponent, and every numeric type
//! is made from these, decimals and integers never through a float.

use millstream_core::schema::ExcessDigits;

use crate::problem::Problem;

mod digits;

pub(crate) use digits::small_integer;
use digits::{digit, digits, eights};

/// More digits than any decimal has, so that an exponent cannot make anything grow.
const FAR: i32 = 1_000_000;

/// A scanned number: `mantissa * 10^exponent`, negated if `negative`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Number {
    negative: bool,
    /// All digits as one number; meaningless where `wide`.
    mantissa: u64,
    /// The digits before the point as one number; meaningless where `wide`.
    whole: u64,
    /// Digits behind the point counted in.
    exponent: i32,
    /// How many digits stand behind the point.
    fraction: usize,
    /// Whether the digits do not fit the mantissa, so that the text must be read again.
    wide: bool,
}

/// The unscaled value of a decimal text, as a `decimal(precision, scale)`: `4.01` is 401 with scale 2.
pub fn parse_decimal(text: &str, precision: u8, scale: i8, excess: ExcessDigits) -> Option<i128> {
    let text = text.as_bytes();
    Number::of_text(text)?.decimal(text, &DecimalType::new(precision, scale, excess)).ok()
}

/// The integer that a text says, also as `5.0` or `5e0`.
pub fn parse_integer(text: &str) -> Option<i64> {
    Number::of_text(text.as_bytes())?.to_i64(text.as_bytes()).ok()
}

/// The double nearest to what a text says.
pub fn parse_double(text: &str) -> Option<f64> {
    Number::of_text(text.as_bytes())?.to_f64(text.as_bytes()).ok()
}

/// What a decimal column holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DecimalType {
    scale: i8,
    excess: ExcessDigits,
    /// 10^precision: every value is below it.
    limit: u128,
}

impl DecimalType {
    /// `decimal(precision, scale)`, with at most 38 digits.
    pub(crate) fn new(precision: u8, scale: i8, excess: ExcessDigits) -> Self {
        Self { scale, excess, limit: power(i32::from(precision)).unwrap_or(u128::MAX >> 1) }
    }
}

/// How many powers of ten fit 64 bits.
const SHORT: usize = 20;

#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
const POWERS: [u128; 39] = {
    let mut powers = [1u128; 39];
    let mut i = 1;
    while i < 39 {
        powers[i] = powers[i - 1] * 10;
        i += 1;
    }
    powers
};

#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
const SHORT_POWERS: [u64; SHORT] = {
    let mut powers = [1u64; SHORT];
    let mut i = 1;
    while i < SHORT {
        powers[i] = powers[i - 1] * 10;
        i += 1;
    }
    powers
};

/// The powers of ten that a double holds exactly.
const EXACT_POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];

/// 10^n; none beyond what 128 bits hold.
fn power(n: i32) -> Option<u128> {
    usize::try_from(n).ok().and_then(|n| POWERS.get(n)).copied()
}

impl Number {
    /// Scans a JSON number at the beginning of `bytes`; gives the bytes it takes.
    #[inline(always)]
    pub(crate) fn of_json(bytes: &[u8]) -> Option<(Self, usize)> {
        let (number, end, shape) = Self::scan(bytes)?;
        let leading_zero = shape.whole > 1 && bytes.get(usize::from(number.negative)) == Some(&b'0');
        let strict = shape.whole > 0 && !leading_zero && (!shape.point || number.fraction > 0) && !shape.plus;
        strict.then_some((number, end))
    }

    /// Reads a number that is the whole of a text, as people write it: a leading `+`, leading zeros, `.5`, `5.` and
    /// surrounding blanks are fine.
    #[inline]
    pub(crate) fn of_text(text: &[u8]) -> Option<Self> {
        let text = text.trim_ascii();
        let (number, end, shape) = Self::scan(text)?;
        (end == text.len() && shape.whole + number.fraction > 0).then_some(number)
    }

    #[inline(always)]
    fn scan(bytes: &[u8]) -> Option<(Self, usize, Shape)> {
        let sign = bytes.first().copied()?;
        let (negative, plus) = (sign == b'-', sign == b'+');
        let first = usize::from(negative || plus);
        let mut mantissa = 0u64;
        let mut at = digits(bytes, first, &mut mantissa);
        let shape = Shape { whole: at - first, point: bytes.get(at) == Some(&b'.'), plus };
        let whole = mantissa;
        let mut fraction = 0;
        if shape.point {
            let first = at + 1;
            at = eights(bytes, first, &mut mantissa);
            at = digits(bytes, at, &mut mantissa);
            fraction = at - first;
        }
        let mut exponent = -i32::try_from(fraction).unwrap_or(FAR);
        if matches!(bytes.get(at), Some(b'e' | b'E')) {
            let (value, end) = scan_exponent(bytes, at + 1)?;
            exponent = exponent.saturating_add(value);
            at = end;
        }
        let wide = shape.whole + fraction > 19;
        Some((Self { negative, mantissa, whole, exponent, fraction, wide }, at, shape))
    }

    /// As an integer, where it is one, whatever way it is written.
    #[inline(always)]
    pub(crate) fn to_i64(self, text: &[u8]) -> Result<i64, Problem> {
        // `5` and `5.00`: nothing but zeros behind the point.
        let plain = !self.wide
            && self.exponent == -(self.fraction as i32)
            && SHORT_POWERS.get(self.fraction).is_some_and(|p| self.whole.wrapping_mul(*p) == self.mantissa);
        if plain && self.whole <= i64::MAX as u64 {
            return Ok(if self.negative { -(self.whole as i64) } else { self.whole as i64 });
        }
        self.wide_i64(text)
    }

    #[cold]
    fn wide_i64(self, text: &[u8]) -> Result<i64, Problem> {
        let any = DecimalType::new(38, 0, ExcessDigits::Reject);
        let value = self.decimal(text, &any).map_err(|problem| match problem {
            Problem::ExcessDigits => Problem::WrongType,
            _ => Problem::OutOfRange,
        })?;
        i64::try_from(value).map_err(|_| Problem::OutOfRange)
    }

    /// As a whole number of `10^-scale`, correct in every digit.
    #[inline(always)]
    pub(crate) fn decimal(self, text: &[u8], decimal: &DecimalType) -> Result<i128, Problem> {
        if self.wide {
            return self.wide_decimal(text, decimal);
        }
        let shift = self.exponent.saturating_add(i32::from(decimal.scale));
        let value = if shift < 0 {
            u128::from(self.divided(shift.unsigned_abs() as usize, decimal.excess)?)
        } else if let Some(power) = SHORT_POWERS.get(shift as usize) {
            u128::from(self.mantissa) * u128::from(*power)
        } else if self.mantissa == 0 {
            0
        } else {
            power(shift).and_then(|p| u128::from(self.mantissa).checked_mul(p)).ok_or(Problem::DecimalOverflow)?
        };
        self.signed(value, decimal)
    }

    /// The mantissa divided by `10^digits`.
    #[inline(always)]
    fn divided(self, digits: usize, excess: ExcessDigits) -> Result<u64, Problem> {
        // Beyond 19 digits the quotient is zero, and the remainder below one half: 10^20 / 2 > 2^64.
        let Some(divisor) = SHORT_POWERS.get(digits) else {
            return if self.mantissa == 0 || excess != ExcessDigits::Reject {
                Ok(0)
            } else {
                Err(Problem::ExcessDigits)
            };
        };
        let (quotient, rest) = (self.mantissa / divisor, self.mantissa % divisor);
        if rest == 0 {
            return Ok(quotient);
        }
        match excess {
            ExcessDigits::Reject => Err(Problem::ExcessDigits),
            ExcessDigits::Truncate => Ok(quotient),
            ExcessDigits::RoundHalfEven => {
                // Which way money rounds is a coin's toss: arithmetic, not a branch.
                let missing = divisor - rest;
                let up = (rest > missing) | ((rest == missing) & (quotient % 2 == 1));
                Ok(quotient + u64::from(up))
            }
        }
    }

    #[inline(always)]
    fn signed(self, value: u128, decimal: &DecimalType) -> Result<i128, Problem> {
        if value >= decimal.limit {
            return Err(Problem::DecimalOverflow);
        }
        // Below 10^38 < 2^127.
        let value = value as i128;
        Ok(if self.negative { -value } else { value })
    }

    /// The same for more digits than the mantissa holds: the digits are cut as text.
    #[cold]
    fn wide_decimal(self, text: &[u8], decimal: &DecimalType) -> Result<i128, Problem> {
        let digits: Vec<u8> = text
            .iter()
            .take_while(|b| !matches!(b, b'e' | b'E'))
            .filter(|b| b.is_ascii_digit())
            .copied()
            .skip_while(|b| *b == b'0')
            .collect();
        if digits.is_empty() {
            return Ok(0);
        }
        let shift = self.exponent.saturating_add(i32::from(decimal.scale));
        let kept = i64::try_from(digits.len()).unwrap_or(i64::MAX).saturating_add(i64::from(shift));
        if kept > 38 {
            return Err(Problem::DecimalOverflow);
        }
        // `kept` digits of the result; beyond the text they are zeros.
        let (whole, rest) = digits.split_at_checked(usize::try_from(kept).unwrap_or(0)).unwrap_or((&digits, &[]));
        let mut value = whole.iter().fold(0u128, |sum, b| sum * 10 + u128::from(b - b'0'));
        value = value.checked_mul(power(shift.max(0)).unwrap_or(1)).ok_or(Problem::DecimalOverflow)?;
        if rest.iter().any(|b| *b != b'0') {
            match decimal.excess {
                ExcessDigits::Reject => return Err(Problem::ExcessDigits),
                ExcessDigits::Truncate => {}
                // Below one half where digits are missing in front of the rest.
                ExcessDigits::RoundHalfEven if kept < 0 => {}
                ExcessDigits::RoundHalfEven => {
                    let beyond = rest.iter().skip(1).any(|b| *b != b'0');
                    let up = match rest.first() {
                        Some(b'5') => beyond || value % 2 == 1,
                        Some(first) => *first > b'5',
                        None => false,
                    };
                    value += u128::from(up);
                }
            }
        }
        self.signed(value, decimal)
    }

    /// The number times `10^scale`, rounded half to even; none where it does not fit.
    pub(crate) fn rounded(self, text: &[u8], scale: i32) -> Option<i128> {
        self.decimal(text, &DecimalType::new(38, i8::try_from(scale).ok()?, ExcessDigits::RoundHalfEven)).ok()
    }

    /// As the nearest double.
    #[inline(always)]
    pub(crate) fn to_f64(self, text: &[u8]) -> Result<f64, Problem> {
        // Exact operands make one correctly rounded operation: Clinger's fast path.
        if !self.wide && self.mantissa <= 1 << 53 {
            let power = EXACT_POWERS.get(self.exponent.unsigned_abs() as usize);
            if let Some(power) = power {
                let mantissa = self.mantissa as f64;
                let value = if self.exponent < 0 { mantissa / power } else { mantissa * power };
                return Ok(if self.negative { -value } else { value });
            }
        }
        nearest(text)
    }
}

/// The double nearest to a number's text.
#[cold]
fn nearest(text: &[u8]) -> Result<f64, Problem> {
    let text = std::str::from_utf8(text.trim_ascii()).map_err(|_| Problem::WrongType)?;
    let value: f64 = text.parse().map_err(|_| Problem::WrongType)?;
    if value.is_finite() { Ok(value) } else { Err(Problem::OutOfRange) }
}

/// How a number was written.
struct Shape {
    whole: usize,
    point: bool,
    plus: bool,
}

#[cold]
fn scan_exponent(bytes: &[u8], mut at: usize) -> Option<(i32, usize)> {
    let negative = bytes.get(at) == Some(&b'-');
    at += usize::from(matches!(bytes.get(at), Some(b'+' | b'-')));
    let first = at;
    let mut value = 0i32;
    while let Some(digit) = digit(bytes, at) {
        value = (value * 10 + digit as i32).min(FAR);
        at += 1;
    }
    (at > first).then_some((if negative { -value } else { value }, at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decimal(text: &str, precision: u8, scale: i8, excess: ExcessDigits) -> Result<i128, Problem> {
        Number::of_text(text.as_bytes()).unwrap().decimal(text.as_bytes(), &DecimalType::new(precision, scale, excess))
    }
    fn money(text: &str) -> Result<i128, Problem> {
        decimal(text, 10, 2, ExcessDigits::RoundHalfEven)
    }

    #[test]
    fn money_is_rounded_half_to_even_on_every_digit() {
        assert_eq!(money("40.09620692463166"), Ok(4010));
        assert_eq!(money("0.125"), Ok(12));
        assert_eq!(money("0.135"), Ok(14));
        assert_eq!(money("-0.125"), Ok(-12));
        assert_eq!(money("0.12500000000000000000000000000001"), Ok(13));
        assert_eq!(money("0.12500000000000000000000000000000"), Ok(12));
        assert_eq!(money("1.5e2"), Ok(15_000));
        assert_eq!(money("15000e-2"), Ok(15_000));
        assert_eq!(money("1e-30"), Ok(0));
        assert_eq!(money("99999999.994"), Ok(9_999_999_999));
        assert_eq!(money("99999999.995"), Err(Problem::DecimalOverflow));
        assert_eq!(money("100000000"), Err(Problem::DecimalOverflow));
        assert_eq!(money("1e999999999999"), Err(Problem::DecimalOverflow));
        assert_eq!(money("0e999999999999"), Ok(0));
        assert_eq!(money("000000000000000000000000001.00"), Ok(100));
    }

    #[test]
    fn excess_digits_are_asked_about() {
        assert_eq!(decimal("1.234", 10, 2, ExcessDigits::Reject), Err(Problem::ExcessDigits));
        assert_eq!(decimal("1.230000000000000000000000", 10, 2, ExcessDigits::Reject), Ok(123));
        assert_eq!(decimal("1.239", 10, 2, ExcessDigits::Truncate), Ok(123));
        assert_eq!(decimal("-1.239999999999999999999999", 10, 2, ExcessDigits::Truncate), Ok(-123));
    }

    #[test]
    fn thirty_eight_digits() {
        let nines = "9".repeat(38);
        assert_eq!(decimal(&nines, 38, 0, ExcessDigits::Reject), Ok(10i128.pow(38) - 1));
        assert_eq!(decimal(&format!("{nines}9"), 38, 0, ExcessDigits::Reject), Err(Problem::DecimalOverflow));
    }

    #[test]
    fn integers_however_they_are_written() {
        let int = |text: &str| Number::of_text(text.as_bytes()).map(|n| n.to_i64(text.as_bytes()));
        for text in ["5", "5.0", "+5", "005", "5.", "50e-1", "0.5e1", " 5 ", "5.00000000000000000000000000"] {
            assert_eq!(int(text), Some(Ok(5)), "{text}");
        }
        assert_eq!(int("5.5"), Some(Err(Problem::WrongType)));
        assert_eq!(int("-9223372036854775808"), Some(Ok(i64::MIN)));
        assert_eq!(int("9223372036854775808"), Some(Err(Problem::OutOfRange)));
        assert_eq!(int("1e30"), Some(Err(Problem::OutOfRange)));
        for text in ["", "-", ".", "+-5", "5e", "0x5", "5 5", "five", "NaN", "1_000"] {
            assert_eq!(int(text), None, "{text}");
        }
    }

    #[test]
    fn json_is_stricter() {
        for text in ["05", "+5", ".5", "5.", "-", "5e", "-.5"] {
            assert!(Number::of_json(text.as_bytes()).is_none_or(|(_, end)| end != text.len()), "{text}");
        }
        for text in ["0", "-0", "0.5", "-10.25e+3", "1E5"] {
            assert_eq!(Number::of_json(text.as_bytes()).map(|(_, end)| end), Some(text.len()), "{text}");
        }
    }

    proptest! {
        #[test]
        fn doubles_are_the_nearest(value: f64) {
            prop_assume!(value.is_finite());
            for text in [format!("{value:?}"), format!("{value}"), format!("{value:e}")] {
                let read = Number::of_text(text.as_bytes()).unwrap().to_f64(text.as_bytes()).unwrap();
                prop_assert_eq!(read.to_bits(), value.to_bits());
            }
        }
        #[test]
        fn short_decimals_are_the_doubles_rust_reads(whole in 0u64..1_000_000_000, fraction in "[0-9]{1,12}") {
            let text = format!("{whole}.{fraction}");
            let read = Number::of_text(text.as_bytes()).unwrap().to_f64(text.as_bytes()).unwrap();
            prop_assert_eq!(read, text.parse::<f64>().unwrap());
        }
        /// Short and long texts of one number give one decimal, whatever the rounding.
        #[test]
        fn both_ways_agree(mantissa in 0u64..1_000_000_000_000, point in 0usize..12, scale in 0i8..8) {
            let digits = format!("{mantissa:013}");
            let text = format!("{}.{}", &digits[..13 - point], &digits[13 - point..]);
            let long = format!("{}{text}", "0".repeat(20));
            for excess in [ExcessDigits::Reject, ExcessDigits::Truncate, ExcessDigits::RoundHalfEven] {
                prop_assert_eq!(decimal(&text, 30, scale, excess), decimal(&long, 30, scale, excess));
            }
        }
        #[test]
        fn no_text_panics(text in "[-+.0-9eE]{0,60}", scale in -5i8..38) {
            if let Some(number) = Number::of_text(text.as_bytes()) {
                let _ = number.decimal(text.as_bytes(), &DecimalType::new(38, scale, ExcessDigits::RoundHalfEven));
                let _ = number.to_i64(text.as_bytes());
                let _ = number.to_f64(text.as_bytes());
            }
        }
    }
}
