//! The SQS sink.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Mutex;

use arrow::array::RecordBatch;
use bytes::Bytes;
use millstream_core::format::RecordFormat;
use millstream_core::sink::{Commitment, Outcome, Sink, SinkOptions};
use millstream_core::source::{Position, RawRecord, RawRecords};
use millstream_core::{ErrorKind, EventTime};
use millstream_formats::declared;
use millstream_local::conformance::{self, SinkUnderTest};
use millstream_services::proxy::Kind;
use millstream_services::{self as services, Fault, Proxy, Rule};
use serde_json::{Value, json};

use super::{Fresh, attributes, connector, id, insist, rows};

/// A queue for each sink, and what was taken out of it so far.
struct Queues {
    prefix: String,
    fifo: bool,
    seen: Mutex<HashMap<String, Vec<String>>>,
}

impl Queues {
    fn new(fifo: bool) -> Self {
        Self { prefix: services::name("conformance"), fifo, seen: Mutex::default() }
    }
    async fn queue(&self, options: &SinkOptions) -> Fresh {
        let name = format!("{}-{}", self.prefix, options.id);
        match self.fifo {
            true => {
                let fifo = [(aws_sdk_sqs::types::QueueAttributeName::FifoQueue, "true")];
                Fresh::make(format!("{name}.fifo"), &fifo).await
            }
            false => Fresh::make(name, &[]).await,
        }
    }
    fn options(&self, name: &str) -> Value {
        match self.fifo {
            true => json!({ "queue_url": name, "group": "{id}" }),
            false => json!({ "queue_url": name }),
        }
    }
}

impl SinkUnderTest for Queues {
    async fn open(&self, options: &SinkOptions) -> Box<dyn Sink> {
        let queue = self.queue(options).await;
        connector("sqs", services::sqs(), self.options(&queue.name)).sink(options).await.unwrap()
    }
    fn commitment(&self, options: &SinkOptions) -> Commitment {
        let name = if self.fifo { "q.fifo" } else { "q" };
        connector("sqs", services::sqs(), self.options(name)).commitment(options)
    }
    async fn visible(&self, options: &SinkOptions) -> Vec<RecordBatch> {
        let queue = self.queue(options).await;
        let new = queue.drain().await.into_iter().map(|m| m.body.unwrap());
        let bodies = {
            let mut seen = self.seen.lock().unwrap();
            let bodies = seen.entry(options.id.clone()).or_default();
            bodies.extend(new);
            bodies.clone()
        };
        bodies.iter().map(|body| row(body, options)).collect()
    }
}

