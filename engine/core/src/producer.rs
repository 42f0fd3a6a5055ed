//! Putting records into the stream that a source reads: what `millstream produce` does.

use async_trait::async_trait;
use bytes::Bytes;

use crate::error::Result;
use crate::sink::Outcome;

/// A record that is to be in a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRecord {
    /// Counts the records that one producer was given: the same whenever the record is given again.
    pub number: u64,
    /// Records of one key are read in the order in which they were put. Never empty.
    pub key: String,
    /// What readers get.
    pub data: Bytes,
}

/// Puts records into a stream. Calls never overlap.
#[async_trait]
pub trait Producer: Send {
    /// Puts records and says what became of each: as many outcomes as records. A record reported [`Outcome::Done`] is in
    /// the stream for good. Behind a record reported [`Outcome::Retry`], all others of its key are so too and are not
    /// in the stream: given again in their order, they keep it.
    ///
    /// # Errors
    /// `Unavailable` where none was put; `Indeterminate` where some may have been. The same records are given again.
    async fn put(&mut self, records: &[NewRecord]) -> Result<Vec<Outcome>>;
}
