use arrow::array::RecordBatch;
use millstream_core::ErrorKind;
use millstream_core::connector::Connector;
use millstream_core::format::{Compression, RecordFormat};
use millstream_core::sink::{Commitment, Roll, Sink, SinkOptions, WriteMode};
use millstream_local::conformance;
use serde_json::{Value, json};
use std::sync::Arc;

use super::{Bucket, batch_id, checkpoint, count, long_rows, options, rows};

/// A sink that keeps nothing in the checkpoint itself, or everything.
struct Written {
    bucket: Bucket,
    connector: Arc<dyn Connector>,
    options: fn(SinkOptions) -> SinkOptions,
    in_checkpoint: bool,
}

impl Written {
    async fn new(options: fn(SinkOptions) -> SinkOptions, in_checkpoint: bool) -> Self {
        let bucket = Bucket::new("conformance").await;
        let inline = if in_checkpoint { "1MiB" } else { "0" };
        let connector = bucket.connector(json!({ "prefix": "lake", "inline_size": inline, "max_open_files": 3 }));
        Self { bucket, connector, options, in_checkpoint }
    }
}

impl conformance::SinkUnderTest for Written {
    async fn open(&self, options: &SinkOptions) -> Box<dyn Sink> {
        self.connector.sink(&(self.options)(options.clone())).await.unwrap()
    }
    fn commitment(&self, options: &SinkOptions) -> Commitment {
        self.connector.commitment(options)
    }
    async fn visible(&self, options: &SinkOptions) -> Vec<RecordBatch> {
        self.connector.written(&(self.options)(options.clone())).await.unwrap()
    }
    async fn staged(&self, options: &SinkOptions) -> usize {
        let below = format!("lake/{}", options.id);
        self.bucket.uploads().await.iter().filter(|key| key.starts_with(&below)).count()
    }
    fn staged_is_in_the_checkpoint(&self) -> bool {
        self.in_checkpoint
    }
    fn instances(&self) -> usize {
        let options = (self.options)(options("s"));
        if options.mode == WriteMode::Overwrite { 1 } else { 2 }
    }
}

#[tokio::test]
async fn keeps_the_promises_of_a_sink_in_every_format() {
    let variants: [fn(SinkOptions) -> SinkOptions; 6] = [
        |o| o,
        |o| SinkOptions { compression: Compression::Gzip, ..o },
        |o| SinkOptions { compression: Compression::Zstd, format: RecordFormat::Json, decimals_as_strings: true, ..o },
        |o| SinkOptions { format: RecordFormat::Parquet, ..o },
        |o| SinkOptions { path: Some(format!("{}/{{bool}}/{{arrived_at:%H}}-{{batch_id}}.jsonl", o.id)), ..o },
        |o| SinkOptions { roll: Roll { bytes: 1_000, ..o.roll }, ..o },
    ];
    for options in variants {
        conformance::sink(&Written::new(options, false).await).await;
    }
    conformance::sink(&Written::new(variants[4], true).await).await;
}

#[tokio::test]
async fn keeps_the_promises_of_a_sink_of_current_rows() {
    let variants: [fn(SinkOptions) -> SinkOptions; 3] = [
        |o| SinkOptions { mode: WriteMode::Overwrite, key: vec!["id".into()], ..o },
        |o| SinkOptions {
            path: Some(format!("{}/{{bool}}.jsonl", o.id)),
            mode: WriteMode::Overwrite,
            key: vec!["id".into()],
            ..o
        },
        |o| SinkOptions { format: RecordFormat::Parquet, mode: WriteMode::Overwrite, key: vec!["id".into()], ..o },
    ];
    for options in variants {
        for in_checkpoint in [false, true] {
            conformance::sink(&Written::new(options, in_checkpoint).await).await;
        }
    }
}

