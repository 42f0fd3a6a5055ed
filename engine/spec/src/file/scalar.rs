//! Values with units and grammars of their own: durations, sizes, column types, time formats, zones, record paths.
//!
//! Each is a type with a parser; the parser is also what the check calls, by the `format` of the type's schema.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::ops::Range;
use std::str::FromStr;
use std::time::Duration;

use chrono::format::{Item, Parsed as ReadTime, StrftimeItems};
use millstream_core::schema::Zone;
use millstream_core::time::{EventTime, strftime_of};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error as _};

use super::column_type::Typed;
use super::name::{ColumnName, Id, PipelineName, Version};
use super::udf::UdfType;
use crate::codes;
use crate::suggest;

/// Why a text is not a value of its grammar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Misread {
    /// Code of the finding.
    pub(crate) code: &'static str,
    /// What is wrong.
    pub(crate) message: String,
    /// The bytes of the text it is about.
    pub(crate) range: Option<Range<usize>>,
    /// What to do.
    pub(crate) help: String,
}

impl Misread {
    /// Without a place inside the text.
    pub(crate) fn new(code: &'static str, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { code, message: message.into(), range: None, help: help.into() }
    }

    /// About these bytes of the text.
    pub(crate) fn at(self, range: Range<usize>) -> Self {
        Self { range: Some(range), ..self }
    }
}

/// A text with a grammar.
pub(crate) trait Grammar: Sized {
    /// What it gives.
    type Value;
    /// Name of its `format` in JSON Schema, without the prefix `millstream-`.
    const FORMAT: &'static str;
    /// What a message says was expected.
    const EXPECTED: &'static str;
    /// What an editor offers.
    const EXAMPLES: &'static [&'static str];
    /// Whether whole numbers are texts of it, too.
    const NUMBERS: bool = false;
    /// Reads it.
    fn parse(text: &str) -> Result<Self::Value, Misread>;
}

/// A duration in the file.
pub(crate) type DurationText = Parsed<Elapsed>;
/// A size in the file.
pub(crate) type SizeText = Parsed<Size>;

/// A value of a grammar.
pub(crate) struct Parsed<G: Grammar>(pub(crate) G::Value);

impl<G: Grammar> std::fmt::Debug for Parsed<G> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(G::FORMAT)
    }
}

impl<'de, G: Grammar> Deserialize<'de> for Parsed<G> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        G::parse(&text).map(Self).map_err(|e| D::Error::custom(e.message))
    }
}

impl<G: Grammar> JsonSchema for Parsed<G> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        G::FORMAT.into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let kinds = if G::NUMBERS { serde_json::json!(["string", "integer"]) } else { "string".into() };
        let format = format!("millstream-{}", G::FORMAT);
        json_schema!({ "type": kinds, "format": format, "examples": G::EXAMPLES })
    }
}

/// What a format of JSON Schema means here: what is expected, and the check.
pub(crate) type Check = (&'static str, fn(&str) -> Option<Misread>);

/// The check of a `format`; the prefix `millstream-` may be missing (schemas of connectors).
pub(crate) fn format(name: &str) -> Option<Check> {
    fn check<G: Grammar>(text: &str) -> Option<Misread> {
        G::parse(text).err()
    }
    fn of<G: Grammar>() -> (&'static str, Check) {
        (G::FORMAT, (G::EXPECTED, check::<G>))
    }
    let name = name.strip_prefix("millstream-").unwrap_or(name);
    [
        of::<Elapsed>(),
        of::<Size>(),
        of::<Typed>(),
        of::<TimeFormat>(),
        of::<ZoneName>(),
        of::<RecordPath>(),
        of::<Instant>(),
        of::<Version>(),
        of::<Id>(),
        of::<PipelineName>(),
        of::<ColumnName>(),
        of::<UdfType>(),
    ]
    .into_iter()
    .find(|(format, _)| *format == name)
    .map(|(_, check)| check)
}

/// `10s`.
pub(crate) struct Elapsed;

impl Grammar for Elapsed {
    type Value = Duration;
    const FORMAT: &'static str = "duration";
    const EXPECTED: &'static str = "a duration such as `10s`";
    const EXAMPLES: &'static [&'static str] = &["200ms", "10s", "5m", "6h", "1d"];

    fn parse(text: &str) -> Result<Duration, Misread> {
        const UNITS: &str = "units: ms, s, m, h, d, w; `1h 30m` is fine, too";
        let bad = |message: String, help: String| Misread::new(codes::BAD_DURATION, message, help);
        if text.starts_with('-') {
            return Err(bad(format!("`{text}` is negative"), "durations begin at `0s`".to_owned()));
        }
        humantime::parse_duration(text).map_err(|e| match e {
            humantime::DurationError::UnknownUnit { unit, value, .. } if unit.is_empty() => {
                bad(format!("the duration `{text}` has no unit"), format!("write `{value}s` for seconds; {UNITS}"))
            }
            humantime::DurationError::UnknownUnit { unit, start, end, .. } => {
                bad(format!("`{unit}` is not a unit of time"), UNITS.to_owned()).at(start..end)
            }
            humantime::DurationError::NumberOverflow => bad(format!("`{text}` is too long"), UNITS.to_owned()),
            _ => {
                bad(format!("`{text}` is not a duration"), format!("write a number and a unit, such as `10s`; {UNITS}"))
            }
        })
    }
}

