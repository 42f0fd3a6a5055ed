//! Files of a sink as rows again, for queries.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use arrow::array::RecordBatch;
use bytes::Bytes;
use millstream_core::format::RecordFormat;
use millstream_core::sink::SinkOptions;
use millstream_core::source::{Position, RawRecord, RawRecords};
use millstream_core::{Error, EventTime, Result};
use millstream_formats::{compress, split};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::paths;
use crate::declared;
use crate::io_error::io_error;

/// The visible rows of the sink `options` with the path `template` below `root`: its user columns.
pub(crate) fn rows(root: &Path, template: &str, options: &SinkOptions) -> Result<Vec<RecordBatch>> {
    let mut batches = Vec::new();
    for file in paths::written(root, template)? {
        let found = file_rows(&file, options)
            .map_err(|e| Error::new(e.kind(), format!("cannot read `{}` back", file.display())).caused_by(e))?;
        batches.extend(found);
    }
    Ok(batches)
}

fn file_rows(path: &Path, options: &SinkOptions) -> Result<Vec<RecordBatch>> {
    match options.format {
        RecordFormat::Raw => Err(Error::config("files of raw records have no columns to query")),
        RecordFormat::Parquet => parquet_rows(path, options),
        format => {
            let raw = records(path, options, format)?;
            if raw.records.is_empty() {
                return Ok(Vec::new());
            }
            Ok(vec![declared::decode(format, &options.schema, &raw)?])
        }
    }
}

/// All records of a file of lines.
fn records(path: &Path, options: &SinkOptions, format: RecordFormat) -> Result<RawRecords> {
    let failed = |e| io_error("read", path, e);
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
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

fn parquet_rows(path: &Path, options: &SinkOptions) -> Result<Vec<RecordBatch>> {
    let failed = |e: Box<dyn std::error::Error + Send + Sync>| Error::environment("not a parquet file").caused_by(e);
    let file = File::open(path).map_err(|e| io_error("read", path, e))?;
    let reader = ParquetRecordBatchReaderBuilder::try_new(file)
        .and_then(ParquetRecordBatchReaderBuilder::build)
        .map_err(|e| failed(e.into()))?;
    reader.map(|rows| declared::conform(&rows.map_err(|e| failed(e.into()))?, &options.schema)).collect()
}