#[tokio::test]
async fn keys_tell_pipeline_sink_run_checkpoint_worker_and_sequence() {
    let bucket = Bucket::new("names").await;
    let connector = bucket.connector(json!({ "prefix": "lake" }));
    let options = SinkOptions {
        instance: 3,
        instances: 4,
        run: "r7".into(),
        checkpoint: 41,
        path: Some("s/{k}/{batch_id}.csv".into()),
        format: RecordFormat::Csv,
        ..options("s")
    };
    let mut sink = connector.sink(&options).await.unwrap();
    sink.write(&rows(&options, &[("a", 1), ("b/../c", 2), ("a", 3)])).await.unwrap();
    assert!(bucket.objects().await.is_empty(), "nothing is visible before the commit");
    checkpoint(sink.as_mut(), 41).await;
    let found = bucket.objects().await;
    assert_eq!(found[&format!("lake/s/a/{}.csv", batch_id(&options, "000041-3-0001"))], "k,v\na,1\na,3\n");
    assert!(found.keys().any(|key| key.starts_with("lake/s/b%2f..%2fc/")), "{found:?}");
    assert_eq!(connector.written(&options).await.unwrap().iter().map(RecordBatch::num_rows).sum::<usize>(), 3);
    // The same rows, as a process wrote them whose checkpoint was not claimed.
    let again = SinkOptions { generation: "g2".into(), ..options.clone() };
    let mut again = connector.sink(&again).await.unwrap();
    again.write(&rows(&options, &[("a", 1), ("a", 3), ("b/../c", 2)])).await.unwrap();
    checkpoint(again.as_mut(), 41).await;
    assert_eq!(bucket.objects().await, found);
    let mut first = connector.sink(&SinkOptions { instance: 0, ..options.clone() }).await.unwrap();
    assert_eq!(first.summary().unwrap(), format!("2 files under {}/lake/s", bucket.url()));
    first.clean().await.unwrap();
    assert_eq!(bucket.uploads().await, [""; 0]);
}

#[tokio::test]
async fn large_files_are_uploaded_in_parts_while_they_are_written() {
    let bucket = Bucket::new("parts").await;
    let connector = bucket.connector(json!({ "part_size": "5MiB" }));
    let options = options("s");
    let batch = long_rows(&options, 3 << 20);
    let mut sink = connector.sink(&options).await.unwrap();
    sink.write(&batch).await.unwrap();
    assert_eq!(bucket.uploads().await, [""; 0], "a part is not full yet");
    for _ in 0..3 {
        sink.write(&batch).await.unwrap();
    }
    assert_eq!(bucket.uploads().await, [format!("s/{}.jsonl", batch_id(&options, "000001-0-0001"))]);
    let staged = sink.prepare(1, false).await.unwrap().staged.unwrap();
    assert_eq!(staged[0]["upload"]["parts"].as_array().unwrap().len(), 3, "two whole ones and the rest: {staged}");
    // Another process makes it visible; the first comes late.
    let later = SinkOptions { generation: "g2".into(), checkpoint: 2, ..options.clone() };
    let mut later = connector.sink(&later).await.unwrap();
    later.commit(1, &staged).await.unwrap();
    sink.commit(1, &staged).await.unwrap();
    assert_eq!(count(&connector.written(&options).await.unwrap()), 4 * batch.num_rows());
    assert_eq!(bucket.uploads().await, [""; 0]);
}

#[tokio::test]
async fn small_files_stand_in_the_checkpoint_as_long_as_it_stays_small() {
    let bucket = Bucket::new("small").await;
    let connector = bucket.connector(json!({ "inline_size": "400KiB", "max_open_files": 9 }));
    let options = SinkOptions { path: Some("{v}/{batch_id}.jsonl".into()), ..options("s") };
    let mut sink = connector.sink(&options).await.unwrap();
    let text = "x".repeat(300_000);
    for number in 1..3 {
        let list: Vec<(&str, i64)> = (0..5).map(|v| (text.as_str(), v)).collect();
        sink.write(&rows(&options, &list)).await.unwrap();
        let staged = sink.prepare(number, false).await.unwrap().staged.unwrap();
        let in_it = staged.as_array().unwrap().iter().filter(|entry| entry.get("data").is_some()).count();
        assert_eq!((in_it, bucket.uploads().await.len()), (3, 2), "of each checkpoint three fit into a mebibyte");
        sink.commit(number, &staged).await.unwrap();
    }
    assert_eq!(count(&connector.written(&options).await.unwrap()), 10);
}

#[tokio::test]
async fn an_object_of_somebody_else_is_never_replaced() {
    for inline in ["1MiB", "0"] {
        let bucket = Bucket::new("taken").await;
        let connector = bucket.connector(json!({ "inline_size": inline }));
        let options = options("s");
        let taken = &format!("s/{}.jsonl", batch_id(&options, "000001-0-0001"));
        bucket.put(taken, "{\"k\":\"a\",\"v\":2}\n").await;
        let mut sink = connector.sink(&options).await.unwrap();
        sink.write(&rows(&options, &[("a", 1)])).await.unwrap();
        let staged = sink.prepare(1, false).await.unwrap().staged.unwrap();
        let error = sink.commit(1, &staged).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Environment, "{error}");
        assert!(error.to_string().contains("-r1-000001-0-0001.jsonl` exists already"), "{error}");
        bucket.delete(taken).await;
        sink.commit(1, &staged).await.unwrap();
        assert_eq!(bucket.get(taken).await, b"{\"k\":\"a\",\"v\":1}\n");
    }
}

