//! The three clocks: event time, the watermark over it, and the engine's tick.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// An instant of event time: microseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EventTime(pub i64);

impl EventTime {
    /// Before every event.
    pub const MIN: Self = Self(i64::MIN);
    /// After every event.
    pub const MAX: Self = Self(i64::MAX);

    /// This instant, `d` later; saturates.
    #[must_use]
    pub fn plus(self, d: Duration) -> Self {
        Self(self.0.saturating_add(micros(d)))
    }
    /// This instant, `d` earlier; saturates.
    #[must_use]
    pub fn minus(self, d: Duration) -> Self {
        Self(if self == Self::MAX { i64::MAX } else { self.0.saturating_sub(micros(d)) })
    }
    /// The same instant in milliseconds since the epoch.
    pub fn millis(self) -> i64 {
        self.0.div_euclid(1000)
    }
}

impl fmt::Display for EventTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match chrono::DateTime::from_timestamp_micros(self.0) {
            Some(t) => write!(f, "{}", t.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true)),
            None => f.write_str("-"),
        }
    }
}

/// A duration in the microseconds of [`EventTime`]; saturates.
pub fn micros(d: Duration) -> i64 {
    i64::try_from(d.as_micros()).unwrap_or(i64::MAX)
}

/// A pattern of dates as other languages have it (`yyyy-MM-dd HH:mm`) in the words of strftime (`%Y-%m-%d %H:%M`), for those
/// who wrote the former; `None` where nothing of it is one.
pub fn strftime_of(pattern: &str) -> Option<String> {
    const WORDS: [(&str, &str); 12] = [
        ("yyyy", "%Y"),
        ("YYYY", "%Y"),
        ("yy", "%y"),
        ("MM", "%m"),
        ("dd", "%d"),
        ("DD", "%d"),
        ("HH24", "%H"),
        ("HH", "%H"),
        ("mm", "%M"),
        ("MI", "%M"),
        ("ss", "%S"),
        ("SS", "%S"),
    ];
    let (mut found, mut rest) = (String::new(), pattern);
    while let Some(c) = rest.chars().next() {
        let word = WORDS.iter().find_map(|(theirs, ours)| Some((ours, rest.strip_prefix(theirs)?)));
        rest = match word {
            Some((ours, behind)) => {
                found.push_str(ours);
                behind
            }
            None => {
                found.extend((c != '\'').then_some(c));
                rest.get(c.len_utf8()..).unwrap_or_default()
            }
        };
    }
    found.contains('%').then_some(found)
}

/// A promise that a stream has no more rows with an earlier event time, but for late ones.
///
/// [`Watermark::START`] promises nothing; [`Watermark::COMPLETE`] is reached only by bounded inputs that were
/// read to their end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Watermark(pub EventTime);

impl Watermark {
    /// Nothing is promised yet.
    pub const START: Self = Self(EventTime::MIN);
    /// The input was bounded and has been read to its end.
    pub const COMPLETE: Self = Self(EventTime::MAX);
    /// Whether the input has ended.
    pub fn is_complete(self) -> bool {
        self == Self::COMPLETE
    }
}

/// The engine's logical clock and timely's timestamp: wall-clock milliseconds / `tick_ms`, strictly increasing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Tick(pub u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_of_other_languages_are_understood() {
        assert_eq!(strftime_of("yyyy-MM-dd'T'HH:mm:ss").as_deref(), Some("%Y-%m-%dT%H:%M:%S"));
        assert_eq!(strftime_of("DD/MM/YYYY HH24:MI").as_deref(), Some("%d/%m/%Y %H:%M"));
        assert_eq!(strftime_of("day"), None);
    }
}
