use std::sync::Arc;

use arrow::array::{Int8Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use millstream_core::batch::hidden;
use millstream_core::format::RecordFormat;
use millstream_core::sink::{Sink, SinkOptions, WriteMode};
use millstream_core::{Batch, ErrorKind};
use serde_json::{Value, json};

use super::{Bucket, checkpoint, count, options, rows};

fn current(path: &str) -> SinkOptions {
    SinkOptions { mode: WriteMode::Overwrite, key: vec!["k".into()], path: Some(path.into()), ..options("s") }
}

fn line(k: &str, v: i64) -> String {
    format!("{{\"k\":\"{k}\",\"v\":{v}}}\n")
}

async fn staged(sink: &mut dyn Sink, number: u64) -> Value {
    sink.prepare(number, false).await.unwrap().staged.unwrap()
}

#[tokio::test]
async fn objects_change_at_commits_only_and_tell_their_checkpoint() {
    let bucket = Bucket::new("current").await;
    let connector = bucket.connector(json!({}));
    let options = current("all.json");
    let mut sink = connector.sink(&options).await.unwrap();
    sink.write(&rows(&options, &[("b", 1), ("a", 2)])).await.unwrap();
    assert!(bucket.objects().await.is_empty());
    checkpoint(sink.as_mut(), 1).await;
    assert_eq!(bucket.objects().await["all.json"], line("a", 2) + &line("b", 1));
    sink.write(&rows(&options, &[("b", 7)])).await.unwrap();
    checkpoint(sink.as_mut(), 2).await;
    assert_eq!(bucket.objects().await["all.json"], line("a", 2) + &line("b", 7));
    let metadata = bucket.metadata("all.json").await;
    assert_eq!((metadata["millstream-run"].as_str(), metadata["millstream-checkpoint"].as_str()), ("r1", "2"));
    assert_eq!(sink.summary().unwrap(), format!("1 file under {}", bucket.url()));
}

/// Whoever wakes up late finds a later checkpoint, also where the objects are large, and leaves it as it is.
#[tokio::test]
async fn a_lower_checkpoint_never_replaces_a_higher_one() {
    for inline in ["1MiB", "0"] {
        let bucket = Bucket::new("late").await;
        let connector = bucket.connector(json!({ "inline_size": inline }));
        let options = current("{k}.json");
        let mut zombie = connector.sink(&options).await.unwrap();
        zombie.write(&rows(&options, &[("a", 1), ("b", 1)])).await.unwrap();
        let late = staged(zombie.as_mut(), 1).await;
        let next = SinkOptions { generation: "g2".into(), checkpoint: 2, ..options.clone() };
        let mut sink = connector.sink(&next).await.unwrap();
        sink.write(&rows(&options, &[("a", 2)])).await.unwrap();
        checkpoint(sink.as_mut(), 2).await;
        zombie.commit(1, &late).await.unwrap();
        let found = bucket.objects().await;
        assert_eq!(found["a.json"], line("a", 2));
        assert_eq!(found["b.json"], line("b", 1), "what no later checkpoint has touched is made visible");
        assert_eq!(bucket.uploads().await, [""; 0], "what is not needed is not left behind");
    }
}

#[tokio::test]
async fn a_run_that_another_has_followed_is_stopped() {
    let bucket = Bucket::new("followed").await;
    let connector = bucket.connector(json!({}));
    let options = current("{k}.json");
    let mut one = connector.sink(&options).await.unwrap();
    one.write(&rows(&options, &[("a", 1), ("b", 1)])).await.unwrap();
    checkpoint(one.as_mut(), 7).await;
    // Its state was removed: it counts from 1 again.
    let fresh = SinkOptions { run: "r2".into(), generation: "g2".into(), ..options.clone() };
    let mut fresh = connector.sink(&fresh).await.unwrap();
    fresh.write(&rows(&options, &[("a", 2)])).await.unwrap();
    checkpoint(fresh.as_mut(), 1).await;
    one.write(&rows(&options, &[("a", 3)])).await.unwrap();
    let late = staged(one.as_mut(), 8).await;
    let error = one.commit(8, &late).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fenced);
    assert!(error.to_string().contains("the run r2 now"), "{error}");
    assert_eq!(bucket.objects().await["a.json"], line("a", 2));
    // A new process of the old run is told at once.
    let again = SinkOptions { generation: "g3".into(), checkpoint: 9, ..options.clone() };
    let mut again = connector.sink(&again).await.unwrap();
    again.write(&rows(&options, &[("c", 3)])).await.unwrap();
    let late = staged(again.as_mut(), 9).await;
    assert_eq!(again.commit(9, &late).await.unwrap_err().kind(), ErrorKind::Fenced);
    fresh.write(&rows(&options, &[("b", 2)])).await.unwrap();
    checkpoint(fresh.as_mut(), 2).await;
    assert_eq!(bucket.objects().await["b.json"], line("b", 2), "the new run replaces what the old one wrote");
}

