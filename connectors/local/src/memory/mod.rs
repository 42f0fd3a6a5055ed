//! `memory`: tables, streams and captured rows that live as long as the process: for tests and for measuring.

mod config;
mod sink;
mod source;
mod store;
mod table;

use std::sync::Arc;

use async_trait::async_trait;
use millstream_core::connector::{Connector, ConnectorKind, Role, SourceOptions};
use millstream_core::format::RecordFormat;
use millstream_core::sink::{Sink, SinkOptions};
use millstream_core::source::SplitSource;
use millstream_core::table::{TableSchema, TableStore};
use millstream_core::{EventTime, Result};

pub use config::MemoryConfig;
pub use store::{Memory, Step, handle};
pub use table::MemoryTable;

use crate::clock;
use sink::MemorySink;
use source::MemorySource;

/// The split of `records:`.
const LISTED: &str = "records";

#[derive(Debug)]
struct MemoryConnector {
    config: MemoryConfig,
    memory: Memory,
}

impl MemoryConnector {
    fn new(config: MemoryConfig) -> Self {
        let memory = config.name.as_deref().map(handle).unwrap_or_default();
        Self { config, memory }
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
        Ok(Box::new(MemorySource { memory, format: self.config.format, ordered: self.config.ordered }))
    }
    async fn sink(&self, options: &SinkOptions) -> Result<Box<dyn Sink>> {
        Ok(Box::new(MemorySink::new(self.memory.clone(), options)))
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
}

/// The kind `memory`.
pub(crate) fn kind() -> ConnectorKind {
    ConnectorKind {
        name: "memory",
        summary: "Tables, records and captured rows in this process: for tests and for measuring",
        roles: &[Role::Source, Role::Sink, Role::Table],
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
