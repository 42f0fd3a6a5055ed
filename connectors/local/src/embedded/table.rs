//! A table of the pipeline as a table of SQLite: keyed by the same columns, with version, stamps and expiry beside.
//!
//! A put is one `INSERT .. ON CONFLICT DO UPDATE .. WHERE` the stored version is lower or the stored row has
//! expired; a row it does not change is stale and comes back. Rows of other programs have no version and
//! count as of [`UNVERSIONED`]: never overwritten unseen.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use millstream_core::table::{
    EXPIRES_AT, PutOutcome, STAMPS, StoredRow, TRUNCATED, TableRows, TableSchema, TableStore, UNVERSIONED, VERSION,
};
use millstream_core::time::micros;
use millstream_core::{Error, Result};
use rusqlite::{Connection, ErrorCode, Row, Statement};

use super::columns::{Collected, SqlColumn, quoted};
use super::database::{Database, sqlite_error};
use super::layout;
use crate::clock::Clock;

/// How often expired rows are removed.
const PURGE_EVERY: Duration = Duration::from_secs(3600);
/// Rows of one batch of a scan.
const SCAN_ROWS: usize = 8192;

/// The statements over one table.
#[derive(Debug)]
struct Sql {
    put: String,
    get: String,
    scan: String,
    purge: String,
}

/// A table in a database file.
#[derive(Debug)]
pub(crate) struct EmbeddedTable {
    database: Arc<Database>,
    clock: Arc<dyn Clock>,
    shared: Arc<Shared>,
    purged_at: AtomicI64,
}

/// What the writer's jobs need.
#[derive(Debug)]
struct Shared {
    schema: TableSchema,
    key: Vec<usize>,
    sql: Sql,
}

impl Sql {
    fn new(schema: &TableSchema) -> Self {
        let table = quoted(&schema.name);
        let columns: Vec<String> = schema.columns.fields().iter().map(|f| quoted(f.name())).collect();
        let technical = [VERSION, STAMPS, EXPIRES_AT, TRUNCATED].map(quoted);
        let all: Vec<&String> = columns.iter().chain(&technical).collect();
        let key: Vec<String> = schema.key.iter().map(|k| quoted(k)).collect();
        let list = |names: &[&String]| names.iter().map(|n| n.as_str()).collect::<Vec<_>>().join(", ");
        let places = (1..=all.len()).map(|i| format!("?{i}")).collect::<Vec<_>>().join(", ");
        let now = format!("?{}", all.len() + 1);
        let sets = all.iter().filter(|c| !key.contains(c)).map(|c| format!("{c} = excluded.{c}"));
        let sets = sets.collect::<Vec<_>>().join(", ");
        let keys = key.iter().enumerate().map(|(i, k)| format!("{k} = ?{}", i + 1)).collect::<Vec<_>>().join(" AND ");
        let [version, _, expires, _] = &technical;
        Self {
            put: format!(
                "INSERT INTO {table} ({}) VALUES ({places}) ON CONFLICT ({}) DO UPDATE SET {sets} \
                 WHERE COALESCE({table}.{version}, {UNVERSIONED}) < excluded.{version} OR {table}.{expires} <= {now}",
                list(&all),
                key.join(", "),
            ),
            get: format!("SELECT {} FROM {table} WHERE {keys}", list(&all)),
            scan: format!(
                "SELECT {} FROM {table} WHERE {expires} IS NULL OR {expires} > ?1",
                list(&columns.iter().collect::<Vec<_>>())
            ),
            purge: format!("DELETE FROM {table} WHERE {expires} <= ?1"),
        }
    }
}

impl EmbeddedTable {
    /// Opens the table, which is made where it does not exist, and gets the columns it lacks.
    pub(crate) async fn open(database: Arc<Database>, schema: &TableSchema, clock: Arc<dyn Clock>) -> Result<Self> {
        let index = |key: &String| {
            let message = || Error::config(format!("`{key}` is a key of the table `{}` but no column", schema.name));
            schema.columns.index_of(key).map_err(|_| message())
        };
        let key = schema.key.iter().map(index).collect::<Result<_>>()?;
        let shared = Arc::new(Shared { schema: schema.clone(), key, sql: Sql::new(schema) });
        let (work, path) = (shared.clone(), database.path().to_owned());
        database.write(move |connection| layout::ensure_table(connection, &path, &work.schema)).await?;
        Ok(Self { database, clock, shared, purged_at: AtomicI64::new(0) })
    }

