//! Keyed rows with versions, in a store outside the engine.
//!
//! A store holds at most one row per key. Beside the table's columns it keeps technical ones: [`VERSION`], the
//! number of distinct events applied to the row; [`STAMPS`], what `latest_by` needs to merge two versions of a row
//! (JSON text, opaque to the store); [`EXPIRES_AT`], and [`TRUNCATED`].

use std::time::Duration;

use arrow::array::{RecordBatch, UInt32Array};
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use futures::stream::BoxStream;

use crate::error::Result;

/// Name of the version column in the store.
pub const VERSION: &str = "_version";
/// The version that a row without one counts as: another program's. A key's first put has version 1, so it never
/// overwrites such a row unseen; merged with it, the next one does.
pub const UNVERSIONED: u64 = 1;
/// Name of the column in the store that holds merge stamps.
pub const STAMPS: &str = "_stamps";
/// Name of the column in the store that holds the expiry, in epoch seconds.
pub const EXPIRES_AT: &str = "_expires_at";
/// Name of the column in the store that names the columns whose values were cut, for readers of the store.
pub const TRUNCATED: &str = "_truncated";
/// The columns a store keeps beside the table's own; no column of a table may be named so.
pub const TECHNICAL: [&str; 4] = [VERSION, STAMPS, EXPIRES_AT, TRUNCATED];

/// A table of the pipeline, as its store must know it.
#[derive(Debug, Clone)]
pub struct TableSchema {
    /// Id of the table in the pipeline file; the name of the table in stores that have one.
    pub name: String,
    /// Columns that identify a row; they are among `columns` and never null.
    pub key: Vec<String>,
    /// The user's columns.
    pub columns: SchemaRef,
    /// How long after its last write a row expires.
    pub ttl: Option<Duration>,
}

/// Absolute rows to put, at most one per key.
#[derive(Debug, Clone)]
pub struct TableRows {
    /// The table's columns, in its order.
    pub rows: RecordBatch,
    /// Per row, the number of distinct events applied to it: greater means later.
    pub versions: Vec<u64>,
    /// Per row, what `latest_by` needs to merge it; `None` where the table does not use it.
    pub stamps: Vec<Option<String>>,
    /// Per row, the names of the columns whose values were cut, separated by commas.
    pub truncated: Vec<Option<String>>,
}

impl TableRows {
    /// The rows at `indices`, in that order.
    ///
    /// # Errors
    /// `Bug` where an index is out of bounds.
    pub fn take(&self, indices: &[usize]) -> Result<Self> {
        let rows = UInt32Array::from(indices.iter().map(|i| *i as u32).collect::<Vec<_>>());
        Ok(Self {
            rows: arrow::compute::take_record_batch(&self.rows, &rows)?,
            versions: indices.iter().filter_map(|i| self.versions.get(*i).copied()).collect(),
            stamps: indices.iter().filter_map(|i| self.stamps.get(*i).cloned()).collect(),
            truncated: indices.iter().filter_map(|i| self.truncated.get(*i).cloned()).collect(),
        })
    }
}

/// A row as the store has it.
#[derive(Debug, Clone)]
pub struct StoredRow {
    /// One row of the table's columns; columns the store does not have are null.
    pub row: RecordBatch,
    /// Its version; [`UNVERSIONED`] where another program wrote the row.
    pub version: u64,
    /// See [`TableRows::stamps`].
    pub stamps: Option<String>,
}

/// What a store says of one row.
#[derive(Debug, Clone)]
pub enum PutOutcome {
    /// The row is durable: there was none, or one of a lower version.
    Written,
    /// The store has a row of the same or a greater version; it is unchanged.
    Stale(Box<StoredRow>),
    /// This row can never be put; the reason.
    Refused(String),
    /// This row did not get through this time; the reason.
    Retry(String),
    /// This row was tried for as long as the pipeline file allows; said by the runtime, never by a store.
    GivenUp(String),
}

/// Keyed rows with versions. Several workers share one store; keys never overlap between them.
#[async_trait]
pub trait TableStore: Send + Sync {
    /// Puts each row on the condition that the stored row has a lower version ([`UNVERSIONED`] where it has none): as
    /// many outcomes as rows.
    /// Atomic per row. Every row reported [`PutOutcome::Written`] is durable.
    ///
    /// # Errors
    /// `Unavailable` where nothing was put; `Indeterminate` where something may have been (putting again is
    /// safe: an own row of the same version comes back as `Stale` and equal).
    async fn put(&self, rows: &TableRows) -> Result<Vec<PutOutcome>>;
    /// Rows by key, in the order of `keys` (columns of the key, in its order).
    ///
    /// # Errors
    /// `Unavailable`.
    async fn get(&self, keys: &RecordBatch) -> Result<Vec<Option<StoredRow>>>;
    /// All rows that have not expired: the table's columns. In no particular order.
    ///
    /// # Errors
    /// `Unavailable`, also within the stream.
    async fn scan(&self) -> Result<BoxStream<'static, Result<RecordBatch>>>;
}
