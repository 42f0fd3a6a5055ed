//! Rows into a table of SQLite that is named like the sink: appended, kept by key, or queued as dead letters.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{AsArray, BooleanArray, Int8Array, RecordBatch};
use arrow::compute::{filter, filter_record_batch};
use arrow::datatypes::{Int8Type, SchemaRef};
use async_trait::async_trait;
use millstream_core::batch::{hidden, user_schema};
use millstream_core::refusal;
use millstream_core::sink::{BatchId, Outcome, Sink, SinkOptions, WriteMode};
use millstream_core::{Batch, Error, Result};
use rusqlite::{Connection, ErrorCode};

use super::columns::{SqlColumn, quoted};
use super::database::{Database, sqlite_error};
use super::layout;
use super::letters::{letters, queue_schema};
use super::sent::Sent;
use crate::clock::Clock;

/// Appends rows to a table.
#[derive(Debug)]
pub(crate) struct EmbeddedSink {
    database: Arc<Database>,
    clock: Arc<dyn Clock>,
    pipeline: String,
    table: String,
    dead_letters: bool,
    first: bool,
    insert: Arc<str>,
    delete: Option<Arc<str>>,
    columns: SchemaRef,
    key: Vec<String>,
    /// Where rows are appended: which batches of the outbox are there.
    sent: Option<Sent>,
    rows: Arc<AtomicU64>,
}

impl EmbeddedSink {
    pub(crate) async fn open(
        database: Arc<Database>,
        options: &SinkOptions,
        clock: Arc<dyn Clock>,
        rows: Arc<AtomicU64>,
    ) -> Result<Self> {
        let dead_letters = refusal::is_of(&options.schema);
        let columns = if dead_letters { queue_schema() } else { user_schema(&options.schema) };
        let key = if options.mode == WriteMode::Overwrite { options.key.clone() } else { Vec::new() };
        let (table, schema, keys) = (options.id.clone(), columns.clone(), key.clone());
        let path = database.path().to_owned();
        let sent = key.is_empty().then(|| Sent::new(options));
        let markers = sent.is_some();
        database
            .write(move |connection| {
                layout::ensure_log(connection, &path, &table, &schema, &keys)?;
                if markers { Sent::ensure(connection).map_err(|e| sqlite_error(&path, e)) } else { Ok(()) }
            })
            .await?;
        let names: Vec<String> = columns.fields().iter().map(|f| quoted(f.name())).collect();
        let places: Vec<String> = (1..=names.len()).map(|i| format!("?{i}")).collect();
        let verb = if key.is_empty() { "INSERT" } else { "INSERT OR REPLACE" };
        let table = quoted(&options.id);
        let insert = format!("{verb} INTO {table} ({}) VALUES ({})", names.join(", "), places.join(", "));
        let delete = (!key.is_empty()).then(|| {
            let keys = key.iter().enumerate().map(|(i, k)| format!("{} = ?{}", quoted(k), i + 1));
            format!("DELETE FROM {table} WHERE {}", keys.collect::<Vec<_>>().join(" AND "))
        });
        Ok(Self {
            database,
            clock,
            pipeline: options.pipeline.clone(),
            table: options.id.clone(),
            dead_letters,
            first: options.instance == 0,
            insert: insert.into(),
            delete: delete.map(Into::into),
            columns,
            key,
            sent,
            rows,
        })
    }

