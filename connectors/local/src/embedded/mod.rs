//! `embedded`: tables of the pipeline, and queues of dead letters, in one SQLite file.

mod columns;
mod config;
mod database;
mod layout;
mod letters;
mod queue;
mod read_back;
mod sent;
mod sink;
mod table;

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use async_trait::async_trait;
use millstream_core::batch::user_schema;
use millstream_core::connector::{Connector, ConnectorKind, Role};
use millstream_core::dead_letter::DeadLetters;
use millstream_core::refusal;
use millstream_core::sink::{Commitment, Sink, SinkOptions, WriteMode};
use millstream_core::table::{TECHNICAL, TableSchema, TableStore};
use millstream_core::{Error, Result};

pub use config::{EmbeddedConfig, Synchronous};

use crate::clock::{self, Clock};
use crate::refused_options::{self, Known, Problem};
use database::Database;
use queue::Queue;
use sink::EmbeddedSink;
use table::EmbeddedTable;

#[derive(Debug)]
struct Embedded {
    config: EmbeddedConfig,
    clock: Arc<dyn Clock>,
    /// Rows written by each sink, all its instances together.
    written: Mutex<HashMap<String, Arc<AtomicU64>>>,
}

impl Embedded {
    fn new(config: EmbeddedConfig, clock: Arc<dyn Clock>) -> Self {
        Self { config, clock, written: Mutex::default() }
    }
    async fn database(&self) -> Result<Arc<Database>> {
        let (path, synchronous) = (self.config.path.clone(), self.config.synchronous);
        tokio::task::spawn_blocking(move || Database::open(Path::new(&path), synchronous))
            .await
            .map_err(|e| Error::bug("opening a database panicked").caused_by(e))?
    }
}

/// A path for people: relative where it is below the working directory.
pub(crate) fn shown(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(&here).unwrap_or(path).display().to_string()
}

#[async_trait]
impl Connector for Embedded {
    fn kind(&self) -> &'static str {
        "embedded"
    }
    fn problems(&self) -> Vec<String> {
        match self.config.path.trim() {
            "" => vec!["`path` is empty: name a database file such as out/state.db".into()],
            ":memory:" => vec!["`:memory:` is not a file: use the connector `memory`".into()],
            _ => Vec::new(),
        }
    }
    fn sink_problem(&self, options: &SinkOptions) -> Option<Problem> {
        if options.mode == WriteMode::Overwrite && options.key.is_empty() {
            let message = "it overwrites by key, but its rows have none: give them one with GROUP BY or dedup, or say \
                           `mode: append`";
            return Some(("mode", message.into()));
        }
        refused_options::unknown("embedded", options, &[Known::Overwrite])
    }
    fn table_problem(&self, schema: &TableSchema) -> Option<String> {
        let names: Vec<&str> = schema.columns.fields().iter().map(|f| f.name().as_str()).chain(TECHNICAL).collect();
        let same = |(i, name): (usize, &&str)| {
            let other = names.iter().skip(i + 1).find(|other| other.eq_ignore_ascii_case(name))?;
            Some(format!("`embedded` cannot keep it: `{name}` and `{other}` are one column to SQLite"))
        };
        names.iter().enumerate().find_map(same)
    }
    fn commitment(&self, options: &SinkOptions) -> Commitment {
        match options.mode {
            WriteMode::Append => Commitment::Outbox { deduplicates: true },
            WriteMode::Overwrite => Commitment::Keyed,
        }
    }
    async fn sink(&self, options: &SinkOptions) -> Result<Box<dyn Sink>> {
        refused_options::refuse(options, self.sink_problem(options))?;
        let database = self.database().await?;
        let rows = {
            let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
            written.entry(options.id.clone()).or_default().clone()
        };
        Ok(Box::new(EmbeddedSink::open(database, options, self.clock.clone(), rows).await?))
    }
    /// Tables can be read; dead letters are a queue.
    fn keeps(&self, options: &SinkOptions) -> bool {
        !refusal::is_of(&options.schema)
    }
    async fn written(&self, options: &SinkOptions) -> Result<Vec<RecordBatch>> {
        let path = &self.config.path;
        if refusal::is_of(&options.schema) {
            let (table, help) = (&options.id, "`sqlite3` reads it, and `millstream replay` puts its rows back");
            return Err(Error::config(format!("`{table}` is a queue of refused rows in `{path}`: {help}")));
        }
        if !Path::new(path).exists() {
            return Ok(Vec::new());
        }
        let database = self.database().await?;
        let (table, columns) = (options.id.clone(), user_schema(&options.schema));
        tokio::task::spawn_blocking(move || read_back::rows(&database, &table, &columns))
            .await
            .map_err(|e| Error::bug("reading a table back panicked").caused_by(e))?
    }
    async fn dead_letters(&self, options: &SinkOptions) -> Result<Box<dyn DeadLetters>> {
        let path = &self.config.path;
        if !Path::new(path).exists() {
            return Err(Error::environment(format!(
                "there is no database `{path}` yet: no letters were ever put into it"
            )));
        }
        Ok(Box::new(Queue::open(self.database().await?, options)?))
    }
    async fn table(&self, schema: &TableSchema) -> Result<Arc<dyn TableStore>> {
        Ok(Arc::new(EmbeddedTable::open(self.database().await?, schema, self.clock.clone()).await?))
    }
}

/// The kind `embedded`.
pub(crate) fn kind() -> ConnectorKind {
    ConnectorKind {
        name: "embedded",
        summary: "Tables and queues of dead letters in one SQLite file",
        roles: &[Role::Table, Role::Sink],
        built_in: true,
        options: || schemars::schema_for!(EmbeddedConfig),
        parse: |options| {
            let config = serde_json::from_value(options).map_err(|e| e.to_string())?;
            Ok(Arc::new(Embedded::new(config, clock::system())))
        },
    }
}

#[cfg(test)]
mod tests;
