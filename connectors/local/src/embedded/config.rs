//! Options of `embedded`.

use schemars::JsonSchema;
use serde::Deserialize;

/// When a commit has reached the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Synchronous {
    /// At the next checkpoint of the database: safe when the process dies, and whole when the machine does.
    #[default]
    Normal,
    /// At once: nothing is lost when the machine dies.
    Full,
}

/// Options of `embedded`: tables and queues in one SQLite file that any SQLite tool can open.
///
/// Integers and booleans are INTEGER, doubles REAL, bytes BLOB, all else TEXT: timestamps in RFC 3339, decimals with
/// exactly their digits. SQLite's `sum` and `avg` read decimals as numbers; to sort or compare them in SQLite, write
/// `CAST(fare AS REAL)`. `millstream query` knows the true types.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EmbeddedConfig {
    /// The database file; made where it does not exist.
    #[schemars(example = "out/state.db")]
    pub path: String,
    /// When a write counts as durable: `normal` (default) survives the process, `full` the machine.
    #[serde(default)]
    pub synchronous: Synchronous,
}
