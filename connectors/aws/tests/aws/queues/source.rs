//! The SQS source.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use millstream_core::connector::{Connector, SourceOptions};
use millstream_core::producer::NewRecord;
use millstream_core::schema::{ExtraFields, SourceSchema};
use millstream_core::sink::Outcome;
use millstream_core::source::{Applied, Position, Read, SplitReader};
use millstream_core::{ErrorKind, EventTime};
use millstream_services::proxy::Kind;
use millstream_services::{self as services, Fault, Proxy, Rule};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Fresh, connector};

async fn reader(sqs: &Arc<dyn Connector>) -> Box<dyn SplitReader> {
    let schema = Arc::new(SourceSchema { columns: Vec::new(), extra: ExtraFields::Ignore });
    let options = SourceOptions { id: "in".into(), pipeline: "shop".into(), schema };
    let source = sqs.source(&options).await.unwrap();
    assert!(source.acknowledges() && source.late_by_arrival() && !source.bounded());
    let splits = source.discover(&BTreeSet::new()).await.unwrap();
    assert_eq!(splits.len(), 1);
    source.open(&splits[0], None).await.unwrap()
}

/// What was read: bodies by the positions that name them.
type Bodies = BTreeMap<String, (String, EventTime)>;

fn text(position: &Position) -> String {
    position.to_string()
}

/// Reads until there are `count`, or the queue is empty.
async fn read(reader: &mut dyn SplitReader, count: usize) -> Bodies {
    let mut all = Bodies::new();
    while all.len() < count {
        match reader.next().await {
            Ok(Read::Records { records, .. }) => {
                for (i, record) in records.records.iter().enumerate() {
                    let body = String::from_utf8(records.bytes(i).to_vec()).unwrap();
                    let again = all.insert(text(&record.position), (body, record.arrived_at));
                    assert!(again.is_none(), "a message is given once");
                }
            }
            Ok(Read::Idle) => break,
            Ok(other) => panic!("{other:?}"),
            Err(e) => assert!(matches!(e.kind(), ErrorKind::Unavailable | ErrorKind::Indeterminate), "{e}"),
        }
    }
    all
}

fn bodies(count: usize) -> Vec<String> {
    (0..count).map(|i| json!({ "n": i }).to_string()).collect()
}

fn positions(all: &Bodies) -> Vec<Position> {
    all.keys().map(|id| Position::Text(id.as_str().into())).collect()
}

fn options(queue: &Fresh, more: Value) -> Value {
    let mut options = json!({ "queue_url": queue.name });
    options.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    options
}

