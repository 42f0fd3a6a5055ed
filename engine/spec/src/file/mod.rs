//! The file as it is written: one documented struct for each of its maps.
//!
//! These structs are the one source of its keys: the check, the editor's schema and the typed model all come from
//! them. Their doc comments are what an editor shows.

pub(crate) mod column_type;
mod entries;
mod name;
mod profile;
pub(crate) mod scalar;
mod sink;
mod source;
mod table;
mod test;
mod transform;
pub(crate) mod udf;

pub(crate) use entries::Entries;
pub(crate) use profile::Binding;
pub(crate) use sink::{Decimals, Sink};
pub(crate) use source::{Column, ColumnOptions, ExcessDigits, ExtraFields, Source};
pub(crate) use table::{Oversize, Table};
pub(crate) use test::{Crash, STEPS, StepFile, Test};
pub(crate) use transform::{Dedup, Nulls, Otherwise, Route, SetOptions, Transform, Upsert, Validate};
pub(crate) use udf::{Udf, UdfKind};

use schemars::JsonSchema;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

use crate::span::Spanned;
use millstream_core::sink::{BadRow, Outage};
use name::{PipelineName, Version};
use scalar::{DurationText, Parsed};

/// A Millstream pipeline: reads streams, transforms them, writes tables and sinks.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct File {
    /// Version of the pipeline language: `1`.
    #[allow(dead_code, reason = "checked by its grammar; there is one version")]
    pub(crate) version: Parsed<Version>,
    /// Name of the pipeline: part of metrics, state and file names.
    #[schemars(with = "Parsed<PipelineName>")]
    pub(crate) name: Spanned<String>,
    /// Environments: each binds names to connectors. The first one is the default; `--profile` picks another.
    #[schemars(schema_with = "profiles")]
    pub(crate) profiles: Entries<Entries<Binding>>,
    /// When and where the state of the pipeline is saved.
    pub(crate) checkpoint: Option<Checkpoint>,
    /// Where the pipeline's metrics go. Default: nowhere; `run` shows them while it runs.
    pub(crate) metrics: Option<Metrics>,
    /// What sinks and tables do about trouble; each may override it.
    pub(crate) delivery: Option<Delivery>,
    /// Streams that are read, by id. Ports: `<id>`, `<id>.raw`, `<id>.rejected`, `<id>.late`.
    #[schemars(schema_with = "sources")]
    pub(crate) sources: Entries<Source>,
    /// Keyed tables that upserts write, by id. Port: `<id>.failed`.
    pub(crate) tables: Option<Entries<Table>>,
    /// Functions of your own, in Rust, by the name SQL has for them.
    pub(crate) udfs: Option<Entries<Udf>>,
    /// What happens to the rows, by id.
    pub(crate) transforms: Option<Entries<Transform>>,
    /// Where rows go, by id.
    pub(crate) sinks: Option<Entries<Sink>>,
    /// Ports of refused rows that nobody reads, on purpose: `valid.rejected`, or `"*.late"` for all of a kind. Their
    /// rows are counted and dropped. Every other refused port must be read by a sink.
    #[schemars(schema_with = "one_or_many")]
    #[serde(default)]
    pub(crate) drop: Vec<Spanned<String>>,
    /// Tests that `millstream test` runs.
    pub(crate) tests: Option<Vec<Spanned<Test>>>,
}

/// When and where the state of the pipeline is saved.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Checkpoint {
    /// Time between checkpoints. Default: 10s.
    pub(crate) every: Option<DurationText>,
    /// A name bound by the profile: where checkpoints are kept. Default: the folder `.millstream`.
    pub(crate) store: Option<Spanned<String>>,
    /// How many checkpoints are kept. Default: 3.
    #[schemars(range(min = 1))]
    pub(crate) keep: Option<u32>,
}

/// Where the pipeline's metrics go.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Metrics {
    /// A name bound by the profile, such as one bound to `cloudwatch`, or to `log` on the laptop.
    pub(crate) write: Spanned<String>,
    /// Time between two reports. Default: 1m.
    pub(crate) every: Option<DurationText>,
}

/// What a sink or table does about trouble.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Delivery {
    /// How long and how often a write is tried again.
    pub(crate) retry: Option<Retry>,
    /// What to do with a row that can never succeed. Default: `route` to the port `<id>.failed`.
    pub(crate) bad_row: Option<BadRow>,
    /// What to do while a service is down. Default: `block`, and hold the sources back.
    pub(crate) outage: Option<Outage>,
}

/// How long and how often a write is tried again.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Retry {
    /// First pause after a failure; doubles each time, with jitter. Default: 200ms.
    pub(crate) backoff: Option<DurationText>,
    /// Longest pause. Default: 30s.
    pub(crate) max_backoff: Option<DurationText>,
    /// How long one batch is tried before `outage` is acted on. Default: 15m.
    pub(crate) give_up_after: Option<DurationText>,
}

/// A list of strings, or one string.
pub(crate) fn one_or_many(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "anyOf": [
        { "type": "array", "items": { "type": "string" }, "minItems": 1 },
        { "type": "string" },
    ] })
}

fn at_least_one<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = T::json_schema(generator);
    schema.insert("minProperties".to_owned(), 1.into());
    schema
}

fn profiles(generator: &mut SchemaGenerator) -> Schema {
    at_least_one::<Entries<Entries<Binding>>>(generator)
}

fn sources(generator: &mut SchemaGenerator) -> Schema {
    at_least_one::<Entries<Source>>(generator)
}
