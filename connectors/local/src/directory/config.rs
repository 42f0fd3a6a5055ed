//! Options of `directory`.

use schemars::JsonSchema;
use serde::Deserialize;

/// Options of `directory`: files below a folder.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DirectoryConfig {
    /// The folder that the paths of sinks are below; made where it does not exist.
    pub path: String,
    /// Whether each file is forced to the disk before it becomes visible, so that it survives the machine. Default
    /// false: it survives the process.
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
