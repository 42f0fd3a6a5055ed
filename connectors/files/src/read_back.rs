//! Files of a sink as rows again, for queries.

use std::io::Read;

use arrow::array::RecordBatch;
use bytes::Bytes;
use millstream_core::format::RecordFormat;
use millstream_core::sink::SinkOptions;
use millstream_core::source::{Position, RawRecord, RawRecords};
use millstream_core::{Error, EventTime, Result};
use millstream_formats::{compress, split};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::reader::ChunkReader;

use millstream_formats::declared;

/// The rows of a file of the sink `options`: its user columns.
///
/// # Errors
/// `Environment` where it is not such a file; `Config` where its format has no columns.
pub fn rows(file: impl ChunkReader + Read + 'static, options: &SinkOptions) -> Result<Vec<RecordBatch>> {
    match options.format {
        RecordFormat::Raw => Err(Error::config("files of raw records have no columns to query")),
        RecordFormat::Parquet => parquet_rows(file, options),
        format => lines(file, options, format),
    }
}

/// The same of a file in memory.
///
/// # Errors
/// As `rows`.
pub fn rows_of_bytes(file: Bytes, options: &SinkOptions) -> Result<Vec<RecordBatch>> {
    match options.format {
        RecordFormat::Raw => Err(Error::config("files of raw records have no columns to query")),
        RecordFormat::Parquet => parquet_rows(file, options),
        format => lines(std::io::Cursor::new(file), options, format),
    }
}

fn lines(file: impl Read + Send + 'static, options: &SinkOptions, format: RecordFormat) -> Result<Vec<RecordBatch>> {
    let raw = records(file, options, format)?;
    if raw.records.is_empty() {
        return Ok(Vec::new());
    }
    Ok(vec![declared::decode(format, &options.schema, &raw)?])
}

/// All records of a file of lines.
fn records(file: impl Read + Send + 'static, options: &SinkOptions, format: RecordFormat) -> Result<RawRecords> {
    let failed = |e| Error::environment("it cannot be read, or is not compressed as was said").caused_by(e);
    let mut bytes = Vec::new();
    compress::reader(file, options.compression).map_err(failed)?.read_to_end(&mut bytes).map_err(failed)?;
    let buffer = Bytes::from(bytes);
    let csv = format == RecordFormat::Csv;
    let mut ranges = if csv { split::csv_records(&buffer, 0, true) } else { split::lines(&buffer, 0, true) };
    let header = if csv { ranges.next().map(|range| buffer.slice(range)) } else { None };
    let records = ranges
        .enumerate()
        .map(|(i, range)| RawRecord {
            start: range.start as u32,
            len: range.len() as u32,
            position: Position::Offset(i as u64 + 1),
            arrived_at: EventTime(0),
        })
        .collect();
    Ok(RawRecords { buffer, records, header })
}

fn parquet_rows(file: impl ChunkReader + 'static, options: &SinkOptions) -> Result<Vec<RecordBatch>> {
    let failed = |e: Box<dyn std::error::Error + Send + Sync>| Error::environment("not a parquet file").caused_by(e);
    let reader = ParquetRecordBatchReaderBuilder::try_new(file)
        .and_then(ParquetRecordBatchReaderBuilder::build)
        .map_err(|e| failed(e.into()))?;
    reader.map(|rows| declared::conform(&rows.map_err(|e| failed(e.into()))?, &options.schema)).collect()
}
