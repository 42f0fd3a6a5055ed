//! Dates and instants from text and to text, by strftime formats and time zones.
//!
//! 1. Nothing here panics or wraps, whatever the text or the number: what does not fit is `None`.
//! 2. A format of fixed width (`%Y-%m-%d %H:%M:%S`) is read by place, without chrono; texts of another width and
//!    all other formats go through chrono. Both give the same instants.
//! 3. Fractions of a second are cut to microseconds, the engine's unit.

use chrono::format::{Item, Parsed, StrftimeItems};
use chrono::{DateTime, NaiveTime, TimeZone};
use chrono_tz::Tz;
use millstream_core::schema::Zone;

use crate::number::Number;

mod civil;
mod layout;
mod rfc3339;
mod write;

use civil::{DAY, SECOND, days_of};
use layout::Layout;
use rfc3339::rfc3339;
pub(crate) use write::{midnight, write_date, write_strftime, write_timestamp};

/// Whether `format` can be used to read a timestamp: a strftime format, `epoch_s`, `epoch_ms` or `epoch_us`.
///
/// # Errors
/// What is wrong with it, for the user.
pub fn check_format(format: &str) -> Result<(), String> {
    Format::parse(format).map(drop)
}

/// Whether `zone` is known.
///
/// # Errors
/// What is wrong with it, for the user.
pub fn check_zone(zone: &Zone) -> Result<(), String> {
    ZoneRule::new(zone).map(drop)
}

/// The instant, in microseconds, of an RFC 3339 text; a missing offset means UTC, and a space may stand for the `T`.
pub fn parse_instant(text: &str) -> Option<i64> {
    rfc3339(text.as_bytes(), &ZoneRule::Utc)
}

/// The strftime items of a format.
///
/// # Errors
/// What is wrong with it, for the user.
pub(crate) fn strftime_items(format: &str) -> Result<Vec<Item<'static>>, String> {
    if format.is_empty() {
        return Err("the format is empty".into());
    }
    StrftimeItems::new(format).parse_to_owned().map_err(|_| format!("`{format}` is not a strftime format"))
}

/// The zone of texts that name none.
#[derive(Debug, Clone)]
enum ZoneRule {
    Utc,
    /// Microseconds east of UTC.
    Offset(i64),
    Named(Tz),
}

impl ZoneRule {
    fn new(zone: &Zone) -> Result<Self, String> {
        Ok(match zone {
            Zone::Utc => Self::Utc,
            Zone::Offset(offset) => Self::Offset(i64::from(offset.local_minus_utc()) * SECOND),
            Zone::Named(name) => {
                Self::Named(name.parse().map_err(|_| format!("`{name}` is not a time zone of the IANA database"))?)
            }
        })
    }

    /// The instant of a local time. Times that a clock change skips do not exist; of two the earlier is taken.
    #[inline]
    fn instant(&self, local: i64) -> Option<i64> {
        match self {
            Self::Utc => Some(local),
            Self::Offset(offset) => local.checked_sub(*offset),
            Self::Named(tz) => {
                let local = DateTime::from_timestamp_micros(local)?.naive_utc();
                tz.from_local_datetime(&local).earliest().map(|t| t.timestamp_micros())
            }
        }
    }
}

/// One way to write a timestamp or a date.
#[derive(Debug, Clone)]
enum Format {
    /// Whole and parts of a second since 1970; how many microseconds are one unit, as a power of ten.
    Epoch(i32),
    Strftime {
        layout: Option<Layout>,
        items: Vec<Item<'static>>,
    },
}

impl Format {
    fn parse(format: &str) -> Result<Self, String> {
        match format {
            "epoch_s" | "%s" => Ok(Self::Epoch(6)),
            "epoch_ms" => Ok(Self::Epoch(3)),
            "epoch_us" => Ok(Self::Epoch(0)),
            _ => strftime_items(format).map(|items| Self::Strftime { layout: Layout::new(&items), items }),
        }
    }

    #[inline]
    fn layout(&self) -> Option<&Layout> {
        match self {
            Self::Strftime { layout, .. } => layout.as_ref(),
            Self::Epoch(_) => None,
        }
    }

    fn all(formats: &[String]) -> Result<Vec<Self>, String> {
        formats.iter().map(|f| Self::parse(f)).collect()
    }
}

/// How the timestamps of a column are written.
#[derive(Debug, Clone)]
pub(crate) struct TimestampFormats {
    formats: Vec<Format>,
    zone: ZoneRule,
}

impl TimestampFormats {
    pub(crate) fn new(formats: &[String], zone: &Zone) -> Result<Self, String> {
        Ok(Self { formats: Format::all(formats)?, zone: ZoneRule::new(zone)? })
    }

    /// The instant of a text: by the first format whose exact width fits, else the first that chrono can read.
    pub(crate) fn parse(&self, text: &[u8]) -> Option<i64> {
        if self.formats.is_empty() {
            return rfc3339(text, &self.zone);
        }
        self.parse_exactly(text).or_else(|| self.parse_slowly(std::str::from_utf8(text).ok()?))
    }