/// A body as a row.
fn row(body: &str, options: &SinkOptions) -> RecordBatch {
    let len = body.len() as u32;
    let record = RawRecord { start: 0, len, position: Position::Offset(0), arrived_at: EventTime(0) };
    let raw = RawRecords { buffer: Bytes::copy_from_slice(body.as_bytes()), records: vec![record], header: None };
    declared::decode(RecordFormat::Json, &options.schema, &raw).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn standard_queues_keep_the_promises_of_sinks() {
    conformance::sink(&Queues::new(false)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fifo_queues_drop_what_is_sent_twice() {
    conformance::sink(&Queues::new(true)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_fail_in_a_call_that_succeeds_are_sent_again_alone() {
    let queue = Fresh::standard("partial").await;
    let proxy = Proxy::start(services::sqs(), 7);
    proxy.rule(Rule::on("SendMessageBatch", Fault::Partial { share: 0.4 }));
    let (options, batch) = rows(100);
    let connector = connector("sqs", proxy.url(), json!({ "queue_url": queue.name }));
    let mut sink = connector.sink(&options).await.unwrap();
    assert!(insist(sink.as_mut(), &id(1, 0), &batch).await > 1);
    let messages = queue.drain().await;
    assert_eq!(messages.len(), 100, "no message is there twice, and none is missing");
    let ids: BTreeSet<String> = messages.iter().map(|m| attributes(m)["id"].clone()).collect();
    let expected: BTreeSet<String> = (0..100).map(|row| id(1, 0).row(row)).collect();
    assert_eq!(ids, expected, "ids are of rows, however often the batch was sent");
    assert!(sink.summary().unwrap().starts_with("100 messages to queue partial-"));
}

#[tokio::test(flavor = "multi_thread")]
async fn throttles_and_outages_cost_time_and_no_message() {
    let queue = Fresh::standard("throttle").await;
    let proxy = Proxy::start(services::sqs(), 3);
    proxy.rule(Rule::on("SendMessageBatch", Fault::Throttle).share(0.3));
    proxy.rule(Rule::on("SendMessageBatch", Fault::Gateway(503)).share(0.2));
    proxy.rule(Rule::on("SendMessageBatch", Fault::Drop).share(0.2));
    let (options, batch) = rows(200);
    let mut sink = connector("sqs", proxy.url(), json!({ "queue_url": queue.name })).sink(&options).await.unwrap();
    insist(sink.as_mut(), &id(1, 0), &batch).await;
    assert!(proxy.faults(Kind::Throttle) > 0 && proxy.faults(Kind::Drop) > 0);
    assert_eq!(queue.drain().await.len(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_doubles_messages_of_standard_queues_under_one_id_and_none_of_fifo_queues() {
    for fifo in [false, true] {
        let queue = if fifo { Fresh::fifo("lost").await } else { Fresh::standard("lost").await };
        let proxy = Proxy::start(services::sqs(), 1);
        proxy.rule(Rule::on("SendMessageBatch", Fault::Lose).times(1));
        let (options, batch) = rows(10);
        let more =
            if fifo { json!({ "queue_url": queue.name, "group": "{id}" }) } else { json!({ "queue_url": queue.name }) };
        let mut sink = connector("sqs", proxy.url(), more).sink(&options).await.unwrap();
        insist(sink.as_mut(), &id(1, 0), &batch).await;
        let mut times: BTreeMap<String, usize> = BTreeMap::new();
        for message in queue.drain().await {
            *times.entry(attributes(&message)["id"].clone()).or_default() += 1;
        }
        assert_eq!(times.len(), 10);
        assert!(times.values().all(|n| *n == if fifo { 1 } else { 2 }), "{times:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_a_group_stay_in_order_whatever_fails() {
    let queue = Fresh::fifo("order").await;
    let proxy = Proxy::start(services::sqs(), 11);
    proxy.rule(Rule::on("SendMessageBatch", Fault::Partial { share: 0.3 }));
    let (options, batch) = rows(60);
    // `bool` has three values with null: three groups.
    let more = json!({ "queue_url": queue.name, "group": "g-{bool}" });
    let mut sink = connector("sqs", proxy.url(), more).sink(&options).await.unwrap();
    assert!(insist(sink.as_mut(), &id(1, 0), &batch).await > 1);
    let mut by_group: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for message in queue.drain().await {
        let group = message.attributes.as_ref().unwrap()
            [&aws_sdk_sqs::types::MessageSystemAttributeName::MessageGroupId]
            .clone();
        by_group.entry(group).or_default().push(attributes(&message)["id"].clone());
    }
    assert_eq!((by_group.len(), by_group.values().map(Vec::len).sum::<usize>()), (3, 60));
    assert!(by_group.values().all(|ids| ids.is_sorted()), "{by_group:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_too_large_is_refused_or_kept_in_s3() {
    let queue = Fresh::standard("large").await;
    let (options, batch) = large();
    let numbers = [0, 1];
    let plain = connector("sqs", services::sqs(), json!({ "queue_url": queue.name }));
    let outcomes = plain.sink(&options).await.unwrap().send(&id(1, 0), &numbers, &batch).await.unwrap();
    assert_eq!(outcomes[1], Outcome::Done, "its neighbour is sent");
    assert!(matches!(&outcomes[0], Outcome::Refused(why) if why.contains("`oversize`")), "{:?}", outcomes[0]);
    queue.drain().await;
    let bucket = services::name("large");
    let s3 = s3();
    s3.create_bucket().bucket(&bucket).send().await.unwrap();
    let oversize = json!({ "bucket": bucket, "prefix": "big/", "endpoint": services::s3() });
    let offloading = connector("sqs", services::sqs(), json!({ "queue_url": queue.name, "oversize": oversize }));
    let outcomes = offloading.sink(&options).await.unwrap().send(&id(1, 1), &numbers, &batch).await.unwrap();
    assert_eq!(outcomes, [Outcome::Done, Outcome::Done]);
    let messages = queue.drain().await;
    let pointer = messages.iter().find(|m| attributes(m).contains_key("ExtendedPayloadSize")).unwrap();
    let body: Value = serde_json::from_str(pointer.body.as_ref().unwrap()).unwrap();
    assert_eq!(body[0], "software.amazon.payloadoffloading.PayloadS3Pointer");
    let key = body[1]["s3Key"].as_str().unwrap();
    assert_eq!(key, format!("big/conformance/out/{}.json", id(1, 1).row(0)));
    let found = s3.get_object().bucket(&bucket).key(key).send().await.unwrap().body.collect().await.unwrap();
    let text = String::from_utf8(found.to_vec()).unwrap();
    assert_eq!(attributes(pointer)["ExtendedPayloadSize"], text.len().to_string());
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["text"].as_str().unwrap().len(), 1_100_000);
}

/// A row of more than a mebibyte and a small one.
fn large() -> (SinkOptions, millstream_core::Batch) {
    use arrow::array::{ArrayRef, StringArray};
    use arrow::datatypes::{DataType, Field, Schema};
    let schema = std::sync::Arc::new(Schema::new(vec![Field::new("text", DataType::Utf8, true)]));
    let texts: ArrayRef = std::sync::Arc::new(StringArray::from(vec!["x".repeat(1_100_000), "small".into()]));
    let rows = RecordBatch::try_new(schema, vec![texts]).unwrap();
    let options = conformance::sink_options("out", &rows.schema());
    let batch = conformance::batch(&options, &rows);
    (options, batch)
}

fn s3() -> aws_sdk_s3::Client {
    use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .credentials_provider(Credentials::for_tests())
        .region(Region::new(services::REGION))
        .endpoint_url(services::s3())
        .force_path_style(true)
        .http_client(super::http());
    aws_sdk_s3::Client::from_conf(config.build())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_is_not_there_is_the_environments_fault() {
    let (options, _) = rows(1);
    let absent = connector("sqs", services::sqs(), json!({ "queue_url": services::name("absent") }));
    let error = absent.sink(&options).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Environment, "{error}");
    assert!(error.to_string().contains("GetQueueUrl on queue absent-"), "{error}");
    let proxy = Proxy::start(services::sqs(), 1);
    proxy.rule(Rule::on("SendMessageBatch", Fault::refuse(403, "AccessDenied")));
    let queue = Fresh::standard("denied").await;
    let (options, batch) = rows(1);
    let mut sink = connector("sqs", proxy.url(), json!({ "queue_url": queue.name })).sink(&options).await.unwrap();
    let error = sink.send(&id(1, 0), &[0], &batch).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Environment, "{error}");
}

#[tokio::test]
async fn options_that_a_queue_cannot_have_are_told_before_anything_runs() {
    let (options, _) = rows(1);
    let problem = |more: Value| connector("sqs", "http://127.0.0.1:1", more).problems().join("; ");
    assert!(problem(json!({ "queue_url": " " })).contains("`queue_url` is empty"));
    assert!(problem(json!({ "queue_url": "q", "group": "{id}" })).contains("FIFO"));
    assert!(problem(json!({ "queue_url": "q", "visibility": "13h" })).contains("12h"));
    assert!(problem(json!({ "queue_url": "q", "max_in_flight": 200_000 })).contains("120000"));
    assert!(problem(json!({ "queue_url": "q", "format": "csv" })).contains("one record"));
    let sqs = connector("sqs", "http://127.0.0.1:1", json!({ "queue_url": "q" }));
    let with = |path: &str| SinkOptions { path: Some(path.into()), ..options.clone() };
    assert_eq!(sqs.sink_problem(&with("a/b")).unwrap().0, "path");
    let csv = SinkOptions { format: RecordFormat::Csv, ..options.clone() };
    assert_eq!(sqs.sink_problem(&csv).unwrap().0, "format");
    let bad = connector("sqs", "http://127.0.0.1:1", json!({ "queue_url": "q.fifo", "group": "{id" }));
    assert!(bad.sink_problem(&options).unwrap().1.contains("message group"));
}
