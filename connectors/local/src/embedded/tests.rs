use std::time::Duration;

use arrow::array::{Array, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::Schema;
use futures::TryStreamExt as _;
use millstream_core::format::Reason;
use millstream_core::refusal::{self, Refusal};
use millstream_core::schema::ColumnType;
use millstream_core::sink::{BatchId, Commitment, Outcome, WriteMode};
use millstream_core::table::{PutOutcome, TableRows, UNVERSIONED};
use millstream_core::{Batch, ErrorKind, EventTime};
use rusqlite::Connection;

use super::*;
use crate::clock::ManualClock;
use crate::conformance;

fn connector(path: &Path, clock: Arc<dyn Clock>) -> Embedded {
    let path = path.to_str().unwrap().to_owned();
    Embedded::new(EmbeddedConfig { path, synchronous: Synchronous::Normal }, clock)
}

fn schema(columns: &[(&str, ColumnType)], ttl: Option<Duration>) -> TableSchema {
    let fields: Vec<_> = columns.iter().enumerate().map(|(i, (n, t))| t.field(n, i > 0)).collect();
    TableSchema { name: "t".into(), key: vec![columns[0].0.into()], columns: Arc::new(Schema::new(fields)), ttl }
}

fn one(schema: &TableSchema, key: &str, value: i64, version: u64) -> TableRows {
    let columns: Vec<arrow::array::ArrayRef> =
        vec![Arc::new(StringArray::from(vec![key])), Arc::new(Int64Array::from(vec![value]))];
    let rows = RecordBatch::try_new(schema.columns.clone(), columns).unwrap();
    TableRows { rows, versions: vec![version], stamps: vec![None], truncated: vec![None] }
}

#[tokio::test]
async fn keeps_the_promises_of_a_table_store() {
    let dir = tempfile::tempdir().unwrap();
    let embedded = connector(&dir.path().join("state.db"), clock::system());
    conformance::table_store(async |schema: &TableSchema| embedded.table(schema).await.unwrap()).await;
}

#[tokio::test]
async fn every_tool_can_read_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.db");
    let rows = conformance::every_type(0, 4);
    let schema = TableSchema { name: "from".into(), key: vec!["id".into()], columns: rows.schema(), ttl: None };
    let table = connector(&path, clock::system()).table(&schema).await.unwrap();
    table
        .put(&TableRows { rows, versions: vec![1; 4], stamps: vec![None; 4], truncated: vec![None; 4] })
        .await
        .unwrap();
    drop(table);
    assert!(!dir.path().join("state.db-wal").exists(), "the log is folded into the file at the end");
    let db = Connection::open(&path).unwrap();
    let row = db
        .query_row(
            "SELECT decimal, typeof(decimal), timestamp, date, int, \"_version\" FROM \"from\" WHERE id = 'id-000001'",
            [],
            |r| {
                Ok((
                    r.get::<_, String>(0)?,
                    r.get::<_, String>(1)?,
                    r.get::<_, Option<String>>(2)?,
                    r.get::<_, String>(3)?,
                    r.get::<_, i64>(4)?,
                    r.get::<_, i64>(5)?,
                ))
            },
        )
        .unwrap();
    assert_eq!(row, ("9999999999999999999999999999.93".into(), "text".into(), None, "2022-01-09".into(), -4, 1));
}

#[tokio::test]
async fn expired_rows_are_as_if_they_were_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let clock = ManualClock::at(EventTime(1_000_000_000_000));
    let embedded = connector(&dir.path().join("a.db"), Arc::new(clock.clone()));
    let schema = schema(&[("k", ColumnType::String), ("v", ColumnType::Bigint)], Some(Duration::from_secs(60)));
    let table = embedded.table(&schema).await.unwrap();
    table.put(&one(&schema, "a", 1, 7)).await.unwrap();
    let key = one(&schema, "a", 0, 0).rows.project(&[0]).unwrap();
    clock.advance(Duration::from_secs(59));
    assert!(table.get(&key).await.unwrap()[0].is_some());
    clock.advance(Duration::from_secs(1));
    assert!(table.get(&key).await.unwrap()[0].is_none());
    assert!(table.scan().await.unwrap().try_collect::<Vec<_>>().await.unwrap().is_empty());
    assert!(matches!(table.put(&one(&schema, "a", 2, 1)).await.unwrap()[0], PutOutcome::Written));
    clock.advance(Duration::from_secs(7200));
    table.put(&one(&schema, "b", 2, 1)).await.unwrap();
    let left: i64 = Connection::open(dir.path().join("a.db"))
        .unwrap()
        .query_row("SELECT count(*) FROM t", [], |r| r.get(0))
        .unwrap();
    assert_eq!(left, 1, "expired rows are removed now and then");
}

