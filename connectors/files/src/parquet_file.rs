//! Reading a Parquet file: its rows, handed on as JSON records, one row group after the other.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use millstream_core::format::{Encoder, RecordFormat};
use millstream_core::source::{Position, RawRecord, RawRecords, Read};
use millstream_core::{Error, EventTime, Result};
use millstream_formats::{EncodeOptions, encoder, split};
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use parquet::file::reader::ChunkReader;

use crate::ahead::RunReader;

const RUN_ROWS: usize = 4096;

/// A Parquet file, wherever it is.
pub trait ParquetInput: Send + 'static {
    /// What gives bytes of it.
    type Chunks: ChunkReader + 'static;
    /// What it says of itself, and when it was last written.
    ///
    /// # Errors
    /// `Environment` where it is no Parquet file, `Unavailable` to be asked again.
    fn metadata(&self) -> Result<(ParquetMetaData, EventTime)>;
    /// What gives at least the bytes in this range, which are those of a row group.
    ///
    /// # Errors
    /// As `metadata`.
    fn chunks(&self, bytes: Range<u64>) -> Result<Self::Chunks>;
    /// Its contents are not what they should be.
    fn damaged(&self, error: ParquetError) -> Error;
}

/// Reads the rows of a file in order; positions are row numbers.
pub struct ParquetFile<I> {
    file: I,
    metadata: ArrowReaderMetadata,
    encoder: Box<dyn Encoder>,
    /// The row group that is read next.
    next: usize,
    /// Of the row group before it, what was not read yet.
    rows: Option<ParquetRecordBatchReader>,
    /// Rows handed on.
    done: u64,
    /// Rows of the next group that were handed on before.
    skip: usize,
    arrived_at: EventTime,
}

impl<I: ParquetInput> ParquetFile<I> {
    /// Opens a file behind its first `after` rows.
    ///
    /// # Errors
    /// As the input.
    pub fn open(file: I, after: u64) -> Result<Self> {
        let (metadata, arrived_at) = file.metadata()?;
        let metadata = ArrowReaderMetadata::try_new(Arc::new(metadata), ArrowReaderOptions::new());
        let metadata = metadata.map_err(|e| file.damaged(e))?;
        let encoder = encoder(RecordFormat::Json, metadata.schema(), &EncodeOptions { decimals_as_strings: false })?;
        let (mut next, mut skip) = (0, after);
        for group in metadata.metadata().row_groups() {
            let rows = u64::try_from(group.num_rows()).unwrap_or(0);
            if skip < rows {
                break;
            }
            skip -= rows;
            next += 1;
        }
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        Ok(Self { file, metadata, encoder, next, rows: None, done: after, skip, arrived_at })
    }

    /// The next rows; none at the end.
    fn rows(&mut self) -> Result<Option<arrow::array::RecordBatch>> {
        loop {
            if let Some(rows) = &mut self.rows {
                match rows.next() {
                    Some(Ok(rows)) if rows.num_rows() > 0 => return Ok(Some(rows)),
                    Some(Ok(_)) => continue,
                    Some(Err(e)) => return Err(self.file.damaged(e.into())),
                    None => self.rows = None,
                }
            }
            let Some(group) = self.metadata.metadata().row_groups().get(self.next) else { return Ok(None) };
            let chunks = self.file.chunks(bytes_of(group))?;
            let rows = ParquetRecordBatchReaderBuilder::new_with_metadata(chunks, self.metadata.clone())
                .with_row_groups(vec![self.next])
                .with_batch_size(RUN_ROWS)
                .with_offset(std::mem::take(&mut self.skip))
                .build();
            self.rows = Some(rows.map_err(|e| self.file.damaged(e))?);
            self.next += 1;
        }
    }
}

/// Where the columns of a row group are.
fn bytes_of(group: &RowGroupMetaData) -> Range<u64> {
    let ranges = group.columns().iter().map(|column| column.byte_range());
    let (from, to) = ranges
        .fold((u64::MAX, 0), |(from, to), (start, length)| (from.min(start), to.max(start.saturating_add(length))));
    from.min(to)..to
}

impl<I: ParquetInput> RunReader for ParquetFile<I> {
    fn read(&mut self) -> Result<Read> {
        let Some(rows) = self.rows()? else { return Ok(Read::Finished) };
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

impl<I> std::fmt::Debug for ParquetFile<I> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ParquetFile").field("rows", &self.done).finish_non_exhaustive()
    }
}
