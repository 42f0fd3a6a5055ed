//! Keyed rows with versions, in a store outside the engine.
//!
//! A store holds at most one row per key. Beside the table's columns it keeps two technical ones:
//! [`VERSION`], the number of distinct events applied to the row, and [`STAMPS`], what `latest_by` needs to
//! merge two versions of a row (JSON text, opaque to the store).

use std::time::Duration;

use arrow::array::RecordBatch;
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
