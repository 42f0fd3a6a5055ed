//! `sqs`: a queue of Amazon SQS: messages read, rows sent, dead letters kept and read back.

mod client;
mod config;
mod known;
mod large;
mod letters;
mod needs;
mod online;
mod outgoing;
mod payload;
mod producer;
mod sink;
mod source;

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use millstream_core::clock;
use millstream_core::connector::{Connector, ConnectorKind, Role, SourceOptions};
use millstream_core::dead_letter::DeadLetters;
use millstream_core::format::RecordFormat;
use millstream_core::producer::Producer;
use millstream_core::resource::{Obstacle, Presence, Resource, Use};
use millstream_core::sink::{Commitment, Sink, SinkOptions};
use millstream_core::source::SplitSource;
use millstream_core::{Error, Result};
use millstream_files::refused_options::{self, Problem};

pub use config::{Oversize, SqsConfig};

use crate::access::Access;
use client::Queue;
use letters::Letters;
use millstream_core::refusal;
use payload::Payloads;
use producer::SqsProducer;
use sink::SqsSink;
use source::SqsSource;

#[derive(Debug)]
struct Sqs {
    config: SqsConfig,
    queue: Queue,
    payloads: Payloads,
    /// Messages sent by each sink, all its instances together.
    sent: Mutex<HashMap<String, Arc<AtomicU64>>>,
}

impl Sqs {
    fn new(config: SqsConfig) -> Self {
        let SqsConfig { region, endpoint, role_arn, .. } = &config;
        let access = Arc::new(Access::new(region.as_deref(), endpoint.as_deref(), role_arn.as_deref()));
        let queue = Queue::new(access, &config);
        Self { queue, payloads: Payloads::new(&config), config, sent: Mutex::default() }
    }
}

#[async_trait]
impl Connector for Sqs {
    fn kind(&self) -> &'static str {
        "sqs"
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
    async fn source(&self, _options: &SourceOptions) -> Result<Box<dyn SplitSource>> {
        // Finds out now whether the queue is there and credentials are.
        self.queue.open().await?;
        let (queue, payloads) = (self.queue.clone(), self.payloads.clone());
        Ok(Box::new(SqsSource::new(queue, payloads, self.config.clone(), clock::system())))
    }
    fn sink_problem(&self, options: &SinkOptions) -> Option<Problem> {
        if let Some(problem) = refused_options::unknown("sqs", options, &[]) {
            return Some(problem);
        }
        if !matches!(options.format, RecordFormat::Json | RecordFormat::Raw) {
            return Some(("format", "a message is one row: `format` is `json` or `raw`".to_owned()));
        }
        outgoing::group(&self.config, options).err().map(|e| ("write", e.to_string()))
    }
    fn commitment(&self, _options: &SinkOptions) -> Commitment {
        Commitment::Outbox { deduplicates: self.config.is_fifo() }
    }
    async fn sink(&self, options: &SinkOptions) -> Result<Box<dyn Sink>> {
        refused_options::refuse(options, self.sink_problem(options))?;
        // Finds out now whether the queue is there and credentials are.
        self.queue.open().await?;
        let sent = {
            let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
            sent.entry(options.id.clone()).or_default().clone()
        };
        Ok(Box::new(SqsSink::new(self.queue.clone(), self.payloads.clone(), &self.config, options, sent)?))
    }
    async fn dead_letters(&self, options: &SinkOptions) -> Result<Box<dyn DeadLetters>> {
        if !refusal::is_of(&options.schema) {
            let message = "gets no refused rows: name one that reads `*.failed`";
            return Err(Error::config(format!("the sink `{}` {message}", options.id)));
        }
        self.queue.open().await?;
        Ok(Box::new(Letters::new(self.queue.clone(), self.payloads.clone())))
    }
    async fn producer(&self, run: &str) -> Result<Box<dyn Producer>> {
        self.queue.open().await?;
        let (queue, payloads) = (self.queue.clone(), self.payloads.clone());
        Ok(Box::new(SqsProducer::new(queue, payloads, self.config.is_fifo(), run)))
    }
    async fn online(&self, of: &Use<'_>) -> Vec<Obstacle> {
        let mut obstacles = online::obstacles(&self.queue, &self.config, of).await;
        obstacles.extend(large::obstacles(&self.config).await);
        obstacles
    }
    fn resource(&self, of: &Use<'_>) -> Option<Resource> {
        needs::resource(&self.config, of)
    }
    async fn create(&self, _of: &Use<'_>) -> Result<Presence> {
        let made = [needs::create(&self.queue, &self.config).await?, large::create(&self.config).await?];
        Ok(if made.contains(&Presence::Created) { Presence::Created } else { Presence::Exists })
    }
}

/// The kind `sqs`.
pub(crate) fn kind() -> ConnectorKind {
    ConnectorKind {
        name: "sqs",
        summary: "Amazon SQS: messages of a queue",
        roles: &[Role::Source, Role::Sink],
        built_in: true,
        options: || schemars::schema_for!(SqsConfig),
        parse: |options| Ok(Arc::new(Sqs::new(serde_json::from_value(options).map_err(|e| e.to_string())?))),
    }
}