/// A process died before its first checkpoint, or before its last one counted: what it had begun goes.
#[tokio::test]
async fn uploads_of_earlier_processes_are_aborted_and_nobody_elses() {
    let bucket = Bucket::new("orphans").await;
    let connector = bucket.connector(json!({ "inline_size": "0" }));
    let begin = async |options: SinkOptions| {
        let mut sink = connector.sink(&options).await.unwrap();
        sink.write(&rows(&options, &[("a", 1)])).await.unwrap();
        sink.prepare(options.checkpoint, false).await.unwrap();
    };
    let base = SinkOptions { instances: 2, ..options("s") };
    let old = |instance, checkpoint| SinkOptions {
        generation: "old".into(),
        instances: 4,
        instance,
        checkpoint,
        ..base.clone()
    };
    for (instance, checkpoint) in [(0, 6), (1, 6), (3, 6), (0, 7), (1, 7), (3, 7), (0, 8)] {
        begin(old(instance, checkpoint)).await;
    }
    let another = SinkOptions { pipeline: "another".into(), ..old(0, 6) };
    let second = SinkOptions { id: "s2".into(), path: Some("s/{batch_id}".into()), ..old(0, 6) };
    // The same pipeline with its checkpoints elsewhere.
    let elsewhere = SinkOptions { state: "s2".into(), ..old(0, 6) };
    for others in [&another, &second, &elsewhere] {
        begin(others.clone()).await;
    }
    // A run before this one, of the same checkpoints.
    begin(SinkOptions { run: "r0".into(), ..old(0, 6) }).await;
    let mut first =
        connector.sink(&SinkOptions { generation: "new".into(), checkpoint: 7, ..base.clone() }).await.unwrap();
    first.clean().await.unwrap();
    let mut left = bucket.uploads().await;
    left.sort();
    // Worker 1 may be one of another process of the same pipeline, and its checkpoint the one that counts; a later
    // checkpoint may be that of a process that has gone on from here, while this one slept.
    let of = |options: &SinkOptions, which: &str| format!("s/{}", batch_id(options, which));
    let mut expected = vec![
        of(&another, "000006-0-0001.jsonl"),
        of(&second, "000006-0-0001"),
        of(&elsewhere, "000006-0-0001.jsonl"),
        of(&base, "000007-1-0001.jsonl"),
        of(&base, "000008-0-0001.jsonl"),
    ];
    expected.sort();
    assert_eq!(left, expected);
    connector
        .sink(&SinkOptions { generation: "new".into(), instance: 1, checkpoint: 7, ..base.clone() })
        .await
        .unwrap();
    first.clean().await.unwrap();
    assert!(
        !bucket.uploads().await.contains(&of(&base, "000007-1-0001.jsonl")),
        "it is of this process, and was not begun by it"
    );
}

#[tokio::test]
async fn wrong_options_say_what_to_write() {
    let bucket = Bucket::new("wrong").await;
    let connector = bucket.connector(json!({}));
    let base = options("s");
    let wrong = [
        (SinkOptions { path: Some("a/all.json".into()), ..base.clone() }, "a/{batch_id}-all.json"),
        (SinkOptions { mode: WriteMode::Overwrite, ..base.clone() }, "GROUP BY"),
        (SinkOptions { path: Some("a//{batch_id}".into()), ..base.clone() }, "empty part"),
        (SinkOptions { path: Some("../{batch_id}".into()), ..base.clone() }, "not below"),
        (SinkOptions { message: Some("x".into()), ..base.clone() }, "`message`"),
    ];
    for (options, expected) in wrong {
        let error = connector.sink(&options).await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains(expected), "{error}");
        assert!(connector.sink_problem(&options).unwrap().1.contains(expected), "`check` knows it");
    }
    let problems = |more: Value| bucket.connector(more).problems().join("\n");
    assert_eq!(problems(json!({ "sse": "kms", "kms_key": "alias/lake", "prefix": "a/b/" })), "");
    for (more, expected) in [
        (json!({ "bucket": "a/b" }), "`prefix`"),
        (json!({ "kms_key": "x" }), "`sse: kms`"),
        (json!({ "part_size": "1MiB" }), "5MiB"),
        (json!({ "path": "/a/*.jsonl" }), "begins with a slash"),
        (json!({ "path": "a/[.jsonl" }), "not a glob"),
        (json!({ "multiline": true }), "csv"),
    ] {
        assert!(problems(more).contains(expected), "{expected}");
    }
    assert_eq!(connector.written(&base).await.unwrap().len(), 0, "nothing is written yet");
}
