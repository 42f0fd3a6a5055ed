//! The dataflow with an operator of its own: routing, watermarks, ends and errors over several workers.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod callers;
mod lineage;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use millstream_core::batch::{Batch, hidden_fields};
use millstream_core::connector::{Connector, SourceOptions};
use millstream_core::error::{ErrorKind, Result};
use millstream_core::format::{Compression, RecordFormat};
use millstream_core::operator::{InPort, Operator, OutPort, Output};
use millstream_core::refusal;
use millstream_core::schema::{Column, ColumnType, ExcessDigits, ExtraFields, SourceSchema, Zone};
use millstream_core::sink::{Delivery, Roll, SinkOptions, WriteMode};
use millstream_core::time::{EventTime as Instant, Watermark};
use millstream_local::memory;
use millstream_runtime::graph::{
    CallerNode, EventTime, Graph, Node, NodeKind, Port, PortRef, Routing, SinkNode, SourceNode, Stage,
};
use millstream_runtime::{RunOptions, start};

/// Counts rows per key and gives the counts at the end of the input.
struct CountPerKey {
    counts: BTreeMap<String, i64>,
    schema: SchemaRef,
    fail_at: Option<&'static str>,
}

impl Operator for CountPerKey {
    fn on_batch(&mut self, _port: InPort, batch: Batch, out: &mut Output) -> Result<()> {
        for key in batch.rows.column(0).as_string::<i32>().iter().flatten() {
            assert!(!(self.fail_at == Some("panic") && key == "key3"), "on purpose");
            if self.fail_at == Some(key) {
                return Err(millstream_core::Error::bug(format!("saw {key}")));
            }
            *self.counts.entry(key.to_owned()).or_default() += 1;
        }
        out.counts.merged += batch.num_rows() as u64;
        Ok(())
    }

    fn on_watermark(&mut self, watermark: Watermark, out: &mut Output) -> Result<()> {
        if watermark.is_complete() && !self.counts.is_empty() {
            let counts = std::mem::take(&mut self.counts);
            let n = counts.len();
            out.counts.produced += n as u64;
            let rows = RecordBatch::try_new(
                self.schema.clone(),
                vec![
                    Arc::new(StringArray::from_iter_values(counts.keys())),
                    Arc::new(Int64Array::from_iter_values(counts.values().copied())),
                    Arc::new(TimestampMicrosecondArray::from(vec![0; n])),
                    Arc::new(TimestampMicrosecondArray::from(vec![None; n])),
                    Arc::new(UInt64Array::from(vec![None; n])),
                ],
            )?;
            out.give(OutPort(0), Batch::new(rows));
        }
        Ok(())
    }
}

fn with_hidden(fields: Vec<Field>) -> SchemaRef {
    Arc::new(Schema::new(fields.into_iter().chain(hidden_fields(DataType::UInt64)).collect::<Vec<_>>()))
}

fn connector(name: &str) -> Arc<dyn Connector> {
    let kinds = millstream_local::kinds();
    let kind = kinds.iter().find(|k| k.name == "memory").unwrap();
    (kind.parse)(serde_json::json!({ "name": name })).unwrap()
}

fn port(name: &str, schema: SchemaRef) -> Port {
    Port { name: name.into(), schema, key: vec![] }
}

fn column(name: &str, column_type: ColumnType) -> Column {
    Column {
        name: name.into(),
        column_type,
        optional: false,
        path: vec![name.into()],
        formats: vec![],
        zone: Zone::Utc,
        excess_digits: ExcessDigits::Reject,
    }
}

/// A source of keys `k` with event times `t`.
fn source(connector: Arc<dyn Connector>, idle_after: std::time::Duration) -> Node {
    let schema = SourceSchema {
        columns: vec![column("k", ColumnType::String), column("t", ColumnType::Timestamp)],
        extra: ExtraFields::Ignore,
    };
    let rows = with_hidden(schema.arrow().fields().iter().map(|f| f.as_ref().clone()).collect());
    Node {
        id: "events".into(),
        kind: NodeKind::Source(SourceNode {
            connector,
            options: SourceOptions { id: "events".into(), pipeline: "p".into(), schema: Arc::new(schema) },
            event_time: Some(EventTime {
                column: 1,
                name: "t".into(),
                max_delay: std::time::Duration::ZERO,
                late_after: std::time::Duration::ZERO,
                idle_after,
                max_future: std::time::Duration::from_secs(3600),
            }),
            raw_is_read: false,
        }),
        inputs: vec![],
        ports: vec![
            port("", rows),
            port("raw", with_hidden(vec![Field::new("raw", DataType::Binary, false)])),
            port("rejected", refusal::schema()),
            port("late", refusal::schema()),
        ],
        sources: vec![0],
    }
}

/// A sink `id` that reads `from`.
fn sink(connector: Arc<dyn Connector>, id: &str, from: PortRef, schema: SchemaRef, has_failed_port: bool) -> Node {
    Node {
        id: id.into(),
        kind: NodeKind::Sink(SinkNode {
            connector,
            options: SinkOptions {
                id: id.into(),
                pipeline: "p".into(),
                schema,
                key: vec![],
                format: RecordFormat::Json,
                compression: Compression::None,
                path: None,
                mode: WriteMode::Append,
                roll: Roll { bytes: 1 << 20, every: std::time::Duration::from_secs(60) },
                subject: None,
                message: None,
                decimals_as_strings: false,
                instance: 0,
                instances: 1,
                state: "s".into(),
                run: "r".into(),
                generation: "g".into(),
                checkpoint: 1,
            },
            routing: Routing::Local,
            before: None,
            delivery: Delivery::default(),
            has_failed_port,
        }),
        inputs: vec![from],
        ports: vec![port("failed", refusal::schema())],
        sources: vec![0],
    }
}

