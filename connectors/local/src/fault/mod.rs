//! Faults on purpose: decorators of connectors whose next calls fail as a script says, for tests.
//!
//! Faults are given to a [`Faults`], which all that is opened over one [`FaultyConnector`] share; every call of a
//! sink's `write`, a table's `put`, a reader's `next` or a checkpoint store takes the next one that it knows.

mod checkpoints;
mod sink;
mod source;
mod table;

use std::collections::{HashSet, VecDeque};
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::RecordBatch;
use async_trait::async_trait;
use millstream_core::Result;
use millstream_core::checkpoint::CheckpointStore;
use millstream_core::connector::{Connector, SourceOptions};
use millstream_core::dead_letter::DeadLetters;
use millstream_core::format::RecordFormat;
use millstream_core::metrics::MetricStore;
use millstream_core::sink::{BatchId, Commitment, Sink, SinkOptions};
use millstream_core::source::SplitSource;
use millstream_core::table::{TableSchema, TableStore};

pub use checkpoints::FaultyCheckpoints;
pub use sink::FaultySink;
pub use source::{FaultyReader, FaultySource};
pub use table::FaultyTable;

/// What happens to one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is written, and every row may be tried again.
    Throttled,
    /// Nothing is written or read: the service is down.
    Unavailable,
    /// The first row can never succeed; the others are written.
    Refused,
    /// Everything is written, but the answer is lost.
    AppliedButError,
}

impl FromStr for Fault {
    type Err = String;
    fn from_str(name: &str) -> Result<Self, String> {
        Ok(match name {
            "throttled" => Self::Throttled,
            "unavailable" => Self::Unavailable,
            "refused" => Self::Refused,
            "applied_but_error" => Self::AppliedButError,
            _ => {
                return Err(format!(
                    "`{name}` is not a fault: write throttled, unavailable, refused or applied_but_error"
                ));
            }
        })
    }
}

#[derive(Debug, Default)]
struct Script {
    next: VecDeque<Fault>,
    /// Rows of outboxes that were refused, by sink, batch and number: they are refused whenever they are sent first.
    refused: HashSet<(String, BatchId, u32)>,
}

/// The faults of the next calls, in order; clones are the same script.
#[derive(Debug, Clone, Default)]
pub struct Faults(Arc<Mutex<Script>>);

impl Faults {
    fn script(&self) -> MutexGuard<'_, Script> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// Lets the next `times` calls behind those that are already to fail end in `fault`.
    pub fn add(&self, fault: Fault, times: usize) {
        self.script().next.extend(std::iter::repeat_n(fault, times));
    }
    /// How many calls are still to fail.
    pub fn left(&self) -> usize {
        self.script().next.len()
    }
    /// The fault of this call.
    pub(crate) fn take(&self) -> Option<Fault> {
        self.script().next.pop_front()
    }
    /// The fault of this call, unless it is `fault`: that one waits for a call of another kind.
    pub(crate) fn take_other_than(&self, fault: Fault) -> Option<Fault> {
        self.script().next.pop_front_if(|next| *next != fault)
    }
    /// A row of a batch is refused for good.
    pub(crate) fn refuse(&self, sink: &str, id: &BatchId, number: u32) {
        self.script().refused.insert((sink.to_owned(), id.clone(), number));
    }
    /// Whether a row of a batch was refused.
    pub(crate) fn is_refused(&self, sink: &str, id: &BatchId, number: u32) -> bool {
        self.script().refused.contains(&(sink.to_owned(), id.clone(), number))
    }
}

/// A connector over which everything that is opened shares one script of faults.
#[derive(Debug)]
pub struct FaultyConnector {
    inner: Arc<dyn Connector>,
    faults: Faults,
}

impl FaultyConnector {
    /// Decorates `inner`.
    pub fn new(inner: Arc<dyn Connector>, faults: Faults) -> Self {
        Self { inner, faults }
    }
}

#[async_trait]
impl Connector for FaultyConnector {
    fn kind(&self) -> &'static str {
        self.inner.kind()
    }
    fn record_format(&self) -> RecordFormat {
        self.inner.record_format()
    }
    fn positions_are_offsets(&self) -> bool {
        self.inner.positions_are_offsets()
    }
    fn bounded(&self) -> bool {
        self.inner.bounded()
    }
    fn problems(&self) -> Vec<String> {
        self.inner.problems()
    }
    fn sink_problem(&self, options: &SinkOptions) -> Option<(&'static str, String)> {
        self.inner.sink_problem(options)
    }
    fn commitment(&self, options: &SinkOptions) -> Commitment {
        self.inner.commitment(options)
    }
    async fn source(&self, options: &SourceOptions) -> Result<Box<dyn SplitSource>> {
        Ok(Box::new(FaultySource::new(self.inner.source(options).await?, self.faults.clone())))
    }
    async fn sink(&self, options: &SinkOptions) -> Result<Box<dyn Sink>> {
        let inner = self.inner.sink(options).await?;
        Ok(Box::new(FaultySink::new(inner, &options.id, self.inner.commitment(options), self.faults.clone())))
    }
    async fn written(&self, options: &SinkOptions) -> Result<Vec<RecordBatch>> {
        self.inner.written(options).await
    }
    async fn dead_letters(&self, options: &SinkOptions) -> Result<Box<dyn DeadLetters>> {
        self.inner.dead_letters(options).await
    }
    async fn table(&self, schema: &TableSchema) -> Result<Arc<dyn TableStore>> {
        Ok(Arc::new(FaultyTable::new(self.inner.table(schema).await?, self.faults.clone())))
    }
    async fn metrics(&self, pipeline: &str) -> Result<Box<dyn MetricStore>> {
        self.inner.metrics(pipeline).await
    }
    async fn checkpoints(&self, pipeline: &str) -> Result<Arc<dyn CheckpointStore>> {
        let inner = self.inner.checkpoints(pipeline).await?;
        Ok(Arc::new(FaultyCheckpoints::new(inner, self.faults.clone())))
    }
}

#[cfg(test)]
mod tests;
