//! Options of `stdin`.

use millstream_core::format::RecordFormat;
use schemars::JsonSchema;
use serde::Deserialize;

/// Options of `stdin`: the lines that are piped into the process. They cannot be read twice.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StdinConfig {
    /// How the lines are encoded: json (default) or csv, whose first line names the columns.
    #[serde(default)]
    pub format: RecordFormat,
    /// Whether the lines come in event-time order up to `max_delay`, so that windows can close before the end.
    /// Default false.
    #[serde(default)]
    pub ordered: bool,
}
