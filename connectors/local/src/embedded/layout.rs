//! The shape of tables in the file: made where they are not there, widened where they lack columns, refused where
//! their key is another.

use std::path::Path;

use arrow::datatypes::{Field, SchemaRef};
use millstream_core::table::{EXPIRES_AT, STAMPS, TRUNCATED, TableSchema, VERSION};
use millstream_core::{Error, Result};
use rusqlite::Connection;

use super::columns::{quoted, sql_type};
use super::database::sqlite_error;

/// A column of an existing table.
struct Existing {
    name: String,
    /// Its place in the primary key, from 1; 0 where it is not in it.
    key: i64,
}

fn existing(connection: &Connection, table: &str) -> rusqlite::Result<Vec<Existing>> {
    let mut statement = connection.prepare("SELECT name, pk FROM pragma_table_info(?1)")?;
    let columns = statement.query_map([table], |row| Ok(Existing { name: row.get(0)?, key: row.get(1)? }))?;
    columns.collect()
}

/// The columns of a table; none where it is not there.
pub(crate) fn names(connection: &Connection, table: &str) -> rusqlite::Result<Vec<String>> {
    Ok(existing(connection, table)?.into_iter().map(|c| c.name).collect())
}

fn column(field: &Field) -> String {
    format!("{} {}", quoted(field.name()), sql_type(field.data_type()))
}

/// Makes or widens the table of `schema`.
pub(crate) fn ensure_table(connection: &Connection, path: &Path, schema: &TableSchema) -> Result<()> {
    let failed = |e| sqlite_error(path, e);
    let technical = [(VERSION, "INTEGER"), (STAMPS, "TEXT"), (EXPIRES_AT, "INTEGER"), (TRUNCATED, "TEXT")];
    let mut wanted: Vec<(String, String)> =
        schema.columns.fields().iter().map(|f| (f.name().clone(), column(f))).collect();
    wanted.extend(technical.map(|(name, t)| (name.to_owned(), format!("{} {t}", quoted(name)))));
    let found = existing(connection, &schema.name).map_err(failed)?;
    if found.is_empty() {
        let columns: Vec<String> = wanted
            .iter()
            .map(|(name, sql)| if schema.key.contains(name) { format!("{sql} NOT NULL") } else { sql.clone() })
            .collect();
        let key: Vec<String> = schema.key.iter().map(|k| quoted(k)).collect();
        // Not WITHOUT ROWID: rows then lie in the order they came, so that a put of random keys dirties a few full
        // pages and small ones of the index, instead of a page per row. Measured: twice as fast, less log.
        let sql =
            format!("CREATE TABLE {} ({}, PRIMARY KEY ({}))", quoted(&schema.name), columns.join(", "), key.join(", "));
        return connection.execute_batch(&sql).map_err(failed);
    }
    let mut key: Vec<&Existing> = found.iter().filter(|c| c.key > 0).collect();
    key.sort_by_key(|c| c.key);
    let mut stored: Vec<&str> = key.iter().map(|c| c.name.as_str()).collect();
    let mut declared: Vec<&str> = schema.key.iter().map(String::as_str).collect();
    stored.sort_unstable();
    declared.sort_unstable();
    if stored != declared {
        return Err(Error::config(format!(
            "the table `{}` in `{}` has the key ({}), the pipeline says ({}): name another table or file, or remove \
             the old table",
            schema.name,
            path.display(),
            stored.join(", "),
            declared.join(", ")
        )));
    }
    add_missing(connection, path, &schema.name, &found, &wanted)
}

fn add_missing(
    connection: &Connection,
    path: &Path,
    table: &str,
    found: &[Existing],
    wanted: &[(String, String)],
) -> Result<()> {
    // SQLite compares names of columns without regard to case.
    let missing = wanted.iter().filter(|(name, _)| !found.iter().any(|c| c.name.eq_ignore_ascii_case(name)));
    for (_, sql) in missing {
        let sql = format!("ALTER TABLE {} ADD COLUMN {sql}", quoted(table));
        connection.execute_batch(&sql).map_err(|e| sqlite_error(path, e))?;
    }
    Ok(())
}

/// Makes or widens a table that rows are appended to, or kept in by `key` where there is one.
pub(crate) fn ensure_log(
    connection: &Connection,
    path: &Path,
    table: &str,
    columns: &SchemaRef,
    key: &[String],
) -> Result<()> {
    let failed = |e| sqlite_error(path, e);
    let wanted: Vec<(String, String)> = columns.fields().iter().map(|f| (f.name().clone(), column(f))).collect();
    let found = existing(connection, table).map_err(failed)?;
    if !found.is_empty() {
        return add_missing(connection, path, table, &found, &wanted);
    }
    let list = wanted.iter().map(|(_, sql)| sql.as_str()).collect::<Vec<_>>().join(", ");
    let sql = if key.is_empty() {
        // AUTOINCREMENT: the number of a row that was taken out is never used again.
        let id = if columns.index_of("id").is_ok() { "_id" } else { "id" };
        format!("CREATE TABLE {} ({id} INTEGER PRIMARY KEY AUTOINCREMENT, {list})", quoted(table))
    } else {
        let key: Vec<String> = key.iter().map(|k| quoted(k)).collect();
        format!("CREATE TABLE {} ({list}, PRIMARY KEY ({}))", quoted(table), key.join(", "))
    };
    connection.execute_batch(&sql).map_err(failed)
}
