//! Records as they are: one row each, its bytes in the one column.

use std::sync::Arc;

use arrow::array::RecordBatch;
use millstream_core::format::{Decoded, Decoder, Encoder};
use millstream_core::schema::{ColumnType, SourceSchema};
use millstream_core::source::RawRecords;
use millstream_core::{Error, Result};

use crate::column::Values;
use crate::rows::{Rows, Utf8Check};
use crate::value::Cells;

/// The column that raw sinks write.
pub const RAW: &str = "raw";

/// Puts each record's bytes into the one declared column.
#[derive(Debug)]
pub(crate) struct RawDecoder {
    rows: Rows,
    is_text: bool,
}

impl RawDecoder {
    /// A decoder into the one column of `schema`.
    ///
    /// # Errors
    /// `Config` where there is not exactly one, or it holds neither bytes nor text.
    pub(crate) fn new(schema: &Arc<SourceSchema>) -> Result<Self> {
        let is_text = match schema.columns.as_slice() {
            [column] if column.column_type == ColumnType::Bytes => false,
            [column] if column.column_type == ColumnType::String => true,
            _ => {
                return Err(Error::config(
                    "the format `raw` needs a schema of exactly one column, of type bytes or string",
                ));
            }
        };
        Ok(Self { rows: Rows::new(schema)?, is_text })
    }
}

impl Decoder for RawDecoder {
    fn decode(&mut self, raw: &RawRecords) -> Result<Decoded> {
        let utf8 = Utf8Check::of(raw)?;
        self.rows.begin(raw.records.len());
        for i in 0..raw.records.len() {
            let bytes = raw.bytes(i);
            let mut reasons = Vec::new();
            if self.is_text {
                reasons.extend(utf8.error(bytes));
            }
            if reasons.is_empty()
                && let Some(column) = self.rows.columns.first_mut()
                && let Values::Text(texts) | Values::Bytes(texts) = &mut column.values
            {
                texts.bytes.extend_from_slice(bytes);
                texts.end();
                column.nulls.append_non_null();
            }
            self.rows.end_record(i, &mut reasons);
        }
        self.rows.finish()
    }
}

/// Writes the column [`RAW`], a line feed behind each value.
#[derive(Debug)]
pub(crate) struct RawEncoder;

impl Encoder for RawEncoder {
    fn encode(&mut self, rows: &RecordBatch, out: &mut Vec<u8>) -> Result<()> {
        let (Some(column), Ok(index)) = (rows.column_by_name(RAW), rows.schema_ref().index_of(RAW)) else {
            return Err(Error::bug("a raw sink got rows without a column `raw`"));
        };
        let cells = Cells::new(rows.schema_ref().field(index), column)?;
        for row in 0..rows.num_rows() {
            cells.write_bytes(row, out);
            out.push(b'\n');
        }
        Ok(())
    }

    fn finish(&mut self, _out: &mut Vec<u8>) -> Result<()> {
        Ok(())
    }
}