/// Another writes the same object between the look at it and the write. (The local server, unlike S3, lets several
/// uploads complete that name the same ETag at once: small objects only.)
#[tokio::test]
async fn an_object_that_changes_meanwhile_is_looked_at_again() {
    let bucket = Bucket::new("contended").await;
    let connector = bucket.connector(json!({}));
    let options = current("all.json");
    let mut sinks = Vec::new();
    for number in 1..=8_u64 {
        let process = SinkOptions { generation: format!("g{number}"), checkpoint: number, ..options.clone() };
        let mut sink = connector.sink(&process).await.unwrap();
        sink.write(&rows(&options, &[("a", number as i64)])).await.unwrap();
        let entry = staged(sink.as_mut(), number).await;
        sinks.push((number, sink, entry));
    }
    let commits = sinks.iter_mut().map(async |(number, sink, entry)| sink.commit(*number, entry).await.unwrap());
    futures::future::join_all(commits).await;
    assert_eq!(bucket.objects().await["all.json"], line("a", 8), "the highest checkpoint is there in the end");
    assert_eq!(bucket.uploads().await, [""; 0]);
}

#[tokio::test]
async fn a_row_moves_between_objects_and_one_without_rows_stays_empty() {
    for format in [RecordFormat::Json, RecordFormat::Csv, RecordFormat::Parquet] {
        let bucket = Bucket::new("moves").await;
        let connector = bucket.connector(json!({}));
        let plain = options("s");
        let mut fields: Vec<Field> = plain.schema.fields().iter().map(|f| f.as_ref().clone()).collect();
        fields.push(Field::new(hidden::DIFF, DataType::Int8, false));
        let options = SinkOptions { schema: Arc::new(Schema::new(fields)), format, ..current("v={v}/rows") };
        let signed = |list: &[(&str, i64)], diffs: Vec<i8>| {
            let batch = rows(&plain, list);
            let mut columns = batch.rows.columns().to_vec();
            columns.push(Arc::new(Int8Array::from(diffs)));
            Batch::new(RecordBatch::try_new(options.schema.clone(), columns).unwrap())
        };
        let mut sink = connector.sink(&options).await.unwrap();
        sink.write(&signed(&[("a", 1), ("b", 1)], vec![1, 1])).await.unwrap();
        checkpoint(sink.as_mut(), 1).await;
        let old = bucket.objects().await;
        sink.write(&signed(&[("a", 2), ("a", 1), ("b", 1)], vec![1, -1, -1])).await.unwrap();
        checkpoint(sink.as_mut(), 2).await;
        let found = bucket.objects().await;
        assert_eq!(found.len(), 2, "{found:?}");
        assert_ne!(found["v=1/rows"], old["v=1/rows"]);
        assert_eq!(count(&connector.written(&options).await.unwrap()), 1, "an object without rows has none");
        if format == RecordFormat::Json {
            assert_eq!((found["v=1/rows"].as_str(), found["v=2/rows"].clone()), ("", line("a", 2)));
        }
    }
}

#[tokio::test]
async fn large_objects_are_replaced_whole() {
    let bucket = Bucket::new("large").await;
    let connector = bucket.connector(json!({ "part_size": "5MiB" }));
    let options = SinkOptions { key: vec!["k".into(), "v".into()], ..current("all.json") };
    let mut sink = connector.sink(&options).await.unwrap();
    let text = "x".repeat(1_000);
    for number in 1..3_u64 {
        let list: Vec<(&str, i64)> = (0..6_000 * number as i64).map(|v| (text.as_str(), v)).collect();
        sink.write(&rows(&options, &list)).await.unwrap();
        let entry = staged(sink.as_mut(), number).await;
        assert!(entry[0]["upload"]["parts"].as_array().unwrap().len() as u64 > number, "{number}");
        sink.commit(number, &entry).await.unwrap();
        assert_eq!(count(&connector.written(&options).await.unwrap()), list.len());
    }
}

/// An object that somebody has put there is replaced, as the mode says: it tells no checkpoint.
#[tokio::test]
async fn an_object_of_somebody_else_is_replaced() {
    let bucket = Bucket::new("foreign").await;
    let connector = bucket.connector(json!({}));
    bucket.put("all.json", "{}").await;
    let options = current("all.json");
    let mut sink = connector.sink(&options).await.unwrap();
    sink.write(&rows(&options, &[("a", 1)])).await.unwrap();
    checkpoint(sink.as_mut(), 1).await;
    assert_eq!(bucket.objects().await["all.json"], line("a", 1));
}
