//! `sinks.<id>`.

use millstream_core::format::{Compression, RecordFormat};
use millstream_core::sink::WriteMode;
use schemars::JsonSchema;
use serde::Deserialize;

use super::Delivery;
use super::scalar::{DurationText, SizeText};
use crate::span::Spanned;

/// Where rows go. Port: `<id>.failed`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sink {
    /// Ports to read: `daily_kpis`, `trips.completed`, or all of a kind: `"*.rejected"`.
    #[schemars(schema_with = "super::one_or_many")]
    pub(crate) from: Vec<Spanned<String>>,
    /// A name bound by the profile.
    pub(crate) write: Spanned<String>,
    /// How rows are encoded. Default: `json`.
    pub(crate) format: Option<Spanned<RecordFormat>>,
    /// How files are compressed. Default: `none`.
    pub(crate) compression: Option<Compression>,
    /// Template of the file's path: `kpis/date={date:%F}/kpi.json`. Knows the row's columns, `{batch_id}`, hidden columns.
    pub(crate) path: Option<Spanned<String>>,
    /// `append` writes every row once; `overwrite` keeps the current rows of each path. Default: `append`.
    pub(crate) mode: Option<WriteMode>,
    /// When append files are finished and made visible. Default: at 64MiB or after 5m.
    pub(crate) roll: Option<Roll>,
    /// One message per group and time instead of one per row.
    pub(crate) digest: Option<Digest>,
    /// Template of the subject of an alert: `order {order_id}`.
    pub(crate) subject: Option<Spanned<String>>,
    /// Template of the text of an alert: `{total} by {customer_id}`.
    pub(crate) message: Option<Spanned<String>>,
    /// How JSON writes decimals: as a `number` with exactly its digits, or as a `string`. Default: `number`.
    pub(crate) decimals: Option<Decimals>,
    /// What to do about trouble, where it differs from the pipeline's `delivery`.
    pub(crate) delivery: Option<Delivery>,
}

/// When append files are finished and made visible.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Roll {
    /// At this many bytes, before compression. Default: 64MiB.
    pub(crate) bytes: Option<SizeText>,
    /// This long after its first row. Default: 5m.
    pub(crate) every: Option<DurationText>,
}

/// One message per group and time instead of one per row.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Digest {
    /// Time between messages.
    pub(crate) every: DurationText,
    /// Columns to group by, such as `component` and `rule` of refused rows. Default: one group.
    #[schemars(schema_with = "super::one_or_many")]
    #[serde(default)]
    pub(crate) by: Vec<Spanned<String>>,
    /// How many rows each message shows. Default: 3.
    pub(crate) samples: Option<usize>,
}

/// How JSON writes decimals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Decimals {
    /// As numbers with exactly their digits.
    Number,
    /// As strings.
    String,
}
