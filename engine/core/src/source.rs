//! Reading: sources, their splits, and raw records.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::format::RecordFormat;
use crate::time::EventTime;

/// Names a split within its source: a shard id, a file, a file with its byte range. Stable across restarts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SplitId(pub String);

impl fmt::Display for SplitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where in a split a record stands; meaningful only to the connector that made it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Position {
    /// A byte offset or record number.
    Offset(u64),
    /// Anything else, such as a Kinesis sequence number with its sub-sequence number.
    Text(Arc<str>),
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Offset(n) => write!(f, "{n}"),
            Self::Text(t) => f.write_str(t),
        }
    }
}

/// The unit of ordered reading.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Split {
    /// Its name.
    pub id: SplitId,
    /// Splits that must be read to their end before this one starts (parents of a Kinesis shard).
    pub parents: Vec<SplitId>,
    /// Bytes to read, where that is known: for progress and for balancing.
    pub size: Option<u64>,
}

/// One record within a [`RawRecords`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawRecord {
    /// First byte in the shared buffer.
    pub start: u32,
    /// Length in bytes, without a line terminator.
    pub len: u32,
    /// Where it stands in its split.
    pub position: Position,
    /// When it reached the stream.
    pub arrived_at: EventTime,
}

/// A run of records of one split, in the split's order, in one shared buffer (at most 4 GiB).
#[derive(Debug, Clone, Default)]
pub struct RawRecords {
    /// The bytes of all records, and what stands between them.
    pub buffer: Bytes,
    /// The records.
    pub records: Vec<RawRecord>,
    /// The header line that names the columns, for formats that have one (CSV); the same allocation for
    /// a whole split, so that a decoder can compare it by pointer.
    pub header: Option<Bytes>,
}

impl RawRecords {
    /// The bytes of record `i`; empty where there is no such record.
    pub fn bytes(&self, i: usize) -> &[u8] {
        self.records
            .get(i)
            .and_then(|r| self.buffer.get(r.start as usize..r.start as usize + r.len as usize))
            .unwrap_or_default()
    }
    /// Total bytes of its records.
    pub fn total_bytes(&self) -> u64 {
        self.records.iter().map(|r| u64::from(r.len)).sum()
    }
}

/// What a reader found.
#[derive(Debug)]
pub enum Read {
    /// Records, in order. `upto` covers all of them: a reader opened `after` it gives exactly what follows.
    Records {
        /// The records; possibly none where only the position moved on.
        records: RawRecords,
        /// Resume point behind the last of them.
        upto: Position,
        /// How far behind the stream's end the split now is, where the stream says so.
        behind: Option<std::time::Duration>,
    },
    /// Nothing now; the split is caught up.
    Idle,
    /// Nothing now, and the split is not caught up: how far behind the stream's end it is. An empty answer of a service
    /// says nothing about what follows it.
    Behind(std::time::Duration),
    /// The split is read to its end and will never have more.
    Finished,
}

/// All splits that were read to their end: those known to be `finished`, and the ancestors of these and of the `begun` ones,
/// since a child begins only when its parents have ended. A checkpoint forgets a split once its children are in it; the
/// stream may list it for longer.
pub fn ended<'a, P>(
    begun: &BTreeSet<SplitId>,
    finished: &BTreeSet<SplitId>,
    parents: impl Fn(&SplitId) -> P,
) -> BTreeSet<SplitId>
where
    P: IntoIterator<Item = &'a SplitId>,
{
    let mut ended = finished.clone();
    let mut follow: Vec<SplitId> = begun.iter().chain(finished).cloned().collect();
    while let Some(id) = follow.pop() {
        follow.extend(parents(&id).into_iter().filter(|p| ended.insert((*p).clone())).cloned());
    }
    ended
}

/// Lists the splits of a stream and opens them. Asked again on a timer unless [`SplitSource::bounded`].
#[async_trait]
pub trait SplitSource: Send + Sync {
    /// Told once before the first `discover` of a run that goes on from a checkpoint: the splits it had begun and not
    /// finished. Their ancestors were read to their end, whether `finished` still names them or not.
    fn resume(&self, begun: &BTreeSet<SplitId>) {
        let _ = begun;
    }
    /// All splits that have not [`ended`], in a stable order. A child is
    /// returned only after its parents are in `finished`, and all children of a split together. How an input is cut into
    /// splits never depends on the number of workers.
    ///
    /// # Errors
    /// `Environment` where the input does not exist or may not be read; `Unavailable` to be asked again.
    async fn discover(&self, finished: &BTreeSet<SplitId>) -> Result<Vec<Split>>;
    /// Where a split begins of which nothing was read, if that is not its beginning and would be another place if it
    /// were asked for again, such as the end of a stream. It is in a checkpoint before the first read.
    fn begins_at(&self, split: &SplitId) -> Option<Position> {
        let _ = split;
        None
    }
    /// Whether children follow the finished split: it then holds the stream's watermark back, and stays in checkpoints,
    /// until they are there.
    fn has_children(&self, finished: &SplitId) -> bool {
        let _ = finished;
        false
    }
    /// What it has counted since it was opened, by names for people: what it left out, and why.
    fn counters(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }
    /// A reader that begins right behind `after`, or at the split's beginning.
    ///
    /// # Errors
    /// As `discover`.
    async fn open(&self, split: &Split, after: Option<Position>) -> Result<Box<dyn SplitReader>>;
    /// Whether the first `discover` names every split there will ever be and each ends with
    /// [`Read::Finished`]: such an input ends, and its watermark then reaches [`crate::Watermark::COMPLETE`].
    fn bounded(&self) -> bool;
    /// Whether the records of a split come in event-time order up to `max_delay`. Where they do not, the
    /// watermark of a bounded split moves only at its end.
    fn ordered(&self) -> bool;
    /// Whether a record leaves the stream once a checkpoint covers it, as in a queue. Positions then name records; records
    /// that are applied and not known to have left are in every checkpoint, and readers are told of both.
    fn acknowledges(&self) -> bool {
        false
    }
    /// Whether a row is late by when its record arrived, and not by what was read before it: for streams whose records
    /// come in another order when they are read again.
    fn late_by_arrival(&self) -> bool {
        false
    }
    /// How its records are encoded.
    fn format(&self) -> RecordFormat;
}

/// A record that is applied, and is not known to have left its stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// Names it.
    pub position: Position,
    /// When it reached the stream.
    pub arrived_at: EventTime,
}

/// Reads one split in order. Cancel-safe: a dropped `next` loses no record.
#[async_trait]
pub trait SplitReader: Send {
    /// The next run of records; waits for a while where there is none yet, then says [`Read::Idle`].
    ///
    /// # Errors
    /// `Unavailable` to be asked again after a back-off; anything else ends the pipeline.
    async fn next(&mut self) -> Result<Read>;
    /// Records that earlier processes have applied: they are not to be given again. Called once, before the first `next`,
    /// where the source [acknowledges](SplitSource::acknowledges).
    fn applied(&mut self, records: &[Applied]) {
        let _ = records;
    }
    /// A checkpoint that counts covers these records: they are to leave the stream. Gives those that have left it for good,
    /// of these and of all before; the others are tried at the next call. Takes seconds at most.
    ///
    /// # Errors
    /// What does not pass by itself.
    async fn acknowledge(&mut self, covered: &[Position]) -> Result<Vec<Position>> {
        Ok(covered.to_vec())
    }
    /// Nothing more is to be read. These records were given and are not applied, and what was read ahead never will be:
    /// others may have them now.
    async fn release(&mut self, records: &[Position]) {
        let _ = records;
    }
}