/// Acknowledges until all are gone.
async fn gone(reader: &mut dyn SplitReader, covered: &[Position]) -> BTreeSet<String> {
    let mut all: BTreeSet<String> = reader.acknowledge(covered).await.unwrap().iter().map(text).collect();
    for _ in 0..20 {
        all.extend(reader.acknowledge(&[]).await.unwrap().iter().map(text));
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_hidden_while_they_are_pending_and_deleted_when_they_are_covered() {
    let queue = Fresh::standard("source").await;
    queue.put(&bodies(35)).await;
    let mut reader = reader(&connector("sqs", services::sqs(), options(&queue, json!({})))).await;
    let all = read(reader.as_mut(), 35).await;
    assert_eq!(all.values().map(|(body, _)| body.clone()).collect::<BTreeSet<_>>(), bodies(35).into_iter().collect());
    assert!(all.values().all(|(_, sent)| sent.0 > 1_700_000_000_000_000), "they arrived when they were sent");
    assert!(matches!(reader.next().await.unwrap(), Read::Idle));
    assert_eq!(queue.counts().await, (0, 35), "all are there, and hidden");
    let covered = positions(&all);
    let left = reader.acknowledge(&covered[..20]).await.unwrap();
    assert_eq!(left.len(), 20);
    assert_eq!(queue.counts().await, (0, 15), "what is covered is gone");
    assert_eq!(reader.acknowledge(&covered[20..]).await.unwrap().len(), 15);
    assert_eq!(queue.counts().await, (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_comes_back_is_not_applied_twice() {
    let queue = Fresh::standard("expired").await;
    queue.put(&bodies(12)).await;
    let proxy = Proxy::start(services::sqs(), 1);
    // Nothing is kept hidden: every receipt runs out after two seconds.
    proxy.rule(Rule::on("ChangeMessageVisibilityBatch", Fault::Throttle));
    let mut reader = reader(&connector("sqs", proxy.url(), options(&queue, json!({ "visibility": "2s" })))).await;
    let all = read(reader.as_mut(), 12).await;
    assert_eq!(all.len(), 12);
    let deadline = Instant::now() + Duration::from_secs(7);
    while Instant::now() < deadline {
        match reader.next().await.unwrap() {
            Read::Idle => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(proxy.faults(Kind::Throttle) > 0);
    let received = queue_receives(&proxy);
    assert!(received > 12 / 10 + 1, "they came back: {received} calls");
    assert_eq!(gone(reader.as_mut(), &positions(&all)).await.len(), 12);
    assert_eq!(queue.counts().await, (0, 0));
}

fn queue_receives(proxy: &Proxy) -> u64 {
    proxy.requests("ReceiveMessage") as u64
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_stay_hidden_for_as_long_as_their_checkpoint_is_pending() {
    let queue = Fresh::standard("extended").await;
    queue.put(&bodies(25)).await;
    let proxy = Proxy::start(services::sqs(), 1);
    let mut reader = reader(&connector("sqs", proxy.url(), options(&queue, json!({ "visibility": "2s" })))).await;
    let all = read(reader.as_mut(), 25).await;
    // Several times as long as they would be hidden by themselves.
    let deadline = Instant::now() + Duration::from_secs(7);
    while Instant::now() < deadline {
        assert!(matches!(reader.next().await.unwrap(), Read::Idle));
        assert_eq!(queue.counts().await, (0, 25));
    }
    assert!(proxy.requests("ChangeMessageVisibilityBatch") > 3);
    assert_eq!(gone(reader.as_mut(), &positions(&all)).await.len(), 25);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_earlier_process_has_applied_is_deleted_and_not_given_again() {
    let queue = Fresh::standard("restart").await;
    queue.put(&bodies(20)).await;
    let sqs = connector("sqs", services::sqs(), options(&queue, json!({ "visibility": "2s" })));
    let mut first = reader(&sqs).await;
    let all = read(first.as_mut(), 20).await;
    // It dies: its checkpoint covers twelve of them, and nothing was deleted.
    drop(first);
    let applied: Vec<Applied> = all
        .iter()
        .take(12)
        .map(|(id, (_, sent))| Applied { position: Position::Text(id.as_str().into()), arrived_at: *sent })
        .collect();
    let mut second = reader(&sqs).await;
    second.applied(&applied);
    let mut rest = Bodies::new();
    while rest.len() < 8 {
        rest.extend(read(second.as_mut(), 8).await);
    }
    let expected: BTreeSet<&String> = all.keys().skip(12).collect();
    assert_eq!(rest.keys().collect::<BTreeSet<_>>(), expected, "only what was not covered");
    let mut left: BTreeSet<String> = BTreeSet::new();
    while left.len() < 20 {
        left.extend(second.acknowledge(&positions(&rest)).await.unwrap().iter().map(text));
        assert!(matches!(second.next().await.unwrap(), Read::Idle));
    }
    assert_eq!(left, all.keys().cloned().collect());
    assert_eq!(queue.counts().await, (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_produced_is_read_in_order_per_key() {
    let queue = Fresh::fifo("produced").await;
    let proxy = Proxy::start(services::sqs(), 9);
    proxy.rule(Rule::on("SendMessageBatch", Fault::Partial { share: 0.3 }).times(4));
    let mut producer = connector("sqs", proxy.url(), options(&queue, json!({}))).producer("run-1").await.unwrap();
    let record = |n: u64| NewRecord { number: n, key: format!("k{}", n % 3), data: format!("{{\"n\":{n}}}").into() };
    let mut left: Vec<NewRecord> = (0..40).map(record).collect();
    // An answer that was lost: the same records again, of which the queue makes one.
    producer.put(&left[..5]).await.unwrap();
    while !left.is_empty() {
        let outcomes = producer.put(&left).await.unwrap();
        let again = left.into_iter().zip(outcomes).filter(|(_, outcome)| *outcome != Outcome::Done);
        left = again.map(|(record, _)| record).collect();
    }
    let bodies: Vec<String> = queue.drain().await.into_iter().map(|m| m.body.unwrap()).collect();
    assert_eq!(bodies.len(), 40, "each once");
    for key in 0..3 {
        let n = |body: &String| serde_json::from_str::<Value>(body).unwrap()["n"].as_u64().unwrap();
        let of_key: Vec<u64> = bodies.iter().map(n).filter(|n| n % 3 == key).collect();
        assert!(of_key.is_sorted(), "{of_key:?}");
    }
    let standard = Fresh::standard("produced").await;
    let mut producer =
        connector("sqs", services::sqs(), options(&standard, json!({}))).producer("run-2").await.unwrap();
    let odd = NewRecord { number: 0, key: "k".into(), data: vec![0xff, 0].into() };
    let large = NewRecord { number: 1, key: "k".into(), data: vec![b'x'; 2 << 20].into() };
    let outcomes = producer.put(&[odd, large]).await.unwrap();
    assert_eq!(outcomes[0], Outcome::Done);
    assert!(matches!(&outcomes[1], Outcome::Refused(why) if why.contains("oversize")), "{outcomes:?}");
    let mut reader = reader(&connector("sqs", services::sqs(), options(&standard, json!({})))).await;
    let Read::Records { records, .. } = reader.next().await.unwrap() else { panic!("a record is there") };
    assert_eq!(records.bytes(0), [0xff, 0], "bytes that are no text, too");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_that_is_not_done_is_tried_again() {
    let queue = Fresh::standard("undeleted").await;
    queue.put(&bodies(30)).await;
    let proxy = Proxy::start(services::sqs(), 4);
    let mut reader = reader(&connector("sqs", proxy.url(), options(&queue, json!({})))).await;
    let all = read(reader.as_mut(), 30).await;
    proxy.rule(Rule::on("DeleteMessageBatch", Fault::Drop).times(3));
    proxy.rule(Rule::on("DeleteMessageBatch", Fault::Partial { share: 0.5 }).times(6));
    proxy.rule(Rule::on("DeleteMessageBatch", Fault::Throttle).times(3));
    let left = reader.acknowledge(&positions(&all)).await.unwrap();
    assert!(left.len() < 30, "not all could be deleted at once");
    let later = gone(reader.as_mut(), &[]).await;
    let both: BTreeSet<String> = left.iter().map(text).chain(later).collect();
    assert_eq!(both.len(), 30);
    assert_eq!(queue.counts().await, (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_is_received_than_may_be_in_flight() {
    let queue = Fresh::standard("limit").await;
    queue.put(&bodies(50)).await;
    let more = json!({ "max_in_flight": 20, "receives": 3 });
    let mut reader = reader(&connector("sqs", services::sqs(), options(&queue, more))).await;
    let first = read(reader.as_mut(), 20).await;
    let (visible, hidden) = queue.counts().await;
    assert!(hidden <= 20 && visible >= 30, "{visible} {hidden}");
    let mut all = first.clone();
    let mut covered = positions(&first);
    while all.len() < 50 {
        reader.acknowledge(&covered).await.unwrap();
        let more = read(reader.as_mut(), 1).await;
        covered = positions(&more);
        all.extend(more);
        assert!(queue.counts().await.1 <= 20);
    }
    reader.acknowledge(&covered).await.unwrap();
    assert_eq!(queue.counts().await, (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_of_a_fifo_queue_is_read_to_its_end_checkpoint_by_checkpoint() {
    let queue = Fresh::fifo("groups").await;
    for (i, body) in bodies(25).iter().enumerate() {
        let send = queue.client.send_message().queue_url(&queue.url).message_body(body).message_group_id("g");
        send.message_deduplication_id(i.to_string()).send().await.unwrap();
    }
    let mut reader = reader(&connector("sqs", services::sqs(), options(&queue, json!({})))).await;
    let mut all = Vec::new();
    while all.len() < 25 {
        let Read::Records { records, .. } = reader.next().await.unwrap() else { panic!("{} of 25", all.len()) };
        all.extend((0..records.records.len()).map(|i| String::from_utf8(records.bytes(i).to_vec()).unwrap()));
        // What follows comes only when these are deleted: until then the queue is not read to its end.
        let more = tokio::time::timeout(Duration::from_secs(3), reader.next()).await;
        assert!(more.is_err(), "{} of 25, then {more:?}", all.len());
        let covered: Vec<Position> = records.records.iter().map(|r| r.position.clone()).collect();
        assert_eq!(reader.acknowledge(&covered).await.unwrap().len(), covered.len());
    }
    assert_eq!(all, bodies(25), "in their order");
    assert!(matches!(reader.next().await.unwrap(), Read::Idle));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_ahead_is_let_go() {
    let queue = Fresh::standard("released").await;
    queue.put(&bodies(40)).await;
    let mut reader = reader(&connector("sqs", services::sqs(), options(&queue, json!({})))).await;
    let some = read(reader.as_mut(), 5).await;
    // Of what was given, nothing was applied.
    reader.release(&positions(&some)).await;
    let deadline = Instant::now() + Duration::from_secs(10);
    while queue.counts().await.0 < some.len() as u64 {
        assert!(Instant::now() < deadline, "{:?}", queue.counts().await);
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn receiving_goes_on_where_calls_fail() {
    let queue = Fresh::standard("faults").await;
    queue.put(&bodies(60)).await;
    let proxy = Proxy::start(services::sqs(), 6);
    proxy.rule(Rule::on("ReceiveMessage", Fault::Throttle).times(2));
    proxy.rule(Rule::on("ReceiveMessage", Fault::Gateway(503)).times(2));
    proxy.rule(Rule::on("ReceiveMessage", Fault::Drop).times(2));
    let mut reader = reader(&connector("sqs", proxy.url(), options(&queue, json!({})))).await;
    assert_eq!(read(reader.as_mut(), 60).await.len(), 60);
    let absent = connector("sqs", services::sqs(), json!({ "queue_url": services::name("absent") }));
    let schema = Arc::new(SourceSchema { columns: Vec::new(), extra: ExtraFields::Ignore });
    let options = SourceOptions { id: "in".into(), pipeline: "shop".into(), schema };
    assert_eq!(absent.source(&options).await.err().unwrap().kind(), ErrorKind::Environment);
}
