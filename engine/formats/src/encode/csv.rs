//! CSV as RFC 4180 has it, with line feeds. Null is an empty field; bytes are base64, nested values JSON.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use millstream_core::Result;
use millstream_core::format::Encoder;

use super::user_columns;
use crate::value::Cells;

/// Writes CSV records below one header.
#[derive(Debug)]
pub(super) struct CsvEncoder {
    names: Vec<String>,
    header_written: bool,
}

impl CsvEncoder {
    pub(super) fn new(schema: &SchemaRef) -> Self {
        let names = schema.fields().iter().map(|f| f.name().clone());
        Self { names: names.filter(|n| !millstream_core::batch::is_hidden(n)).collect(), header_written: false }
    }

    fn write_header(&mut self, out: &mut Vec<u8>) {
        for (i, name) in self.names.iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            let start = out.len();
            out.extend_from_slice(name.as_bytes());
            quote(start, out);
        }
        out.push(b'\n');
        self.header_written = true;
    }
}

impl Encoder for CsvEncoder {
    fn encode(&mut self, rows: &RecordBatch, out: &mut Vec<u8>) -> Result<()> {
        if !self.header_written {
            self.write_header(out);
        }
        let schema = rows.schema_ref();
        let columns = user_columns(schema);
        let columns = columns
            .into_iter()
            .filter_map(|i| Some(Cells::new(schema.fields().get(i)?, rows.columns().get(i)?)))
            .collect::<Result<Vec<_>>>()?;
        for row in 0..rows.num_rows() {
            for (i, cells) in columns.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write_field(cells, row, columns.len() == 1, out);
            }
            out.push(b'\n');
        }
        Ok(())
    }

    fn finish(&mut self, _out: &mut Vec<u8>) -> Result<()> {
        self.header_written = false;
        Ok(())
    }
}

/// Appends a field. `alone` says that it is the record's only one: an empty line would be no record.
fn write_field(cells: &Cells, row: usize, alone: bool, out: &mut Vec<u8>) {
    if cells.is_null(row) {
        if alone {
            out.extend_from_slice(b"\"\"");
        }
        return;
    }
    let start = out.len();
    if !cells.write_base64(row, out) {
        cells.write_text(row, out);
    }
    quote(start, out);
}

/// Quotes the field that begins at `start`, where it would read as something else: separators, line breaks, quotes,
/// an empty text (which would be null), blanks at its ends.
fn quote(start: usize, out: &mut Vec<u8>) {
    let field = out.get(start..).unwrap_or_default();
    let special = field.iter().any(|b| matches!(b, b',' | b'"' | b'\n' | b'\r'));
    let blank = |b: Option<&u8>| b.is_none_or(u8::is_ascii_whitespace);
    if !special && !blank(field.first()) && !blank(field.last()) {
        return;
    }
    let field = out.split_off(start);
    out.push(b'"');
    for byte in field {
        if byte == b'"' {
            out.push(b'"');
        }
        out.push(byte);
    }
    out.push(b'"');
}
