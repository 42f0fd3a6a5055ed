use std::collections::BTreeSet;
use std::io::Write as _;
use std::sync::Arc;

use millstream_core::ErrorKind;
use millstream_core::connector::{Connector, SourceOptions};
use millstream_core::format::RecordFormat;
use millstream_core::schema::{ExtraFields, SourceSchema};
use millstream_core::source::{Position, Read, Split, SplitSource};
use millstream_local::conformance;
use millstream_services::proxy::Kind;
use millstream_services::{self as services, Fault, Proxy, Rule};
use serde_json::json;

use super::Bucket;

async fn open(connector: &Arc<dyn Connector>) -> Box<dyn SplitSource> {
    let schema = Arc::new(SourceSchema { columns: Vec::new(), extra: ExtraFields::Ignore });
    connector.source(&SourceOptions { id: "s".into(), pipeline: "p".into(), schema }).await.unwrap()
}

async fn splits(source: &dyn SplitSource) -> Vec<Split> {
    source.discover(&BTreeSet::new()).await.unwrap()
}

/// The records of all splits; errors that pass are asked again, as the engine does.
async fn read_all(source: &dyn SplitSource) -> Vec<String> {
    let mut found = Vec::new();
    for split in splits(source).await {
        let mut reader = source.open(&split, None).await.unwrap();
        loop {
            match reader.next().await {
                Ok(Read::Records { records, .. }) => found
                    .extend((0..records.records.len()).map(|i| String::from_utf8_lossy(records.bytes(i)).into_owned())),
                Ok(Read::Behind(_)) => {}
                Ok(Read::Idle) => {}
                Ok(Read::Finished) => break,
                Err(e) => assert_eq!(e.kind(), ErrorKind::Unavailable, "{e}"),
            }
        }
    }
    found
}

fn lines(count: usize) -> Vec<String> {
    (0..count).map(|i| format!("{{\"n\":{i},\"x\":\"{}\"}}", "y".repeat(i % 37))).collect()
}

fn gzip(text: &str) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(text.as_bytes()).unwrap();
    gzip.finish().unwrap()
}

/// A Parquet file of these rows with several row groups.
fn parquet(rows: &arrow::array::RecordBatch, group: usize) -> Vec<u8> {
    let properties =
        parquet::file::properties::WriterProperties::builder().set_max_row_group_row_count(Some(group)).build();
    let mut writer = parquet::arrow::ArrowWriter::try_new(Vec::new(), rows.schema(), Some(properties)).unwrap();
    writer.write(rows).unwrap();
    writer.into_inner().unwrap()
}

#[tokio::test]
async fn keeps_the_promises_of_a_source() {
    let bucket = Bucket::new("promises").await;
    let text = lines(20_000);
    bucket.put("in/a.jsonl", text.join("\n")).await;
    bucket.put("in/b.jsonl.gz", gzip(&text.join("\n"))).await;
    bucket.put("in/c.csv", format!("n,x\n{}", "1,two\n".repeat(5_000))).await;
    let rows = conformance::every_type(0, 10_000);
    bucket.put("in/d.parquet", parquet(&rows, 3_000)).await;
    let expected: Vec<Vec<u8>> = text.iter().map(|line| line.as_bytes().to_vec()).collect();
    for path in ["a.jsonl", "b.jsonl.gz"] {
        let connector = bucket.connector(json!({ "prefix": "in", "path": path, "split_size": 150_000 }));
        conformance::source(async || open(&connector).await, Some(expected.clone())).await;
    }
    let connector = bucket.connector(json!({ "prefix": "in", "path": "c.csv", "split_size": 9_000 }));
    assert_eq!(connector.record_format(), RecordFormat::Csv);
    conformance::source(async || open(&connector).await, Some(vec![b"1,two".to_vec(); 5_000])).await;
    let connector = bucket.connector(json!({ "prefix": "in", "path": "d.parquet" }));
    assert_eq!(connector.record_format(), RecordFormat::Parquet);
    let expected = conformance::json_lines(&[rows]).into_iter().map(String::into_bytes).collect();
    conformance::source(async || open(&connector).await, Some(expected)).await;
}

#[tokio::test]
async fn globs_list_keys_by_name_and_not_hidden_ones() {
    let bucket = Bucket::new("globs").await;
    for key in
        ["in/b.jsonl", "in/a.jsonl", "in/.hidden.jsonl", "in/c.txt", "in/deep/d.jsonl", "in/x#0-7", "out/z.jsonl"]
    {
        bucket.put(key, format!("{key}\n")).await;
    }
    let found = async |more| {
        let connector = bucket.connector(more);
        read_all(open(&connector).await.as_ref()).await
    };
    assert_eq!(found(json!({ "prefix": "in/", "path": "*.jsonl" })).await, ["in/a.jsonl", "in/b.jsonl"]);
    assert_eq!(
        found(json!({ "path": ["in/**/*.jsonl", "in/a.jsonl"] })).await,
        ["in/a.jsonl", "in/b.jsonl", "in/deep/d.jsonl"]
    );
    let all = ["in/a.jsonl", "in/b.jsonl", "in/c.txt", "in/deep/d.jsonl", "in/x#0-7"];
    assert_eq!(found(json!({ "prefix": "in" })).await, all, "everything below the prefix; a key may look like a range");
    assert_eq!(found(json!({ "path": "in/x#0-7" })).await, ["in/x#0-7"]);
    for (path, hint) in [("in/*.csv", "there are others"), ("none/*", "check the bucket")] {
        let connector = bucket.connector(json!({ "path": path }));
        let error = open(&connector).await.discover(&BTreeSet::new()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Environment);
        assert!(error.to_string().contains(path) && error.to_string().contains(hint), "{error}");
    }
    let connector = bucket.connector(json!({ "prefix": "in", "path": "*.jsonl" }));
    let source = open(&connector).await;
    let finished = splits(source.as_ref()).await.into_iter().take(1).map(|split| split.id).collect();
    assert_eq!(source.discover(&finished).await.unwrap().len(), 1, "what is finished is not read again");
    assert!(connector.bounded() && source.bounded() && !source.ordered());
}

