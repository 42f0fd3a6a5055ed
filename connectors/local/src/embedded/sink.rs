//! Rows into a table of SQLite that is named like the sink: appended, kept by key, or queued as dead letters.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{ArrayRef, AsArray, Int8Array, RecordBatch, StringArray, StringBuilder, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Int8Type, Schema, SchemaRef};
use async_trait::async_trait;
use millstream_core::batch::{TIMESTAMP, hidden, is_hidden};
use millstream_core::sink::{Outcome, Sink, SinkOptions, WriteMode};
use millstream_core::{Batch, Error, Result};
use rusqlite::{Connection, ErrorCode};

use super::columns::{SqlColumn, quoted};
use super::database::{Database, sqlite_error};
use super::layout;
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
    rows: Arc<AtomicU64>,
}

/// Whether a schema is that of refused rows.
fn is_refused(schema: &SchemaRef) -> bool {
    ["component", "port", "rules", "reasons", "row"].iter().all(|name| schema.index_of(name).is_ok())
}

/// The columns of a queue of dead letters, behind its `id`.
fn queue_schema() -> SchemaRef {
    let text = |name| Field::new(name, DataType::Utf8, true);
    Arc::new(Schema::new(vec![
        text("pipeline"),
        text("component"),
        text("port"),
        text("reasons"),
        text("row"),
        Field::new("raw", DataType::Binary, true),
        Field::new("version", DataType::Int64, true),
        text("source"),
        text("split"),
        text("position"),
        Field::new("arrived_at", TIMESTAMP, true),
        Field::new("enqueued_at", TIMESTAMP, true),
    ]))
}

fn user_schema(schema: &SchemaRef) -> SchemaRef {
    Arc::new(Schema::new(schema.fields().iter().filter(|f| !is_hidden(f.name())).cloned().collect::<Vec<_>>()))
}

impl EmbeddedSink {
    pub(crate) async fn open(
        database: Arc<Database>,
        options: &SinkOptions,
        clock: Arc<dyn Clock>,
        rows: Arc<AtomicU64>,
    ) -> Result<Self> {
        let dead_letters = is_refused(&options.schema);
        let columns = if dead_letters { queue_schema() } else { user_schema(&options.schema) };
        let key = if options.mode == WriteMode::Overwrite { options.key.clone() } else { Vec::new() };
        if options.mode == WriteMode::Overwrite && key.is_empty() {
            return Err(Error::config(format!(
                "`{}` overwrites by key, but its rows have none: give them one with GROUP BY or dedup, or say \
                 `mode: append`",
                options.id
            )));
        }
        let (table, schema, keys) = (options.id.clone(), columns.clone(), key.clone());
        let path = database.path().to_owned();
        database.write(move |connection| layout::ensure_log(connection, &path, &table, &schema, &keys)).await?;
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
            rows,
        })
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

/// A batch of refused rows as rows of the queue.
fn letters(batch: &Batch, pipeline: &str, now: i64) -> Result<RecordBatch> {
    let rows = &batch.rows;
    let count = rows.num_rows();
    let mut reasons = StringBuilder::new();
    let lists = |name: &str| rows.column_by_name(name).and_then(|c| c.as_list_opt::<i32>().cloned());
    let (rules, texts) = (lists("rules"), lists("reasons"));
    for row in 0..count {
        let at = |lists: &Option<arrow::array::ListArray>| lists.as_ref().map(|l| l.value(row));
        let (rules, texts) = (at(&rules), at(&texts));
        let texts = texts.as_ref().and_then(|t| t.as_string_opt::<i32>());
        let named = rules
            .as_ref()
            .and_then(|r| r.as_string_opt::<i32>())
            .into_iter()
            .flatten()
            .zip(texts.into_iter().flatten());
        let json: Vec<_> = named.map(|(rule, text)| serde_json::json!({ "rule": rule, "text": text })).collect();
        reasons.append_value(serde_json::Value::Array(json).to_string());
    }
    let schema = queue_schema();
    let columns = schema.fields().iter().map(|field| -> Result<ArrayRef> {
        Ok(match field.name().as_str() {
            "pipeline" => Arc::new(StringArray::from_iter_values(std::iter::repeat_n(pipeline, count))),
            "reasons" => Arc::new(reasons.finish()),
            "enqueued_at" => Arc::new(TimestampMicrosecondArray::from_value(now, count)),
            name => match rows.column_by_name(name) {
                Some(column) => arrow::compute::cast(column, field.data_type())?,
                None => arrow::array::new_null_array(field.data_type(), count),
            },
        })
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    Ok(RecordBatch::try_new(schema.clone(), columns)?)
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
        let rows = self.table_rows(batch)?;
        let diffs = batch.column(hidden::DIFF).and_then(|c| c.as_primitive_opt::<Int8Type>().cloned());
        let key = self.key.iter().map(|k| rows.schema().index_of(k)).collect::<Result<_, _>>()?;
        let sql = Statements { insert: self.insert.clone(), delete: self.delete.clone(), key };
        let path = self.database.path().to_owned();
        let outcomes = self
            .database
            .write(move |connection| {
                write(connection, &sql, &rows, diffs.as_ref())?.map_err(|e| sqlite_error(&path, e))
            })
            .await?;
        let done = outcomes.iter().filter(|o| **o == Outcome::Done).count();
        self.rows.fetch_add(done as u64, Ordering::Relaxed);
        Ok(outcomes)
    }

    fn summary(&self) -> Option<String> {
        let rows = self.rows.load(Ordering::Relaxed);
        let path = super::shown(self.database.path());
        self.first.then(|| format!("{rows} rows to the table {} of {path}", self.table))
    }
}
