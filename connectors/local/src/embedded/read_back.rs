//! The rows of a sink's table, for queries.

use std::path::Path;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use millstream_core::Result;

use super::columns::{Collected, quoted};
use super::database::{Database, sqlite_error};
use super::layout;
use super::table::{push_row, rows_of};

/// All rows of `table`; none where it is not there. A column that it lacks yet is null.
pub(crate) fn rows(database: &Database, table: &str, columns: &SchemaRef) -> Result<Vec<RecordBatch>> {
    let path: &Path = database.path();
    let failed = |e| sqlite_error(path, e);
    let connection = database.reader()?;
    let stored = layout::names(&connection, table).map_err(failed)?;
    if stored.is_empty() {
        return Ok(Vec::new());
    }
    let wanted = columns.fields().iter().map(|f| match stored.iter().any(|s| s.eq_ignore_ascii_case(f.name())) {
        true => quoted(f.name()),
        false => "NULL".to_owned(),
    });
    let sql = format!("SELECT {} FROM {}", wanted.collect::<Vec<_>>().join(", "), quoted(table));
    let mut statement = connection.prepare(&sql).map_err(failed)?;
    let mut found = statement.query([]).map_err(failed)?;
    let mut collected = Collected::all(columns);
    while let Some(row) = found.next().map_err(failed)? {
        push_row(&mut collected, row).map_err(failed)?;
    }
    Ok(vec![rows_of(columns, collected)?])
}
