use aws_sdk_kinesis::primitives::{Blob, DateTime};

use super::super::kpl::{hash_key, tests::of_records};
use super::*;

fn record(sequence: &str, data: &[u8]) -> Record {
    Record::builder()
        .sequence_number(sequence)
        .data(Blob::new(data.to_vec()))
        .approximate_arrival_timestamp(DateTime::from_millis(1_716_650_000_123))
        .build()
        .unwrap()
}

fn unpacking(range: Option<KeyRange>, out_of_range: OutOfRange) -> Unpacking {
    Unpacking { range, out_of_range, counters: Arc::default() }
}

async fn run(unpacking: &Unpacking, answer: Vec<Record>, place: &Place) -> Option<Run> {
    let budget = Budget::new(1 << 20);
    let share = budget.take(1 << 20).await.unwrap();
    unpacking.run(answer, place, EventTime(5), &budget, share)
}

fn shown(run: &Run) -> Vec<(String, String)> {
    let text = |i: usize| String::from_utf8(run.records.bytes(i).to_vec()).unwrap();
    run.records.records.iter().enumerate().map(|(i, r)| (r.position.to_string(), text(i))).collect()
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
}

#[tokio::test]
async fn records_and_user_records_come_in_order() {
    let answer = vec![
        record("10", b"plain"),
        record("11", &of_records(&[("a", "one"), ("b", "two")])),
        record("12", &[0xf3, 0x89, 0x9a, 0xc2, b'?']),
    ];
    let unpacking = unpacking(None, OutOfRange::Drop);
    let run = run(&unpacking, answer, &Place::Beginning).await.unwrap();
    let lossy: Vec<_> = run.records.records.iter().map(|r| r.position.to_string()).collect();
    assert_eq!(lossy, ["10", "11/0", "11/1", "12"]);
    assert_eq!(run.records.bytes(3), [0xf3, 0x89, 0x9a, 0xc2, b'?'], "what is malformed is a record as it is");
    assert_eq!(run.records.records[0].arrived_at, EventTime(1_716_650_000_123_000));
    assert_eq!(run.place.position().unwrap().to_string(), "12@1716650000123");
    assert_eq!(unpacking.counters.aggregates.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn reading_goes_on_inside_of_an_aggregate() {
    let answer = || vec![record("11", &of_records(&[("a", "one"), ("b", "two"), ("c", "three")])), record("12", b"x")];
    let unpacking = unpacking(None, OutOfRange::Drop);
    for (done, left) in [
        (0, &[("11/1", "two"), ("11/2", "three"), ("12", "x")][..]),
        (1, &[("11/2", "three"), ("12", "x")]),
        (2, &[("12", "x")]),
    ] {
        let place = Place::Behind { sequence: "11".into(), sub: Some(done), until: None };
        assert_eq!(shown(&run(&unpacking, answer(), &place).await.unwrap()), pairs(left));
    }
    // The aggregate has expired: what follows is read whole.
    let place = Place::Behind { sequence: "9".into(), sub: Some(1), until: None };
    assert_eq!(run(&unpacking, answer(), &place).await.unwrap().records.records.len(), 4);
}

#[tokio::test]
async fn user_records_of_other_shards_are_left_out_and_counted() {
    let range = KeyRange { first: hash_key("a"), last: hash_key("a") };
    let answer = || vec![record("11", &of_records(&[("a", "one"), ("b", "two"), ("a", "three")]))];
    let dropping = unpacking(Some(range), OutOfRange::Drop);
    let run_ = run(&dropping, answer(), &Place::Beginning).await.unwrap();
    assert_eq!(shown(&run_), pairs(&[("11/0", "one"), ("11/2", "three")]));
    assert_eq!(dropping.counters.out_of_range.load(Ordering::Relaxed), 1);
    let keeping = unpacking(Some(range), OutOfRange::Keep);
    assert_eq!(run(&keeping, answer(), &Place::Beginning).await.unwrap().records.records.len(), 3);
    assert_eq!(keeping.counters.out_of_range.load(Ordering::Relaxed), 1);
    let all = vec![record("11", &of_records(&[("b", "two")]))];
    let run_ = run(&dropping, all, &Place::Beginning).await.unwrap();
    assert!(run_.records.records.is_empty(), "the position moves all the same");
    assert_eq!(run_.place.position().unwrap().to_string(), "11@1716650000123");
}

#[tokio::test]
async fn a_record_may_lack_what_the_service_does_not_promise() {
    let bare = Record::builder().sequence_number("7").data(Blob::new(b"x".to_vec()));
    // As a server answers that leaves the key out.
    let bare = bare.build().unwrap();
    assert_eq!(bare.partition_key(), None);
    let run = run(&unpacking(None, OutOfRange::Drop), vec![bare], &Place::Beginning).await.unwrap();
    assert_eq!(run.records.records[0].arrived_at, EventTime(5), "the time of the answer stands in");
    assert!(super::tests::run(&unpacking(None, OutOfRange::Drop), vec![], &Place::Beginning).await.is_none());
}
