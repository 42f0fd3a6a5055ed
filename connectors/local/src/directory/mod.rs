//! `directory`: rows into files below a folder, by path templates; a reader never sees half a file.
//!
//! ```text
//! rows -> path -> encoder -> compressor -> .staging/<pipeline>/<sink>/.. -- commit: rename --> path
//! ```
//! Which files a checkpoint has staged is said in the checkpoint, so that any later process can make them visible.

mod config;
mod entry;
mod fence;
mod place;
mod staged;

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use async_trait::async_trait;
use millstream_core::checkpoint::CheckpointStore;
use millstream_core::connector::{Connector, ConnectorKind, Role};
use millstream_core::sink::{Commitment, Sink, SinkOptions, WriteMode};
use millstream_core::{Error, Result};
use millstream_files::store::Visible;
use millstream_files::{AppendSink, OverwriteSink, Setting, Written, naming, read_back};

pub use config::DirectoryConfig;

use crate::checkpoints;
use crate::clock::{self, Clock};
use crate::io_error::io_error;
use crate::refused_options::{self, Problem};
use place::Place;

/// Its name.
const KIND: &str = "directory";

#[derive(Debug)]
struct Directory {
    config: DirectoryConfig,
    clock: Arc<dyn Clock>,
    /// Files made visible, by the sink's id and generation: its instances count together.
    files: Mutex<HashMap<(String, String), Arc<Visible>>>,
}

impl Directory {
    fn new(config: DirectoryConfig, clock: Arc<dyn Clock>) -> Self {
        Self { config, clock, files: Mutex::default() }
    }

    fn open(&self, options: &SinkOptions) -> Result<Box<dyn Sink>> {
        refused_options::refuse(options, naming::problem(KIND, options))?;
        let template = naming::template(options);
        let files = {
            let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
            files.entry((options.id.clone(), options.generation.clone())).or_default().clone()
        };
        let place = Place::new(&self.config, options, &template, files);
        let max_open_files = self.config.max_open_files;
        let setting = Setting { template, name: options.id.clone(), max_open_files, clock: self.clock.clone() };
        Ok(match options.mode {
            WriteMode::Overwrite => Box::new(OverwriteSink::new(place, &setting, options)?),
            WriteMode::Append => Box::new(AppendSink::new(place, setting, options)?),
        })
    }
}

/// The visible rows of the sink `options` below `root`: its user columns.
fn rows_below(root: &Path, options: &SinkOptions) -> Result<Vec<RecordBatch>> {
    let mut batches = Vec::new();
    for file in Written::by(&naming::template(options))?.below(root)? {
        let opened = File::open(&file).map_err(|e| io_error("read", &file, e))?;
        let found = read_back::rows(opened, options)
            .map_err(|e| Error::new(e.kind(), format!("cannot read `{}` back", file.display())).caused_by(e))?;
        batches.extend(found);
    }
    Ok(batches)
}

#[async_trait]
impl Connector for Directory {
    fn kind(&self) -> &'static str {
        KIND
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
        naming::problem(KIND, options)
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
        tokio::task::spawn_blocking(move || rows_below(&root, &options))
            .await
            .map_err(|e| Error::bug("reading files back panicked").caused_by(e))?
    }
}

/// The kind `directory`.
pub(crate) fn kind() -> ConnectorKind {
    ConnectorKind {
        name: KIND,
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
