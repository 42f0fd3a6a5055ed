use std::sync::Mutex;

use aws_sdk_kinesis::primitives::{Blob, DateTime};
use aws_sdk_kinesis::types::{ChildShard, HashKeyRange, Record, SubscribeToShardEvent};
use millstream_core::clock::ManualClock;
use millstream_core::source::Position;
use millstream_core::{ErrorKind, EventTime};
use serde_json::json;

use super::super::config::OutOfRange;
use super::*;

const NOW: i64 = 1_716_650_000_000;

fn reading(options: serde_json::Value) -> (Reading, ManualClock) {
    let clock = ManualClock::at(EventTime(NOW * 1000));
    let config: KinesisConfig = serde_json::from_value(options).unwrap();
    let reading = Reading {
        stream: Arc::new(Stream::new(&config)),
        config: Arc::new(config),
        clock: Arc::new(clock.clone()),
        budget: Budget::new(1 << 20),
        counters: Arc::default(),
        children: Arc::new(|_| {}),
    };
    (reading, clock)
}

fn standing(reading: &Reading, place: Place) -> Standing {
    let unpacking = Unpacking { range: None, out_of_range: OutOfRange::Drop, counters: reading.counters.clone() };
    Standing::new(SplitId("shardId-000000000000".into()), place, unpacking)
}

fn record(sequence: &str, arrived: i64) -> Record {
    let record = Record::builder().sequence_number(sequence).data(Blob::new(b"x".to_vec()));
    record.approximate_arrival_timestamp(DateTime::from_millis(arrived)).build().unwrap()
}

async fn take(standing: &mut Standing, reading: &Reading, answer: Vec<Record>, behind: u64) -> Option<Read> {
    let share = reading.budget.take(1).await.unwrap();
    standing.take(reading, answer, Duration::from_millis(behind), share)
}

