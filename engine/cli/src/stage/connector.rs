//! The connector everything on the stage is bound to.

use std::sync::Arc;

use async_trait::async_trait;
use millstream_core::Result;
use millstream_core::connector::{Connector, SourceOptions};
use millstream_core::format::RecordFormat;
use millstream_core::sink::{Commitment, Sink, SinkOptions};
use millstream_core::source::SplitSource;
use millstream_core::table::{TableSchema, TableStore};
use millstream_local::clock;
use millstream_local::memory::MemoryTable;

use super::Stage;
use super::capture::{self, StageSink};
use super::feed::FeedSource;

#[derive(Debug)]
pub(super) struct StageConnector {
    pub(super) stage: Stage,
    /// What the profile binds, where this binary has it.
    pub(super) real: Option<Arc<dyn Connector>>,
    /// Whether sources read from that.
    pub(super) reads: bool,
}

impl StageConnector {
    fn reader(&self) -> Option<&Arc<dyn Connector>> {
        self.real.as_ref().filter(|_| self.reads)
    }
}

#[async_trait]
impl Connector for StageConnector {
    fn kind(&self) -> &'static str {
        self.real.as_ref().map_or("memory", |c| c.kind())
    }
    fn record_format(&self) -> RecordFormat {
        // Parquet rows reach the decoder as JSON records.
        match self.real.as_ref().map(|c| c.record_format()) {
            Some(format) if self.reads || format == RecordFormat::Csv => format,
            _ => RecordFormat::Json,
        }
    }
    fn positions_are_offsets(&self) -> bool {
        self.reader().is_none_or(|c| c.positions_are_offsets())
    }
    fn bounded(&self) -> bool {
        self.reader().is_none_or(|c| c.bounded())
    }
    async fn source(&self, options: &SourceOptions) -> Result<Box<dyn SplitSource>> {
        if let Some(real) = self.reader() {
            return real.source(options).await;
        }
        let source = FeedSource::new(self.stage.clone(), options, self.record_format());
        Ok(Box::new(source))
    }
    async fn sink(&self, options: &SinkOptions) -> Result<Box<dyn Sink>> {
        Ok(Box::new(StageSink::new(self.stage.clone(), options)))
    }
    fn commitment(&self, options: &SinkOptions) -> Commitment {
        capture::commitment(&self.stage, options)
    }
    async fn table(&self, schema: &TableSchema) -> Result<Arc<dyn TableStore>> {
        let fresh = MemoryTable::new(schema, clock::system())?;
        // A table outlives the processes that write it.
        let mut contents = self.stage.lock();
        Ok(contents.tables.entry(schema.name.clone()).or_insert_with(|| Arc::new(fresh)).clone())
    }
}
