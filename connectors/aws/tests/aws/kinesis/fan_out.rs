//! Reading shards as the service sends them.

use std::collections::BTreeSet;

use millstream_core::source::{Position, Read};
use millstream_services::{Fault, Proxy, Rule};
use serde_json::json;

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_record_is_sent_once_and_reading_goes_on_behind_it() {
    let kinesis = client(services::ministack());
    let name = stream(&kinesis, "fan", 2).await;
    let records = numbered(0, 40, 7);
    put(&kinesis, &name, &records[..30]).await;
    let source = source(services::ministack(), &name, json!({ "read": "fan_out", "consumer": "millstream" })).await;
    let mut all = Vec::new();
    let mut places = Vec::new();
    let splits = source.discover(&BTreeSet::new()).await.unwrap();
    for split in &splits {
        let mut reader = source.open(split, None).await.unwrap();
        let (texts, upto) = until_caught_up(reader.as_mut()).await;
        all.extend(texts);
        places.push(upto);
    }
    assert_eq!(sorted(all.clone()), texts(&records[..30]));
    put(&kinesis, &name, &records[30..]).await;
    for (split, upto) in splits.iter().zip(places) {
        let mut reader = source.open(split, upto).await.unwrap();
        all.extend(until_caught_up(reader.as_mut()).await.0);
    }
    assert_eq!(sorted(all), texts(&records), "each once");
}

/// Asks again after errors that pass: a consumer is made, a subscription taken over.
async fn until_caught_up(reader: &mut dyn SplitReader) -> (Vec<String>, Option<Position>) {
    let (mut texts, mut last) = (Vec::new(), None);
    let work = async {
        loop {
            match reader.next().await {
                Ok(Read::Records { records, upto, behind }) => {
                    let text = |i: usize| String::from_utf8(records.bytes(i).to_vec()).unwrap();
                    texts.extend((0..records.records.len()).map(text));
                    last = Some(upto);
                    if behind == Some(Duration::ZERO) {
                        return;
                    }
                }
                Ok(Read::Idle | Read::Finished) => return,
                Ok(Read::Behind(_)) => {}
                Err(e) => {
                    assert_eq!(e.kind(), millstream_core::ErrorKind::Unavailable, "{e}");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), work).await.unwrap();
    (texts, last)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_of_another_is_waited_for_and_taken_over() {
    let kinesis = client(services::ministack());
    let name = stream(&kinesis, "taken", 1).await;
    let records = numbered(0, 10, 1);
    put(&kinesis, &name, &records).await;
    let proxy = Proxy::start(services::ministack(), 3);
    proxy.rule(Rule::on("SubscribeToShard", Fault::refuse(400, "ResourceInUseException")).times(1));
    proxy.rule(Rule::on("DescribeStreamConsumer", Fault::refuse(400, "ResourceNotFoundException")).times(1));
    let source = source(proxy.url(), &name, json!({ "read": "fan_out", "consumer": "late" })).await;
    let split = source.discover(&BTreeSet::new()).await.unwrap().remove(0);
    let (all, _) = until_caught_up(source.open(&split, None).await.unwrap().as_mut()).await;
    assert_eq!(all, texts(&records));
    assert_eq!(proxy.requests("SubscribeToShard"), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_with_too_many_consumers_is_a_persons_to_fix() {
    let kinesis = client(services::ministack());
    let name = stream(&kinesis, "many", 1).await;
    let proxy = Proxy::start(services::ministack(), 3);
    proxy.rule(Rule::on("RegisterStreamConsumer", Fault::refuse(400, "LimitExceededException")));
    let source = source(proxy.url(), &name, json!({ "read": "fan_out", "consumer": "one-more" })).await;
    let split = source.discover(&BTreeSet::new()).await.unwrap().remove(0);
    let error = source.open(&split, None).await.unwrap().next().await.unwrap_err();
    assert_eq!(error.kind(), millstream_core::ErrorKind::Environment, "{error}");
    assert!(error.message().contains("deregister"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_that_ends_is_renewed_and_loses_nothing() {
    let kinesis = client(services::ministack());
    let name = stream(&kinesis, "renew", 1).await;
    let records = numbered(0, 20, 1);
    put(&kinesis, &name, &records[..10]).await;
    let proxy = Proxy::start(services::ministack(), 3);
    proxy.rule(Rule::on("SubscribeToShard", Fault::EndStream(Duration::from_millis(300))).times(1));
    let source = source(proxy.url(), &name, json!({ "read": "fan_out", "consumer": "renewing" })).await;
    let split = source.discover(&BTreeSet::new()).await.unwrap().remove(0);
    let mut reader = source.open(&split, None).await.unwrap();
    let (mut all, _) = until_caught_up(reader.as_mut()).await;
    assert_eq!(all, texts(&records[..10]));
    let renewed =
        || source.counters().into_iter().any(|(name, count)| name.contains("subscriptions renewed") && count == 1);
    let renews = async {
        while !(renewed() && proxy.requests("SubscribeToShard") == 2) {
            all.extend(until_caught_up(reader.as_mut()).await.0);
        }
    };
    tokio::time::timeout(Duration::from_secs(60), renews).await.expect("a subscription that is over is no error");
    put(&kinesis, &name, &records[10..]).await;
    while all.len() < 20 {
        all.extend(until_caught_up(reader.as_mut()).await.0);
    }
    assert_eq!(sorted(all), texts(&records), "each once");
}