    /// The instant of a text, where the exact width of a format fits and there is such a time.
    #[inline]
    pub(crate) fn parse_exactly(&self, text: &[u8]) -> Option<i64> {
        let mut layouts = self.formats.iter().filter_map(Format::layout);
        layouts.find_map(|layout| layout.micros(text)).and_then(|local| self.zone.instant(local))
    }

    #[cold]
    fn parse_slowly(&self, text: &str) -> Option<i64> {
        self.formats.iter().find_map(|format| match format {
            Format::Epoch(unit) => epoch(&Number::of_text(text.as_bytes())?, text.as_bytes(), *unit),
            Format::Strftime { items, .. } => self.strftime(items, text),
        })
    }

    fn strftime(&self, items: &[Item<'_>], text: &str) -> Option<i64> {
        let mut parsed = Parsed::new();
        chrono::format::parse(&mut parsed, text, items.iter()).ok()?;
        if parsed.offset().is_some() {
            return parsed.to_datetime().ok().map(|t| t.timestamp_micros());
        }
        if parsed.timestamp().is_some() {
            return parsed.to_naive_datetime_with_offset(0).ok().map(|t| t.and_utc().timestamp_micros());
        }
        let local = match parsed.to_naive_datetime_with_offset(0) {
            Ok(local) => local,
            // A date alone is its first instant.
            Err(_) if parsed.hour_mod_12().is_none() && parsed.minute().is_none() => {
                parsed.to_naive_date().ok()?.and_time(NaiveTime::MIN)
            }
            Err(_) => return None,
        };
        self.zone.instant(local.and_utc().timestamp_micros())
    }

    /// The instant of a number, where one of the formats is an epoch.
    pub(crate) fn parse_number(&self, number: &Number, text: &[u8]) -> Option<i64> {
        self.formats.iter().find_map(|format| match format {
            Format::Epoch(unit) => epoch(number, text, *unit),
            Format::Strftime { .. } => None,
        })
    }

    /// Whether numbers can be instants.
    pub(crate) fn reads_numbers(&self) -> bool {
        self.formats.iter().any(|f| matches!(f, Format::Epoch(_)))
    }
}

/// A number of units as microseconds.
fn epoch(number: &Number, text: &[u8], unit: i32) -> Option<i64> {
    let micros = number.rounded(text, unit)?;
    i64::try_from(micros).ok()
}

/// How the dates of a column are written.
#[derive(Debug, Clone)]
pub(crate) struct DateFormats {
    formats: Vec<Format>,
}

impl DateFormats {
    pub(crate) fn new(formats: &[String]) -> Result<Self, String> {
        let formats = if formats.is_empty() { vec![Format::parse("%Y-%m-%d")?] } else { Format::all(formats)? };
        Ok(Self { formats })
    }

