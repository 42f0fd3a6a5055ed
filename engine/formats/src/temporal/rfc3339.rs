//! Reading RFC 3339, and what people write instead.

use super::ZoneRule;
use super::civil::{SECOND, days_from_civil, local_micros, two};

/// RFC 3339, with a space allowed for the `T`, seconds and offset optional, and offsets as `+HH:MM`, `+HHMM`, `+HH`.
pub(super) fn rfc3339(text: &[u8], zone: &ZoneRule) -> Option<i64> {
    let year = two(text, 0)? * 100 + two(text, 2)?;
    let separators = (text.get(4)?, text.get(7)?, text.get(10)?, text.get(13)?);
    if !matches!(separators, (b'-', b'-', b'T' | b't' | b' ', b':')) {
        return None;
    }
    let days = days_from_civil(year, two(text, 5)?, two(text, 8)?)?;
    let (second, rest) = match text.get(16) {
        Some(b':') => (two(text, 17)?, text.get(19..)?),
        _ => (0, text.get(16..)?),
    };
    let mut local = local_micros(days, two(text, 11)?, two(text, 14)?, second)?;
    let mut rest = rest;
    if let [b'.' | b',', fraction @ ..] = rest {
        let digits = fraction.iter().take_while(|b| b.is_ascii_digit()).count();
        let micros = fraction.iter().take(digits).chain(std::iter::repeat(&b'0')).take(6);
        local += micros.fold(0, |sum, b| sum * 10 + i64::from(b - b'0'));
        rest = fraction.get(digits..)?;
        if digits == 0 {
            return None;
        }
    }
    let (sign, offset) = match rest {
        [] => return zone.instant(local),
        [b'Z' | b'z'] => return Some(local),
        [b'+', offset @ ..] => (-1, offset),
        [b'-', offset @ ..] => (1, offset),
        _ => return None,
    };
    let minutes = match offset.len() {
        2 => 0,
        4 => two(offset, 2)?,
        5 if offset.get(2) == Some(&b':') => two(offset, 3)?,
        _ => return None,
    };
    let hours = two(offset, 0)?;
    let valid = hours <= 23 && minutes <= 59;
    valid.then(|| local + sign * i64::from(hours * 60 + minutes) * 60 * SECOND)
}
