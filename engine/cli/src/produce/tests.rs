//! A file into a stream that takes only a part of what it is given.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use millstream_core::Result as Done;
use millstream_core::connector::Connector;
use millstream_core::connector::SourceOptions;
use millstream_core::schema::{Column, ColumnType, ExcessDigits, ExtraFields, SourceSchema, Zone};
use millstream_runtime::graph::EventTime;

use super::*;
use crate::args::{FileArgs, ReadArgs};

/// Takes records one by one, some never, some the second time; now and then it is down.
struct Fussy {
    stream: Arc<Mutex<Vec<NewRecord>>>,
    calls: u64,
}

#[async_trait]
impl Producer for Fussy {
    async fn put(&mut self, records: &[NewRecord]) -> Done<Vec<Outcome>> {
        self.calls += 1;
        if self.calls % 5 == 1 {
            return Err(Error::unavailable("down"));
        }
        let mut stream = self.stream.lock().unwrap();
        let mut held: Vec<&str> = Vec::new();
        let mut outcomes = Vec::new();
        for (i, record) in records.iter().enumerate() {
            let refused = record.data.starts_with(b"bad");
            let busy = (i as u64 + self.calls).is_multiple_of(3) || held.contains(&record.key.as_str());
            outcomes.push(match (refused, busy) {
                (true, _) => Outcome::Refused("it is bad".to_owned()),
                (_, true) => {
                    held.push(&record.key);
                    Outcome::Retry("busy".to_owned())
                }
                _ => {
                    stream.push(record.clone());
                    Outcome::Done
                }
            });
        }
        Ok(outcomes)
    }
}

fn args(from: &std::path::Path, partition_key: Option<&str>) -> ProduceArgs {
    ProduceArgs {
        file: FileArgs { file: PathBuf::new(), reading: ReadArgs { profile: None, set: Vec::new() } },
        source: "orders".to_owned(),
        from: from.display().to_string(),
        rate: None,
        partition_key: partition_key.map(str::to_owned),
        by_event_time: false,
    }
}

/// A source of orders with a time, over a connector that is not asked.
fn node() -> SourceNode {
    let at = Column {
        name: "at".to_owned(),
        column_type: ColumnType::Timestamp,
        optional: true,
        path: vec!["at".to_owned()],
        formats: vec!["%d-%m-%Y %H:%M".to_owned()],
        zone: Zone::Utc,
        excess_digits: ExcessDigits::Reject,
    };
    let schema = Arc::new(SourceSchema { columns: vec![at], extra: ExtraFields::Ignore });
    let any = std::time::Duration::ZERO;
    SourceNode {
        connector: Arc::new(Nobody),
        options: SourceOptions { id: "orders".to_owned(), pipeline: "p".to_owned(), schema },
        event_time: Some(EventTime {
            column: 0,
            name: "at".to_owned(),
            max_delay: any,
            late_after: any,
            idle_after: any,
            max_future: any,
        }),
        raw_is_read: false,
    }
}

#[derive(Debug)]
struct Nobody;

impl Connector for Nobody {
    fn kind(&self) -> &'static str {
        "nobody"
    }
}

/// What is in the stream in the end, and how it ended.
async fn produced(name: &str, text: &str, key: Option<&str>) -> (Vec<NewRecord>, Result<(), Failure>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    let args = args(&path, key);
    let records = match Records::open(&args, &node(), &registry::registry()).await {
        Ok(records) => records,
        Err(failure) => return (Vec::new(), Err(failure)),
    };
    let stream = Arc::new(Mutex::new(Vec::new()));
    let producing = Producing {
        producer: Box::new(Fussy { stream: stream.clone(), calls: 0 }),
        show: Show::new("orders", "fussy", records.size()),
        records,
        pace: Pace::new(None, Instant::now()),
        pending: VecDeque::new(),
        random: || 0.5,
        pause: BACKOFF,
    };
    let ended = producing.all().await;
    let stream = stream.lock().unwrap().clone();
    (stream, ended)
}

#[tokio::test(start_paused = true)]
async fn every_record_gets_there_once_and_those_of_a_key_in_order() {
    let lines: String = (0..3_000).map(|n| format!("{{\"driver\":{},\"n\":{n}}}\n", n % 7)).collect();
    let (stream, ended) = produced("orders.jsonl", &lines, Some("driver")).await;
    ended.unwrap();
    let mut by_key: BTreeMap<&str, Vec<&[u8]>> = BTreeMap::new();
    for record in &stream {
        by_key.entry(&record.key).or_default().push(&record.data);
    }
    assert_eq!(by_key.len(), 7);
    for (key, got) in by_key {
        let of_key = lines.lines().filter(|line| line.starts_with(&format!("{{\"driver\":{key},")));
        assert_eq!(got, of_key.map(str::as_bytes).collect::<Vec<_>>(), "{key}");
    }
}

#[tokio::test(start_paused = true)]
async fn rows_of_csv_become_objects_and_a_broken_one_is_told() {
    let text = "\u{feff}order,name\na1,\"Doe, \"\"J\"\"\nline\"\na2\na3,\n";
    let (stream, ended) = produced("orders.csv", text, Some("order")).await;
    let failure = ended.unwrap_err();
    assert!(format!("{failure:?}").contains("1 record could not be put into `orders`"), "{failure:?}");
    let got: Vec<(&str, &str)> =
        stream.iter().map(|r| (r.key.as_str(), std::str::from_utf8(&r.data).unwrap())).collect();
    assert!(got.contains(&("a1", r#"{"order":"a1","name":"Doe, \"J\"\nline"}"#)), "{got:?}");
    assert!(got.contains(&("a3", r#"{"order":"a3","name":""}"#)), "{got:?}");
    assert_eq!(got.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_the_stream_refuses_costs_nobody_else() {
    let (stream, ended) = produced("orders.jsonl", "good 1\nbad\n\ngood 2\n", None).await;
    assert!(format!("{:?}", ended.unwrap_err()).contains("1 record"));
    let mut got: Vec<&[u8]> = stream.iter().map(|r| r.data.as_ref()).collect();
    got.sort_unstable();
    assert_eq!(got, [b"good 1", b"good 2"]);
    assert!(stream.iter().all(|r| r.key.len() == 32));
}

#[tokio::test(start_paused = true)]
async fn a_column_that_is_not_there_is_told_with_those_that_are() {
    let (stream, ended) = produced("orders.csv", "order,name\na,b\n", Some("id")).await;
    let failure = format!("{:?}", ended.unwrap_err());
    assert!(failure.contains("no column `id`") && failure.contains("order, name"), "{failure}");
    assert_eq!(stream, []);
}

#[tokio::test(start_paused = true)]
async fn rows_are_sent_as_the_events_once_came() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("orders.csv");
    let text = "n,at\n1,25-05-2024 13:19\n2,24-05-2024 23:00\n3,not a time\n4,25-05-2024 00:01\n5,24-05-2024 23:00\n";
    std::fs::write(&path, text).unwrap();
    let args = ProduceArgs { by_event_time: true, ..args(&path, Some("n")) };
    let mut records = Records::open(&args, &node(), &registry::registry()).await.unwrap();
    let sorted = records.next().await.unwrap().unwrap();
    // What is no row stays where it stood.
    assert_eq!(sorted.iter().map(|r| r.key.as_str()).collect::<Vec<_>>(), ["2", "3", "5", "4", "1"]);
    assert_eq!(records.next().await.unwrap(), None);
}