/// `64MiB`.
pub(crate) struct Size;

impl Grammar for Size {
    type Value = u64;
    const FORMAT: &'static str = "size";
    const EXPECTED: &'static str = "a size such as `64MiB`";
    const EXAMPLES: &'static [&'static str] = &["64KiB", "16MiB", "1GiB"];
    const NUMBERS: bool = true;

    fn parse(text: &str) -> Result<u64, Misread> {
        bytesize::ByteSize::from_str(text).map(|size| size.as_u64()).map_err(|_| {
            let help = "write a number of bytes, or a number and a unit: KiB, MiB, GiB (1024), kB, MB, GB (1000)";
            Misread::new(codes::BAD_SIZE, format!("`{text}` is not a size"), help)
        })
    }
}

/// `%Y-%m-%d %H:%M:%S`.
pub(crate) struct TimeFormat;

impl Grammar for TimeFormat {
    type Value = String;
    const FORMAT: &'static str = "time-format";
    const EXPECTED: &'static str = "a time format such as `%Y-%m-%d %H:%M:%S`";
    const EXAMPLES: &'static [&'static str] = &["%Y-%m-%d %H:%M:%S", "%d-%m-%Y %H:%M", "epoch_ms"];

    fn parse(text: &str) -> Result<String, Misread> {
        // Numbers since 1970: words, because strftime knows only seconds and only text.
        if matches!(text, "epoch_s" | "epoch_ms" | "epoch_us") {
            return Ok(text.to_owned());
        }
        let items: Vec<Item<'_>> = StrftimeItems::new(text).collect();
        let help = "strftime: %Y %m %d %H %M %S %.f %z; or epoch_s, epoch_ms, epoch_us for numbers since 1970";
        if items.iter().any(|item| matches!(item, Item::Error)) {
            return Err(Misread::new(codes::BAD_TIME_FORMAT, format!("`{text}` is not a time format"), help));
        }
        if items.iter().all(|item| matches!(item, Item::Literal(_) | Item::Space(_))) {
            let message = format!("`{text}` has no `%` field in it");
            let meant = strftime_of(text).map(|meant| format!("write `{meant}`"));
            return Err(Misread::new(codes::BAD_TIME_FORMAT, message, meant.as_deref().unwrap_or(help)));
        }
        Ok(text.to_owned())
    }
}

