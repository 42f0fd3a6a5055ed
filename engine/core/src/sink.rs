//! Writing rows: sinks and what they say of each row.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::format::{Compression, RecordFormat};
use crate::snapshot::{Snapshot, StateTable};

/// What a sink says of one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The sink has the row: see [`Sink::write`] for how safe it is.
    Done,
    /// This row can never succeed; the reason.
    Refused(String),
    /// This row did not get through this time and may the next; the reason.
    Retry(String),
}

/// What a sink may do with a file that is already there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WriteMode {
    /// New files only; every row once.
    #[default]
    Append,
    /// A file holds all current rows of its path, one per key, sorted by key.
    Overwrite,
}

/// When an append file is finished and made visible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roll {
    /// At this many bytes (before compression).
    pub bytes: u64,
    /// This long after its first row.
    pub every: Duration,
}

/// What a pipeline file says about one sink; a connector refuses what it cannot do.
#[derive(Debug, Clone)]
pub struct SinkOptions {
    /// Id of the sink node.
    pub id: String,
    /// Name of the pipeline.
    pub pipeline: String,
    /// The schema of the batches it will get, hidden columns included.
    pub schema: arrow::datatypes::SchemaRef,
    /// Columns that identify a row, for [`WriteMode::Overwrite`]; empty where the input has no key.
    pub key: Vec<String>,
    /// How rows are encoded.
    pub format: RecordFormat,
    /// How files are compressed.
    pub compression: Compression,
    /// Path template below the connector's root.
    pub path: Option<String>,
    /// Append or overwrite.
    pub mode: WriteMode,
    /// When append files roll.
    pub roll: Roll,
    /// Subject template of alerts.
    pub subject: Option<String>,
    /// Message template of alerts.
    pub message: Option<String>,
    /// Whether JSON writes decimals as strings.
    pub decimals_as_strings: bool,
    /// Which of the sink's instances this is (one per worker), and how many there are: for unique file names.
    pub instance: usize,
    /// See `instance`.
    pub instances: usize,
    /// Names the store of the pipeline's checkpoints, for as long as that is not removed. What two pipelines (or two
    /// profiles of one) stage in one place is told apart by it.
    pub state: String,
    /// The run of the pipeline: since its state was last empty. Names of files that are made visible tell it.
    pub run: String,
    /// Distinguishes what this process stages from what all others have. Never part of a visible name.
    pub generation: String,
    /// The number of the checkpoint that covers the first rows written; later ones follow one by one.
    pub checkpoint: u64,
}

/// What a sink makes of a crash: how often a row is there afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Commitment {
    /// Rows are out as soon as they are written; those since the last checkpoint are written again after a crash.
    #[default]
    Direct,
    /// The same, but writing a row again changes nothing: a row of a key replaces the one before.
    Keyed,
    /// Rows are staged when they are written and become visible at the checkpoint that covers them, each once.
    Staged,
    /// The engine keeps rows in its state and sends them after the checkpoint that covers them, with an id by which the
    /// receiver tells a second sending. Whether it does is the connector's to say.
    Outbox {
        /// A row that is sent twice is there once.
        deduplicates: bool,
    },
}

/// Names a batch of an outbox: the same rows have the same id, in the same order, whenever they are sent.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BatchId {
    /// The run of the pipeline: since its state was last empty.
    pub run: String,
    /// The checkpoint that covers the rows.
    pub checkpoint: u64,
    /// Which of the sink's instances gathered them.
    pub instance: usize,
    /// Counts the instance's batches of the checkpoint, from 0.
    pub sequence: u64,
}

impl BatchId {
    /// The id of the row with this number in the batch.
    pub fn row(&self, number: u32) -> String {
        format!("{self}-{number:06}")
    }
}

impl fmt::Display for BatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:06}-{}-{:06}", self.run, self.checkpoint, self.instance, self.sequence)
    }
}

/// What a sink has to make visible, and what it must not forget.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Prepared {
    /// For [`Sink::commit`]; `None` where there is nothing to make visible.
    pub staged: Option<serde_json::Value>,
    /// What [`Sink::restore`] needs.
    pub state: Snapshot,
}