fn upto(read: Option<Read>) -> String {
    match read {
        Some(Read::Records { upto: Position::Text(text), .. }) => text.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_position_says_up_to_when_everything_is_covered() {
    let (reading, clock) = reading(json!({ "stream": "s" }));
    let mut standing = standing(&reading, Place::Beginning);
    assert!(
        matches!(take(&mut standing, &reading, vec![], 700).await, Some(Read::Behind(_))),
        "nothing is not the end"
    );
    assert!(matches!(take(&mut standing, &reading, vec![], 0).await, Some(Read::Idle)));
    let behind = upto(take(&mut standing, &reading, vec![record("7", NOW - 5000)], 700).await);
    assert_eq!(behind, format!("7@{}", NOW - 5000), "what follows it has not been read");
    let caught_up = upto(take(&mut standing, &reading, vec![record("8", NOW - 4000)], 0).await);
    assert_eq!(caught_up, format!("8@{NOW}"), "nothing else had arrived");
    clock.advance(Duration::from_secs(59));
    assert!(matches!(take(&mut standing, &reading, vec![], 0).await, Some(Read::Idle)));
    clock.advance(Duration::from_secs(1));
    let silent = upto(take(&mut standing, &reading, vec![], 0).await);
    assert_eq!(silent, format!("8@{}", NOW + 60_000), "a silent shard says that it is caught up");
}

#[tokio::test]
async fn an_ended_shard_gives_its_last_records_first() {
    let (reading, _) = reading(json!({ "stream": "s" }));
    let mut standing = standing(&reading, Place::Beginning);
    standing.ended = true;
    assert_eq!(upto(take(&mut standing, &reading, vec![record("7", NOW)], 0).await), format!("7@{NOW}"));
    assert!(take(&mut standing, &reading, vec![], 0).await.is_none());
}

#[tokio::test]
async fn events_move_the_position_and_the_last_one_names_the_children() {
    let (mut reading, _) = reading(json!({ "stream": "s", "read": "fan_out", "consumer": "c" }));
    let told = Arc::new(Mutex::new(Vec::new()));
    let to = told.clone();
    reading.children = Arc::new(move |shards| to.lock().unwrap().extend(shards.into_iter().map(|s| s.id.0)));
    let mut standing = standing(&reading, Place::Beginning);
    let event = |next: &str, records: Vec<Record>| {
        let event = SubscribeToShardEvent::builder().continuation_sequence_number(next).set_records(Some(records));
        event.millis_behind_latest(0)
    };
    let take = async |standing: &mut Standing, event: SubscribeToShardEvent| {
        let share = reading.budget.take(1).await.unwrap();
        standing.take_event(&reading, event, share)
    };
    let silent = take(&mut standing, event("7", vec![]).build().unwrap()).await;
    assert!(upto(silent).starts_with("7@"), "an event without records says where to go on, too");
    let behind = event("7", vec![]).millis_behind_latest(9000).build().unwrap();
    assert!(upto(take(&mut standing, behind).await).starts_with("7@"), "also where it is not caught up");
    let range = HashKeyRange::builder().starting_hash_key("0").ending_hash_key("9").build().unwrap();
    let children = ["shardId-1", "shardId-2"].map(|id| {
        let child = ChildShard::builder().shard_id(id).parent_shards("shardId-000000000000");
        child.hash_key_range(range.clone()).build().unwrap()
    });
    let last = event("", vec![record("8", NOW)]).set_child_shards(Some(children.into())).build().unwrap();
    assert!(upto(take(&mut standing, last).await).starts_with("8@"), "its records come first");
    assert!(standing.ended);
    assert_eq!(*told.lock().unwrap(), ["shardId-1", "shardId-2"]);
}

#[tokio::test]
async fn what_was_covered_lately_cannot_have_expired() {
    let (reading, _) = reading(json!({ "stream": "s", "endpoint": "http://127.0.0.1:1", "region": "us-east-1" }));
    let behind = |until| Place::Behind { sequence: "7".into(), sub: None, until };
    // None of these asks the service, which is not there.
    for place in [Place::Beginning, Place::Time(0), behind(None), behind(Some(NOW - SHORTEST_RETENTION + 1))] {
        let mut standing = standing(&reading, place.clone());
        standing.check_retention(&reading).await.unwrap();
        assert_eq!(standing.place, place);
    }
}

#[test]
fn who_is_a_day_behind_looks_again_what_is_kept() {
    let (reading, clock) = reading(json!({ "stream": "trips" }));
    let standing = standing(&reading, Place::Behind { sequence: "7".into(), sub: None, until: Some(NOW) });
    assert!(!standing.may_fall_behind_retention(&reading));
    clock.advance(Duration::from_secs(24 * 3600));
    assert!(standing.may_fall_behind_retention(&reading));
}

#[test]
fn a_hole_stops_or_is_counted() {
    let place = Place::Behind { sequence: "7".into(), sub: None, until: Some(NOW) };
    let (fails, _) = reading(json!({ "stream": "trips" }));
    let error = standing(&fails, place.clone()).hole(&fails, Some(5000), "they expired").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Environment);
    for part in ["shardId-000000000000", "stream trips", "behind 7@", "after 2024-05-25T15:13:20Z", "expired: skip"] {
        assert!(error.message().contains(part), "{part}: {error}");
    }
    let (skips, _) = reading(json!({ "stream": "trips", "expired": "skip" }));
    for millis in [Some(5000), Some(3000), None] {
        let mut standing = standing(&skips, place.clone());
        standing.hole(&skips, millis, "they expired").unwrap();
        assert_eq!(standing.place, Place::Beginning);
    }
    let counted = skips.counters.all(OutOfRange::Drop);
    let count = |what: &str| counted.iter().find(|(name, _)| name.contains(what)).unwrap().1;
    assert_eq!((count("shards with a hole"), count("milliseconds")), (3, 5000), "shards, and the widest hole");
}

#[test]
fn a_shard_that_is_gone_ends() {
    let (fails, _) = reading(json!({ "stream": "trips" }));
    let mut unread = standing(&fails, Place::Beginning);
    unread.gone(&fails).unwrap();
    assert!(unread.ended, "all its records have expired before it was begun: its children follow");
    let mut begun = standing(&fails, Place::Behind { sequence: "7".into(), sub: None, until: None });
    assert_eq!(begun.gone(&fails).unwrap_err().kind(), ErrorKind::Environment);
}
