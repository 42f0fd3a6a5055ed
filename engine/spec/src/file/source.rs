//! `sources.<id>`.

use std::borrow::Cow;
use std::fmt;

use millstream_core::schema::ColumnType;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};

use super::column_type::Typed;
use super::entries::Entries;
use super::name::ColumnName;
use super::scalar::{DurationText, Grammar, Parsed, RecordPath, TimeFormat, ZoneName};
use crate::span::Spanned;

/// A stream that is read.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Source {
    /// A name bound by the profile.
    pub(crate) read: Spanned<String>,
    /// Columns and their types. A record that does not fit goes to `<id>.rejected` with every reason.
    #[schemars(schema_with = "columns")]
    pub(crate) schema: Entries<Column>,
    /// What to do with fields of a record that are not in the schema. Default: `ignore`.
    pub(crate) extra: Option<ExtraFields>,
    /// Which column says when the event happened, and how late rows may be. Needed by windows and `dedup`.
    pub(crate) event_time: Option<EventTime>,
}

/// What to do with fields of a record that are not in the schema.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ExtraFields {
    /// They are ignored.
    Ignore,
    /// The record is rejected.
    Reject,
}

/// When an event happened, and how late its row may be.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EventTime {
    /// A timestamp column of the schema.
    pub(crate) column: Spanned<String>,
    /// How far rows may be out of order within a split. Default: 0s.
    pub(crate) max_delay: Option<DurationText>,
    /// How far behind its split's watermark a row is still accepted; later ones go to `<id>.late`. Default: 0s.
    pub(crate) late_after: Option<DurationText>,
    /// How long a split may be silent before it stops holding the watermark back. Default: 30s.
    pub(crate) idle_after: Option<DurationText>,
    /// How far past its arrival an event time may lie; beyond, the row is rejected. Default: 1h.
    pub(crate) max_future: Option<DurationText>,
}

/// A column: its type alone, or a map of options.
#[derive(Debug)]
pub(crate) struct Column(pub(crate) ColumnOptions);

/// A column with options.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ColumnOptions {
    /// Type of the column; a `?` behind it makes it optional.
    #[serde(rename = "type")]
    pub(crate) column_type: Parsed<Typed>,
    /// Where the value stands in the record: `$.driver.id`. Default: the field with the column's name.
    pub(crate) path: Option<Parsed<RecordPath>>,
    /// Formats of timestamps and dates, tried in order. Default: RFC 3339.
    #[schemars(schema_with = "formats")]
    #[serde(default)]
    pub(crate) formats: Option<Vec<Parsed<TimeFormat>>>,
    /// Zone of timestamps whose text names none. Default: UTC.
    pub(crate) timezone: Option<Parsed<ZoneName>>,
    /// What to do with digits behind a decimal's scale. Default: `reject` the record.
    pub(crate) excess_digits: Option<ExcessDigits>,
}

/// What to do with digits behind a decimal's scale.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ExcessDigits {
    /// The record is rejected.
    Reject,
    /// Round half to even.
    RoundHalfEven,
    /// Drop them.
    Truncate,
}

impl<'de> Deserialize<'de> for Column {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ShortOrLong;
        impl<'de> Visitor<'de> for ShortOrLong {
            type Value = ColumnOptions;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a column type or a map of options")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<ColumnOptions, E> {
                let found: (ColumnType, bool) = Typed::parse(text).map_err(|e| E::custom(e.message))?;
                let column_type = Parsed(found);
                Ok(ColumnOptions { column_type, path: None, formats: None, timezone: None, excess_digits: None })
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ColumnOptions, A::Error> {
                crate::read::from_map(map)
            }
        }
        deserializer.deserialize_any(ShortOrLong).map(Self)
    }
}

impl JsonSchema for Column {
    fn schema_name() -> Cow<'static, str> {
        "Column".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A column's type, or a map of options.",
            "anyOf": [generator.subschema_for::<Parsed<Typed>>(), generator.subschema_for::<ColumnOptions>()],
        })
    }
}

fn columns(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "minProperties": 1,
        "additionalProperties": generator.subschema_for::<Column>(),
        "propertyNames": { "format": format!("millstream-{}", ColumnName::FORMAT) },
    })
}

fn formats(generator: &mut SchemaGenerator) -> Schema {
    let one = generator.subschema_for::<Parsed<TimeFormat>>();
    json_schema!({ "anyOf": [{ "type": "array", "items": one, "minItems": 1 }, one] })
}
