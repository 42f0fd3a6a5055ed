//! `directory`: rows into files below a folder, by path templates; a reader never sees half a file.
//!
//! ```text
//! rows -> path -> encoder -> compressor -> .staging/<pipeline>/<sink>/.. -- commit: rename --> path
//! ```
//! Which files a checkpoint has staged is said in the checkpoint, so that any later process can make them visible.

mod append;
mod config;
mod current;
mod entry;
mod fence;
mod overwrite;
mod paths;
mod place;
mod read_back;
mod staged;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use async_trait::async_trait;
use millstream_core::checkpoint::CheckpointStore;
use millstream_core::connector::{Connector, ConnectorKind, Role};
use millstream_core::format::{Compression, RecordFormat};
use millstream_core::sink::{Commitment, Sink, SinkOptions, WriteMode};
use millstream_core::{Error, Result};

pub use config::DirectoryConfig;

use crate::checkpoints;
use crate::clock::{self, Clock};
use crate::refused_options::{self, Known, Problem};
use append::AppendSink;
use overwrite::OverwriteSink;
use paths::Paths;
use place::Place;

#[derive(Debug)]
struct Directory {
    config: DirectoryConfig,
    clock: Arc<dyn Clock>,
    /// Files made visible, by the sink's id and generation: its instances count together.
    files: Mutex<HashMap<(String, String), Arc<AtomicU64>>>,
}

impl Directory {
    fn new(config: DirectoryConfig, clock: Arc<dyn Clock>) -> Self {
        Self { config, clock, files: Mutex::default() }
    }

    fn open(&self, options: &SinkOptions) -> Result<Box<dyn Sink>> {
        refused_options::refuse(options, problem(options))?;
        let template = template(options);
        let files = {
            let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
            files.entry((options.id.clone(), options.generation.clone())).or_default().clone()
        };
        let place = Place::new(&self.config, options, &template, self.clock.clone(), files);
        Ok(match options.mode {
            WriteMode::Overwrite => Box::new(OverwriteSink::new(place, options, &template)?),
            WriteMode::Append => Box::new(AppendSink::new(place, options, &template)?),
        })
    }
}

/// Refuses what a file cannot be.
fn problem(options: &SinkOptions) -> Option<Problem> {
    if options.format == RecordFormat::Parquet && options.compression != Compression::None {
        return Some(("compression", "parquet files are compressed inside: leave `compression` out".into()));
    }
    refused_options::unknown("directory", options, &[Known::Path, Known::Compression, Known::Overwrite])
        .or_else(|| refused_options::of_format(options))
        .or_else(|| path_problem(options, &template(options)))
}

fn path_problem(options: &SinkOptions, template: &str) -> Option<Problem> {
    let numbered = template.contains("{batch_id}");
    match options.mode {
        WriteMode::Append if !numbered => {
            let (folder, name) = template.rsplit_once('/').map_or(("", template), |(f, n)| (f, n));
            let slash = if folder.is_empty() { "" } else { "/" };
            let message = format!(
                "the path `{template}` names one file, but appended rows need a new file each time: write \
                 `{folder}{slash}{{batch_id}}-{name}`, or say `mode: overwrite`"
            );
            return Some(("path", message));
        }
        WriteMode::Overwrite if numbered => {
            let message = format!(
                "the path `{template}` has a {{batch_id}}, which names a new file each time: leave it out with \
                 `mode: overwrite`"
            );
            return Some(("path", message));
        }
        WriteMode::Overwrite if options.key.is_empty() => {
            let message = "it says `mode: overwrite`, but its rows have no key by which a later row replaces an earlier \
                           one: read from an aggregate with GROUP BY or from an upsert, or say `mode: append`";
            return Some(("mode", message.into()));
        }
        _ => {}
    }
    let error = Paths::new(template, &options.schema, &options.pipeline, &options.id).err()?;
    Some(("path", error.to_string()))
}

/// The sink's path template, or the one it has by default.
fn template(options: &SinkOptions) -> String {
    options.path.clone().unwrap_or_else(|| {
        let suffix = match options.format {
            RecordFormat::Json => "jsonl",
            RecordFormat::Csv => "csv",
            RecordFormat::Parquet => "parquet",
            RecordFormat::Raw => "raw",
        };
        let compressed = match options.compression {
            Compression::None => "",
            Compression::Gzip => ".gz",
            Compression::Zstd => ".zst",
        };
        match options.mode {
            WriteMode::Append => format!("{}/{{batch_id}}.{suffix}{compressed}", options.id),
            WriteMode::Overwrite => format!("{}.{suffix}{compressed}", options.id),
        }
    })
}

/// The folders of a template before its first name.
fn fixed_part(template: &str) -> String {
    let literal = template.split('{').next().unwrap_or_default();
    literal.rsplit_once('/').map_or("", |(folders, _)| folders).to_owned()
}

#[async_trait]
impl Connector for Directory {
    fn kind(&self) -> &'static str {
        "directory"
    }
    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.config.path.trim().is_empty() {
            problems.push("`path` is empty: name a folder such as out".into());
        }
        if self.config.max_open_files == 0 {
            problems.push("`max_open_files` is 0: a sink needs at least one open file".into());
        }
        problems
    }
    fn sink_problem(&self, options: &SinkOptions) -> Option<Problem> {
        problem(options)
    }
    fn commitment(&self, _options: &SinkOptions) -> Commitment {
        Commitment::Staged
    }
    async fn sink(&self, options: &SinkOptions) -> Result<Box<dyn Sink>> {
        self.open(options)
    }
    async fn checkpoints(&self, pipeline: &str) -> Result<Arc<dyn CheckpointStore>> {
        checkpoints::default_store(&PathBuf::from(&self.config.path).join(checkpoints::FOLDER), pipeline)
    }
    async fn written(&self, options: &SinkOptions) -> Result<Vec<RecordBatch>> {
        let (root, options) = (PathBuf::from(&self.config.path), options.clone());
        tokio::task::spawn_blocking(move || read_back::rows(&root, &template(&options), &options))
            .await
            .map_err(|e| Error::bug("reading files back panicked").caused_by(e))?
    }
}

/// The kind `directory`.
pub(crate) fn kind() -> ConnectorKind {
    ConnectorKind {
        name: "directory",
        summary: "Files below a folder: JSON lines, CSV, Parquet or raw bytes, by path templates",
        roles: &[Role::Sink, Role::Checkpoints],
        built_in: true,
        options: || schemars::schema_for!(DirectoryConfig),
        parse: |options| {
            let config = serde_json::from_value(options).map_err(|e| e.to_string())?;
            Ok(Arc::new(Directory::new(config, clock::system())))
        },
    }
}

#[cfg(test)]
mod tests;
