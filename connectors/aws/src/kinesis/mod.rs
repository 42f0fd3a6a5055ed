//! `kinesis`: streams of Amazon Kinesis Data Streams, read by all their shards or written to.
//!
//! ```text
//! ListShards --> shards (what follows what) --> a reader per shard: polling | fan_out
//!                                                   --> run (aggregates unpacked) --> one buffer of records
//! rows --> entries --> batches (in order per key) --> PutRecords
//! ```

mod batches;
mod budget;
mod client;
mod config;
mod fan_out;
mod kpl;
mod needs;
mod online;
mod polling;
mod position;
mod producer;
mod put;
mod reader;
mod run;
mod shards;
mod sink;
mod source;

use std::sync::Arc;

use async_trait::async_trait;
use millstream_core::Result;
use millstream_core::clock;
use millstream_core::connector::{Connector, ConnectorKind, Role, SourceOptions};
use millstream_core::format::RecordFormat;
use millstream_core::producer::Producer;
use millstream_core::resource::{Obstacle, Presence, Resource, Use};
use millstream_core::sink::{Commitment, Sink, SinkOptions};
use millstream_core::source::SplitSource;
use millstream_files::refused_options::{self, Problem};

pub use config::{Expired, From, KinesisConfig, KplConfig, OutOfRange, ReadMode};

use client::Stream;
use producer::KinesisProducer;
use sink::KinesisSink;
use source::KinesisSource;

#[derive(Debug)]
struct KinesisConnector {
    config: KinesisConfig,
    stream: Arc<Stream>,
}

impl KinesisConnector {
    fn new(config: KinesisConfig) -> Self {
        Self { stream: Arc::new(Stream::new(&config)), config }
    }
}

#[async_trait]
impl Connector for KinesisConnector {
    fn kind(&self) -> &'static str {
        "kinesis"
    }
    fn record_format(&self) -> RecordFormat {
        self.config.format
    }
    fn positions_are_offsets(&self) -> bool {
        false
    }
    fn problems(&self) -> Vec<String> {
        self.config.problems()
    }
    fn sink_problem(&self, options: &SinkOptions) -> Option<Problem> {
        if let Some(problem) = refused_options::unknown("kinesis", options, &[]) {
            return Some(problem);
        }
        if matches!(options.format, RecordFormat::Csv | RecordFormat::Parquet) {
            return Some(("format", "`kinesis` carries single records of json or raw".to_owned()));
        }
        if let Some(problem) = refused_options::of_format(options) {
            return Some(problem);
        }
        let key = self.config.partition_key.as_ref()?;
        let known = options.schema.index_of(key).is_ok();
        (!known).then(|| ("write", format!("`partition_key: {key}` of the binding is no column of these rows")))
    }
    /// The stream does not know records that it has: what is sent again after a crash is there again.
    fn commitment(&self, _options: &SinkOptions) -> Commitment {
        Commitment::Outbox { deduplicates: false }
    }
    async fn source(&self, _options: &SourceOptions) -> Result<Box<dyn SplitSource>> {
        Ok(Box::new(KinesisSource::new(self.stream.clone(), self.config.clone(), clock::system())))
    }
    async fn producer(&self, _run: &str) -> Result<Box<dyn Producer>> {
        Ok(Box::new(KinesisProducer(self.stream.clone())))
    }
    async fn sink(&self, options: &SinkOptions) -> Result<Box<dyn Sink>> {
        Ok(Box::new(KinesisSink::open(self.stream.clone(), self.config.partition_key.clone(), options)?))
    }
    async fn online(&self, of: &Use<'_>) -> Vec<Obstacle> {
        online::obstacles(&self.stream, &self.config, of).await
    }
    fn resource(&self, of: &Use<'_>) -> Option<Resource> {
        needs::resource(&self.config, of)
    }
    async fn create(&self, _of: &Use<'_>) -> Result<Presence> {
        needs::create(&self.stream).await
    }
}

/// The kind `kinesis`.
pub(crate) fn kind() -> ConnectorKind {
    ConnectorKind {
        name: "kinesis",
        summary: "Amazon Kinesis Data Streams: reads all shards of a stream, through splits and merges; writes in order per key",
        roles: &[Role::Source, Role::Sink],
        built_in: true,
        options: || schemars::schema_for!(KinesisConfig),
        parse: |options| {
            let config = serde_json::from_value(options).map_err(|e| e.to_string())?;
            Ok(Arc::new(KinesisConnector::new(config)))
        },
    }
}

#[cfg(test)]
mod tests;
