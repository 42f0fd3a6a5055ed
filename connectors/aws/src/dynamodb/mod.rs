//! `dynamodb`: one item per key of a table, as a pipeline's table, as a sink of results, and as a source.

mod attributes;
mod backoff;
mod client;
mod config;
mod json;
mod keys;
mod limiter;
mod needs;
mod online;
mod scan;
mod sink;
mod source;
mod stored;
mod table;
mod update;

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use millstream_core::batch::user_schema;
use millstream_core::clock::{self, Clock};
use millstream_core::connector::{Connector, ConnectorKind, Role, SourceOptions};
use millstream_core::resource::{Obstacle, Presence, Resource, Use};
use millstream_core::sink::{Commitment, Sink, SinkOptions, WriteMode};
use millstream_core::source::SplitSource;
use millstream_core::table::{TECHNICAL, TableSchema, TableStore};
use millstream_core::{Error, Result};
use millstream_files::refused_options::{self, Known, Problem};
use tokio::sync::OnceCell;

use config::DynamoDbConfig;

use crate::access::Access;
use client::Remote;
use sink::DynamoDbSink;
use source::DynamoDbSource;
use table::DynamoDbTable;

/// The most columns of a table: an update expression has at most 300 parts, and what the engine keeps beside takes some.
const MOST_COLUMNS: usize = 280;

#[derive(Debug)]
struct DynamoDb {
    config: DynamoDbConfig,
    access: Access,
    clock: Arc<dyn Clock>,
    remote: OnceCell<Arc<Remote>>,
    /// Items written by each sink, all its instances together.
    written: Mutex<HashMap<String, Arc<AtomicU64>>>,
}

impl DynamoDb {
    fn new(config: DynamoDbConfig, clock: Arc<dyn Clock>) -> Self {
        let access = Access::new(config.region.as_deref(), config.endpoint.as_deref(), config.role_arn.as_deref());
        Self { config, access, clock, remote: OnceCell::new(), written: Mutex::default() }
    }

    async fn remote(&self) -> Result<Arc<Remote>> {
        self.remote.get_or_try_init(|| Remote::new(&self.config, &self.access)).await.cloned()
    }
}

#[async_trait]
impl Connector for DynamoDb {
    fn kind(&self) -> &'static str {
        "dynamodb"
    }
    fn positions_are_offsets(&self) -> bool {
        false
    }
    fn bounded(&self) -> bool {
        true
    }
    fn problems(&self) -> Vec<String> {
        self.config.problems()
    }
    fn sink_problem(&self, options: &SinkOptions) -> Option<Problem> {
        if let Some(problem) = refused_options::unknown("dynamodb", options, &[Known::Overwrite]) {
            return Some(problem);
        }
        if options.mode == WriteMode::Append {
            let message = "`dynamodb` keeps one item per key: say `mode: overwrite`, of rows that have a key";
            return Some(("mode", message.to_owned()));
        }
        let columns = user_schema(&options.schema);
        keys::of_columns(&columns, &options.key)
            .err()
            .map(|e| ("mode", format!("`dynamodb` cannot take its rows: {e}")))
    }
    fn table_problem(&self, schema: &TableSchema) -> Option<String> {
        if let Err(error) = keys::of_columns(&schema.columns, &schema.key) {
            return Some(format!("`dynamodb` cannot keep it: {error}"));
        }
        let width = schema.columns.fields().len();
        if width > MOST_COLUMNS {
            return Some(format!(
                "`dynamodb` cannot keep it: it has {width} columns, at most {MOST_COLUMNS} can be set"
            ));
        }
        let ttl = &self.config.ttl_attribute;
        if schema.columns.index_of(ttl).is_ok() || TECHNICAL.iter().any(|t| t == ttl && t != &TECHNICAL[2]) {
            return Some(format!("`ttl_attribute: {ttl}` is the name of another column of it"));
        }
        None
    }
    fn commitment(&self, _: &SinkOptions) -> Commitment {
        Commitment::Keyed
    }
    async fn source(&self, _: &SourceOptions) -> Result<Box<dyn SplitSource>> {
        Ok(Box::new(DynamoDbSource::open(self.remote().await?, &self.config, self.clock.clone()).await?))
    }
    async fn sink(&self, options: &SinkOptions) -> Result<Box<dyn Sink>> {
        refused_options::refuse(options, self.sink_problem(options))?;
        let remote = self.remote().await?;
        let written = {
            let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
            written.entry(options.id.clone()).or_default().clone()
        };
        Ok(Box::new(DynamoDbSink::open(remote, &self.config, options, written).await?))
    }
    async fn table(&self, schema: &TableSchema) -> Result<Arc<dyn TableStore>> {
        if let Some(problem) = self.table_problem(schema) {
            return Err(Error::config(format!("`{}`: {problem}", schema.name)));
        }
        Ok(Arc::new(DynamoDbTable::open(self.remote().await?, &self.config, schema, self.clock.clone()).await?))
    }
    async fn online(&self, of: &Use<'_>) -> Vec<Obstacle> {
        match self.remote().await {
            Ok(remote) => online::obstacles(&remote, &self.config, of).await,
            Err(error) => vec![Obstacle::fatal(error.to_string())],
        }
    }
    fn resource(&self, of: &Use<'_>) -> Option<Resource> {
        needs::resource(&self.config, of)
    }
    async fn create(&self, of: &Use<'_>) -> Result<Presence> {
        needs::create(self.remote().await?.as_ref(), &self.config, of).await
    }
}

/// The kind `dynamodb`.
pub(crate) fn kind() -> ConnectorKind {
    ConnectorKind {
        name: "dynamodb",
        summary: "Amazon DynamoDB: one item per key, written on the condition of its version",
        roles: &[Role::Table, Role::Sink, Role::Source],
        built_in: true,
        options: || schemars::schema_for!(DynamoDbConfig),
        parse: |options| {
            let config = serde_json::from_value(options).map_err(|e| e.to_string())?;
            Ok(Arc::new(DynamoDb::new(config, clock::system())))
        },
    }
}
