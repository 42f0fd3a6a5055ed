use futures::TryStreamExt as _;
use millstream_core::ErrorKind;
use millstream_core::schema::{ExtraFields, SourceSchema};
use millstream_core::source::Read;
use serde_json::json;
use std::collections::BTreeSet;

use super::*;
use crate::conformance;

fn source_options() -> SourceOptions {
    let schema = Arc::new(SourceSchema { columns: Vec::new(), extra: ExtraFields::Ignore });
    SourceOptions { id: "s".into(), pipeline: "p".into(), schema }
}

#[tokio::test]
async fn keeps_the_promises_of_a_table_store() {
    let memory = (kind().parse)(json!({})).unwrap();
    conformance::table_store(async |schema: &TableSchema| memory.table(schema).await.unwrap()).await;
}

struct Captured(Arc<dyn Connector>, Memory);

impl conformance::SinkUnderTest for Captured {
    async fn open(&self, options: &SinkOptions) -> Box<dyn Sink> {
        self.0.sink(options).await.unwrap()
    }
    fn commitment(&self, options: &SinkOptions) -> Commitment {
        self.0.commitment(options)
    }
    async fn visible(&self, options: &SinkOptions) -> Vec<arrow::array::RecordBatch> {
        self.1.written(&options.id).into_iter().map(|b| b.rows).collect()
    }
    async fn staged(&self, options: &SinkOptions) -> usize {
        self.1.rows_staged(&options.id)
    }
}

#[tokio::test]
async fn keeps_the_promises_of_a_sink() {
    for delivery in ["staged", "direct", "outbox", "forgetful_outbox"] {
        let connector = (kind().parse)(json!({ "name": delivery, "delivery": delivery })).unwrap();
        conformance::sink(&Captured(connector, handle(delivery))).await;
    }
}

#[tokio::test]
async fn keeps_the_promises_of_a_source() {
    let memory = handle("scripted");
    memory.push_records("a", ["1", "2", "3"], EventTime(1));
    memory.push_records("a", ["4"], EventTime(2));
    memory.finish("a");
    memory.split("b", &["a"]);
    memory.push_records("b", ["5"], EventTime(3));
    memory.finish("b");
    let connector = (kind().parse)(json!({ "name": "scripted" })).unwrap();
    let expected = ["1", "2", "3", "4", "5"].map(|r| r.as_bytes().to_vec()).to_vec();
    conformance::source(async || connector.source(&source_options()).await.unwrap(), Some(expected)).await;
    let listed = (kind().parse)(json!({ "records": ["{}", "x"] })).unwrap();
    assert!(listed.bounded());
    let expected = vec![b"{}".to_vec(), b"x".to_vec()];
    conformance::source(async || listed.source(&source_options()).await.unwrap(), Some(expected)).await;
}

#[tokio::test]
async fn keeps_the_promises_of_splits_with_children() {
    let memory = handle("resharded");
    memory.push_records("a", ["1"], EventTime(1));
    memory.push_records("b", ["2"], EventTime(1));
    memory.reshard(&["a"], &["c", "d"]);
    memory.reshard(&["b", "c"], &["e"]);
    memory.push_records("e", ["3"], EventTime(2));
    let connector = (kind().parse)(json!({ "name": "resharded" })).unwrap();
    conformance::lineage(async || connector.source(&source_options()).await.unwrap()).await;
}

#[tokio::test]
async fn a_script_can_fail_and_goes_on() {
    let memory = handle("failing");
    memory.push("a", Step::Fail(ErrorKind::Unavailable, "throttled".into()));
    memory.push_records("a", ["1"], EventTime(1));
    let connector = (kind().parse)(json!({ "name": "failing" })).unwrap();
    let source = connector.source(&source_options()).await.unwrap();
    assert!(!source.bounded());
    let split = &source.discover(&BTreeSet::new()).await.unwrap()[0];
    let mut reader = source.open(split, None).await.unwrap();
    assert_eq!(reader.next().await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(matches!(reader.next().await.unwrap(), Read::Records { .. }));
    assert!(matches!(reader.next().await.unwrap(), Read::Idle));
    memory.finish("a");
    assert!(matches!(reader.next().await.unwrap(), Read::Finished));
}

#[tokio::test]
async fn dead_rows_are_given_back() {
    let rows = conformance::every_type(0, 1000);
    let schema = TableSchema { name: "t".into(), key: vec!["id".into()], columns: rows.schema(), ttl: None };
    let table = MemoryTable::new(&schema, clock::system()).unwrap();
    for version in 1..=200 {
        let put = millstream_core::table::TableRows {
            rows: rows.clone(),
            versions: vec![version; 1000],
            stamps: vec![None; 1000],
            truncated: vec![None; 1000],
        };
        table.put(&put).await.unwrap();
        assert!(table.stored_rows() < 12_000, "at most about twice the living rows and one chunk are kept");
    }
    let all: Vec<_> = table.scan().await.unwrap().try_collect().await.unwrap();
    assert_eq!(conformance::json_lines(&all), conformance::json_lines(&[rows]));
}
