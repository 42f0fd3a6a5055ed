//! Faults on purpose: decorators of connectors whose next calls fail as a script says, for tests.
//!
//! Faults are given to a [`Faults`], which all that is opened over one [`FaultyConnector`] share; every call of a
//! sink's `write`, a store's `put` or a reader's `next` takes the next one that it knows.

mod sink;
mod source;
mod table;

use std::collections::VecDeque;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use async_trait::async_trait;
use millstream_core::Result;
use millstream_core::connector::{Connector, SourceOptions};
use millstream_core::format::RecordFormat;
use millstream_core::sink::{Sink, SinkOptions};
use millstream_core::source::SplitSource;
use millstream_core::table::{TableSchema, TableStore};

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

/// The faults of the next calls, in order; clones are the same script.
#[derive(Debug, Clone, Default)]
pub struct Faults(Arc<Mutex<VecDeque<Fault>>>);

impl Faults {
    /// Lets the next `times` calls behind those that are already to fail end in `fault`.
    pub fn add(&self, fault: Fault, times: usize) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(std::iter::repeat_n(fault, times));
    }
    /// How many calls are still to fail.
    pub fn left(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
    /// The fault of this call.
    pub(crate) fn take(&self) -> Option<Fault> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
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
    async fn source(&self, options: &SourceOptions) -> Result<Box<dyn SplitSource>> {
        Ok(Box::new(FaultySource::new(self.inner.source(options).await?, self.faults.clone())))
    }
    async fn sink(&self, options: &SinkOptions) -> Result<Box<dyn Sink>> {
        Ok(Box::new(FaultySink::new(self.inner.sink(options).await?, self.faults.clone())))
    }
    async fn written(&self, options: &SinkOptions) -> Result<Vec<RecordBatch>> {
        self.inner.written(options).await
    }
    async fn table(&self, schema: &TableSchema) -> Result<Arc<dyn TableStore>> {
        Ok(Arc::new(FaultyTable::new(self.inner.table(schema).await?, self.faults.clone())))
    }
}

#[cfg(test)]
mod tests;
