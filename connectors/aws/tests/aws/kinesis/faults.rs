//! What goes wrong between a source and the service, and what becomes of it.

use std::collections::BTreeSet;

use millstream_core::ErrorKind;
use millstream_core::source::Read;
use millstream_services::{Fault, Proxy, Rule};
use serde_json::json;

use super::*;

/// The texts of a shard whose reader is asked again after every error that passes; and how many there were.
async fn insist(reader: &mut dyn SplitReader) -> (Vec<String>, usize) {
    let (mut texts, mut errors) = (Vec::new(), 0);
    let work = async {
        loop {
            match reader.next().await {
                Ok(Read::Records { records, .. }) => {
                    let text = |i: usize| String::from_utf8(records.bytes(i).to_vec()).unwrap();
                    texts.extend((0..records.records.len()).map(text));
                }
                Ok(Read::Idle | Read::Finished) => return,
                Ok(Read::Behind(_)) => {}
                Err(e) => {
                    assert_eq!(e.kind(), ErrorKind::Unavailable, "{e}");
                    errors += 1;
                }
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), work).await.unwrap();
    (texts, errors)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_fail_are_made_again_and_lose_nothing() {
    let kinesis = client(services::kinesis());
    let name = stream(&kinesis, "faults", 1).await;
    let records = numbered(0, 50, 5);
    put(&kinesis, &name, &records).await;
    let faults = [
        Fault::Throttle,
        Fault::refuse(500, "InternalFailure"),
        Fault::Gateway(502),
        Fault::Drop,
        Fault::Lose,
        Fault::Cut { after: 40 },
    ];
    for (i, fault) in faults.into_iter().enumerate() {
        let proxy = Proxy::start(services::kinesis(), i as u64);
        for operation in ["ListShards", "GetShardIterator", "GetRecords"] {
            proxy.rule(Rule::on(operation, fault.clone()).times(2));
        }
        let source = source(proxy.url(), &name, json!({})).await;
        let mut listings = 0;
        let split = loop {
            listings += 1;
            match source.discover(&BTreeSet::new()).await {
                Ok(mut found) => break found.remove(0),
                Err(e) => assert_eq!(e.kind(), ErrorKind::Unavailable, "{fault:?}: {e}"),
            }
        };
        assert_eq!(listings, 3, "{fault:?}");
        let (read, errors) = insist(source.open(&split, None).await.unwrap().as_mut()).await;
        assert_eq!(errors, 4, "{fault:?}: two iterators, two answers");
        assert_eq!(
            read,
            records.iter().map(|(_, data)| data.clone()).collect::<Vec<_>>(),
            "{fault:?}: in order, each once"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_iterator_that_expires_is_no_error() {
    let kinesis = client(services::kinesis());
    let name = stream(&kinesis, "expiry", 1).await;
    let records = numbered(0, 20, 1);
    put(&kinesis, &name, &records[..10]).await;
    let proxy = Proxy::start(services::kinesis(), 1);
    let source = source(proxy.url(), &name, json!({})).await;
    let split = source.discover(&BTreeSet::new()).await.unwrap().remove(0);
    let mut reader = source.open(&split, None).await.unwrap();
    assert_eq!(read(reader.as_mut()).await.0, texts(&records[..10]));
    put(&kinesis, &name, &records[10..]).await;
    proxy.rule(Rule::on("GetRecords", Fault::refuse(400, "ExpiredIteratorException")).times(1));
    assert_eq!(read(reader.as_mut()).await.0, texts(&records[10..]));
    assert!(proxy.requests("GetShardIterator") == 2, "a new one, from the position");
    let renewed = source.counters().into_iter().find(|(name, _)| name.contains("iterators expired")).unwrap().1;
    assert_eq!(renewed, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_person_must_fix_says_what_it_is() {
    let kinesis = client(services::kinesis());
    let name = stream(&kinesis, "denied", 1).await;
    for operation in ["ListShards", "GetShardIterator", "GetRecords"] {
        let proxy = Proxy::start(services::kinesis(), 1);
        proxy.rule(Rule::on(operation, Fault::refuse(400, "AccessDeniedException")));
        let source = source(proxy.url(), &name, json!({})).await;
        let error = match source.discover(&BTreeSet::new()).await {
            Err(e) => e,
            Ok(found) => source.open(&found[0], None).await.unwrap().next().await.unwrap_err(),
        };
        assert_eq!(error.kind(), ErrorKind::Environment, "{error}");
        assert!(error.message().contains(&format!("kinesis:{operation}")), "{error}");
        assert!(error.message().contains(&name), "{error}");
    }
    let absent = source(services::kinesis(), "no-such-stream", json!({})).await;
    let error = absent.discover(&BTreeSet::new()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Environment);
    assert!(error.message().contains("no-such-stream"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listing_of_many_pages_is_read_whole() {
    let kinesis = client(services::kinesis());
    let name = stream(&kinesis, "pages", 2).await;
    let listed = kinesis.list_shards().stream_name(&name).send().await.unwrap();
    let shard = |i: usize| {
        let shard = &listed.shards()[i];
        let range = shard.hash_key_range().unwrap();
        json!({
            "ShardId": shard.shard_id(),
            "HashKeyRange": { "StartingHashKey": range.starting_hash_key(), "EndingHashKey": range.ending_hash_key() },
            "SequenceNumberRange": { "StartingSequenceNumber": "1" },
        })
    };
    let proxy = Proxy::start(services::kinesis(), 1);
    let page = |body: Value| Fault::Answer { forward: false, status: 200, body: body.to_string() };
    proxy.rule(Rule::on("ListShards", page(json!({ "Shards": [shard(0)], "NextToken": "more" }))).times(1));
    proxy.rule(Rule::on("ListShards", page(json!({ "Shards": [shard(1)] }))).times(1));
    let source = source(proxy.url(), &name, json!({})).await;
    assert_eq!(source.discover(&BTreeSet::new()).await.unwrap().len(), 2);
    assert_eq!(proxy.requests("ListShards"), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_answer_is_not_the_end() {
    let kinesis = client(services::kinesis());
    let name = stream(&kinesis, "empty", 1).await;
    let proxy = Proxy::start(services::kinesis(), 1);
    let body = json!({ "Records": [], "NextShardIterator": "x", "MillisBehindLatest": 5000 }).to_string();
    proxy.rule(Rule::on("GetRecords", Fault::Answer { forward: false, status: 200, body }).times(1));
    let source = source(proxy.url(), &name, json!({})).await;
    let split = source.discover(&BTreeSet::new()).await.unwrap().remove(0);
    let read = source.open(&split, None).await.unwrap().next().await.unwrap();
    assert!(matches!(read, Read::Behind(behind) if behind == Duration::from_secs(5)), "{read:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_no_shard_covers_raise_an_alarm() {
    let kinesis = client(services::kinesis());
    let name = stream(&kinesis, "hole", 1).await;
    let proxy = Proxy::start(services::kinesis(), 1);
    let half = json!({ "Shards": [{
        "ShardId": "shardId-000000000000",
        "HashKeyRange": { "StartingHashKey": "0", "EndingHashKey": "170141183460469231731687303715884105727" },
        "SequenceNumberRange": { "StartingSequenceNumber": "1" },
    }] });
    proxy.rule(Rule::on("ListShards", Fault::Answer { forward: false, status: 200, body: half.to_string() }));
    let source = source(proxy.url(), &name, json!({})).await;
    source.discover(&BTreeSet::new()).await.unwrap();
    let holes = source.counters().into_iter().find(|(name, _)| name.contains("no shard covers")).unwrap().1;
    assert_eq!(holes, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_is_not_asked_more_often_than_it_allows() {
    let kinesis = client(services::kinesis());
    let name = stream(&kinesis, "pace", 1).await;
    let proxy = Proxy::start(services::kinesis(), 1);
    let source = source(proxy.url(), &name, json!({ "poll_interval": "200ms" })).await;
    let split = source.discover(&BTreeSet::new()).await.unwrap().remove(0);
    let mut reader = source.open(&split, None).await.unwrap();
    let began = tokio::time::Instant::now();
    for _ in 0..6 {
        assert!(matches!(reader.next().await.unwrap(), Read::Idle));
    }
    // Five whole pauses lie between six calls, however slow the machine is.
    assert!(began.elapsed() >= Duration::from_secs(1) && proxy.requests("GetRecords") == 6);
}
