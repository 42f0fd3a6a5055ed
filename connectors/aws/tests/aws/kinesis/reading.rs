//! Reading shards by polling: every record once, from where reading is to begin.

use std::collections::BTreeSet;

use aws_sdk_kinesis::primitives::Blob;
use millstream_core::source::{Position, Read};
use millstream_local::conformance;
use serde_json::json;

use super::*;

/// An aggregate of three user records, as `src/kinesis/kpl/vectors.json` has it: keys trip-1, trip-2, trip-1.
const AGGREGATE: &str =
    "84mawgoGdHJpcC0xCgZ0cmlwLTIaCwgAGgd7Im4iOjF9GgsIARoHeyJuIjoyfRoLCAAaB3sibiI6M33HPi2SKixyLhJY0vU0CeSG";

fn aggregate() -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(AGGREGATE).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keeps_the_promises_of_a_source() {
    let kinesis = client(services::kinesis());
    let name = stream(&kinesis, "promises", 2).await;
    let records = numbered(0, 40, 7);
    put(&kinesis, &name, &records[..20]).await;
    kinesis.put_record().stream_name(&name).partition_key("agg").data(Blob::new(aggregate())).send().await.unwrap();
    put(&kinesis, &name, &records[20..]).await;
    let mut expected: Vec<Vec<u8>> = records.iter().map(|(_, data)| data.clone().into_bytes()).collect();
    expected.extend([1, 2, 3].map(|n| format!(r#"{{"n":{n}}}"#).into_bytes()));
    let keep = json!({ "kpl": { "out_of_range": "keep" } });
    let open = async || source(services::kinesis(), &name, keep.clone()).await;
    conformance::source(open, Some(expected)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn user_records_of_other_shards_are_left_out_and_counted() {
    let kinesis = client(services::kinesis());
    let name = stream(&kinesis, "strays", 2).await;
    kinesis.put_record().stream_name(&name).partition_key("agg").data(Blob::new(aggregate())).send().await.unwrap();
    let mut all = Vec::new();
    let source = source(services::kinesis(), &name, json!({})).await;
    for split in source.discover(&BTreeSet::new()).await.unwrap() {
        all.extend(read(source.open(&split, None).await.unwrap().as_mut()).await.0);
    }
    // The MD5 of trip-1 begins with a bit 1, that of trip-2 with 0: one of the two is not of the aggregate's shard.
    let left_out = source.counters().into_iter().find(|(name, _)| name.contains("left out")).unwrap().1;
    assert_eq!(all.len() as u64 + left_out, 3);
    assert!((1..=3).contains(&left_out), "{left_out}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn latest_is_a_time_that_is_kept() {
    let kinesis = client(services::kinesis());
    let name = stream(&kinesis, "latest", 1).await;
    put(&kinesis, &name, &numbered(0, 5, 1)).await;
    // The next whole second: not every server counts in milliseconds.
    let now = EventTimeNow::now();
    while EventTimeNow::now() / 1_000_000 == now / 1_000_000 {
        tokio::task::yield_now().await;
    }
    let first = source(services::kinesis(), &name, json!({ "from": "latest" })).await;
    let split = first.discover(&BTreeSet::new()).await.unwrap().remove(0);
    let begins = first.begins_at(&split.id).expect("a time");
    assert!(begins.to_string().starts_with('@'), "{begins}");
    put(&kinesis, &name, &numbered(5, 8, 1)).await;
    // The process dies before its first read, and another one goes on from what was kept.
    drop(first);
    let second = source(services::kinesis(), &name, json!({ "from": "latest" })).await;
    second.resume(&[split.id.clone()].into());
    assert_eq!(second.discover(&BTreeSet::new()).await.unwrap(), std::slice::from_ref(&split));
    assert_eq!(second.begins_at(&split.id), None, "the end of a stream is found once");
    let (read, _) = read(second.open(&split, Some(begins)).await.unwrap().as_mut()).await;
    assert_eq!(read, texts(&numbered(5, 8, 1)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_time_begins_with_what_arrived_then() {
    let kinesis = client(services::kinesis());
    let name = stream(&kinesis, "since", 1).await;
    put(&kinesis, &name, &numbered(0, 3, 1)).await;
    let all = source(services::kinesis(), &name, json!({})).await;
    let split = all.discover(&BTreeSet::new()).await.unwrap().remove(0);
    assert_eq!(all.begins_at(&split.id), None);
    let Read::Records { records, .. } = all.open(&split, None).await.unwrap().next().await.unwrap() else {
        panic!("records are there")
    };
    // The next whole second: not every server counts in milliseconds.
    let second = 1_000_000;
    let between = millstream_core::EventTime((records.records[2].arrived_at.0 / second + 1) * second);
    while EventTimeNow::now() <= between.0 {
        tokio::task::yield_now().await;
    }
    put(&kinesis, &name, &numbered(3, 6, 1)).await;
    let since = source(services::kinesis(), &name, json!({ "from": between.to_string() })).await;
    let split = since.discover(&BTreeSet::new()).await.unwrap().remove(0);
    let begins = since.begins_at(&split.id);
    let (read, _) = read(since.open(&split, begins).await.unwrap().as_mut()).await;
    assert_eq!(read, texts(&numbered(3, 6, 1)));
}

/// The wall clock in microseconds.
struct EventTimeNow;

impl EventTimeNow {
    fn now() -> i64 {
        millstream_core::clock::system().now().0
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_may_have_megabytes() {
    let kinesis = client(services::kinesis());
    let name = stream(&kinesis, "large", 1).await;
    let large = "x".repeat(1_000_000);
    let records: Vec<_> = (0..3).map(|i| ("k".to_owned(), format!("{i:02}{large}"))).collect();
    for record in records.chunks(1) {
        put(&kinesis, &name, record).await;
    }
    let source = source(services::kinesis(), &name, json!({ "buffer": "10MiB" })).await;
    let split = source.discover(&BTreeSet::new()).await.unwrap().remove(0);
    let (read, _) = read(source.open(&split, None).await.unwrap().as_mut()).await;
    assert!(read == texts(&records), "whole");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_position_of_another_stream_is_refused_or_skipped() {
    let kinesis = client(services::kinesis());
    let name = stream(&kinesis, "foreign", 1).await;
    put(&kinesis, &name, &numbered(0, 3, 1)).await;
    // Long before the stream was there.
    let old = Position::Text("49000000000000000000000000000000000000000000000000000002@1000".into());
    let fails = source(services::kinesis(), &name, json!({})).await;
    let split = fails.discover(&BTreeSet::new()).await.unwrap().remove(0);
    let error = fails.open(&split, Some(old.clone())).await.unwrap().next().await.unwrap_err();
    assert_eq!(error.kind(), millstream_core::ErrorKind::Environment, "{error}");
    assert!(error.message().contains("may be gone unread") && error.message().contains("expired: skip"), "{error}");
    let skips = source(services::kinesis(), &name, json!({ "expired": "skip" })).await;
    skips.discover(&BTreeSet::new()).await.unwrap();
    let (read, _) = read(skips.open(&split, Some(old)).await.unwrap().as_mut()).await;
    assert_eq!(read, texts(&numbered(0, 3, 1)), "what is left");
    let counters = skips.counters();
    let count = |what: &str| counters.iter().find(|(name, _)| name.contains(what)).unwrap().1;
    assert_eq!(count("shards with a hole"), 1);
    assert!(count("milliseconds of expired") > 86_400_000, "{counters:?}");
}
