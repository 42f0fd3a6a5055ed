//! `transforms.<id>`.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::entries::Entries;
use super::scalar::DurationText;
use crate::model::SqlText;
use crate::span::{Keyed, Spanned};

/// What happens to rows: exactly one of `validate`, `dedup`, `upsert`, `route`, `sql`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Transform {
    /// Rows that fail a rule go to `<id>.rejected` with every failed rule.
    pub(crate) validate: Option<Keyed<Validate>>,
    /// Rows whose key was seen within a time are dropped.
    pub(crate) dedup: Option<Keyed<Dedup>>,
    /// Rows are merged by key into a table. A row that enters status S leaves once by the port `<id>.<s>`.
    pub(crate) upsert: Option<Keyed<Upsert>>,
    /// Rows go to the port of their case.
    pub(crate) route: Option<Keyed<Route>>,
    /// A query over the ports it names: `SELECT .. FROM tumble(trips.completed, pickup_datetime, INTERVAL '1 day')`.
    pub(crate) sql: Option<Keyed<Spanned<SqlText>>>,
    /// When a window gives its results. Beside `sql` only.
    pub(crate) emit: Option<Keyed<Emit>>,
}

/// Rows that fail a rule leave by `<id>.rejected`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Validate {
    /// The input: a source, a transform, or one of their ports.
    pub(crate) from: Spanned<String>,
    /// Rules by id; every failing one is reported.
    pub(crate) rules: Entries<Rule>,
}

/// A rule.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rule {
    /// A boolean SQL expression over the row's columns. NULL fails.
    pub(crate) check: Spanned<SqlText>,
    /// What to say of a row that fails; `{column}` is its value. Default: the check.
    pub(crate) reason: Option<Spanned<String>>,
}

/// Rows whose key was seen within a time are dropped.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Dedup {
    /// The input: a source, a transform, or one of their ports.
    pub(crate) from: Spanned<String>,
    /// The column or columns that identify an event.
    #[schemars(schema_with = "super::one_or_many")]
    pub(crate) key: Vec<Spanned<String>>,
    /// How long a key is remembered, in event time.
    pub(crate) within: DurationText,
}

/// Rows are merged by key into a table.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Upsert {
    /// The table.
    pub(crate) into: Spanned<String>,
    /// What each input sets: a list of columns, `"*"` for all, or a map of options.
    #[schemars(schema_with = "inputs")]
    pub(crate) set: Entries<SetSpec>,
    /// Statuses in order, each a boolean SQL expression over the table's columns; the first that is true is the row's.
    pub(crate) status: Option<Entries<Spanned<SqlText>>>,
}

/// What an input of an upsert sets.
#[derive(Debug)]
pub(crate) struct SetSpec(pub(crate) SetOptions);

/// What an input of an upsert sets, with options.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SetOptions {
    /// The columns, or `"*"` for all of the input's.
    #[schemars(schema_with = "super::one_or_many")]
    pub(crate) columns: Vec<Spanned<String>>,
    /// The column whose greater value wins, where inputs share columns.
    pub(crate) latest_by: Option<Spanned<String>>,
    /// Whether a null overwrites a value. Default: `keep` the value.
    pub(crate) nulls: Option<Nulls>,
}

/// Whether a null overwrites a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Nulls {
    /// It does not.
    Keep,
    /// It does.
    Write,
}

/// Rows go to the port of their case.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Route {
    /// The input: a source, a transform, or one of their ports.
    pub(crate) from: Spanned<String>,
    /// The column that decides.
    pub(crate) on: Spanned<String>,
    /// Port -> the value of the column.
    #[schemars(schema_with = "cases")]
    pub(crate) cases: Entries<Spanned<String>>,
    /// What happens to other rows. Default: `reject`.
    #[serde(rename = "else")]
    pub(crate) otherwise: Option<Otherwise>,
}

/// What happens to rows that fit no case.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Otherwise {
    /// They leave by `<id>.rejected`.
    Reject,
    /// They are counted as filtered.
    Drop,
}

/// When a window gives its results.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Emit {
    /// Preliminary results this often. Default: none. Only for sinks with `mode: overwrite` and tables.
    pub(crate) early: Option<DurationText>,
    /// When the result is final: on the `watermark`.
    #[serde(rename = "final")]
    #[allow(dead_code, reason = "there is one way; the language names it")]
    pub(crate) final_on: Option<Final>,
    /// How long after a window's end rows are still accepted into it; later ones go to `<id>.late`. Default: 0s.
    pub(crate) allowed_lateness: Option<DurationText>,
}

/// When the result of a window is final.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Final {
    /// When the watermark has passed the window's end.
    Watermark,
}

impl<'de> Deserialize<'de> for SetSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyForm;
        impl<'de> Visitor<'de> for AnyForm {
            type Value = SetOptions;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of columns, `\"*\"`, or a map of options")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<SetOptions, E> {
                let column = Spanned::new(text.to_owned(), crate::span::Span::default());
                Ok(SetOptions { columns: vec![column], latest_by: None, nulls: None })
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<SetOptions, A::Error> {
                let mut columns = Vec::new();
                while let Some(column) = seq.next_element()? {
                    columns.push(column);
                }
                Ok(SetOptions { columns, latest_by: None, nulls: None })
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<SetOptions, A::Error> {
                crate::read::from_map(map)
            }
        }
        deserializer.deserialize_any(AnyForm).map(Self)
    }
}

impl JsonSchema for SetSpec {
    fn schema_name() -> Cow<'static, str> {
        "SetSpec".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "What the input sets: a list of columns, `\"*\"` for all, or a map of options.",
            "anyOf": [
                { "type": "array", "items": { "type": "string" }, "minItems": 1 },
                { "type": "string" },
                generator.subschema_for::<SetOptions>(),
            ],
        })
    }
}

/// Inputs are ports: their names may have a dot.
fn inputs(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "minProperties": 1, "additionalProperties": generator.subschema_for::<SetSpec>() })
}

fn cases(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = Entries::<String>::json_schema(generator);
    schema.insert("minProperties".to_owned(), 1.into());
    let value = serde_json::json!({ "type": ["string", "integer", "boolean"] });
    schema.insert("additionalProperties".to_owned(), value);
    schema
}
