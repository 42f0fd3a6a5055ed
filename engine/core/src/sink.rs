//! Writing rows: sinks and what they say of each row.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::batch::Batch;
use crate::error::{Error, Result};
use crate::format::{Compression, RecordFormat};

/// What a sink says of one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The row is durable, or durably staged for the next [`Sink::commit`].
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
    /// Distinguishes the files of this start of the pipeline from those of all others.
    pub generation: String,
}

/// Writes rows. One instance per worker; calls never overlap.
#[async_trait]
pub trait Sink: Send {
    /// Writes a batch and says what became of each row: as many outcomes as rows. Every row reported
    /// [`Outcome::Done`] is durable, or durably staged where the sink works in two phases. A row is reported
    /// `Done` at most once; rows reported [`Outcome::Retry`] are given again, alone.
    ///
    /// # Errors
    /// `Unavailable` where nothing of the batch was written: the whole batch is given again.
    async fn write(&mut self, batch: &Batch) -> Result<Vec<Outcome>>;
    /// Called about once a second: finishes what is due by time (rolling files).
    ///
    /// # Errors
    /// As `write`.
    async fn poll(&mut self) -> Result<()> {
        Ok(())
    }
    /// Makes all that was staged so far visible, atomically per file. Called at every checkpoint and at the end;
    /// calling it again without a write between changes nothing.
    ///
    /// # Errors
    /// As `write`.
    async fn commit(&mut self) -> Result<()> {
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
