//! `directory`: rows into files below a folder, by path templates; a reader never sees half a file.
//!
//! ```text
//! rows -> path -> encoder -> compressor -> .staging/<pipeline>/<sink>/.. -- commit: rename --> path
//! ```

mod append;
mod config;
mod overwrite;
mod paths;
mod read_back;
mod staged;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use async_trait::async_trait;
use millstream_core::connector::{Connector, ConnectorKind, Role};
use millstream_core::format::{Compression, RecordFormat};
use millstream_core::sink::{Sink, SinkOptions, WriteMode};
use millstream_core::{Error, Result};

pub use config::DirectoryConfig;

use crate::clock::{self, Clock};
use append::{AppendSink, Place};
use overwrite::{Current, OverwriteSink};

/// What all instances of one sink share.
#[derive(Debug, Default)]
struct Shared {
    /// Files made visible.
    files: Arc<AtomicU64>,
    current: Option<Arc<Mutex<Current>>>,
}

#[derive(Debug)]
struct Directory {
    config: DirectoryConfig,
    clock: Arc<dyn Clock>,
    /// By the sink's id and generation.
    sinks: Mutex<HashMap<(String, String), Shared>>,
}

impl Directory {
    fn new(config: DirectoryConfig, clock: Arc<dyn Clock>) -> Self {
        Self { config, clock, sinks: Mutex::default() }
    }

    fn open(&self, options: &SinkOptions) -> Result<Box<dyn Sink>> {
        check(options)?;
        let template = template(options);
        let (root, fixed) = (PathBuf::from(&self.config.path), fixed_part(&template));
        let mut sinks = self.sinks.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = sinks.entry((options.id.clone(), options.generation.clone())).or_default();
        if options.mode == WriteMode::Overwrite && shared.current.is_none() {
            shared.current = Some(overwrite::shared(options)?);
        }
        let place = Place {
            root,
            fixed,
            fsync: self.config.fsync,
            max_open_files: self.config.max_open_files,
            clock: self.clock.clone(),
            files: shared.files.clone(),
        };
        Ok(match &shared.current {
            Some(current) => Box::new(OverwriteSink::new(place, options, &template, current.clone())?),
            None => Box::new(AppendSink::new(place, options, &template)?),
        })
    }
}

/// Refuses what a file cannot be.
fn problem(options: &SinkOptions) -> Option<(&'static str, String)> {
    if options.format == RecordFormat::Parquet && options.compression != Compression::None {
        return Some(("compression", "parquet files are compressed inside: leave `compression` out".into()));
    }
    let alerts = [("subject", &options.subject), ("message", &options.message)];
    let (option, _) = alerts.into_iter().find(|(_, text)| text.is_some())?;
    Some((option, millstream_core::sink::unsupported("directory", option).to_string()))
}

/// The same as an error.
fn check(options: &SinkOptions) -> Result<()> {
    match problem(options) {
        Some((_, message)) => Err(Error::config(format!("`{}`: {message}", options.id))),
        None => Ok(()),
    }
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

/// What people read at the end of a run.
fn summary(place: &Place) -> String {
    let files = place.files.load(Ordering::Relaxed);
    let folder = if place.fixed.is_empty() { place.root.clone() } else { place.root.join(&place.fixed) };
    format!("{files} file{} under {}", if files == 1 { "" } else { "s" }, folder.display())
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
    fn sink_problem(&self, options: &SinkOptions) -> Option<(&'static str, String)> {
        problem(options)
    }
    async fn sink(&self, options: &SinkOptions) -> Result<Box<dyn Sink>> {
        self.open(options)
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
        roles: &[Role::Sink],
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
