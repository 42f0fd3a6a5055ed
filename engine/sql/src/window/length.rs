//! How long a window is, and which window an instant falls into.

use std::fmt;

use arrow::datatypes::IntervalMonthDayNano;
use chrono::{DateTime, Datelike, Months, NaiveDate};
use datafusion::common::ScalarValue;

const DAY: i64 = 86_400_000_000;

/// The length of windows that lie end to end, one of which begins at 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Length {
    /// Microseconds; more than none.
    Micros(i64),
    /// Calendar months (UTC); more than none.
    Months(i32),
}

impl Length {
    /// The length of an SQL interval; none where it mixes months with time, is not positive, or is finer than a
    /// microsecond.
    pub(crate) fn of(months: i32, days: i32, nanoseconds: i64) -> Option<Self> {
        if nanoseconds % 1000 != 0 {
            return None;
        }
        let micros = i64::from(days).checked_mul(DAY)?.checked_add(nanoseconds / 1000)?;
        match (months, micros) {
            (0, micros) if micros > 0 => Some(Self::Micros(micros)),
            (months, 0) if months > 0 => Some(Self::Months(months)),
            _ => None,
        }
    }

    /// The same as an SQL interval.
    pub(crate) fn interval(self) -> ScalarValue {
        let interval = match self {
            Self::Micros(us) => {
                let days = i32::try_from(us.div_euclid(DAY)).ok();
                match days {
                    Some(days) => IntervalMonthDayNano::new(0, days, us.rem_euclid(DAY) * 1000),
                    None => IntervalMonthDayNano::new(0, 0, us.saturating_mul(1000)),
                }
            }
            Self::Months(months) => IntervalMonthDayNano::new(months, 0, 0),
        };
        ScalarValue::IntervalMonthDayNano(Some(interval))
    }

    /// When the window begins that `instant` (microseconds) falls into. Instants outside the calendar fall into
    /// the window of the epoch's side they are on.
    pub(crate) fn start_of(self, instant: i64) -> i64 {
        match self {
            Self::Micros(size) => instant.saturating_sub(instant.rem_euclid(size)),
            Self::Months(months) => {
                let Some(date) = DateTime::from_timestamp_micros(instant) else { return instant };
                let index = date.year() * 12 + date.month0().cast_signed() - 1970 * 12;
                first_of_month(index - index.rem_euclid(months)).unwrap_or(instant)
            }
        }
    }

    /// When the window ends that begins at `start`.
    pub(crate) fn end_of(self, start: i64) -> i64 {
        self.shifted(start, true)
    }

    /// When the window begins that ends at `end`.
    pub(crate) fn start_before(self, end: i64) -> i64 {
        self.shifted(end, false)
    }

    fn shifted(self, from: i64, forward: bool) -> i64 {
        match self {
            Self::Micros(size) if forward => from.saturating_add(size),
            Self::Micros(size) => from.saturating_sub(size),
            Self::Months(months) => {
                let months = Months::new(months.unsigned_abs());
                let date = DateTime::from_timestamp_micros(from);
                let date = date.and_then(|d| if forward { d + months } else { d - months }.into());
                date.map_or(from, |d: DateTime<_>| d.timestamp_micros())
            }
        }
    }

    /// Whether different windows always begin on different days.
    pub(crate) fn is_whole_days(self) -> bool {
        match self {
            Self::Micros(size) => size % DAY == 0,
            Self::Months(_) => true,
        }
    }

    /// Whether windows are at least this long and begin only at multiples of it.
    pub(crate) fn is_multiple_of(self, unit_micros: i64) -> bool {
        match self {
            Self::Micros(size) => size % unit_micros == 0,
            Self::Months(_) => DAY % unit_micros == 0,
        }
    }
}

/// The first instant of the month that is `index` months after January 1970.
fn first_of_month(index: i32) -> Option<i64> {
    let (year, month) = (1970 + index.div_euclid(12), index.rem_euclid(12));
    let day = NaiveDate::from_ymd_opt(year, u32::try_from(month + 1).ok()?, 1)?;
    Some(day.and_hms_opt(0, 0, 0)?.and_utc().timestamp_micros())
}

impl fmt::Display for Length {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Months(1) => f.write_str("1 month"),
            Self::Months(n) => write!(f, "{n} months"),
            Self::Micros(us) => {
                let units = [(DAY, "day"), (3_600_000_000, "hour"), (60_000_000, "minute"), (1_000_000, "second")];
                match units.iter().find(|(unit, _)| us % unit == 0) {
                    Some((unit, name)) if us / unit == 1 => write!(f, "1 {name}"),
                    Some((unit, name)) => write!(f, "{} {name}s", us / unit),
                    None => write!(f, "{us} microseconds"),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_instant_lies_in_its_window_also_before_1970() {
        for length in [Length::Micros(7 * DAY), Length::Micros(60_000_000), Length::Months(1), Length::Months(3)] {
            for instant in [-1, 0, 1, 1_716_643_140_000_000, -62_000_000_000_000_000] {
                let start = length.start_of(instant);
                let end = length.end_of(start);
                assert!(start <= instant && instant < end, "{length} {instant}: {start}..{end}");
                assert_eq!(length.start_before(end), start);
                assert_eq!(length.start_of(end), end);
            }
        }
    }

    #[test]
    fn intervals_that_are_no_lengths_are_refused() {
        assert_eq!(Length::of(0, 1, 0), Some(Length::Micros(DAY)));
        assert_eq!(Length::of(1, 0, 0), Some(Length::Months(1)));
        assert_eq!(Length::of(1, 1, 0), None);
        assert_eq!(Length::of(0, 0, 0), None);
        assert_eq!(Length::of(0, -1, 0), None);
        assert_eq!(Length::of(0, 0, 1), None);
    }
}