/// source -> count per key -> sink, and the refused rows of the source to the same sink kind.
fn graph(name: &str, fail_at: Option<&'static str>) -> Graph {
    let counted = with_hidden(vec![Field::new("k", DataType::Utf8, false), Field::new("n", DataType::Int64, false)]);
    let make = {
        let schema = counted.clone();
        move || -> Result<Box<dyn Operator>> {
            Ok(Box::new(CountPerKey { counts: BTreeMap::new(), schema: schema.clone(), fail_at }))
        }
    };
    let count = Node {
        id: "count".into(),
        kind: NodeKind::Operator(vec![Stage { routing: vec![Routing::Keys(vec![0])], make: Arc::new(make) }]),
        inputs: vec![PortRef { node: 0, port: 0 }],
        ports: vec![port("", counted.clone())],
        sources: vec![0],
    };
    let counts = sink(connector(name), "counts", PortRef { node: 1, port: 0 }, counted, true);
    let refused = sink(connector(name), "refused", PortRef { node: 0, port: 2 }, refusal::schema(), false);
    Graph {
        name: "p".into(),
        nodes: vec![source(connector(name), std::time::Duration::from_secs(1)), count, counts, refused],
        checkpoint_every: std::time::Duration::from_secs(10),
    }
}

fn script(name: &str, splits: usize, records: usize) -> memory::Memory {
    let memory = memory::handle(name);
    for split in 0..splits {
        let id = format!("s{split}");
        for run in 0..records / 100 {
            let lines: Vec<String> = (0..100)
                .map(|i| match run * 100 + i {
                    n if n % 50 == 49 => "not json".to_owned(),
                    n => format!(r#"{{"k":"key{}","t":"2024-05-25T00:00:00Z"}}"#, n % 17),
                })
                .collect();
            memory.push_records(&id, lines.iter().map(String::as_str), Instant(1_800_000_000_000_000));
        }
        memory.finish(&id);
    }
    memory.close();
    memory
}

fn counted(memory: &memory::Memory) -> BTreeMap<String, i64> {
    let mut counts = BTreeMap::new();
    for batch in memory.written("counts") {
        let keys = batch.rows.column(0).as_string::<i32>();
        let numbers = batch.rows.column(1).as_primitive::<Int64Type>();
        for i in 0..keys.len() {
            let before = counts.insert(keys.value(i).to_owned(), numbers.value(i));
            assert_eq!(before, None, "{} was counted on two workers", keys.value(i));
        }
    }
    counts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_counts_are_the_same_for_any_number_of_workers() {
    let mut results = Vec::new();
    for workers in [1, 2, 4] {
        let name = format!("counts-{workers}");
        let memory = script(&name, 5, 2000);
        let options = RunOptions { workers, ..RunOptions::default() };
        let snapshot = start(graph(&name, None), options).await.unwrap().wait().await.unwrap();
        assert!(snapshot.adds_up(), "{snapshot:#?}");
        let source = &snapshot.nodes[0].counts;
        assert_eq!((source.input, source.rejected), (10_000, 200));
        assert_eq!(memory.rows_written("refused"), 200);
        assert!(memory.commits("counts") >= 1, "the end commits");
        results.push(counted(&memory));
    }
    assert_eq!(results[0].len(), 17);
    assert_eq!(results[0].values().sum::<i64>(), 9_800);
    assert_eq!(results[0], results[1]);
    assert_eq!(results[0], results[2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operators_error_ends_the_run_and_names_the_node() {
    for workers in [1, 3] {
        let name = format!("fails-{workers}");
        script(&name, 3, 1000);
        let options = RunOptions { workers, ..RunOptions::default() };
        let error = start(graph(&name, Some("key3")), options).await.unwrap().wait().await.unwrap_err();
        assert_eq!(error.node, "count");
        assert_eq!(error.error.kind(), ErrorKind::Bug);
        assert_eq!(error.error.message(), "saw key3");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_ends_an_endless_run_without_completing_its_watermark() {
    let name = "endless";
    let memory = memory::handle(name);
    memory.push_records("s", [r#"{"k":"a","t":"2024-05-25T00:00:00Z"}"#], Instant(1_800_000_000_000_000));
    let running = start(graph(name, None), RunOptions { workers: 2, ..RunOptions::default() }).await.unwrap();
    let handle = running.handle();
    while handle.snapshot().nodes[1].counts.merged == 0 {
        tokio::task::yield_now().await;
    }
    handle.stop();
    let snapshot = running.wait().await.unwrap();
    assert!(snapshot.adds_up(), "{snapshot:#?}");
    assert_eq!(memory.rows_written("counts"), 0, "a stop is not the end of the input");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_in_one_worker_ends_the_run_on_all() {
    let name = "panics";
    script(name, 3, 1000);
    let options = RunOptions { workers: 2, ..RunOptions::default() };
    let error = start(graph(name, Some("panic")), options).await.unwrap().wait().await.unwrap_err();
    assert_eq!(error.error.kind(), ErrorKind::Bug);
    assert!(error.error.message().contains("on purpose"), "{error}");
}
