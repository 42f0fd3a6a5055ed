//! Options of `kinesis`.

use std::borrow::Cow;
use std::time::Duration;

use chrono::DateTime;
use millstream_core::EventTime;
use millstream_core::format::RecordFormat;
use millstream_core::units::{Period, Size};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize};

/// Where a source begins in shards of which no checkpoint knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum From {
    /// At the oldest record that is kept.
    #[default]
    TrimHorizon,
    /// With what arrives from now on.
    Latest,
    /// With what arrived at this time or later.
    Timestamp(EventTime),
}

/// How a source reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReadMode {
    /// It asks each shard again and again (`GetRecords`). A shard's 5 calls and 2 MiB a second are shared by all who do.
    #[default]
    Polling,
    /// The service sends (`SubscribeToShard`): 2 MiB a second per shard for this consumer alone, at a price.
    FanOut,
}

/// What to do where records that were not read have outlived the stream's retention.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Expired {
    /// The pipeline stops and says from when to when records may be missing.
    #[default]
    Fail,
    /// It goes on with the oldest record that is kept, and counts the hole.
    Skip,
}

/// What to do with user records of an aggregate that do not belong to the shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OutOfRange {
    /// They are counted and left out: their producer sends them again, to the right shard.
    #[default]
    Drop,
    /// They are read, and counted.
    Keep,
}

/// Records of the Kinesis Producer Library, which packs many into one.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KplConfig {
    /// User records whose hash key is outside of the shard's range: `drop` (default), as Amazon's own library does, or
    /// `keep`.
    #[serde(default)]
    pub out_of_range: OutOfRange,
}

/// Options of `kinesis`: a stream, read by all its shards or written to. Exactly one of `stream` and `stream_arn` is given.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KinesisConfig {
    /// The stream's name.
    pub stream: Option<String>,
    /// The stream's ARN, such as `arn:aws:kinesis:eu-central-1:123456789012:stream/trips`: also of other accounts.
    pub stream_arn: Option<String>,
    /// The AWS region. Default: as the standard chain says (AWS_REGION, ~/.aws/config).
    pub region: Option<String>,
    /// The address of the service, such as `http://127.0.0.1:4568`. Default: AWS_ENDPOINT_URL_KINESIS, AWS_ENDPOINT_URL, else
    /// the region's.
    pub endpoint: Option<String>,
    /// A role to assume, by its ARN.
    pub role_arn: Option<String>,
    /// Source: where to begin where no checkpoint says it: `trim_horizon` (default: the oldest record that is kept), `latest`
    /// (what arrives from now on), or a time such as `2024-05-25T00:00:00Z`.
    #[serde(default)]
    pub from: From,
    /// Source: `polling` (default) or `fan_out`.
    #[serde(default)]
    pub read: ReadMode,
    /// Source with `read: fan_out`: the name of its consumer, which is registered where it is not there, or its ARN.
    pub consumer: Option<String>,
    /// Source with `read: polling`: time between two calls for one shard. Default 200ms, as often as a shard allows; longer
    /// where others poll the same stream.
    #[serde(default = "poll_interval")]
    pub poll_interval: Period,
    /// Source: what to do where records that were not read have outlived the stream's retention: `fail` (default) or `skip`.
    #[serde(default)]
    pub expired: Expired,
    /// Source: records of the Kinesis Producer Library.
    #[serde(default)]
    pub kpl: KplConfig,
    /// Source: bytes of records of all shards that may be on their way from the service or wait to be decoded. Default
    /// 64MiB, at least 10MiB.
    #[serde(default = "buffer")]
    pub buffer: Size,
    /// Source: how records are encoded: json (default) or raw. (A sink's format stands with the sink.)
    #[serde(default)]
    pub format: RecordFormat,
    /// Sink: the column whose text is the partition key. Records of a key come in order. Default: rows are spread over the
    /// shards, in no order.
    pub partition_key: Option<String>,
}

fn poll_interval() -> Period {
    Period(Duration::from_millis(200))
}

fn buffer() -> Size {
    Size(64 << 20)
}

impl<'de> Deserialize<'de> for From {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        match text.as_str() {
            "trim_horizon" => Ok(Self::TrimHorizon),
            "latest" => Ok(Self::Latest),
            time => DateTime::parse_from_rfc3339(time)
                .map(|t| Self::Timestamp(EventTime(t.timestamp_micros())))
                .map_err(|_| {
                    de::Error::custom(format!(
                        "`{time}` is no place to begin: write trim_horizon, latest, or a time such as 2024-05-25T00:00:00Z"
                    ))
                }),
        }
    }
}

impl JsonSchema for From {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "From".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": r"^(trim_horizon|latest|\d{4}-\d{2}-\d{2}[Tt ].*)$",
            "examples": ["trim_horizon", "latest", "2024-05-25T00:00:00Z"],
        })
    }
}

/// The most that one answer of the service holds.
pub(crate) const ANSWER_BYTES: u64 = 10 << 20;

impl KinesisConfig {
    /// What is wrong with the options, as far as that is known without asking the service.
    pub(crate) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        match (&self.stream, &self.stream_arn) {
            (None, None) => problems.push("name the stream: `stream` or `stream_arn`".into()),
            (Some(_), Some(_)) => problems.push("`stream` and `stream_arn` name a stream each: leave one out".into()),
            (None, Some(arn)) if !arn.starts_with("arn:") || !arn.contains(":stream/") => {
                problems.push(format!(
                    "`{arn}` is not the ARN of a stream: it looks like arn:aws:kinesis:REGION:ACCOUNT:stream/NAME"
                ));
            }
            _ => {}
        }
        if self.read == ReadMode::FanOut && self.consumer.as_deref().is_none_or(|c| c.trim().is_empty()) {
            problems.push("`read: fan_out` needs a `consumer`: its name, or its ARN".into());
        }
        if self.read == ReadMode::Polling && self.consumer.is_some() {
            problems.push("`consumer` is for `read: fan_out`: who polls is not registered".into());
        }
        if self.buffer.0 < ANSWER_BYTES {
            problems.push("`buffer` is smaller than one answer of the service may be: give at least 10MiB".into());
        }
        match self.format {
            RecordFormat::Json | RecordFormat::Raw => {}
            RecordFormat::Csv => {
                problems.push("csv records in a stream have no header line: use json or raw".into());
            }
            RecordFormat::Parquet => {
                problems.push("parquet is a format of files: `kinesis` carries single records of json or raw".into());
            }
        }
        problems
    }
}
