//! Options of `log`.

use schemars::JsonSchema;
use serde::Deserialize;

/// How loud a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Something failed.
    Error,
    /// Someone should look.
    Warn,
    /// Normal operation.
    #[default]
    Info,
    /// For finding faults.
    Debug,
}

/// Options of `log`: one line per row in the log of the process.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LogConfig {
    /// `error`, `warn`, `info` (default) or `debug`.
    #[serde(default)]
    pub level: Level,
}