#[tokio::test]
async fn tables_of_other_programs_are_widened_and_never_overwritten_unseen() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.db");
    let db = Connection::open(&path).unwrap();
    db.execute_batch("CREATE TABLE t (k TEXT PRIMARY KEY, other TEXT); INSERT INTO t VALUES ('a', 'x')").unwrap();
    drop(db);
    let schema = schema(&[("k", ColumnType::String), ("v", ColumnType::Bigint)], None);
    let table = connector(&path, clock::system()).table(&schema).await.unwrap();
    let outcomes = table.put(&one(&schema, "a", 5, 1)).await.unwrap();
    let PutOutcome::Stale(stored) = &outcomes[0] else { panic!("{outcomes:?}") };
    assert_eq!((stored.version, stored.row.column(1).null_count()), (UNVERSIONED, 1));
    let merged = one(&schema, "a", 5, UNVERSIONED + 1);
    assert!(matches!(table.put(&merged).await.unwrap()[0], PutOutcome::Written));
    let other: String =
        Connection::open(&path).unwrap().query_row("SELECT other FROM t WHERE k = 'a'", [], |r| r.get(0)).unwrap();
    assert_eq!(other, "x", "columns of the other program stay");
    assert!(matches!(table.put(&one(&schema, "b", 5, 3)).await.unwrap()[0], PutOutcome::Written));
    drop(table);
    let another = TableSchema { key: vec!["v".into()], ..schema };
    let error = connector(&path, clock::system()).table(&another).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("the key (k), the pipeline says (v)"), "{error}");
}

#[tokio::test]
async fn what_is_not_a_database_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.db");
    std::fs::write(&path, "this is text, and long enough to be looked at as a header of a file").unwrap();
    let schema = schema(&[("k", ColumnType::String)], None);
    let error = connector(&path, clock::system()).table(&schema).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Environment);
    assert!(error.to_string().contains("a.db"), "{error}");
}

#[tokio::test]
async fn dead_letters_queue_up_with_all_that_is_known_of_them() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.db");
    let embedded = connector(&path, clock::system());
    let refusals: Vec<Refusal> = (0..3)
        .map(|i| Refusal {
            component: "trip_state".into(),
            port: "failed",
            reasons: vec![Reason { rule: "outage".into(), text: format!("row {i} \"failed\"") }],
            row: Some(format!("{{\"trip_id\":\"t{i}\"}}")),
            raw: None,
            version: Some(i),
            stamps: None,
            attempts: None,
            source: Some("trip_ends".into()),
            split: None,
            position: Some("17".into()),
            arrived_at: EventTime(0),
            event_time: None,
        })
        .collect();
    let mut options = conformance::sink_options("dead_letter", &refusal::schema());
    options.schema = refusal::schema();
    let mut sink = embedded.sink(&options).await.unwrap();
    sink.write(&refusal::batch(&refusals).unwrap()).await.unwrap();
    assert!(sink.summary().unwrap().starts_with("3 rows to the table dead_letter of "));
    let db = Connection::open(&path).unwrap();
    let sql =
        "SELECT id, pipeline, reasons, row, version, position, arrived_at FROM dead_letter ORDER BY id DESC LIMIT 1";
    let row = db
        .query_row(sql, [], |r| {
            let text = |i| r.get::<_, String>(i);
            Ok((r.get::<_, i64>(0)?, text(1)?, text(2)?, text(3)?, r.get::<_, i64>(4)?, text(5)?, text(6)?))
        })
        .unwrap();
    let reasons = "[{\"rule\":\"outage\",\"text\":\"row 2 \\\"failed\\\"\"}]".to_owned();
    let row_json = "{\"trip_id\":\"t2\"}".to_owned();
    assert_eq!(row, (3, "conformance".into(), reasons, row_json, 2, "17".into(), "1970-01-01T00:00:00Z".into()));
}

struct Rows(Embedded, WriteMode);

impl Rows {
    fn options(&self, options: &SinkOptions) -> SinkOptions {
        let key = if self.1 == WriteMode::Overwrite { vec!["id".into()] } else { Vec::new() };
        SinkOptions { mode: self.1, key, ..options.clone() }
    }
}

