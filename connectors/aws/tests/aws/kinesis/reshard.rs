//! Splits and merges: parents before children, every record once, nothing read again.

use std::collections::BTreeSet;

use millstream_core::source::{Split, SplitId};
use millstream_local::conformance;
use serde_json::json;

use super::*;

/// The shards that take records, with the first of their keys, by these.
async fn open_shards(kinesis: &Client, name: &str) -> Vec<(u128, String)> {
    let listed = kinesis.list_shards().stream_name(name).send().await.unwrap();
    let open = listed.shards().iter().filter(|s| s.sequence_number_range().unwrap().ending_sequence_number().is_none());
    let mut open: Vec<_> = open
        .map(|s| (s.hash_key_range().unwrap().starting_hash_key().parse::<u128>().unwrap(), s.shard_id().to_owned()))
        .collect();
    open.sort();
    open
}

/// Splits the first of several shards in the middle.
async fn split_first(kinesis: &Client, name: &str) {
    let open = open_shards(kinesis, name).await;
    let middle = (open[1].0 / 2).to_string();
    let split = kinesis.split_shard().stream_name(name).shard_to_split(&open[0].1).new_starting_hash_key(middle);
    split.send().await.unwrap();
    active(kinesis, name).await;
}

/// Merges the two last of three shards.
async fn merge_upper(kinesis: &Client, name: &str) {
    let open = open_shards(kinesis, name).await;
    let merge = kinesis.merge_shards().stream_name(name).shard_to_merge(&open[1].1).adjacent_shard_to_merge(&open[2].1);
    merge.send().await.unwrap();
    active(kinesis, name).await;
}

/// A stream with one split and one merge in its history, and records before, between and behind them.
async fn resharded(kinesis: &Client, of: &str) -> (String, Vec<(String, String)>) {
    let name = stream(kinesis, of, 2).await;
    let records = numbered(0, 90, 23);
    put(kinesis, &name, &records[..30]).await;
    split_first(kinesis, &name).await;
    put(kinesis, &name, &records[30..60]).await;
    merge_upper(kinesis, &name).await;
    put(kinesis, &name, &records[60..]).await;
    (name, records)
}

/// Reads everything, shard by shard as they come; gives texts and rounds of shards.
async fn read_all(source: &dyn SplitSource) -> (Vec<String>, Vec<Vec<Split>>) {
    let (mut all, mut rounds): (Vec<String>, Vec<Vec<Split>>) = (Vec::new(), Vec::new());
    let mut finished: BTreeSet<SplitId> = BTreeSet::new();
    let mut known: BTreeSet<SplitId> = BTreeSet::new();
    loop {
        let mut found = source.discover(&finished).await.unwrap();
        found.retain(|s| known.insert(s.id.clone()));
        if found.is_empty() {
            return (all, rounds);
        }
        for split in &found {
            let (texts, ended) = read(source.open(split, None).await.unwrap().as_mut()).await;
            all.extend(texts);
            if ended {
                finished.insert(split.id.clone());
            }
        }
        rounds.push(found);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keeps_the_promises_of_splits_with_children() {
    let kinesis = client(services::kinesis());
    let (name, _) = resharded(&kinesis, "lineage").await;
    conformance::lineage(async || source(services::kinesis(), &name, json!({})).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_record_is_read_once_through_splits_and_merges() {
    let kinesis = client(services::kinesis());
    let (name, records) = resharded(&kinesis, "reshard").await;
    let source = source(services::kinesis(), &name, json!({})).await;
    let (all, rounds) = read_all(source.as_ref()).await;
    assert_eq!(sorted(all.clone()), texts(&records));
    let shape: Vec<Vec<usize>> = rounds.iter().map(|r| r.iter().map(|s| s.parents.len()).collect()).collect();
    assert_eq!(shape, [vec![0, 0], vec![1, 1], vec![2]], "two, then two children, then one with two parents");
    // The order per key holds over reshards, because parents are read to their ends first.
    for key in 0..23 {
        let of_key: Vec<usize> = all
            .iter()
            .map(|t| serde_json::from_str::<Value>(t).unwrap()["n"].as_u64().unwrap() as usize)
            .filter(|n| n % 23 == key)
            .collect();
        assert!(of_key.is_sorted(), "key {key}: {of_key:?}");
    }
    let holes = source.counters().into_iter().find(|(name, _)| name.contains("no shard covers")).unwrap().1;
    assert_eq!(holes, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn latest_reads_what_is_open_and_its_children() {
    let kinesis = client(services::kinesis());
    let (name, _) = resharded(&kinesis, "latest").await;
    let source = source(services::kinesis(), &name, json!({ "from": "latest" })).await;
    let found = source.discover(&BTreeSet::new()).await.unwrap();
    let open = open_shards(&kinesis, &name).await;
    assert_eq!(
        found.iter().map(|s| s.id.0.clone()).collect::<BTreeSet<_>>(),
        open.iter().map(|(_, id)| id.clone()).collect()
    );
    let later = numbered(100, 110, 5);
    put(&kinesis, &name, &later).await;
    let mut all = Vec::new();
    for split in &found {
        let begins = source.begins_at(&split.id);
        assert!(begins.is_some(), "{} begins at a time", split.id);
        all.extend(read(source.open(split, begins).await.unwrap().as_mut()).await.0);
    }
    assert_eq!(sorted(all), texts(&later), "nothing of before");
    // A child that comes later begins at its beginning.
    split_first(&kinesis, &name).await;
    let lower = SplitId(open[0].1.clone());
    let children = source.discover(&[lower.clone()].into()).await.unwrap();
    let children: Vec<_> = children.iter().filter(|s| s.parents == [lower.clone()]).collect();
    assert_eq!(children.len(), 2);
    assert!(children.iter().all(|c| source.begins_at(&c.id).is_none()));
}