    /// Inserts the rows, and with them the mark that these rows of the batch are there.
    async fn insert(&self, named: Option<(&BatchId, &[u32])>, batch: &Batch) -> Result<Vec<Outcome>> {
        let rows = self.table_rows(batch)?;
        let diffs = batch.column(hidden::DIFF).and_then(|c| c.as_primitive_opt::<Int8Type>().cloned());
        let key = self.key.iter().map(|k| rows.schema().index_of(k)).collect::<Result<_, _>>()?;
        let sql = Statements { insert: self.insert.clone(), delete: self.delete.clone(), key };
        let named = named.map(|(id, numbers)| (id.clone(), numbers.to_vec()));
        let sent = self.sent.clone().zip(named);
        let path = self.database.path().to_owned();
        let work = move |connection: &Connection| {
            let failed = |e| sqlite_error(&path, e);
            let Some((sent, (id, numbers))) = &sent else {
                let outcomes = write(connection, &sql, &rows, diffs.as_ref())?.map_err(failed)?;
                let done = outcomes.iter().filter(|o| **o == Outcome::Done).count();
                return Ok((outcomes, done));
            };
            let mut answers = sent.answers(connection, id).map_err(failed)?;
            let known: Vec<Option<Outcome>> = numbers.iter().map(|number| answers.of(*number)).collect();
            if known.iter().all(Option::is_some) {
                return Ok((known.into_iter().flatten().collect(), 0));
            }
            let new: BooleanArray = known.iter().map(|k| Some(k.is_none())).collect();
            let new_diffs = diffs.as_ref().map(|d| filter(d, &new)).transpose()?;
            let new_diffs = new_diffs.as_ref().and_then(|d| d.as_primitive_opt::<Int8Type>());
            let new_rows = filter_record_batch(&rows, &new)?;
            let mut written = write(connection, &sql, &new_rows, new_diffs)?.map_err(failed)?.into_iter();
            let (mut outcomes, mut done) = (Vec::with_capacity(numbers.len()), 0);
            for (number, known) in numbers.iter().zip(known) {
                let outcome = match known {
                    Some(outcome) => outcome,
                    None => {
                        let outcome = written.next().ok_or_else(|| Error::bug("a row was not written"))?;
                        answers.add(*number, &outcome);
                        done += usize::from(outcome == Outcome::Done);
                        outcome
                    }
                };
                outcomes.push(outcome);
            }
            sent.mark(connection, id, &answers).map_err(failed)?;
            Ok((outcomes, done))
        };
        let (outcomes, done) = self.database.write(work).await?;
        self.rows.fetch_add(done as u64, Ordering::Relaxed);
        Ok(outcomes)
    }

    /// The rows as the table's columns.
    fn table_rows(&self, batch: &Batch) -> Result<RecordBatch> {
        if self.dead_letters {
            return letters(batch, &self.pipeline, self.clock.now().0);
        }
        let indices = self.columns.fields().iter().map(|f| batch.rows.schema().index_of(f.name()));
        let indices = indices.collect::<Result<Vec<_>, _>>()?;
        Ok(batch.rows.project(&indices)?)
    }
}

/// What [`write`] needs of a sink.
struct Statements {
    insert: Arc<str>,
    delete: Option<Arc<str>>,
    key: Vec<usize>,
}

fn write(
    connection: &Connection,
    sql: &Statements,
    rows: &RecordBatch,
    diffs: Option<&Int8Array>,
) -> Result<rusqlite::Result<Vec<Outcome>>> {
    let columns = SqlColumn::all(rows)?;
    let mut text = Vec::new();
    let mut one = |row: usize| -> rusqlite::Result<usize> {
        let retracted = diffs.is_some_and(|d| d.value(row) < 0);
        if let (true, Some(delete)) = (retracted, &sql.delete) {
            let mut delete = connection.prepare_cached(delete)?;
            for (i, column) in sql.key.iter().filter_map(|k| columns.get(*k)).enumerate() {
                column.bind(&mut delete, i + 1, row, &mut text)?;
            }
            return delete.raw_execute();
        }
        let mut insert = connection.prepare_cached(&sql.insert)?;
        for (i, column) in columns.iter().enumerate() {
            column.bind(&mut insert, i + 1, row, &mut text)?;
        }
        insert.raw_execute()
    };
    // Retractions first: an update is a retraction and a row, in any order.
    let mut outcomes = vec![Outcome::Done; rows.num_rows()];
    for retractions in [true, false] {
        for (row, outcome) in outcomes.iter_mut().enumerate() {
            if diffs.is_some_and(|d| d.value(row) < 0) != retractions {
                continue;
            }
            match one(row) {
                Ok(_) => {}
                Err(e) if matches!(e.sqlite_error_code(), Some(ErrorCode::TooBig | ErrorCode::ConstraintViolation)) => {
                    *outcome = Outcome::Refused(format!("the database refuses the row: {e}"));
                }
                Err(e) => return Ok(Err(e)),
            }
        }
    }
    Ok(Ok(outcomes))
}

#[async_trait]
impl Sink for EmbeddedSink {
    async fn write(&mut self, batch: &Batch) -> Result<Vec<Outcome>> {
        self.insert(None, batch).await
    }

    async fn send(&mut self, id: &BatchId, numbers: &[u32], rows: &Batch) -> Result<Vec<Outcome>> {
        self.insert(Some((id, numbers)), rows).await
    }

    async fn clean(&mut self) -> Result<()> {
        let Some(sent) = self.sent.clone() else { return Ok(()) };
        let path = self.database.path().to_owned();
        self.database.write(move |connection| sent.forget_runs(connection).map_err(|e| sqlite_error(&path, e))).await
    }

    fn summary(&self) -> Option<String> {
        let rows = self.rows.load(Ordering::Relaxed);
        let path = super::shown(self.database.path());
        self.first.then(|| format!("{rows} rows to the table {} of {path}", self.table))
    }
}