    fn now_seconds(&self) -> i64 {
        self.clock.now().0.div_euclid(1_000_000)
    }

    /// Whether it is time to remove expired rows.
    fn purge_due(&self, now: i64) -> bool {
        let every = micros(PURGE_EVERY) / 1_000_000;
        self.shared.schema.ttl.is_some()
            && self
                .purged_at
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| (now - last >= every).then_some(now))
                .is_ok()
    }
}

impl Shared {
    fn put(&self, connection: &Connection, rows: &TableRows, now: i64) -> rusqlite::Result<Result<Vec<PutOutcome>>> {
        let columns = match SqlColumn::all(&rows.rows) {
            Ok(columns) => columns,
            Err(error) => return Ok(Err(error)),
        };
        let expires = self.schema.ttl.map(|ttl| now + micros(ttl) / 1_000_000);
        let mut put = connection.prepare_cached(&self.sql.put)?;
        let mut get = connection.prepare_cached(&self.sql.get)?;
        let mut text = Vec::new();
        let mut outcomes = Vec::with_capacity(rows.rows.num_rows());
        for (row, ((version, stamps), cut)) in rows.versions.iter().zip(&rows.stamps).zip(&rows.truncated).enumerate() {
            let Ok(version) = i64::try_from(*version) else {
                outcomes.push(PutOutcome::Refused(format!("the version {version} is too great")));
                continue;
            };
            let n = columns.len();
            let bound = bind_all(&columns, &mut put, row, &mut text).and_then(|()| {
                put.raw_bind_parameter(n + 1, version)?;
                put.raw_bind_parameter(n + 2, stamps.as_deref())?;
                put.raw_bind_parameter(n + 3, expires)?;
                put.raw_bind_parameter(n + 4, cut.as_deref())?;
                put.raw_bind_parameter(n + 5, now)?;
                put.raw_execute()
            });
            outcomes.push(match bound {
                Ok(0) => match self.find(&mut get, &columns, row, &mut text)? {
                    Ok(Some((stored, _))) => PutOutcome::Stale(Box::new(stored)),
                    Ok(None) => PutOutcome::Retry("the stored row vanished".into()),
                    Err(error) => return Ok(Err(error)),
                },
                Ok(_) => PutOutcome::Written,
                Err(error) => match refusal(&error) {
                    Some(reason) => PutOutcome::Refused(reason),
                    None => return Err(error),
                },
            });
        }
        Ok(Ok(outcomes))
    }

    /// The stored row with the key of `row` of `columns`, and when it expires.
    #[expect(clippy::type_complexity, reason = "an error of SQLite around a finding that may be wrong or absent")]
    fn find(
        &self,
        get: &mut Statement<'_>,
        columns: &[SqlColumn],
        row: usize,
        text: &mut Vec<u8>,
    ) -> rusqlite::Result<Result<Option<(StoredRow, Option<i64>)>>> {
        for (i, column) in self.key.iter().filter_map(|k| columns.get(*k)).enumerate() {
            column.bind(get, i + 1, row, text)?;
        }
        let mut rows = get.raw_query();
        match rows.next()? {
            None => Ok(Ok(None)),
            Some(found) => stored_row(&self.schema.columns, found).map(|row| row.map(Some)),
        }
    }
}

fn bind_all(columns: &[SqlColumn], put: &mut Statement<'_>, row: usize, text: &mut Vec<u8>) -> rusqlite::Result<()> {
    columns.iter().enumerate().try_for_each(|(i, column)| column.bind(put, i + 1, row, text))
}

/// Why this row alone can never be put, if it is that.
fn refusal(error: &rusqlite::Error) -> Option<String> {
    match error.sqlite_error_code() {
        Some(ErrorCode::TooBig) => Some("the row is larger than SQLite can hold".into()),
        Some(ErrorCode::ConstraintViolation) => Some(format!("the database refuses the row: {error}")),
        _ => None,
    }
}

fn stored_row(schema: &SchemaRef, found: &Row<'_>) -> rusqlite::Result<Result<(StoredRow, Option<i64>)>> {
    let n = schema.fields().len();
    let version = found.get::<_, Option<i64>>(n)?.map_or(UNVERSIONED, |v| v.max(0) as u64);
    let stamps = found.get(n + 1)?;
    let expires = found.get(n + 2)?;
    let mut columns = Collected::all(schema);
    push_row(&mut columns, found)?;
    Ok(rows_of(schema, columns).map(|row| (StoredRow { row, version, stamps }, expires)))
}

