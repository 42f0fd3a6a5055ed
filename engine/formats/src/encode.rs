//! Rows into bytes: JSON lines, CSV, Parquet. Hidden columns are never written.

use arrow::array::RecordBatch;
use millstream_core::batch::is_hidden;
use millstream_core::format::{Encoder, RecordFormat};
use millstream_core::{Error, Result};

use arrow::datatypes::SchemaRef;

use crate::raw::{RAW, RawEncoder};
use crate::value::{JsonOptions, JsonRows};

mod csv;
mod parquet;

/// How a sink wants its rows written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EncodeOptions {
    /// JSON writes decimals as strings instead of numbers with exactly their digits.
    pub decimals_as_strings: bool,
}

/// An encoder of rows of `schema`. What stands once at a file's beginning (a CSV header) comes with the first rows
/// after the start and after each `finish`.
///
/// # Errors
/// `Config` where the schema cannot be expressed in the format.
pub fn encoder(format: RecordFormat, schema: &SchemaRef, options: &EncodeOptions) -> Result<Box<dyn Encoder>> {
    Ok(match format {
        RecordFormat::Json => {
            Box::new(JsonEncoder { options: JsonOptions { decimals_as_strings: options.decimals_as_strings } })
        }
        RecordFormat::Csv => Box::new(csv::CsvEncoder::new(schema)),
        RecordFormat::Parquet => Box::new(parquet::ParquetEncoder::new(schema)?),
        RecordFormat::Raw => {
            if schema.index_of(RAW).is_err() {
                let message = "the format `raw` writes the column `raw`, which these rows do not have";
                return Err(Error::config(message));
            }
            Box::new(RawEncoder)
        }
    })
}

/// Writes one JSON object per line.
#[derive(Debug)]
struct JsonEncoder {
    options: JsonOptions,
}

impl Encoder for JsonEncoder {
    fn encode(&mut self, rows: &RecordBatch, out: &mut Vec<u8>) -> Result<()> {
        let columns = JsonRows::new(rows, self.options)?;
        for row in 0..rows.num_rows() {
            columns.write(row, out);
            out.push(b'\n');
        }
        Ok(())
    }

    fn finish(&mut self, _out: &mut Vec<u8>) -> Result<()> {
        Ok(())
    }
}

/// The places of a schema's user columns.
fn user_columns(schema: &SchemaRef) -> Vec<usize> {
    schema.fields().iter().enumerate().filter(|(_, f)| !is_hidden(f.name())).map(|(i, _)| i).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use arrow::array::{ArrayRef, BinaryArray, Int32Array, StringArray};
    use millstream_core::batch::hidden;

    fn rows() -> RecordBatch {
        RecordBatch::try_from_iter_with_nullable([
            ("a,b", Arc::new(StringArray::from(vec![Some("x \"y\""), Some(""), None])) as ArrayRef, true),
            ("bytes", Arc::new(BinaryArray::from(vec![Some(&b"hi"[..]), None, Some(b"\n")])), true),
            (hidden::POSITION, Arc::new(Int32Array::from(vec![1, 2, 3])), true),
        ])
        .unwrap()
    }
    fn encoded(format: RecordFormat, rows: &RecordBatch, times: usize) -> Vec<u8> {
        let mut encoder = encoder(format, &rows.schema(), &EncodeOptions::default()).unwrap();
        let mut out = Vec::new();
        for _ in 0..times {
            encoder.encode(rows, &mut out).unwrap();
        }
        encoder.finish(&mut out).unwrap();
        out
    }

    #[test]
    fn csv_quotes_what_it_must() {
        let text = String::from_utf8(encoded(RecordFormat::Csv, &rows(), 1)).unwrap();
        assert_eq!(text, "\"a,b\",bytes\n\"x \"\"y\"\"\",aGk=\n\"\",\n,Cg==\n");
    }

    #[test]
    fn csv_has_one_header_and_no_empty_lines() {
        let alone = rows().project(&[0]).unwrap();
        let text = String::from_utf8(encoded(RecordFormat::Csv, &alone, 2)).unwrap();
        let once = "\"x \"\"y\"\"\"\n\"\"\n\"\"\n";
        assert_eq!(text, format!("\"a,b\"\n{once}{once}"));
    }

    #[test]
    fn hidden_columns_are_nobodys_business() {
        let json = String::from_utf8(encoded(RecordFormat::Json, &rows(), 1)).unwrap();
        assert_eq!(json.lines().next(), Some(r#"{"a,b":"x \"y\"","bytes":"hi"}"#));
        let file = bytes::Bytes::from(encoded(RecordFormat::Parquet, &rows(), 1));
        let reader = ::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
        assert_eq!(reader.schema().fields().len(), 2);
    }

    #[test]
    fn an_empty_parquet_file_is_a_file() {
        let mut encoder = encoder(RecordFormat::Parquet, &rows().schema(), &EncodeOptions::default()).unwrap();
        let mut out = Vec::new();
        encoder.finish(&mut out).unwrap();
        assert!(out.ends_with(b"PAR1"));
    }

    #[test]
    fn raw_needs_its_column() {
        let error = encoder(RecordFormat::Raw, &rows().schema(), &EncodeOptions::default()).err().unwrap();
        assert_eq!(error.kind(), millstream_core::ErrorKind::Config);
    }
}