/// What some text that was written by a format tells who reads it by that format.
fn reads(items: &[Item<'_>]) -> Option<ReadTime> {
    let some = chrono::DateTime::from_timestamp(1_732_576_455, 123_456_000)?;
    let (mut text, mut parsed) = (String::new(), ReadTime::new());
    write!(text, "{}", some.format_with_items(items.iter())).ok()?;
    chrono::format::parse(&mut parsed, &text, items.iter()).ok()?;
    Some(parsed)
}

/// Why nothing can be read by a format: it names no whole day or, of timestamps, a part of a time of day that is none.
/// What is wrong, and what to do.
pub(crate) fn unreadable(format: &str, is_timestamp: bool) -> Option<(String, &'static str)> {
    let items: Vec<Item<'_>> = StrftimeItems::new(format).collect();
    let words = matches!(format, "epoch_s" | "epoch_ms" | "epoch_us");
    let parsed = reads(&items).filter(|parsed| !words && parsed.timestamp().is_none())?;
    if parsed.to_naive_date().is_err() {
        let help = "a format has year, month and day in it, such as `%Y-%m-%d`; a time of day alone is a `string`";
        return Some((format!("`{format}` names no whole day: nothing can be read by it"), help));
    }
    let any = parsed.hour_mod_12().is_some() || parsed.hour_div_12().is_some() || parsed.minute().is_some();
    (is_timestamp && any && parsed.to_naive_time().is_err()).then(|| {
        let help =
            "a time has hour and minute (`%H:%M`), with `%I` also `%p`; a day without any time is its first instant";
        (format!("`{format}` names a part of a time, and no whole one: nothing can be read by it"), help)
    })
}

/// `America/New_York`.
pub(crate) struct ZoneName;

impl Grammar for ZoneName {
    type Value = Zone;
    const FORMAT: &'static str = "timezone";
    const EXPECTED: &'static str = "a time zone such as `America/New_York`";
    const EXAMPLES: &'static [&'static str] = &["UTC", "+02:00", "America/New_York"];

    fn parse(text: &str) -> Result<Zone, Misread> {
        if matches!(text, "UTC" | "utc" | "Z") {
            return Ok(Zone::Utc);
        }
        if let Ok(offset) = chrono::FixedOffset::from_str(text) {
            return Ok(Zone::Offset(offset));
        }
        if chrono_tz::Tz::from_str(text).is_ok() {
            return Ok(Zone::Named(text.to_owned()));
        }
        let near = suggest::nearest(text, chrono_tz::TZ_VARIANTS.iter().map(|tz| tz.name()));
        let help = near.map_or_else(
            || "write `UTC`, an offset such as `+02:00`, or a name such as `America/New_York`".to_owned(),
            |near| format!("did you mean `{near}`?"),
        );
        Err(Misread::new(codes::BAD_TIMEZONE, format!("no time zone `{text}`"), help))
    }
}

/// `$.driver.id`.
pub(crate) struct RecordPath;

impl Grammar for RecordPath {
    type Value = Vec<String>;
    const FORMAT: &'static str = "record-path";
    const EXPECTED: &'static str = "a path such as `$.driver.id`";
    const EXAMPLES: &'static [&'static str] = &["$.driver.id", "$['a key'].id"];

    fn parse(text: &str) -> Result<Vec<String>, Misread> {
        let bad = |message: String| {
            let help = "a path begins at the record, `$`, and names keys: `$.driver.id`, `$['a key'].id`";
            Misread::new(codes::BAD_RECORD_PATH, message, help)
        };
        let mut rest = text.strip_prefix('$').ok_or_else(|| bad(format!("`{text}` does not begin with `$`")))?;
        let mut keys = Vec::new();
        while !rest.is_empty() {
            let (key, after) = if let Some(key) = rest.strip_prefix('.') {
                key.split_at(key.find(['.', '[']).unwrap_or(key.len()))
            } else {
                let quoted = |q: &str, end: &str| rest.strip_prefix(q).and_then(|r| r.split_once(end));
                quoted("['", "']").or_else(|| quoted("[\"", "\"]")).ok_or_else(|| {
                    let index = rest.starts_with('[');
                    let why = if index { "list items cannot be addressed" } else { "expected `.`" };
                    bad(format!("`{text}` is not a path: {why}"))
                })?
            };
            if key.is_empty() {
                return Err(bad(format!("`{text}` has an empty key")));
            }
            keys.push(key.to_owned());
            rest = after;
        }
        if keys.is_empty() { Err(bad(format!("`{text}` names no key"))) } else { Ok(keys) }
    }
}

/// `2024-05-26 06:00:00`.
pub(crate) struct Instant;

