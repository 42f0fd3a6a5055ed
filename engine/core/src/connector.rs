//! Connectors: named kinds, their options, and what a configured one can open.

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use async_trait::async_trait;

use crate::checkpoint::CheckpointStore;
use crate::dead_letter::DeadLetters;
use crate::error::{Error, Result};
use crate::format::RecordFormat;
use crate::metrics::MetricStore;
use crate::producer::Producer;
use crate::resource::{Obstacle, Presence, Resource, Use};
use crate::schema::SourceSchema;
use crate::sink::{Commitment, Sink, SinkOptions, WriteMode};
use crate::source::SplitSource;
use crate::table::{TableSchema, TableStore};

/// What a connector can be bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// `sources.<id>.read`.
    Source,
    /// `sinks.<id>.write`.
    Sink,
    /// `tables.<id>.store`.
    Table,
    /// `checkpoint.store`.
    Checkpoints,
    /// `metrics.write`.
    Metrics,
}

/// What a pipeline file says about one source.
#[derive(Debug, Clone)]
pub struct SourceOptions {
    /// Id of the source node.
    pub id: String,
    /// Name of the pipeline.
    pub pipeline: String,
    /// Its declared schema.
    pub schema: Arc<SourceSchema>,
}

/// A configured connector: what a profile binds a name to. Opening does the first I/O.
#[async_trait]
pub trait Connector: fmt::Debug + Send + Sync {
    /// Its kind's name.
    fn kind(&self) -> &'static str;
    /// How the records of a source over it are encoded, known without I/O.
    fn record_format(&self) -> RecordFormat {
        RecordFormat::Json
    }
    /// Whether its positions are [`crate::source::Position::Offset`]s; else they are text.
    fn positions_are_offsets(&self) -> bool {
        true
    }
    /// Whether a source over it ends by itself; known without I/O.
    fn bounded(&self) -> bool {
        false
    }
    /// Problems that can be found without I/O, beyond its options' types: messages for the user.
    fn problems(&self) -> Vec<String> {
        Vec::new()
    }
    /// What it will refuse about a sink over it, known without I/O: the option (`path`, `compression`, ..) and a
    /// message for the user.
    fn sink_problem(&self, options: &SinkOptions) -> Option<(&'static str, String)> {
        let _ = options;
        None
    }
    /// What it will refuse about a table kept in it, known without I/O: a message for the user.
    fn table_problem(&self, schema: &TableSchema) -> Option<String> {
        let _ = schema;
        None
    }
    /// What a sink over it makes of a crash; known without I/O.
    fn commitment(&self, options: &SinkOptions) -> Commitment {
        let _ = options;
        Commitment::Direct
    }
    /// Opens it for reading.
    ///
    /// # Errors
    /// `Config` where it cannot be a source; `Environment` where what it names does not exist.
    async fn source(&self, options: &SourceOptions) -> Result<Box<dyn SplitSource>> {
        let _ = options;
        Err(self.cannot("read from", "source"))
    }
    /// Opens it for writing rows; called once per worker.
    ///
    /// # Errors
    /// `Config` where it cannot be a sink or does not know an option; `Environment`.
    async fn sink(&self, options: &SinkOptions) -> Result<Box<dyn Sink>> {
        let _ = options;
        Err(self.cannot("written to", "sink"))
    }
    /// Whether [`Connector::written`] can tell the rows that the sink `options` has written: those of keys can be told from
    /// what is there.
    fn keeps(&self, options: &SinkOptions) -> bool {
        options.mode == WriteMode::Overwrite
    }
    /// The rows that the sink `options` has written over it and made visible, for queries: the user's columns of
    /// `options.schema`.
    ///
    /// # Errors
    /// `Config` where what it has written cannot be read back; `Environment`.
    async fn written(&self, options: &SinkOptions) -> Result<Vec<RecordBatch>> {
        let _ = options;
        Err(Error::config(format!("what `{}` has written cannot be queried", self.kind())))
    }
    /// The dead letters that the sink `options` has put into it, to be read and removed. Nothing is made: where there is no
    /// queue yet, there are no letters.
    ///
    /// # Errors
    /// `Config` where it keeps no dead letters; `Environment`.
    async fn dead_letters(&self, options: &SinkOptions) -> Result<Box<dyn DeadLetters>> {
        let _ = options;
        Err(Error::config(format!(
            "`{}` keeps no dead letters that can be read back: bind the sink to `embedded` or `sqs`",
            self.kind()
        )))
    }
    /// Opens it as a table's store; called once per process.
    ///
    /// # Errors
    /// `Config` where it cannot be a table's store; `Environment`.
    async fn table(&self, schema: &TableSchema) -> Result<Arc<dyn TableStore>> {
        let _ = schema;
        Err(self.cannot("used as a store", "table"))
    }
    /// Opens it as the place where the checkpoints of a pipeline are kept; several pipelines may share it.
    ///
    /// # Errors
    /// `Config` where it cannot be one; `Environment`.
    async fn checkpoints(&self, pipeline: &str) -> Result<Arc<dyn CheckpointStore>> {
        let _ = pipeline;
        Err(self.cannot("used for checkpoints", "checkpoint"))
    }
    /// Opens the stream that a source over it reads, for putting records into it. `run` is a name that no other producer
    /// has: with a record's number it tells a queue that deduplicates which records are the same.
    ///
    /// # Errors
    /// `Config` where nothing can be put into it; `Environment`.
    async fn producer(&self, run: &str) -> Result<Box<dyn Producer>> {
        let _ = run;
        Err(Error::config(format!("nothing can be put into `{}`: it is not a stream that others write", self.kind())))
    }
    /// Asks the service whether a pipeline could use it so: credentials, existence, shape, permissions. Changes nothing.
    /// Empty where there is nothing to ask or nothing is wrong.
    async fn online(&self, of: &Use<'_>) -> Vec<Obstacle> {
        let _ = of;
        Vec::new()
    }
    /// What a use of it needs of a service, known without I/O; `None` where that is nothing.
    fn resource(&self, of: &Use<'_>) -> Option<Resource> {
        let _ = of;
        None
    }
    /// Makes what [`Connector::resource`] names, for development: by the cheapest means, empty, with the properties a
    /// use of it needs. What is there stays as it is.
    ///
    /// # Errors
    /// `Environment` where it may not be made; `Config` where it needs none.
    async fn create(&self, of: &Use<'_>) -> Result<Presence> {
        let _ = of;
        Err(Error::config(format!("`{}` has nothing to create", self.kind())))
    }
    /// Opens it as the place where the metrics of a pipeline are kept, without I/O.
    ///
    /// # Errors
    /// `Config` where it cannot be one.
    async fn metrics(&self, pipeline: &str) -> Result<Box<dyn MetricStore>> {
        let _ = pipeline;
        Err(self.cannot("used for metrics", "metrics"))
    }
    /// What [`Role::Source`] and the like say when it cannot be one.
    fn cannot(&self, verb: &str, role: &str) -> Error {
        Error::config(format!("`{}` cannot be {verb}: it is not a {role} connector", self.kind()))
    }
}

