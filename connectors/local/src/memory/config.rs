//! Options of `memory`.

use millstream_core::format::RecordFormat;
use schemars::JsonSchema;
use serde::Deserialize;

/// What a sink over `memory` makes of a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// Rows are there when the checkpoint that covers them is committed, each once.
    #[default]
    Staged,
    /// Rows are there at once, and after a crash those since the last checkpoint again.
    Direct,
    /// Rows are sent after the checkpoint that covers them; a batch that is sent again is there once, as in a queue that
    /// knows its ids.
    Outbox,
    /// The same, but a batch that is sent again is there again.
    ForgetfulOutbox,
}

/// Options of `memory`: tables, streams and rows that live as long as the process.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MemoryConfig {
    /// Everything in this process that says the same name shares its contents. Default: nothing is shared.
    pub name: Option<String>,
    /// Records of a source over it, one split, in this order; the source ends behind the last of them.
    pub records: Option<Vec<String>>,
    /// How its records are encoded. Default json.
    #[serde(default)]
    pub format: RecordFormat,
    /// Whether the records of a split come in event-time order up to `max_delay`.
    #[serde(default)]
    pub ordered: bool,
    /// How a sink over it takes rows: `staged` (default), `direct`, `outbox` or `forgetful_outbox`.
    #[serde(default)]
    pub delivery: Delivery,
}
