//! `s3`: rows into objects and out of them, and a place for checkpoints.
//!
//! ```text
//! rows -> path -> encoder -> compressor -> parts of an upload -- commit: complete --> object
//! objects -> ranges, row groups -> records
//! ```
//! [`bucket`] makes the calls; everything else speaks in its terms.

mod batch_id;
mod bucket;
mod checkpoints;
mod config;
mod entry;
mod fence;
mod file;
mod needs;
mod notes;
mod object;
mod online;
mod place;
mod read_back;
mod source;
mod uploads;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use async_trait::async_trait;
use millstream_core::Result;
use millstream_core::checkpoint::CheckpointStore;
use millstream_core::clock::{self, Clock};
use millstream_core::connector::{Connector, ConnectorKind, Role, SourceOptions};
use millstream_core::format::RecordFormat;
use millstream_core::resource::{Obstacle, Presence, Resource, Use};
use millstream_core::sink::{Commitment, Sink, SinkOptions, WriteMode};
use millstream_core::source::SplitSource;
use millstream_files::refused_options::{self, Problem};
use millstream_files::{AppendSink, OverwriteSink, Setting, naming};

use config::S3Config;

use bucket::{Bucket, Shared};
use checkpoints::S3Checkpoints;
use place::{Own, Place};
use source::S3Source;

/// Its name.
const KIND: &str = "s3";

#[derive(Debug)]
struct S3 {
    config: S3Config,
    bucket: Shared,
    format: RecordFormat,
    clock: Arc<dyn Clock>,
    /// What the instances of a sink share, by its id and generation.
    sinks: Mutex<HashMap<(String, String), Arc<Own>>>,
}

impl S3 {
    fn new(config: S3Config) -> Self {
        let first = config.path.as_ref().and_then(|paths| paths.0.first());
        let format = config.format.or_else(|| first.map(|path| naming::format_of_name(path))).unwrap_or_default();
        let bucket = Arc::new(Bucket::new(&config));
        Self { bucket, config, format, clock: clock::system(), sinks: Mutex::default() }
    }

    fn open(&self, options: &SinkOptions) -> Result<Box<dyn Sink>> {
        refused_options::refuse(options, problem(options))?;
        let own = {
            let mut sinks = self.sinks.lock().unwrap_or_else(PoisonError::into_inner);
            sinks.entry((options.id.clone(), options.generation.clone())).or_default().clone()
        };
        let place = Place::new(self.bucket.clone(), &self.config, options, own);
        let setting = Setting {
            template: naming::template(options),
            name: batch_id::beginning(options),
            max_open_files: self.config.max_open_files,
            clock: self.clock.clone(),
        };
        Ok(match options.mode {
            WriteMode::Overwrite => Box::new(OverwriteSink::new(place, &setting, options)?),
            WriteMode::Append => Box::new(AppendSink::new(place, setting, options)?),
        })
    }
}

/// Refuses what an object cannot be.
fn problem(options: &SinkOptions) -> Option<Problem> {
    naming::problem(KIND, options).or_else(|| {
        let template = naming::template(options);
        let empty = template.split('/').any(|part| part.is_empty() || part == ".");
        empty.then(|| {
            (
                "path",
                format!("the path `{template}` has an empty part or a `.`, which a key keeps as it is: leave it out"),
            )
        })
    })
}

#[async_trait]
impl Connector for S3 {
    fn kind(&self) -> &'static str {
        KIND
    }
    fn record_format(&self) -> RecordFormat {
        self.format
    }
    fn bounded(&self) -> bool {
        true
    }
    fn problems(&self) -> Vec<String> {
        let mut problems = self.config.problems();
        if self.config.multiline && self.format != RecordFormat::Csv {
            problems.push("`multiline` is for csv: json records are single lines".into());
        }
        problems
    }
    fn sink_problem(&self, options: &SinkOptions) -> Option<Problem> {
        problem(options)
    }
    fn commitment(&self, _options: &SinkOptions) -> Commitment {
        Commitment::Staged
    }
    async fn source(&self, _options: &SourceOptions) -> Result<Box<dyn SplitSource>> {
        Ok(Box::new(S3Source::new(self.bucket.clone(), self.config.clone(), self.format)))
    }
    async fn sink(&self, options: &SinkOptions) -> Result<Box<dyn Sink>> {
        self.open(options)
    }
    async fn written(&self, options: &SinkOptions) -> Result<Vec<RecordBatch>> {
        read_back::rows(&self.bucket, options).await
    }
    async fn checkpoints(&self, pipeline: &str) -> Result<Arc<dyn CheckpointStore>> {
        Ok(Arc::new(S3Checkpoints::new(self.bucket.clone(), pipeline)?))
    }
    async fn online(&self, of: &Use<'_>) -> Vec<Obstacle> {
        online::obstacles(&self.bucket, of).await
    }
    fn resource(&self, of: &Use<'_>) -> Option<Resource> {
        needs::resource(&self.config, of)
    }
    async fn create(&self, _of: &Use<'_>) -> Result<Presence> {
        needs::create(&self.bucket).await
    }
}

/// The kind `s3`.
pub(crate) fn kind() -> ConnectorKind {
    ConnectorKind {
        name: KIND,
        summary: "Amazon S3: objects by path template, read or written, and checkpoints",
        roles: &[Role::Source, Role::Sink, Role::Checkpoints],
        built_in: true,
        options: || schemars::schema_for!(S3Config),
        parse: |options| {
            let config = serde_json::from_value(options).map_err(|e| e.to_string())?;
            Ok(Arc::new(S3::new(config)))
        },
    }
}
