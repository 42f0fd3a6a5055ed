//! Options of `file`.

use millstream_core::format::{Compression, RecordFormat};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::units::{OneOrMany, Size};

/// Options of `file`: the records of files.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileConfig {
    /// A path or glob such as `data/*.jsonl`, or a list of them.
    pub path: OneOrMany,
    /// How the records are encoded: json (one object per line), csv (the first line names the columns) or parquet.
    /// Default: what the path's suffix says, else json.
    pub format: Option<RecordFormat>,
    /// How the files are compressed. Default: what each file's suffix says (`.gz`, `.zst`).
    pub compression: Option<Compression>,
    /// Larger files are read in parallel in ranges of this size. Default 64MiB.
    #[serde(default = "default_split_size")]
    pub split_size: Size,
    /// Whether quoted CSV fields may hold line breaks; such files are not read in parallel. Default false.
    #[serde(default)]
    pub multiline: bool,
    /// Whether to wait for more at the end of the files, and for more files. Default false: the input ends.
    #[serde(default)]
    pub follow: bool,
    /// Whether the records of a file come in event-time order up to `max_delay`, so that windows can close before
    /// the file ends. Default: what `follow` says.
    pub ordered: Option<bool>,
}

fn default_split_size() -> Size {
    Size(64 << 20)
}
