//! `memory`: tables, streams and captured rows that live as long as the process: for tests and for measuring.

mod config;
mod sink;
mod source;
mod store;
mod table;

use std::sync::Arc;

use async_trait::async_trait;
use millstream_core::checkpoint::CheckpointStore;
use millstream_core::connector::{Connector, ConnectorKind, Role, SourceOptions};
use millstream_core::format::RecordFormat;
use millstream_core::sink::{Commitment, Sink, SinkOptions};
use millstream_core::source::SplitSource;
use millstream_core::table::{TableSchema, TableStore};
use millstream_core::{EventTime, Result};

pub use config::{Delivery, MemoryConfig};
pub use store::{Memory, Step, handle};
pub use table::MemoryTable;

use crate::checkpoints::{MemoryStores, memory_stores};
use crate::clock;
use sink::MemorySink;
use source::MemorySource;

/// The split of `records:`.
const LISTED: &str = "records";

#[derive(Debug)]
struct MemoryConnector {
    config: MemoryConfig,
    memory: Memory,
    checkpoints: MemoryStores,
}

impl MemoryConnector {
    fn new(config: MemoryConfig) -> Self {
        let memory = config.name.as_deref().map(handle).unwrap_or_default();
        let checkpoints = config.name.as_deref().map(memory_stores).unwrap_or_default();
        Self { config, memory, checkpoints }
    }
}

#[async_trait]
impl Connector for MemoryConnector {
    fn kind(&self) -> &'static str {
        "memory"
    }
    fn record_format(&self) -> RecordFormat {
        self.config.format
    }
    fn bounded(&self) -> bool {
        self.config.records.is_some() || self.memory.lock().closed
    }
    fn problems(&self) -> Vec<String> {
        match self.config.format {
            RecordFormat::Parquet => vec!["parquet is a format of files: `memory` holds single records".into()],
            RecordFormat::Csv if self.config.records.is_some() => {
                vec!["csv records in memory have no header line: use json".into()]
            }
            _ => Vec::new(),
        }
    }
    async fn source(&self, _options: &SourceOptions) -> Result<Box<dyn SplitSource>> {
        let mut memory = self.memory.clone();
        if let Some(records) = &self.config.records {
            // Each source reads the list for itself.
            memory = Memory::default();
            memory.push_records(LISTED, records.iter().map(String::as_str), EventTime(0));
            memory.finish(LISTED);
            memory.close();
        }
        Ok(Box::new(MemorySource::new(memory, self.config.format, self.config.ordered)))
    }
    fn commitment(&self, _options: &SinkOptions) -> Commitment {
        match self.config.delivery {
            Delivery::Staged => Commitment::Staged,
            Delivery::Direct => Commitment::Direct,
            Delivery::Outbox => Commitment::Outbox { deduplicates: true },
            Delivery::ForgetfulOutbox => Commitment::Outbox { deduplicates: false },
        }
    }
    async fn sink(&self, options: &SinkOptions) -> Result<Box<dyn Sink>> {
        Ok(Box::new(MemorySink::new(self.memory.clone(), self.config.delivery, options)))
    }
    async fn table(&self, schema: &TableSchema) -> Result<Arc<dyn TableStore>> {
        let fresh = Arc::new(MemoryTable::new(schema, clock::system())?);
        let mut contents = self.memory.lock();
        let table = contents.tables.entry(schema.name.clone()).or_insert_with(|| fresh.clone());
        if table.schema().columns != schema.columns || table.schema().key != schema.key {
            *table = fresh;
        }
        Ok(table.clone())
    }
    async fn checkpoints(&self, pipeline: &str) -> Result<Arc<dyn CheckpointStore>> {
        Ok(Arc::new(self.checkpoints.store(pipeline)))
    }
}

/// The kind `memory`.
pub(crate) fn kind() -> ConnectorKind {
    ConnectorKind {
        name: "memory",
        summary: "Tables, records and captured rows in this process: for tests and for measuring",
        roles: &[Role::Source, Role::Sink, Role::Table, Role::Checkpoints],
        built_in: true,
        options: || schemars::schema_for!(MemoryConfig),
        parse: |options| {
            let config = serde_json::from_value(options).map_err(|e| e.to_string())?;
            Ok(Arc::new(MemoryConnector::new(config)))
        },
    }
}

#[cfg(test)]
mod tests;
