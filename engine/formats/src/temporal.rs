//! Dates and instants from text and to text, by strftime formats and time zones.
//!
//! 1. Nothing here panics or wraps, whatever the text or the number: what does not fit is `None`.
//! 2. A format of fixed width (`%Y-%m-%d %H:%M:%S`) is read by place, without chrono; texts of another width and
//!    all other formats go through chrono. Both give the same instants.
//! 3. Fractions of a second are cut to microseconds, the engine's unit.

use std::fmt::Write as _;

use chrono::format::{Item, Parsed, StrftimeItems};
use chrono::{DateTime, Datelike, NaiveDate, NaiveTime, TimeZone};
use chrono_tz::Tz;
use millstream_core::schema::Zone;

use crate::layout::Layout;
use crate::number::Number;

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;

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
            "epoch_s" => Ok(Self::Epoch(6)),
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

/// The number of a day, counted from 1970-01-01.
fn days_of(date: NaiveDate) -> i32 {
    const EPOCH_FROM_CE: i32 = 719_163;
    date.num_days_from_ce() - EPOCH_FROM_CE
}

/// The number of a day of the proleptic Gregorian calendar, counted from 1970-01-01; `None` where there is no
/// such day. Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", days_from_civil.
#[inline]
pub(crate) fn days_from_civil(year: u32, month: u32, day: u32) -> Option<i64> {
    const LENGTHS: [u8; 16] = [0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31, 0, 0, 0];
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let length = u32::from(*LENGTHS.get(month as usize)?) + u32::from(leap && month == 2);
    if day == 0 || day > length {
        return None;
    }
    // Years begin in March, so that the leap day is their last.
    let year = i64::from(year) - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((i64::from(month) + 9) % 12) + 2) / 5 + i64::from(day) - 1;
    Some(era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468)
}

/// Year, month and day of the day `days` after 1970-01-01: the inverse of [`days_from_civil`].
fn civil_from_days(days: i64) -> (i64, u32, u32) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = (of_year - (153 * shifted + 2) / 5 + 1) as u32;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 } as u32;
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// Two digits as a number.
#[inline]
pub(crate) fn two(text: &[u8], at: usize) -> Option<u32> {
    let pair: [u8; 2] = text.get(at..at + 2)?.try_into().ok()?;
    let (a, b) = (pair[0].wrapping_sub(b'0'), pair[1].wrapping_sub(b'0'));
    (a <= 9 && b <= 9).then(|| u32::from(a) * 10 + u32::from(b))
}

/// Microseconds of a local time since 1970-01-01T00:00:00, where there is such a time.
#[inline]
pub(crate) fn local_micros(days: i64, hour: u32, minute: u32, second: u32) -> Option<i64> {
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let seconds = days * 86_400 + i64::from(hour * 3600 + minute * 60 + second);
    Some(seconds * SECOND)
}

/// RFC 3339, with a space allowed for the `T`, seconds and offset optional, and offsets as `+HH:MM`, `+HHMM`, `+HH`.
fn rfc3339(text: &[u8], zone: &ZoneRule) -> Option<i64> {
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

/// Appends an instant as RFC 3339 in UTC, with as many digits of the fraction as it needs. An instant beyond the
/// calendar is written as its number of microseconds.
pub(crate) fn write_timestamp(micros: i64, out: &mut Vec<u8>) {
    let days = micros.div_euclid(DAY);
    let (year, month, day) = civil_from_days(days);
    if !(0..=9999).contains(&year) {
        write_beyond(micros, out);
        return;
    }
    write_civil(year, month, day, out);
    let of_day = micros.rem_euclid(DAY);
    let seconds = of_day / SECOND;
    out.push(b'T');
    write_two(seconds / 3600, out);
    out.push(b':');
    write_two(seconds / 60 % 60, out);
    out.push(b':');
    write_two(seconds % 60, out);
    let fraction = of_day % SECOND;
    if fraction != 0 {
        let digits = format!("{fraction:06}");
        out.push(b'.');
        out.extend_from_slice(digits.trim_end_matches('0').as_bytes());
    }
    out.push(b'Z');
}

#[cold]
fn write_beyond(micros: i64, out: &mut Vec<u8>) {
    let text = match DateTime::from_timestamp_micros(micros) {
        Some(t) => t.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true),
        None => micros.to_string(),
    };
    out.extend_from_slice(text.as_bytes());
}

/// Appends a day as `YYYY-MM-DD`; beyond the calendar of four-digit years with a sign.
pub(crate) fn write_date(days: i32, out: &mut Vec<u8>) {
    let (year, month, day) = civil_from_days(i64::from(days));
    if (0..=9999).contains(&year) {
        write_civil(year, month, day, out);
    } else {
        out.extend_from_slice(format!("{year:+05}-{month:02}-{day:02}").as_bytes());
    }
}

fn write_civil(year: i64, month: u32, day: u32, out: &mut Vec<u8>) {
    write_two(year / 100, out);
    write_two(year % 100, out);
    out.push(b'-');
    write_two(i64::from(month), out);
    out.push(b'-');
    write_two(i64::from(day), out);
}

fn write_two(n: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(&[b'0' + (n / 10) as u8, b'0' + (n % 10) as u8]);
}

/// Appends an instant by strftime items; by RFC 3339 where the format cannot say it (a year of five digits in an
/// RFC 2822 date).
pub(crate) fn write_strftime(micros: i64, items: &[Item<'static>], out: &mut String) {
    let before = out.len();
    let written = DateTime::from_timestamp_micros(micros)
        .is_some_and(|t| write!(out, "{}", t.format_with_items(items.iter())).is_ok());
    if !written {
        out.truncate(before);
        let mut text = Vec::new();
        write_timestamp(micros, &mut text);
        out.push_str(&String::from_utf8_lossy(&text));
    }
}

/// The first instant of a day, in microseconds.
pub(crate) fn midnight(days: i32) -> i64 {
    i64::from(days) * DAY
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
