//! `sns`: rows as messages to a topic of Amazon SNS: alerts, single or as digests.

mod alert;
mod client;
mod config;
mod needs;
mod sink;

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use millstream_core::Result;
use millstream_core::connector::{Connector, ConnectorKind, Role};
use millstream_core::format::RecordFormat;
use millstream_core::resource::{Obstacle, Presence, Resource, Use};
use millstream_core::sink::{Commitment, Sink, SinkOptions};
use millstream_files::refused_options::{self, Known, Problem};

pub use config::SnsConfig;

use crate::access::Access;
use client::Topic;
use sink::SnsSink;

#[derive(Debug)]
struct Sns {
    config: SnsConfig,
    topic: Topic,
    /// Messages sent by each sink, all its instances together.
    sent: Mutex<HashMap<String, Arc<AtomicU64>>>,
}

impl Sns {
    fn new(config: SnsConfig) -> Self {
        let region = config.region.as_deref().or(config.region_of_topic());
        let access = Arc::new(Access::new(region, config.endpoint.as_deref(), config.role_arn.as_deref()));
        Self { topic: Topic::new(access, &config.topic_arn, config.name()), config, sent: Mutex::default() }
    }
}

#[async_trait]
impl Connector for Sns {
    fn kind(&self) -> &'static str {
        "sns"
    }
    fn problems(&self) -> Vec<String> {
        self.config.problems()
    }
    fn sink_problem(&self, options: &SinkOptions) -> Option<Problem> {
        if let Some(problem) = refused_options::unknown("sns", options, &[Known::Subject, Known::Message]) {
            return Some(problem);
        }
        if options.format != RecordFormat::Json {
            return Some(("format", "a message is one row as JSON, or what `message` makes of it".to_owned()));
        }
        alert::Shape::new(&self.config, options).err().map(|e| ("write", e.to_string()))
    }
    fn commitment(&self, _options: &SinkOptions) -> Commitment {
        Commitment::Outbox { deduplicates: self.config.is_fifo() }
    }
    async fn sink(&self, options: &SinkOptions) -> Result<Box<dyn Sink>> {
        refused_options::refuse(options, self.sink_problem(options))?;
        self.topic.client().await?;
        let sent = {
            let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
            sent.entry(options.id.clone()).or_default().clone()
        };
        Ok(Box::new(SnsSink::new(self.topic.clone(), &self.config, options, sent)?))
    }
    async fn online(&self, _of: &Use<'_>) -> Vec<Obstacle> {
        needs::obstacles(&self.topic, &self.config).await
    }
    fn resource(&self, of: &Use<'_>) -> Option<Resource> {
        needs::resource(&self.config, of)
    }
    async fn create(&self, _of: &Use<'_>) -> Result<Presence> {
        needs::create(&self.topic, &self.config).await
    }
}

/// The kind `sns`.
pub(crate) fn kind() -> ConnectorKind {
    ConnectorKind {
        name: "sns",
        summary: "Amazon SNS: messages to a topic",
        roles: &[Role::Sink],
        built_in: true,
        options: || schemars::schema_for!(SnsConfig),
        parse: |options| Ok(Arc::new(Sns::new(serde_json::from_value(options).map_err(|e| e.to_string())?))),
    }
}
