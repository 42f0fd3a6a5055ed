//! Writing: each row, in order per key, whatever fails in between.

use arrow::array::{Array as _, AsArray as _, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use millstream_core::ErrorKind;
use millstream_core::batch::Batch;
use millstream_core::producer::NewRecord;
use millstream_core::sink::{Commitment, Outcome, Sink, SinkOptions};
use millstream_local::conformance::{self, SinkUnderTest};
use millstream_services::{Fault, Proxy, Rule};

use super::*;

/// Streams named after sinks, read back by the source.
struct Streams {
    prefix: String,
}

impl Streams {
    fn stream(&self, id: &str) -> String {
        format!("{}-{id}", self.prefix)
    }
}

/// What stands in a stream, in order per shard.
async fn contents(stream: &str) -> Vec<String> {
    let source = source(services::kinesis(), stream, json!({})).await;
    let mut all = Vec::new();
    for split in source.discover(&Default::default()).await.unwrap() {
        all.extend(read(source.open(&split, None).await.unwrap().as_mut()).await.0);
    }
    all
}

impl SinkUnderTest for Streams {
    async fn open(&self, options: &SinkOptions) -> Box<dyn Sink> {
        connector(services::kinesis(), &self.stream(&options.id), json!({})).sink(options).await.unwrap()
    }
    fn commitment(&self, options: &SinkOptions) -> Commitment {
        connector(services::kinesis(), "any", json!({})).commitment(options)
    }
    async fn visible(&self, options: &SinkOptions) -> Vec<RecordBatch> {
        let lines = contents(&self.stream(&options.id)).await;
        vec![conformance::decode_lines(options, &lines)]
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keeps_the_promises_of_a_sink() {
    let kinesis = client(services::kinesis());
    let under_test = Streams { prefix: services::name("sink") };
    for id in ["sent", "again", "apart"] {
        kinesis.create_stream().stream_name(under_test.stream(id)).shard_count(2).send().await.unwrap();
        active(&kinesis, &under_test.stream(id)).await;
    }
    conformance::sink(&under_test).await;
}

/// Rows of keys, numbered.
fn batch(keys: &[&str]) -> (SinkOptions, Batch) {
    let user =
        Arc::new(Schema::new(vec![Field::new("k", DataType::Utf8, true), Field::new("n", DataType::Int64, false)]));
    let columns = RecordBatch::try_new(
        user.clone(),
        vec![
            Arc::new(keys.iter().map(|k| Some(*k).filter(|k| *k != "null")).collect::<StringArray>()),
            Arc::new(Int64Array::from_iter_values(0..keys.len() as i64)),
        ],
    );
    let options = SinkOptions { schema: user.clone(), ..conformance::sink_options("s", &user) };
    (options, Batch::new(columns.unwrap()))
}

/// Gives what is to be tried again, as the engine does; counts the rounds.
async fn deliver(sink: &mut dyn Sink, batch: &Batch) -> usize {
    let mut left: Vec<u32> = (0..batch.num_rows() as u32).collect();
    for round in 1..200 {
        let rows = batch.take(&arrow::array::UInt32Array::from(left.clone())).unwrap();
        match sink.write(&rows).await {
            Ok(outcomes) => {
                let again = left.iter().zip(&outcomes).filter(|(_, o)| matches!(o, Outcome::Retry(_)));
                left = again.map(|(row, _)| *row).collect();
            }
            Err(e) => assert!(matches!(e.kind(), ErrorKind::Unavailable | ErrorKind::Indeterminate), "{e}"),
        }
        if left.is_empty() {
            return round;
        }
    }
    panic!("rows are never taken")
}

fn numbers(lines: &[String], key: &str) -> Vec<i64> {
    let rows = lines.iter().map(|l| serde_json::from_str::<Value>(l).unwrap());
    rows.filter(|r| r["k"] == key).map(|r| r["n"].as_i64().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partial_failures_keep_the_order_of_each_key() {
    let kinesis = client(services::kinesis());
    let name = stream(&kinesis, "partial", 2).await;
    let proxy = Proxy::start(services::kinesis(), 7);
    proxy.rule(Rule::on("PutRecords", Fault::Partial { share: 0.4 }));
    let keys: Vec<&str> = (0..120).map(|i| ["a", "b", "c", "d", "e"][i * 7 % 5]).collect();
    let (options, rows) = batch(&keys);
    let connector = connector(proxy.url(), &name, json!({ "partition_key": "k" }));
    let mut sink = connector.sink(&options).await.unwrap();
    let rounds = deliver(sink.as_mut(), &rows).await;
    assert!(rounds > 1, "some failed");
    let lines = contents(&name).await;
    assert_eq!(lines.len(), 120, "each once");
    for key in ["a", "b", "c", "d", "e"] {
        let expected: Vec<i64> = (0..120).filter(|i| keys[*i as usize] == key).collect();
        assert_eq!(numbers(&lines, key), expected, "key {key}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_fail_whole_are_made_again() {
    let kinesis = client(services::kinesis());
    let (options, rows) = batch(&["a", "b", "a", "c"]);
    for fault in [Fault::Throttle, Fault::refuse(500, "InternalFailure"), Fault::Gateway(503), Fault::Drop] {
        let name = stream(&kinesis, "whole", 1).await;
        let proxy = Proxy::start(services::kinesis(), 7);
        proxy.rule(Rule::on("PutRecords", fault.clone()).times(2));
        let connector = connector(proxy.url(), &name, json!({ "partition_key": "k" }));
        assert_eq!(deliver(connector.sink(&options).await.unwrap().as_mut(), &rows).await, 3, "{fault:?}");
        assert_eq!(numbers(&contents(&name).await, "a"), [0, 2], "{fault:?}");
    }
    // An answer that is lost: the rows may be there twice, in order, and none is missing.
    let name = stream(&kinesis, "lost", 1).await;
    let proxy = Proxy::start(services::kinesis(), 7);
    proxy.rule(Rule::on("PutRecords", Fault::Lose).times(1));
    let connector = connector(proxy.url(), &name, json!({ "partition_key": "k" }));
    deliver(connector.sink(&options).await.unwrap().as_mut(), &rows).await;
    assert_eq!(numbers(&contents(&name).await, "a"), [0, 0, 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_can_never_be_written_are_refused_alone() {
    let kinesis = client(services::kinesis());
    let name = stream(&kinesis, "refused", 1).await;
    let long = "k".repeat(257);
    let (options, rows) = batch(&["a", "null", "", &long, "b"]);
    let connector = connector(services::kinesis(), &name, json!({ "partition_key": "k" }));
    let outcomes = connector.sink(&options).await.unwrap().write(&rows).await.unwrap();
    let reason = |i: usize| match &outcomes[i] {
        Outcome::Refused(why) => why.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!((&outcomes[0], &outcomes[4]), (&Outcome::Done, &Outcome::Done));
    assert!(reason(1).contains("is null") && reason(2).contains("is empty") && reason(3).contains("256 characters"));
    assert_eq!(contents(&name).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_the_service_calls_wrong_is_taken_apart() {
    let kinesis = client(services::kinesis());
    let name = stream(&kinesis, "apart", 1).await;
    let proxy = Proxy::start(services::kinesis(), 7);
    // The call of three, then the first record alone.
    proxy.rule(Rule::on("PutRecords", Fault::refuse(400, "InvalidArgumentException")).times(2));
    let (options, rows) = batch(&["a", "b", "c"]);
    let connector = connector(proxy.url(), &name, json!({ "partition_key": "k" }));
    let outcomes = connector.sink(&options).await.unwrap().write(&rows).await.unwrap();
    assert!(matches!(outcomes[0], Outcome::Refused(_)), "{outcomes:?}");
    assert_eq!(outcomes[1..], [Outcome::Done, Outcome::Done]);
    let denied = Proxy::start(services::kinesis(), 7);
    denied.rule(Rule::on("PutRecords", Fault::refuse(400, "AccessDeniedException")));
    let connector = super::connector(denied.url(), &name, json!({}));
    let error = connector.sink(&options).await.unwrap().write(&rows).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Environment);
    assert!(error.message().contains("kinesis:PutRecords"), "{error}");
    assert!(!rows.rows.column(0).as_string::<i32>().is_null(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_producer_keeps_the_order_of_each_key() {
    let kinesis = client(services::kinesis());
    let name = stream(&kinesis, "produced", 2).await;
    let proxy = Proxy::start(services::kinesis(), 11);
    proxy.rule(Rule::on("PutRecords", Fault::Partial { share: 0.3 }));
    let mut producer = connector(proxy.url(), &name, json!({})).producer("r1").await.unwrap();
    let record = |i: usize| NewRecord {
        number: i as u64,
        key: ["a", "b", "c"][i % 3].to_owned(),
        data: format!(r#"{{"k":"{}","n":{i}}}"#, ["a", "b", "c"][i % 3]).into(),
    };
    let mut left: Vec<NewRecord> = (0..60).map(record).collect();
    while !left.is_empty() {
        let outcomes = producer.put(&left).await.unwrap();
        assert!(outcomes.iter().all(|o| !matches!(o, Outcome::Refused(_))), "{outcomes:?}");
        let again = left.into_iter().zip(outcomes).filter(|(_, o)| matches!(o, Outcome::Retry(_)));
        left = again.map(|(record, _)| record).collect();
    }
    let lines = contents(&name).await;
    for (i, key) in ["a", "b", "c"].into_iter().enumerate() {
        assert_eq!(numbers(&lines, key), (0..60).filter(|n| n % 3 == i as i64).collect::<Vec<_>>(), "key {key}");
    }
}
