//! Connectors for the tests of the language: options as real ones have them, nothing behind them.

use std::sync::Arc;

use millstream_core::connector::{Connector, ConnectorKind, Registry, Role};
use schemars::JsonSchema;
use serde::Deserialize;

/// Anything that was configured.
#[derive(Debug)]
struct Configured;

impl Connector for Configured {
    fn kind(&self) -> &'static str {
        "configured"
    }
}

macro_rules! options {
    ($($(#[$doc:meta])* $name:ident { $($(#[$attr:meta])* $field:ident: $kind:ty),* $(,)? })+) => {$(
        $(#[$doc])*
        #[derive(Debug, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields)]
        #[allow(dead_code)]
        struct $name { $($(#[$attr])* $field: $kind),* }
    )+};
}

/// A text that is described by a pattern only.
struct Period;

impl JsonSchema for Period {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Period".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": r"^\d+(ms|s|m)$", "examples": ["200ms", "5m"] })
    }
}

/// Parts of a dataset.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Part {
    /// Starts of trips.
    Starts,
    /// Ends of trips.
    Ends,
}

/// Formats.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Format {
    Json,
    Csv,
}

options! {
    /// Makes rows.
    Generate {
        /// Name of the dataset.
        dataset: String,
        /// Which part of it.
        part: Option<Part>,
        /// How many trips.
        #[schemars(range(min = 1, max = 1_000_000))]
        trips: Option<u32>,
        /// Over how many days.
        days: Option<u32>,
        /// Seed.
        seed: Option<u64>,
        /// Rows per second.
        rate: Option<f64>,
        /// Time between rows.
        #[schemars(with = "Option<Period>")]
        every: Option<String>,
    }
    /// Reads files.
    FileOptions {
        /// A path or glob.
        path: String,
        /// How records are encoded.
        #[serde(default)]
        format: Option<Format>,
        /// Whether to wait for more.
        follow: Option<bool>,
    }
    /// A path.
    PathOptions {
        /// Where.
        path: String,
    }
    /// A log.
    LogOptions {
        /// Level.
        level: Option<String>,
    }
    /// Kinesis.
    Kinesis {
        /// Name of the stream.
        stream: String,
        /// Where to begin.
        from: Option<String>,
    }
    /// DynamoDB.
    Dynamodb {
        /// Name of the table.
        table: String,
    }
    /// S3.
    S3 {
        /// Name of the bucket.
        bucket: String,
    }
    /// SNS.
    Sns {
        /// Topic.
        topic_arn: String,
    }
    /// SQS.
    Sqs {
        /// Queue.
        queue_url: String,
    }
}

fn parse<T: for<'de> Deserialize<'de>>(value: serde_json::Value) -> Result<Arc<dyn Connector>, String> {
    serde_json::from_value::<T>(value).map(|_| Arc::new(Configured) as Arc<dyn Connector>).map_err(|e| e.to_string())
}

fn parse_file(value: serde_json::Value) -> Result<Arc<dyn Connector>, String> {
    let path = value["path"].as_str().unwrap_or_default().to_owned();
    if path.ends_with(".exe") {
        return Err(format!("cannot read `{path}`: not data"));
    }
    parse::<FileOptions>(value)
}

fn kind<T: for<'de> Deserialize<'de> + JsonSchema>(
    name: &'static str,
    summary: &'static str,
    roles: &'static [Role],
    built_in: bool,
) -> ConnectorKind {
    ConnectorKind { name, summary, roles, built_in, options: || schemars::schema_for!(T), parse: parse::<T> }
}

/// The connectors.
pub(crate) fn registry() -> Registry {
    Registry::new(vec![
        kind::<Generate>("generate", "Makes rows", &[Role::Source], true),
        ConnectorKind { parse: parse_file, ..kind::<FileOptions>("file", "Reads files", &[Role::Source], true) },
        kind::<PathOptions>("directory", "Writes files", &[Role::Sink, Role::Checkpoints], true),
        kind::<PathOptions>("embedded", "A database file", &[Role::Table, Role::Sink], true),
        kind::<LogOptions>("log", "Writes log lines", &[Role::Sink], true),
        kind::<Kinesis>("kinesis", "Amazon Kinesis", &[Role::Source, Role::Sink], false),
        kind::<Dynamodb>("dynamodb", "Amazon DynamoDB", &[Role::Table], false),
        kind::<S3>("s3", "Amazon S3", &[Role::Sink, Role::Checkpoints], false),
        kind::<Sns>("sns", "Amazon SNS", &[Role::Sink], false),
        kind::<Sqs>("sqs", "Amazon SQS", &[Role::Sink], false),
    ])
}
