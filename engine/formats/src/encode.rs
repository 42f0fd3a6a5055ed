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
