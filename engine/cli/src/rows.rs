//! Rows as text: a table for people, JSON lines and CSV for programs.

use arrow::array::{Array as _, ArrayRef, AsArray as _, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use millstream_core::batch::is_hidden;
use millstream_core::format::RecordFormat;
use millstream_formats::{EncodeOptions, encoder};

use crate::args::RowFormat;
use crate::exit::Failure;
use crate::grid::Grid;
use crate::terminal;

/// Rows without their hidden columns.
pub(crate) fn visible(rows: &RecordBatch) -> Result<RecordBatch, Failure> {
    let shown: Vec<usize> = (0..rows.num_columns()).filter(|c| !is_hidden(rows.schema().field(*c).name())).collect();
    rows.project(&shown).map_err(|e| Failure::new(Failure::RUNNING, format!("rows cannot be shown: {e}")))
}

/// Rows of one schema as text.
pub(crate) fn text(schema: &SchemaRef, batches: &[RecordBatch], format: RowFormat) -> Result<String, Failure> {
    match format {
        RowFormat::Table => Ok(table(schema, batches)),
        RowFormat::Json => encoded(schema, batches, RecordFormat::Json),
        RowFormat::Csv => encoded(schema, batches, RecordFormat::Csv),
    }
}

fn encoded(schema: &SchemaRef, batches: &[RecordBatch], format: RecordFormat) -> Result<String, Failure> {
    let mut encoder = encoder(format, schema, &EncodeOptions::default())?;
    let mut out = Vec::new();
    for batch in batches {
        encoder.encode(batch, &mut out)?;
    }
    encoder.finish(&mut out)?;
    Ok(String::from_utf8_lossy(&out).into_owned())
}

fn table(schema: &SchemaRef, batches: &[RecordBatch]) -> String {
    let mut grid = Grid::new(schema.fields().iter().map(|f| (f.name().clone(), f.data_type().is_numeric())));
    for batch in batches {
        for row in 0..batch.num_rows() {
            grid.row(batch.columns().iter().map(|c| cell(c, row)).collect());
        }
    }
    // Where a person would see lines that wrap, each row gets lines of its own.
    if terminal::is_shown() && grid.width() > terminal::width() { grid.render_down() } else { grid.render() }
}

/// A value as people read it; a null is a dim dash.
pub(crate) fn cell(column: &ArrayRef, row: usize) -> String {
    if column.is_null(row) {
        return terminal::dim("-");
    }
    value(column, row).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A value as text.
pub(crate) fn value(column: &ArrayRef, row: usize) -> String {
    if column.data_type() == &DataType::Binary {
        return String::from_utf8_lossy(column.as_binary::<i32>().value(row)).into_owned();
    }
    let options = FormatOptions::default().with_timestamp_format(Some("%Y-%m-%d %H:%M:%S%.f"));
    match ArrayFormatter::try_new(column.as_ref(), &options) {
        Ok(formatter) => formatter.value(row).to_string(),
        Err(e) => e.to_string(),
    }
}