/// Writes rows. One instance per worker; calls never overlap.
///
/// ```text
/// restore? -> ( write* -> prepare(n) -> [checkpoint n is claimed] -> commit(n) )*
/// ```
/// A process may die between any two of these, and another one goes on from the last claimed checkpoint: it commits
/// what that has staged (again), restores, and writes the rows behind it.
#[async_trait]
pub trait Sink: Send {
    /// Writes a batch and says what became of each row: as many outcomes as rows. Rows reported [`Outcome::Done`] are
    /// durable once the next `prepare` has returned (at once where the sink is [`Commitment::Direct`] or
    /// [`Commitment::Keyed`]). A row is reported `Done` at most once; rows reported [`Outcome::Retry`] are given
    /// again, alone.
    ///
    /// # Errors
    /// `Unavailable` where nothing of the batch was written: the whole batch is given again.
    async fn write(&mut self, batch: &Batch) -> Result<Vec<Outcome>>;
    /// Sends rows of a batch of an outbox: all of it, or those of it that were to be tried again. `numbers` has, by row of
    /// `rows`, its number in the whole batch: with `id` it names the row, whenever and with whichever others it is sent.
    /// Any of them may have been sent before, by this process or an earlier one. Only for [`Commitment::Outbox`]; else
    /// as `write`.
    ///
    /// # Errors
    /// As `write`, and `Indeterminate` where something may have been sent: the same rows are given again.
    async fn send(&mut self, id: &BatchId, numbers: &[u32], rows: &Batch) -> Result<Vec<Outcome>> {
        let _ = (id, numbers);
        self.write(rows).await
    }
    /// Called about once a second: finishes what is due by time (rolling files).
    ///
    /// # Errors
    /// As `write`.
    async fn poll(&mut self) -> Result<()> {
        Ok(())
    }
    /// Stages everything written so far, durably, for the checkpoint with this number, and says how to make it visible.
    /// The sink's state is all of it where `whole` is asked for, else what changed since the last call. May be called
    /// again with the same number after it failed.
    ///
    /// # Errors
    /// As `write`.
    async fn prepare(&mut self, checkpoint: u64, whole: bool) -> Result<Prepared> {
        let _ = (checkpoint, whole);
        Ok(Prepared::default())
    }
    /// Makes visible what this instance, or one of an earlier process, has staged for a checkpoint. Idempotent: what is
    /// visible already stays as it is. Never replaces what a later checkpoint made visible.
    ///
    /// # Errors
    /// As `write`; `Environment` where what was staged is gone and is not visible either: rows are lost, and the
    /// message names them.
    async fn commit(&mut self, checkpoint: u64, staged: &serde_json::Value) -> Result<()> {
        let _ = (checkpoint, staged);
        Ok(())
    }
    /// Takes back the state of `prepare`, of all instances: the tables of all layers, oldest first. Called at most
    /// once, before anything is written.
    ///
    /// # Errors
    /// `Bug` where the tables are not of this sink.
    async fn restore(&mut self, tables: Vec<StateTable>) -> Result<()> {
        let _ = tables;
        Ok(())
    }
    /// Removes what earlier processes have staged and will never be committed, and no more than that: see
    /// [`crate::stager::Stager::supersedes`]. Called on instance 0 as soon as a checkpoint of this process is claimed
    /// and visible.
    ///
    /// # Errors
    /// As `write`.
    async fn clean(&mut self) -> Result<()> {
        Ok(())
    }
    /// What a person should know after the run: where the rows went, such as `12 files under out/raw`.
    fn summary(&self) -> Option<String> {
        None
    }
}

/// What to do with a row that can never succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BadRow {
    /// It leaves by the node's `.failed` port.
    #[default]
    Route,
    /// The pipeline stops.
    Fail,
    /// It is counted and dropped.
    Drop,
}

/// What to do while a service is down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outage {
    /// Retry for ever and hold the sources back.
    #[default]
    Block,
    /// Retry until `give_up_after`, then the rows leave by the node's `.failed` port.
    Route,
    /// Retry until `give_up_after`, then the pipeline stops.
    Fail,
}

/// How a sink or table deals with trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery {
    /// First pause after a failure; doubles each time, with jitter.
    pub backoff: Duration,
    /// Longest pause.
    pub max_backoff: Duration,
    /// How long one batch is tried before an outage is acted on.
    pub give_up_after: Duration,
    /// See [`BadRow`].
    pub bad_row: BadRow,
    /// See [`Outage`].
    pub outage: Outage,
}

impl Default for Delivery {
    fn default() -> Self {
        Self {
            backoff: Duration::from_millis(200),
            max_backoff: Duration::from_secs(30),
            give_up_after: Duration::from_secs(15 * 60),
            bad_row: BadRow::Route,
            outage: Outage::Block,
        }
    }
}

impl fmt::Display for WriteMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Append => "append",
            Self::Overwrite => "overwrite",
        })
    }
}

/// A sink that cannot be asked for an option says so with this message.
pub fn unsupported(connector: &str, option: &str) -> Error {
    Error::config(format!("`{connector}` does not know the sink option `{option}`"))
}
