//! Numbers, bytes and times as people read them.

use std::time::Duration;

use indicatif::{BinaryBytes, HumanCount};

/// `1,234,567`.
pub(crate) fn count(n: u64) -> String {
    HumanCount(n).to_string()
}

/// `12.3 MiB`.
pub(crate) fn bytes(n: u64) -> String {
    BinaryBytes(n).to_string()
}

/// `12.3k`, `1.2M`: three digits are enough for a rate.
pub(crate) fn rate(per_second: f64) -> String {
    match per_second {
        r if r >= 999_950.0 => format!("{:.2}M", r / 1e6),
        r if r >= 9_999.5 => format!("{:.0}k", r / 1e3),
        r if r >= 999.5 => format!("{:.1}k", r / 1e3),
        r if r >= 9.95 => format!("{r:.0}"),
        r => format!("{r:.1}"),
    }
}

/// `1.4 s`, `3m 20s`, `2d 3h`.
pub(crate) fn duration(d: Duration) -> String {
    let s = d.as_secs();
    match s {
        0 if d.is_zero() => "0 s".to_owned(),
        0 if d.as_millis() < 10 => format!("{:.1} ms", d.as_secs_f64() * 1e3),
        0 => format!("{} ms", d.as_millis()),
        1..60 => format!("{:.1} s", d.as_secs_f64()),
        60..3600 => format!("{}m {}s", s / 60, s % 60),
        3600..86_400 => format!("{}h {}m", s / 3600, s % 3600 / 60),
        _ => format!("{}d {}h", s / 86_400, s % 86_400 / 3600),
    }
}

/// `n` of something: `1 file`, `2 files`.
pub(crate) fn of(n: u64, noun: &str) -> String {
    let s = if n == 1 { "" } else { "s" };
    format!("{} {noun}{s}", count(n))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(
            [0.0, 9.99, 999.0, 1234.0, 56_789.0, 1_234_567.0].map(rate),
            ["0.0", "10", "999", "1.2k", "57k", "1.23M"]
        );
        assert_eq!(duration(Duration::from_millis(1400)), "1.4 s");
        assert_eq!(duration(Duration::from_secs(183_600)), "2d 3h");
        assert_eq!(of(1, "error"), "1 error");
        assert_eq!(of(1200, "row"), "1,200 rows");
    }
}
