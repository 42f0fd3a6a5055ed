//! A queue of dead letters, read back and emptied.

use std::sync::Arc;

use async_trait::async_trait;
use millstream_core::dead_letter::{DeadLetter, DeadLetters};
use millstream_core::format::Reason;
use millstream_core::sink::SinkOptions;
use millstream_core::{Error, Result};
use rusqlite::{Connection, Row, params};
use serde::Deserialize;

use super::columns::quoted;
use super::database::{Database, sqlite_error};
use millstream_core::refusal;

/// Letters of one look.
const LOOK: i64 = 500;

/// The letters of one sink, oldest first.
#[derive(Debug)]
pub(crate) struct Queue {
    database: Arc<Database>,
    table: String,
    /// The number of the last letter that was given.
    last: i64,
}

/// A reason as the table has it.
#[derive(Deserialize)]
struct Stored {
    rule: String,
    text: String,
}

impl Queue {
    pub(crate) fn open(database: Arc<Database>, options: &SinkOptions) -> Result<Self> {
        if !refusal::is_of(&options.schema) {
            return Err(Error::config(format!(
                "the sink `{}` gets no refused rows: name one that reads `*.failed`",
                options.id
            )));
        }
        Ok(Self { database, table: options.id.clone(), last: 0 })
    }
}

/// The columns of the table that there are; it may be of an earlier version of Millstream.
fn columns(connection: &Connection, table: &str) -> rusqlite::Result<Vec<String>> {
    let mut columns = connection.prepare_cached("SELECT name FROM pragma_table_info(?1)")?;
    columns.query_map([table], |row| row.get(0))?.collect()
}

fn letters(connection: &Connection, table: &str, after: i64) -> rusqlite::Result<Vec<(i64, DeadLetter)>> {
    let known = columns(connection, table)?;
    if known.is_empty() {
        return Ok(Vec::new());
    }
    let wanted = ["pipeline", "component", "port", "reasons", "row", "version", "stamps"];
    let column = |name: &str| if known.iter().any(|k| k == name) { quoted(name) } else { "NULL".to_owned() };
    let list = wanted.map(column).join(", ");
    let sql = format!("SELECT id, {list} FROM {} WHERE id > ?1 ORDER BY id LIMIT ?2", quoted(table));
    let mut statement = connection.prepare_cached(&sql)?;
    statement.query_map(params![after, LOOK], letter)?.collect()
}

fn letter(row: &Row<'_>) -> rusqlite::Result<(i64, DeadLetter)> {
    let number: i64 = row.get(0)?;
    let text = |column| row.get::<_, Option<String>>(column);
    let reasons: Vec<Stored> = text(4)?.and_then(|json| serde_json::from_str(&json).ok()).unwrap_or_default();
    let letter = DeadLetter {
        id: number.to_string(),
        pipeline: text(1)?.unwrap_or_default(),
        component: text(2)?.unwrap_or_default(),
        port: text(3)?.unwrap_or_default(),
        reasons: reasons.into_iter().map(|r| Reason { rule: r.rule, text: r.text }).collect(),
        row: text(5)?,
        version: row.get::<_, Option<i64>>(6)?.and_then(|v| u64::try_from(v).ok()),
        stamps: text(7)?,
    };
    Ok((number, letter))
}

#[async_trait]
impl DeadLetters for Queue {
    async fn next(&mut self) -> Result<Vec<DeadLetter>> {
        let (table, path, last) = (self.table.clone(), self.database.path().to_owned(), self.last);
        let found = self
            .database
            .write(move |connection| letters(connection, &table, last).map_err(|e| sqlite_error(&path, e)))
            .await?;
        self.last = found.last().map_or(self.last, |(number, _)| *number);
        Ok(found.into_iter().map(|(_, letter)| letter).collect())
    }

    async fn remove(&mut self, ids: &[String]) -> Result<()> {
        let numbers = ids.iter().map(|id| id.parse::<i64>());
        let numbers = numbers.collect::<Result<Vec<_>, _>>();
        let numbers = numbers.map_err(|e| Error::bug("a dead letter without a number").caused_by(e))?;
        let (table, path) = (quoted(&self.table), self.database.path().to_owned());
        self.database
            .write(move |connection| {
                let failed = |e| sqlite_error(&path, e);
                let sql = format!("DELETE FROM {table} WHERE id = ?1");
                let mut delete = connection.prepare_cached(&sql).map_err(failed)?;
                numbers.iter().try_for_each(|number| delete.execute([number]).map(|_| ()).map_err(failed))
            })
            .await
    }
}