impl conformance::SinkUnderTest for Rows {
    async fn open(&self, options: &SinkOptions) -> Box<dyn Sink> {
        self.0.sink(&self.options(options)).await.unwrap()
    }
    fn commitment(&self, options: &SinkOptions) -> Commitment {
        self.0.commitment(&self.options(options))
    }
    async fn visible(&self, options: &SinkOptions) -> Vec<RecordBatch> {
        let columns =
            options.schema.fields().iter().filter(|f| !f.name().starts_with("__")).cloned().collect::<Vec<_>>();
        let columns = Arc::new(Schema::new(columns));
        // The sink's table read as a table of the pipeline.
        let database = self.0.database().await.unwrap();
        let db = database.reader().unwrap();
        let mut collected = columns::Collected::all(&columns);
        // An appended row has a number before its columns.
        let first = usize::from(self.1 == WriteMode::Append);
        let mut statement = db.prepare(&format!("SELECT * FROM {}", options.id)).unwrap();
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            for (i, c) in collected.iter_mut().enumerate() {
                c.push(row.get_ref(first + i).unwrap());
            }
        }
        let arrays = collected.into_iter().map(|c| c.finish().unwrap()).collect();
        vec![RecordBatch::try_new(columns, arrays).unwrap()]
    }
}

#[tokio::test]
async fn keeps_the_promises_of_a_sink() {
    let dir = tempfile::tempdir().unwrap();
    // A sink with a column named `id` of its own.
    for mode in [WriteMode::Append, WriteMode::Overwrite] {
        conformance::sink(&Rows(connector(&dir.path().join(format!("{mode}.db")), clock::system()), mode)).await;
    }
    let db = Connection::open(dir.path().join("append.db")).unwrap();
    let marks = |sink: &str| -> i64 {
        db.query_row("SELECT count(*) FROM _millstream_sent WHERE sink = ?1", [sink], |r| r.get(0)).unwrap()
    };
    assert_eq!(marks("again"), 3, "marks of the last two checkpoints, and of the other run");
}

#[tokio::test]
async fn what_was_refused_is_refused_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.db");
    let embedded = connector(&path, clock::system());
    let schema = schema(&[("k", ColumnType::String), ("v", ColumnType::Bigint)], None);
    let options = conformance::sink_options("some", &schema.columns);
    let mut sink = embedded.sink(&options).await.unwrap();
    Connection::open(&path).unwrap().execute_batch("CREATE UNIQUE INDEX once ON some (k)").unwrap();
    let rows = arrow::compute::concat_batches(
        &schema.columns,
        [("a", 1), ("a", 2), ("b", 3)].map(|(k, v)| one(&schema, k, v, 1).rows).iter(),
    )
    .unwrap();
    let batch = conformance::batch(&options, &rows);
    let id = BatchId { run: "r1".into(), checkpoint: 1, instance: 0, sequence: 0 };
    let outcomes = sink.send(&id, &[0, 1, 2], &batch).await.unwrap();
    assert!(matches!(&outcomes[..], [Outcome::Done, Outcome::Refused(_), Outcome::Done]), "{outcomes:?}");
    let mut other = embedded.sink(&SinkOptions { generation: "g2".into(), ..options.clone() }).await.unwrap();
    assert_eq!(other.send(&id, &[0, 1, 2], &batch).await.unwrap(), outcomes);
    assert!(other.summary().unwrap().starts_with("2 rows"), "{:?}", other.summary());
}

#[tokio::test]
async fn overwriting_keeps_the_last_row_of_each_key() {
    let dir = tempfile::tempdir().unwrap();
    let embedded = connector(&dir.path().join("a.db"), clock::system());
    let schema = schema(&[("k", ColumnType::String), ("v", ColumnType::Bigint)], None);
    let mut options = conformance::sink_options("kept", &schema.columns);
    options.mode = WriteMode::Overwrite;
    assert_eq!(embedded.sink(&options).await.err().unwrap().kind(), ErrorKind::Config);
    options.key = vec!["k".into()];
    let mut sink = embedded.sink(&options).await.unwrap();
    for (key, value) in [("a", 1), ("b", 2), ("a", 3)] {
        sink.write(&Batch::new(one(&schema, key, value, 1).rows)).await.unwrap();
    }
    let db = Connection::open(dir.path().join("a.db")).unwrap();
    let kept: String =
        db.query_row("SELECT group_concat(k || v) FROM (SELECT * FROM kept ORDER BY k)", [], |r| r.get(0)).unwrap();
    assert_eq!(kept, "a3,b2");
    assert_eq!(one(&schema, "a", 1, 1).rows.column(0).as_string::<i32>().value(0), "a");
}
