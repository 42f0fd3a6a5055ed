//! `tests[]`.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde_json::Value;

use super::scalar::{Instant, Parsed};
use crate::span::Spanned;

/// A test that `millstream test` runs: deterministic, nothing outside is touched.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Test {
    /// What it shows.
    pub(crate) name: Spanned<String>,
    /// What happens, in order. Each step is one key: a source with a record for it, or `watermark`, `fault`, `crash`,
    /// `restart`.
    pub(crate) steps: Vec<Spanned<StepFile>>,
    /// What must be there at the end: a table or port, or `"*.rejected"` -> its rows. Rows are compared by the
    /// columns listed here, in any order; their number must be right.
    #[schemars(schema_with = "expectations")]
    pub(crate) expect: ExpectMap,
}

/// Tables and ports with their rows.
#[derive(Debug)]
pub(crate) struct ExpectMap(pub(crate) Vec<(Spanned<String>, Vec<Spanned<Value>>)>);

/// A step.
#[derive(Debug)]
pub(crate) enum StepFile {
    /// A record for a source.
    Record(Spanned<String>, Value),
    /// All watermarks move to this time.
    Watermark(String),
    /// The next calls at a binding fail.
    Fault(Fault),
    /// The process dies.
    Crash(Crash),
    /// The pipeline starts again.
    Restart(Restart),
}

/// The next calls at a binding fail.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fault {
    /// A name bound by the profile.
    pub(crate) at: Spanned<String>,
    /// How they fail.
    #[schemars(with = "FaultKind")]
    pub(crate) kind: Spanned<String>,
    /// How many calls. Default: 1.
    #[schemars(range(min = 1))]
    pub(crate) times: Option<u32>,
}

/// How calls fail.
#[derive(JsonSchema)]
#[serde(rename_all = "snake_case")]
#[allow(dead_code, reason = "the model keeps the word; this is its schema")]
enum FaultKind {
    /// The service is throttled: some rows do not get through and may the next time.
    Throttled,
    /// The service cannot be reached.
    Unavailable,
    /// The service refuses the rows for good.
    Refused,
}

/// When the process dies.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Crash {
    /// At once.
    Now,
    /// Right before the next checkpoint is committed.
    BeforeCheckpoint,
    /// Right after the next checkpoint is committed.
    AfterCheckpoint,
}

/// The pipeline stops and starts again.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Restart {
    /// With how many workers.
    #[schemars(range(min = 1))]
    pub(crate) workers: usize,
}

/// The steps that are not records.
pub(crate) const STEPS: &[&str] = &["watermark", "fault", "crash", "restart"];

impl<'de> Deserialize<'de> for StepFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneKey;
        impl<'de> Visitor<'de> for OneKey {
            type Value = StepFile;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a step: a map with one key")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<StepFile, A::Error> {
                let key: Spanned<String> = map.next_key()?.ok_or_else(|| A::Error::custom("an empty step"))?;
                Ok(match key.value.as_str() {
                    "watermark" => StepFile::Watermark(map.next_value()?),
                    "fault" => StepFile::Fault(map.next_value()?),
                    "crash" => StepFile::Crash(map.next_value()?),
                    "restart" => StepFile::Restart(map.next_value()?),
                    _ => StepFile::Record(key, map.next_value()?),
                })
            }
        }
        deserializer.deserialize_map(OneKey)
    }
}

impl JsonSchema for StepFile {
    fn schema_name() -> Cow<'static, str> {
        "Step".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "minProperties": 1,
            "maxProperties": 1,
            "properties": {
                "watermark": {
                    "description": "All sources' watermarks move to this time.",
                    "allOf": [generator.subschema_for::<Parsed<Instant>>()],
                },
                "fault": generator.subschema_for::<Fault>(),
                "crash": generator.subschema_for::<Crash>(),
                "restart": generator.subschema_for::<Restart>(),
            },
            "additionalProperties": {
                "description": "A record for this source: a map is encoded in the source's format, a string is its bytes; or a list of records.",
                "type": ["object", "string", "array"],
            },
        })
    }
}

impl<'de> Deserialize<'de> for ExpectMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = ExpectMap;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of tables and ports")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ExpectMap, A::Error> {
                let mut all = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    all.push(entry);
                }
                Ok(ExpectMap(all))
            }
        }
        deserializer.deserialize_map(All)
    }
}

fn expectations(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "minProperties": 1,
        "additionalProperties": { "type": "array", "items": { "type": "object" } },
    })
}