/// A kind of connector: `kinesis`, `file`, ..
#[derive(Clone)]
pub struct ConnectorKind {
    /// The one key under a profile's name.
    pub name: &'static str,
    /// One sentence for `list`.
    pub summary: &'static str,
    /// What it can be bound to.
    pub roles: &'static [Role],
    /// Whether this binary has it; `check` knows the others by name.
    pub built_in: bool,
    /// JSON Schema of its options, from the struct that `parse` reads.
    pub options: fn() -> schemars::Schema,
    /// Reads its options; the message is for the user.
    pub parse: fn(serde_json::Value) -> Result<Arc<dyn Connector>, String>,
}

impl fmt::Debug for ConnectorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectorKind").field("name", &self.name).field("built_in", &self.built_in).finish()
    }
}

/// The kinds of connectors a binary knows.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    kinds: Vec<ConnectorKind>,
}

impl Registry {
    /// A registry of these kinds, listed in this order.
    pub fn new(kinds: Vec<ConnectorKind>) -> Self {
        Self { kinds }
    }
    /// All kinds.
    pub fn kinds(&self) -> &[ConnectorKind] {
        &self.kinds
    }
    /// The kind named `name`.
    pub fn kind(&self, name: &str) -> Option<&ConnectorKind> {
        self.kinds.iter().find(|k| k.name == name)
    }
}
