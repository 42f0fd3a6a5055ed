//! What a pipeline needs outside of itself: streams, tables, buckets, queues, topics, and the permissions to use them.

use crate::connector::SourceOptions;
use crate::sink::SinkOptions;
use crate::table::TableSchema;

/// What a pipeline does with a connector; one for each source, sink and table over it, for its checkpoints and its metrics.
#[derive(Debug, Clone, Copy)]
pub enum Use<'a> {
    /// A source reads from it.
    Source(&'a SourceOptions),
    /// A sink writes to it.
    Sink(&'a SinkOptions),
    /// A table is kept in it.
    Table(&'a TableSchema),
    /// The checkpoints of the pipeline of this name are kept in it.
    Checkpoints(&'a str),
    /// The metrics of the pipeline of this name are kept in it.
    Metrics(&'a str),
}

impl Use<'_> {
    /// The place in the pipeline file: `tables.trip_state`.
    pub fn place(&self) -> String {
        match self {
            Self::Source(options) => format!("sources.{}", options.id),
            Self::Sink(options) => format!("sinks.{}", options.id),
            Self::Table(schema) => format!("tables.{}", schema.name),
            Self::Checkpoints(_) => "checkpoint.store".to_owned(),
            Self::Metrics(_) => "metrics".to_owned(),
        }
    }
}

/// Something that stands between a pipeline and what it needs outside, found by asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obstacle {
    /// The pipeline would fail over it; else it is worth knowing.
    pub fatal: bool,
    /// What is wrong, naming the thing.
    pub message: String,
    /// The action that a policy must allow, such as `dynamodb:UpdateItem`, where that is what is missing.
    pub action: Option<String>,
    /// What to do about it.
    pub help: Option<String>,
}

impl Obstacle {
    /// Something the pipeline would fail over.
    pub fn fatal(message: impl Into<String>) -> Self {
        Self { fatal: true, message: message.into(), action: None, help: None }
    }
    /// Something worth knowing.
    pub fn warning(message: impl Into<String>) -> Self {
        Self { fatal: false, ..Self::fatal(message) }
    }
    /// The same, with the action that is missing.
    #[must_use]
    pub fn action(mut self, action: impl Into<String>) -> Self {
        self.action = Some(action.into());
        self
    }
    /// The same, with what to do about it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// What a pipeline needs of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// What it is: `DynamoDB table`.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// How it must be: `key trip_id (string)`, `expiry by _expires_at`.
    pub properties: Vec<String>,
    /// What the pipeline does with it.
    pub grants: Vec<Grant>,
}

/// Actions that a policy must allow on resources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Such as `dynamodb:UpdateItem`.
    pub actions: Vec<&'static str>,
    /// What they act on, as ARNs. `{region}` and `{account}` stand for what the connector's options do not say.
    pub arns: Vec<String>,
    /// Conditions on them, as a policy writes them; mostly none.
    pub condition: Option<serde_json::Value>,
}

impl Grant {
    /// These actions on one ARN.
    pub fn on(arn: impl Into<String>, actions: &[&'static str]) -> Self {
        Self { actions: actions.to_vec(), arns: vec![arn.into()], condition: None }
    }
}

/// Whether a resource is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It was there before.
    Exists,
    /// It was made.
    Created,
}