#[tokio::test]
async fn empty_objects_have_no_records() {
    let bucket = Bucket::new("empty").await;
    bucket.put("empty.jsonl", "").await;
    bucket.put("header.csv", "a,b\n").await;
    let rows = conformance::every_type(0, 0);
    bucket.put("none.parquet", parquet(&rows, 10)).await;
    for path in ["empty.jsonl", "header.csv", "none.parquet"] {
        let connector = bucket.connector(json!({ "path": path }));
        assert_eq!(read_all(open(&connector).await.as_ref()).await, [""; 0], "{path}");
    }
}

/// The bytes break off in the middle, again and again; the service throttles, fails, and does not answer.
#[tokio::test]
async fn an_answer_that_breaks_off_costs_no_record_and_doubles_none() {
    let bucket = Bucket::new("broken").await;
    let text = lines(30_000);
    let rows = conformance::every_type(0, 8_000);
    bucket.put("a.jsonl", text.join("\n")).await;
    bucket.put("b.jsonl.gz", gzip(&text.join("\n"))).await;
    bucket.put("c.parquet", parquet(&rows, 2_000)).await;
    let json = conformance::json_lines(&[rows]);
    for (path, expected) in [("a.jsonl", &text), ("b.jsonl.gz", &text), ("c.parquet", &json)] {
        let proxy = Proxy::start(services::s3(), 7);
        proxy.rule(Rule::on("GetObject", Fault::Cut { after: 40_000 }).times(9));
        proxy.rule(Rule::on("GetObject", Fault::Throttle).times(3));
        proxy.rule(Rule::on("GetObject", Fault::refuse(500, "InternalError")).times(2));
        proxy.rule(Rule::on("GetObject", Fault::Drop).share(0.2).times(4));
        proxy.rule(Rule::on("ListObjectsV2", Fault::Throttle).times(2));
        let connector = bucket.connector(json!({ "path": path, "endpoint": proxy.url(), "split_size": 300_000 }));
        let mut found = read_all(open(&connector).await.as_ref()).await;
        if path.ends_with("parquet") {
            found.sort();
        }
        assert!(found == *expected, "{path}: {} of {}", found.len(), expected.len());
        assert!(proxy.faults(Kind::Cut) > 0 && proxy.faults(Kind::Throttle) > 0, "{path}");
    }
}

#[tokio::test]
async fn what_is_not_what_its_name_says_is_told() {
    let bucket = Bucket::new("damaged").await;
    bucket.put("a.jsonl.gz", "this is not gzip\n").await;
    bucket.put("b.parquet", "this is not parquet, however long it is").await;
    for path in ["a.jsonl.gz", "b.parquet"] {
        let connector = bucket.connector(json!({ "path": path }));
        let source = open(&connector).await;
        let split = splits(source.as_ref()).await.remove(0);
        let error = match source.open(&split, None).await {
            Ok(mut reader) => reader.next().await.unwrap_err(),
            Err(error) => error,
        };
        assert_eq!(error.kind(), ErrorKind::Environment, "{error}");
        assert!(error.to_string().contains(path), "{error}");
    }
    let connector = bucket.connector(json!({ "path": "a.jsonl.gz" }));
    let source = open(&connector).await;
    let split = splits(source.as_ref()).await.remove(0);
    assert!(source.open(&split, Some(Position::Text("x".into()))).await.is_err());
    bucket.delete("a.jsonl.gz").await;
    let mut reader = source.open(&split, None).await.unwrap();
    assert!(reader.next().await.unwrap_err().to_string().contains("does not exist any more"));
}

#[tokio::test]
async fn an_object_that_is_replaced_between_its_parts_ends_the_run() {
    let bucket = Bucket::new("replaced").await;
    bucket.put("in/a.jsonl", lines(2_000).join("\n")).await;
    let connector = bucket.connector(json!({ "path": "in/*.jsonl", "split_size": "8KiB" }));
    let source = open(&connector).await;
    let parts = splits(source.as_ref()).await;
    assert!(parts.len() > 2);
    let first = source.open(&parts[0], None).await.unwrap().next().await.unwrap();
    assert!(matches!(first, Read::Records { .. }));
    bucket.put("in/a.jsonl", lines(2_001).join("\n")).await;
    let error = source.open(&parts[1], None).await.unwrap().next().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Environment, "{error}");
    assert!(error.message().contains("in/a.jsonl") && error.message().contains("has changed"), "{error}");
}