    /// The day of a text, counted from 1970-01-01.
    #[inline]
    pub(crate) fn parse(&self, text: &[u8]) -> Option<i32> {
        if let Some(local) = self.formats.iter().filter_map(Format::layout).find_map(|layout| layout.micros(text)) {
            return i32::try_from(local.div_euclid(DAY)).ok();
        }
        let text = std::str::from_utf8(text).ok()?;
        self.formats.iter().find_map(|format| match format {
            Format::Strftime { items, .. } => {
                let mut parsed = Parsed::new();
                chrono::format::parse(&mut parsed, text, items.iter()).ok()?;
                parsed.to_naive_date().ok().map(days_of)
            }
            Format::Epoch(unit) => {
                let micros = epoch(&Number::of_text(text.as_bytes())?, text.as_bytes(), *unit)?;
                i32::try_from(micros.div_euclid(DAY)).ok()
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::NaiveDateTime;
    use proptest::prelude::*;

    fn micros_of(text: &str) -> i64 {
        NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f").unwrap().and_utc().timestamp_micros()
    }
    fn formats(formats: &[&str], zone: Zone) -> TimestampFormats {
        let formats: Vec<String> = formats.iter().map(ToString::to_string).collect();
        TimestampFormats::new(&formats, &zone).unwrap()
    }

    #[test]
    fn rfc3339_and_what_people_write_instead() {
        let noon = micros_of("2024-05-25 12:00:00");
        let read = formats(&[], Zone::Utc);
        for text in [
            "2024-05-25T12:00:00Z",
            "2024-05-25 12:00:00",
            "2024-05-25T12:00",
            "2024-05-25T14:00:00+02:00",
            "2024-05-25T14:00:00.000+0200",
            "2024-05-25 04:00:00-08",
        ] {
            assert_eq!(read.parse(text.as_bytes()), Some(noon), "{text}");
        }
        assert_eq!(read.parse(b"2024-05-25T12:00:00.1234567Z"), Some(noon + 123_456));
        for text in ["", "2024-05-25", "2024-13-25T12:00:00Z", "2024-02-30T12:00:00Z", "2024-05-25T24:00:00Z"] {
            assert_eq!(read.parse(text.as_bytes()), None, "{text}");
        }
        for text in ["2024-05-25T12:00:00.Z", "2024-05-25T12:00:00+2:00", "2024-05-25T12:00:00 Z", "2024-05-25T12:00:0"]
        {
            assert_eq!(read.parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn formats_are_tried_in_order() {
        let read = formats(&["%Y-%m-%d %H:%M:%S", "%d-%m-%Y %H:%M", "%b %e, %Y"], Zone::Utc);
        assert_eq!(read.parse(b"2024-05-25 13:19:07"), Some(micros_of("2024-05-25 13:19:07")));
        assert_eq!(read.parse(b"25-05-2024 13:19"), Some(micros_of("2024-05-25 13:19:00")));
        assert_eq!(read.parse(b"2024-5-25 3:19:07"), Some(micros_of("2024-05-25 03:19:07")));
        assert_eq!(read.parse(b"May 5, 2024"), Some(micros_of("2024-05-05 00:00:00")));
        assert_eq!(read.parse(b"1716643147"), None);
    }

    #[test]
    fn a_text_with_its_own_offset_ignores_the_zone() {
        let read = formats(&["%Y-%m-%d %H:%M:%S %z"], Zone::Named("America/New_York".into()));
        assert_eq!(read.parse(b"2024-05-25 12:00:00 +0200"), Some(micros_of("2024-05-25 10:00:00")));
    }

    #[test]
    fn clock_changes() {
        let read = formats(&["%Y-%m-%d %H:%M:%S"], Zone::Named("America/New_York".into()));
        assert_eq!(read.parse(b"2024-07-01 12:00:00"), Some(micros_of("2024-07-01 16:00:00")));
        assert_eq!(read.parse(b"2024-03-10 02:30:00"), None, "skipped");
        assert_eq!(read.parse(b"2024-11-03 01:30:00"), Some(micros_of("2024-11-03 05:30:00")), "the earlier");
    }

    #[test]
    fn epochs() {
        let read = formats(&["epoch_s"], Zone::Utc);
        assert_eq!(read.parse(b"1716643147.25"), Some(1_716_643_147_250_000));
        assert_eq!(formats(&["epoch_ms"], Zone::Utc).parse(b"1716643147001"), Some(1_716_643_147_001_000));
        assert_eq!(formats(&["epoch_us"], Zone::Utc).parse(b"-1"), Some(-1));
        assert_eq!(read.parse(b"99999999999999999999"), None);
    }

    #[test]
    fn bad_formats_and_zones_are_told() {
        assert!(check_format("%Q").is_err());
        assert!(check_format("").is_err());
        assert!(check_format("%Y-%m-%d").is_ok());
        assert!(check_zone(&Zone::Named("Mars/Olympus".into())).is_err());
    }

    #[test]
    fn written_instants() {
        let text = |micros| {
            let mut out = Vec::new();
            write_timestamp(micros, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(text(0), "1970-01-01T00:00:00Z");
        assert_eq!(text(-1), "1969-12-31T23:59:59.999999Z");
        assert_eq!(text(1_716_643_147_250_000), "2024-05-25T13:19:07.25Z");
        assert_eq!(text(253_402_300_800_000_000), "+10000-01-01T00:00:00Z");
        assert_eq!(text(i64::MAX), "9223372036854775807");
        assert_eq!(text(i64::MIN), "-9223372036854775808");
    }

    proptest! {
        /// The fast way and chrono agree about every day and every text of a fixed-width format.
        #[test]
        fn the_fast_way_is_chronos(
            year in 0u32..10_000, month in 0u32..14, day in 0u32..33, hour in 0u32..25, minute in 0u32..61, second in 0u32..60,
        ) {
            let text = format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}");
            let expected = NaiveDateTime::parse_from_str(&text, "%Y-%m-%d %H:%M:%S").ok().map(|t| t.and_utc().timestamp_micros());
            prop_assert_eq!(formats(&["%Y-%m-%d %H:%M:%S"], Zone::Utc).parse(text.as_bytes()), expected);
            prop_assert_eq!(parse_instant(&text), expected);
            if let Some(micros) = expected {
                let mut out = Vec::new();
                write_timestamp(micros, &mut out);
                prop_assert_eq!(parse_instant(std::str::from_utf8(&out).unwrap()), Some(micros));
            }
        }
        #[test]
        fn no_text_panics(text in "\\PC{0,40}", digits in "[0-9:. TZ+-]{0,40}") {
            let read = formats(&["%Y-%m-%d %H:%M:%S", "%s", "%+", "%D %T", "epoch_s"], Zone::Named("Europe/Berlin".into()));
            for text in [text, digits] {
                let _ = read.parse(text.as_bytes());
                let _ = parse_instant(&text);
                let _ = DateFormats::new(&[]).unwrap().parse(text.as_bytes());
            }
        }
        #[test]
        fn dates_go_there_and_back(days in -719_528i32..2_932_897) {
            let mut out = Vec::new();
            write_date(days, &mut out);
            prop_assert_eq!(DateFormats::new(&[]).unwrap().parse(&out), Some(days));
        }
    }
}