pub(crate) fn push_row(columns: &mut [Collected], found: &Row<'_>) -> rusqlite::Result<()> {
    columns.iter_mut().enumerate().try_for_each(|(i, column)| {
        column.push(found.get_ref(i)?);
        Ok(())
    })
}

/// The collected rows; a column that is declared as required may yet be null where another program wrote it.
pub(crate) fn rows_of(schema: &SchemaRef, columns: Vec<Collected>) -> Result<RecordBatch> {
    let arrays = columns.into_iter().map(Collected::finish).collect::<Result<Vec<_>>>()?;
    RecordBatch::try_new(schema.clone(), arrays)
        .map_err(|e| Error::environment("a stored row lacks a required value").caused_by(e))
}

#[async_trait]
impl TableStore for EmbeddedTable {
    async fn put(&self, rows: &TableRows) -> Result<Vec<PutOutcome>> {
        let (shared, rows, now) = (self.shared.clone(), rows.clone(), self.now_seconds());
        let (purge, path) = (self.purge_due(now), self.database.path().to_owned());
        self.database
            .write(move |connection| {
                let outcomes = shared.put(connection, &rows, now).map_err(|e| sqlite_error(&path, e))??;
                if purge {
                    connection.execute(&shared.sql.purge, [now]).map_err(|e| sqlite_error(&path, e))?;
                }
                Ok(outcomes)
            })
            .await
    }

    async fn get(&self, keys: &RecordBatch) -> Result<Vec<Option<StoredRow>>> {
        let (shared, keys, now) = (self.shared.clone(), keys.clone(), self.now_seconds());
        let path = self.database.path().to_owned();
        self.database
            .write(move |connection| {
                let columns = SqlColumn::all(&keys)?;
                let failed = |e| sqlite_error(&path, e);
                let mut get = connection.prepare_cached(&shared.sql.get).map_err(failed)?;
                let mut text = Vec::new();
                let mut found = Vec::with_capacity(keys.num_rows());
                for row in 0..keys.num_rows() {
                    bind_all(&columns, &mut get, row, &mut text).map_err(failed)?;
                    let mut rows = get.raw_query();
                    let stored = match rows.next().map_err(failed)? {
                        None => None,
                        Some(row) => Some(stored_row(&shared.schema.columns, row).map_err(failed)??),
                    };
                    found.push(stored.filter(|(_, at)| at.is_none_or(|at| at > now)).map(|(row, _)| row));
                }
                Ok(found)
            })
            .await
    }

    async fn scan(&self) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        let (database, shared, now) = (self.database.clone(), self.shared.clone(), self.now_seconds());
        let (batches, receiver) = tokio::sync::mpsc::channel(2);
        tokio::task::spawn_blocking(move || {
            let mut give = |batch| batches.blocking_send(Ok(batch)).is_ok();
            if let Err(error) = scan(&database, &shared, now, &mut give) {
                let _ = batches.blocking_send(Err(error));
            }
        });
        let next = |mut receiver: tokio::sync::mpsc::Receiver<_>| async {
            receiver.recv().await.map(|batch| (batch, receiver))
        };
        Ok(futures::stream::unfold(receiver, next).boxed())
    }
}

/// Gives the rows that have not expired, until `give` says that nobody wants more.
fn scan(database: &Database, shared: &Shared, now: i64, give: &mut dyn FnMut(RecordBatch) -> bool) -> Result<()> {
    let failed = |e| sqlite_error(database.path(), e);
    let connection = database.reader()?;
    let mut statement = connection.prepare(&shared.sql.scan).map_err(failed)?;
    let mut rows = statement.query([now]).map_err(failed)?;
    let schema = &shared.schema.columns;
    loop {
        let mut columns = Collected::all(schema);
        let mut count = 0;
        while count < SCAN_ROWS
            && let Some(row) = rows.next().map_err(failed)?
        {
            push_row(&mut columns, row).map_err(failed)?;
            count += 1;
        }
        if count == 0 || !give(rows_of(schema, columns)?) {
            return Ok(());
        }
    }
}
