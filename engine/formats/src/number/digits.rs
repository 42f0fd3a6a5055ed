//! Runs of digits as numbers.

/// A whole number of at most nine digits, maybe with `.0` behind it, at `at`: what most integers are. Gives the bytes
/// it takes; what follows them is for the caller to look at.
#[inline(always)]
pub(crate) fn small_integer(bytes: &[u8], at: usize) -> Option<(i32, usize)> {
    let negative = bytes.get(at) == Some(&b'-');
    let first = at + usize::from(negative);
    let mut end = first;
    let mut value = 0u32;
    while let Some(digit) = digit(bytes, end) {
        value = value.wrapping_mul(10).wrapping_add(digit as u32);
        end += 1;
    }
    let digits = end - first;
    if digits == 0 || digits > 9 || (digits > 1 && bytes.get(first) == Some(&b'0')) {
        return None;
    }
    if bytes.get(end..end + 2) == Some(b".0") {
        end += 2;
    }
    // Nine digits are below 2^31.
    Some((if negative { -(value as i32) } else { value as i32 }, end - at))
}

#[inline(always)]
pub(super) fn digit(bytes: &[u8], at: usize) -> Option<u64> {
    let digit = bytes.get(at)?.wrapping_sub(b'0');
    (digit <= 9).then_some(u64::from(digit))
}

/// Reads digits from `at` on; gives the byte behind them.
#[inline(always)]
pub(super) fn digits(bytes: &[u8], mut at: usize, mantissa: &mut u64) -> usize {
    while let Some(digit) = digit(bytes, at) {
        *mantissa = mantissa.wrapping_mul(10).wrapping_add(digit);
        at += 1;
    }
    at
}

/// Reads digits from `at` on, eight at a time; leaves what is less. After Daniel Lemire, "Quickly parsing eight
/// digits": neighbours are joined to pairs, pairs to fours, fours to the whole.
#[inline(always)]
pub(super) fn eights(bytes: &[u8], mut at: usize, mantissa: &mut u64) -> usize {
    while let Some(chunk) = bytes.get(at..at + 8).and_then(|c| <[u8; 8]>::try_from(c).ok()) {
        let word = u64::from_le_bytes(chunk);
        let high = word & 0xF0F0_F0F0_F0F0_F0F0;
        let above_nine = (word.wrapping_add(0x0606_0606_0606_0606) & 0xF0F0_F0F0_F0F0_F0F0) >> 4;
        if high | above_nine != 0x3333_3333_3333_3333 {
            break;
        }
        let ones = word - 0x3030_3030_3030_3030;
        let pairs = ones.wrapping_mul(10).wrapping_add(ones >> 8);
        let low = (pairs & 0x0000_00FF_0000_00FF).wrapping_mul(100 + (1_000_000 << 32));
        let high = ((pairs >> 16) & 0x0000_00FF_0000_00FF).wrapping_mul(1 + (10_000 << 32));
        let value = low.wrapping_add(high) >> 32;
        *mantissa = mantissa.wrapping_mul(100_000_000).wrapping_add(value);
        at += 8;
    }
    at
}