impl Grammar for Instant {
    type Value = EventTime;
    const FORMAT: &'static str = "instant";
    const EXPECTED: &'static str = "a time such as `2024-05-26 06:00:00`";
    const EXAMPLES: &'static [&'static str] = &["2024-05-26 06:00:00", "2024-05-26T06:00:00Z"];

    fn parse(text: &str) -> Result<EventTime, Misread> {
        if let Ok(time) = chrono::DateTime::parse_from_rfc3339(text) {
            return Ok(EventTime(time.timestamp_micros()));
        }
        for format in ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M"] {
            if let Ok(time) = chrono::NaiveDateTime::parse_from_str(text, format) {
                return Ok(EventTime(time.and_utc().timestamp_micros()));
            }
        }
        if let Some(time) = chrono::NaiveDate::from_str(text).ok().and_then(|date| date.and_hms_opt(0, 0, 0)) {
            return Ok(EventTime(time.and_utc().timestamp_micros()));
        }
        let help = "write `2024-05-26 06:00:00` (UTC) or RFC 3339";
        Err(Misread::new(codes::BAD_TIME_FORMAT, format!("`{text}` is not a time"), help))
    }
}

/// The time that the text of a test's `watermark:` step is: RFC 3339, or without a zone in UTC.
pub fn instant(text: &str) -> Option<EventTime> {
    Instant::parse(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(Elapsed::parse("200ms").unwrap(), Duration::from_millis(200));
        assert_eq!(Elapsed::parse("1d").unwrap(), Duration::from_secs(86_400));
        assert_eq!(Elapsed::parse("5m").unwrap(), Duration::from_secs(300));
        let error = Elapsed::parse("10 sheep").unwrap_err();
        assert_eq!((error.message.as_str(), error.range), ("`sheep` is not a unit of time", Some(3..8)));
        assert_eq!(Elapsed::parse("10").unwrap_err().help.split(';').next(), Some("write `10s` for seconds"));
        assert!(Elapsed::parse("-5s").is_err());
        assert!(Elapsed::parse("").is_err());
    }

    #[test]
    fn sizes() {
        assert_eq!(Size::parse("64MiB").unwrap(), 64 << 20);
        assert_eq!(Size::parse("512").unwrap(), 512);
        assert!(Size::parse("64 sheep").is_err());
    }

    #[test]
    fn zones_paths_and_formats() {
        assert_eq!(ZoneName::parse("UTC"), Ok(Zone::Utc));
        assert_eq!(ZoneName::parse("America/New_York"), Ok(Zone::Named("America/New_York".to_owned())));
        assert!(matches!(ZoneName::parse("+02:00"), Ok(Zone::Offset(_))));
        assert_eq!(ZoneName::parse("America/NewYork").unwrap_err().help, "did you mean `America/New_York`?");
        assert_eq!(RecordPath::parse("$.driver['a b'].id").unwrap(), ["driver", "a b", "id"]);
        for bad in ["driver", "$", "$.", "$.a..b", "$.a[0]", "$a"] {
            assert!(RecordPath::parse(bad).is_err(), "{bad}");
        }
        assert!(TimeFormat::parse("%Y-%m-%d").is_ok());
        assert!(TimeFormat::parse("epoch_ms").is_ok());
        assert!(TimeFormat::parse("%Q").is_err());
        assert!(TimeFormat::parse("yyyy-MM-dd").is_err());
        assert_eq!(instant("2024-05-26"), instant("2024-05-26T02:00:00+02:00"));
    }

    #[test]
    fn formats_that_can_read_nothing() {
        let fine =
            ["%Y-%m-%d %H:%M:%S", "%d.%m.%y", "%F", "%c", "%s", "epoch_ms", "%Y-%j", "%G-W%V-%u", "%+", "%d %b %Y"];
        for format in fine {
            assert!(TimeFormat::parse(format).is_ok(), "{format}");
            assert_eq!(unreadable(format, true), None, "{format}");
        }
        for format in ["%H:%M:%S", "%Y-%m %H:%M", "%m/%d", "%d-%H"] {
            assert!(unreadable(format, false).unwrap().0.contains("no whole day"), "{format}");
        }
        for format in ["%F %H", "%F %I:%M", "%F %M:%S"] {
            assert!(unreadable(format, true).unwrap().0.contains("part of a time"), "{format}");
            assert_eq!(unreadable(format, false), None, "{format}");
        }
        assert_eq!(TimeFormat::parse("yyyy-MM-dd").unwrap_err().help, "write `%Y-%m-%d`");
    }
}
