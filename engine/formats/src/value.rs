//! Values of Arrow columns as text: JSON for files and refusals, plain text for CSV and templates.
//!
//! 1. Decimals have exactly their digits; doubles are the shortest text that reads back as the same double.
//! 2. Timestamps are RFC 3339 in UTC, without a fraction where it is zero; dates `YYYY-MM-DD`.
//! 3. Bytes are a JSON string where they are UTF-8, else `{"base64": ".."}`.
//! 4. NaN and the infinities are null in JSON: it has no words for them.
//! 5. Output is one line, whatever the values.

use arrow::array::RecordBatch;
use millstream_core::Result;
use millstream_core::batch::is_hidden;

mod cells;
mod text;

pub use cells::Cells;
pub(crate) use text::write_json_string;

/// How JSON is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct JsonOptions {
    /// Decimals as strings instead of numbers.
    pub decimals_as_strings: bool,
}

/// The user columns of a batch, ready to be written as JSON objects.
#[derive(Debug)]
pub struct JsonRows {
    /// Per column, `"name":` and its values.
    columns: Vec<(Vec<u8>, Cells)>,
    options: JsonOptions,
}

impl JsonRows {
    /// The user columns of `rows`.
    ///
    /// # Errors
    /// `Bug` where a column cannot be read as its type.
    pub fn new(rows: &RecordBatch, options: JsonOptions) -> Result<Self> {
        let columns = rows.schema_ref().fields().iter().zip(rows.columns());
        let columns = columns
            .filter(|(field, _)| !is_hidden(field.name()))
            .map(|(field, array)| Ok((key(field.name()), Cells::new(field, array)?)))
            .collect::<Result<_>>()?;
        Ok(Self { columns, options })
    }

    /// Appends a row as a JSON object on one line.
    pub fn write(&self, row: usize, out: &mut Vec<u8>) {
        out.push(b'{');
        for (i, (key, cells)) in self.columns.iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            out.extend_from_slice(key);
            cells.write_json(row, self.options, out);
        }
        out.push(b'}');
    }
}

/// `"name":`
fn key(name: &str) -> Vec<u8> {
    let mut key = Vec::new();
    write_json_string(name, &mut key);
    key.push(b':');
    key
}

/// A row as a JSON object: its user columns. For many rows of a batch, [`JsonRows`] prepares the columns once.
pub fn row_json(rows: &RecordBatch, row: usize) -> String {
    let mut out = Vec::new();
    if row >= rows.num_rows() {
        return "{}".into();
    }
    // One row only, so that a column of another layout is not widened whole.
    match JsonRows::new(&rows.slice(row, 1), JsonOptions::default()) {
        Ok(columns) => columns.write(0, &mut out),
        Err(_) => out.extend_from_slice(b"{}"),
    }
    String::from_utf8(out).unwrap_or_default()
}
