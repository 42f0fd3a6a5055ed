//! Bytes <-> rows.

use arrow::array::RecordBatch;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::source::RawRecords;

/// How the records of a stream are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RecordFormat {
    /// One JSON object per record (per line in files).
    #[default]
    Json,
    /// Comma-separated values; the first line of a file names the columns.
    Csv,
    /// Apache Parquet. Readers hand its rows on as JSON records.
    Parquet,
    /// The bytes as they are.
    Raw,
}

/// How files are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// gzip (RFC 1952).
    Gzip,
    /// Zstandard (RFC 8878).
    Zstd,
}

/// Why a record was refused: a rule's name and its filled-in reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// Short and stable, for counting: `bad_json`, `missing_field`, `wrong_type`, or a rule's id.
    pub rule: String,
    /// For people: names the field and the value.
    pub text: String,
}

/// What became of a run of raw records: every record is in exactly one of the two.
#[derive(Debug)]
pub struct Decoded {
    /// The rows that fit the schema: user columns only, in the order of their records.
    pub rows: RecordBatch,
    /// For each row, the index of its record.
    pub accepted: Vec<u32>,
    /// The records that do not fit, each with every reason found.
    pub rejected: Vec<(u32, Vec<Reason>)>,
}

/// Turns records into rows of a declared schema. Undecodable records are values, never errors, and one bad
/// record never costs its neighbours.
pub trait Decoder: Send {
    /// Decodes a run.
    ///
    /// # Errors
    /// `Bug` only.
    fn decode(&mut self, raw: &RawRecords) -> Result<Decoded>;
}

/// Turns rows into bytes.
pub trait Encoder: Send {
    /// Appends the rows' user columns to `out`, ready to be concatenated with earlier calls' output.
    ///
    /// # Errors
    /// `BadRow` where a value cannot be expressed in the format.
    fn encode(&mut self, rows: &RecordBatch, out: &mut Vec<u8>) -> Result<()>;
    /// Appends what must stand behind the last row of a file (a Parquet footer).
    ///
    /// # Errors
    /// `Bug` only.
    fn finish(&mut self, out: &mut Vec<u8>) -> Result<()>;
}
