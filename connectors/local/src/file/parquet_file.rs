//! Reading a Parquet file: its rows, handed on as JSON records.

use std::fs::File;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use millstream_core::format::{Encoder, RecordFormat};
use millstream_core::source::{Position, RawRecord, RawRecords, Read};
use millstream_core::{Error, EventTime, Result};
use millstream_formats::{EncodeOptions, encoder, split};
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

use crate::ahead::RunReader;
use crate::clock::from_system;
use crate::io_error::io_error;

const RUN_ROWS: usize = 4096;

/// Reads the rows of a file in order; positions are row numbers.
pub(crate) struct ParquetFile {
    path: PathBuf,
    rows: ParquetRecordBatchReader,
    encoder: Box<dyn Encoder>,
    done: u64,
    arrived_at: EventTime,
}

fn damaged(path: &Path, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::environment(format!("cannot read `{}` as a parquet file", path.display())).caused_by(error)
}

impl ParquetFile {
    /// Opens a file behind its first `after` rows.
    pub(crate) fn open(path: &Path, after: u64) -> Result<Self> {
        let file = File::open(path).map_err(|e| io_error("read", path, e))?;
        let written = file.metadata().and_then(|m| m.modified()).map_err(|e| io_error("read", path, e))?;
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|e| damaged(path, e))?;
        let schema = builder.schema().clone();
        let rows = builder
            .with_batch_size(RUN_ROWS)
            .with_offset(usize::try_from(after).unwrap_or(usize::MAX))
            .build()
            .map_err(|e| damaged(path, e))?;
        let encoder = encoder(RecordFormat::Json, &schema, &EncodeOptions { decimals_as_strings: false })?;
        Ok(Self { path: path.to_owned(), rows, encoder, done: after, arrived_at: from_system(written) })
    }
}

impl RunReader for ParquetFile {
    fn read(&mut self) -> Result<Read> {
        let rows = loop {
            match self.rows.next() {
                None => return Ok(Read::Finished),
                Some(rows) => {
                    let rows = rows.map_err(|e| damaged(&self.path, e))?;
                    if rows.num_rows() > 0 {
                        break rows;
                    }
                }
            }
        };
        let mut buffer = Vec::with_capacity(rows.num_rows() * 128);
        self.encoder.encode(&rows, &mut buffer)?;
        let records = split::lines(&buffer, 0, true)
            .enumerate()
            .map(|(row, range)| RawRecord {
                start: range.start as u32,
                len: range.len() as u32,
                position: Position::Offset(self.done + row as u64 + 1),
                arrived_at: self.arrived_at,
            })
            .collect();
        self.done += rows.num_rows() as u64;
        let records = RawRecords { buffer: Bytes::from(buffer), records, header: None };
        Ok(Read::Records { records, upto: Position::Offset(self.done), behind: None })
    }
}
