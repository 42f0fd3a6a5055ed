//! Services that fail on order.

use std::sync::Arc;

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use async_trait::async_trait;
use futures::stream::BoxStream;
use millstream_core::table::{PutOutcome, StoredRow, TableRows, TableStore};
use millstream_core::{Error, Result};
use millstream_local::memory::MemoryTable;

use super::Stage;

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Every second row does not get through this time.
    Throttled,
    /// The service cannot be reached.
    Unavailable,
    /// The service refuses the rows for good.
    Refused,
}

impl Fault {
    /// The fault a test's step names.
    pub(crate) fn named(name: &str) -> Option<Self> {
        match name {
            "throttled" => Some(Self::Throttled),
            "unavailable" => Some(Self::Unavailable),
            "refused" => Some(Self::Refused),
            _ => None,
        }
    }
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Throttled => "throttled (a fault of the test)",
            Self::Unavailable => "unavailable (a fault of the test)",
            Self::Refused => "refused (a fault of the test)",
        }
    }
    pub(super) fn error(self) -> Error {
        Error::unavailable(self.reason())
    }
    /// Whether a partial fault hits this row of a batch.
    pub(super) fn hits(row: usize) -> bool {
        row.is_multiple_of(2)
    }
}

/// A table in memory behind a service that can fail.
pub(super) struct FaultyTable {
    pub(super) stage: Stage,
    pub(super) binding: String,
    pub(super) table: Arc<MemoryTable>,
}

impl FaultyTable {
    /// Puts the rows that get through.
    async fn put_some(&self, rows: &TableRows) -> Result<Vec<PutOutcome>> {
        let through: Vec<usize> = (0..rows.versions.len()).filter(|row| !Fault::hits(*row)).collect();
        let indices = UInt32Array::from_iter_values(through.iter().map(|row| *row as u32));
        let some = TableRows {
            rows: take_record_batch(&rows.rows, &indices)?,
            versions: through.iter().filter_map(|row| rows.versions.get(*row).copied()).collect(),
            stamps: through.iter().filter_map(|row| rows.stamps.get(*row).cloned()).collect(),
        };
        let mut done = if through.is_empty() { Vec::new() } else { self.table.put(&some).await? }.into_iter();
        let reason = Fault::Throttled.reason();
        let all = (0..rows.versions.len()).map(|row| match Fault::hits(row) {
            true => PutOutcome::Retry(reason.to_owned()),
            false => done.next().unwrap_or_else(|| PutOutcome::Retry(reason.to_owned())),
        });
        Ok(all.collect())
    }
}

#[async_trait]
impl TableStore for FaultyTable {
    async fn put(&self, rows: &TableRows) -> Result<Vec<PutOutcome>> {
        match self.stage.take_fault(&self.binding) {
            None => self.table.put(rows).await,
            Some(Fault::Throttled) => self.put_some(rows).await,
            Some(fault @ Fault::Unavailable) => Err(fault.error()),
            Some(fault @ Fault::Refused) => {
                Ok(rows.versions.iter().map(|_| PutOutcome::Refused(fault.reason().to_owned())).collect())
            }
        }
    }
    async fn get(&self, keys: &RecordBatch) -> Result<Vec<Option<StoredRow>>> {
        self.table.get(keys).await
    }
    async fn scan(&self) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        self.table.scan().await
    }
}
