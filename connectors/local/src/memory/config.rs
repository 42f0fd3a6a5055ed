//! Options of `memory`.

use millstream_core::format::RecordFormat;
use schemars::JsonSchema;
use serde::Deserialize;

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
}
