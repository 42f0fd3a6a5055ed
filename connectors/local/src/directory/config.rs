//! Options of `directory`.

use schemars::JsonSchema;
use serde::Deserialize;

/// Options of `directory`: files below a folder.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DirectoryConfig {
    /// The folder that the paths of sinks are below; made where it does not exist.
    pub path: String,
    /// Whether files and their names are forced to the disk before the checkpoint that covers their rows is, and again
    /// when they become visible. Default false: every row is there once whenever the process is killed, but when the
    /// machine loses power, a file written shortly before may be missing, which the next start may not be able to
    /// tell. With true that holds for the machine, too; each checkpoint takes some milliseconds per file longer.
    #[serde(default)]
    pub fsync: bool,
    /// How many files each worker keeps open per sink; beyond that the one that was idle longest is finished early.
    /// Default 64.
    #[serde(default = "default_max_open_files")]
    pub max_open_files: usize,
}

fn default_max_open_files() -> usize {
    64
}
