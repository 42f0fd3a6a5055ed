use millstream_core::ErrorKind;
use millstream_core::sink::Outcome;
use millstream_core::table::{PutOutcome, TableRows};
use serde_json::json;

use super::*;
use crate::{conformance, memory};

fn faulty(name: &str) -> (FaultyConnector, Faults) {
    let inner = (memory::kind().parse)(json!({ "name": name })).unwrap();
    let faults = Faults::default();
    (FaultyConnector::new(inner, faults.clone()), faults)
}

#[tokio::test]
async fn a_table_fails_as_the_script_says() {
    let (connector, faults) = faulty("faulty_table");
    let rows = conformance::every_type(0, 3);
    let schema = TableSchema { name: "t".into(), key: vec!["id".into()], columns: rows.schema(), ttl: None };
    let table = connector.table(&schema).await.unwrap();
    let put = TableRows { rows, versions: vec![1; 3], stamps: vec![None; 3], truncated: vec![None; 3] };
    faults.add("throttled".parse().unwrap(), 2);
    faults.add(Fault::Unavailable, 1);
    faults.add(Fault::AppliedButError, 1);
    for _ in 0..2 {
        let outcomes = table.put(&put).await.unwrap();
        assert!(outcomes.iter().all(|o| matches!(o, PutOutcome::Retry(_))));
    }
    assert_eq!(table.put(&put).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(memory::handle("faulty_table").table("t").unwrap().is_empty());
    assert_eq!(table.put(&put).await.unwrap_err().kind(), ErrorKind::Indeterminate);
    assert_eq!((memory::handle("faulty_table").table("t").unwrap().len(), faults.left()), (3, 0));
    assert!(matches!(table.put(&put).await.unwrap()[2], PutOutcome::Stale(_)));
}

#[tokio::test]
async fn a_sink_refuses_the_first_row() {
    let (connector, faults) = faulty("faulty_sink");
    let rows = conformance::every_type(0, 3);
    let options = conformance::sink_options("s", &rows.schema());
    let mut sink = connector.sink(&options).await.unwrap();
    faults.add(Fault::Refused, 1);
    let outcomes = sink.write(&conformance::batch(&options, &rows)).await.unwrap();
    assert!(matches!(outcomes[0], Outcome::Refused(_)));
    assert_eq!(outcomes[1..], [Outcome::Done, Outcome::Done]);
    // A checkpoint that is down, then done without an answer, and so its commit: all is there once.
    let written = || memory::handle("faulty_sink").rows_written("s");
    faults.add(Fault::Throttled, 1);
    faults.add(Fault::AppliedButError, 1);
    for _ in 0..2 {
        assert_eq!(sink.prepare(1, false).await.unwrap_err().kind(), ErrorKind::Unavailable);
    }
    let staged = sink.prepare(1, false).await.unwrap().staged.unwrap();
    faults.add(Fault::Unavailable, 1);
    faults.add(Fault::AppliedButError, 1);
    for rows in [0, 2] {
        assert_eq!(sink.commit(1, &staged).await.unwrap_err().kind(), ErrorKind::Unavailable);
        assert_eq!(written(), rows);
    }
    sink.commit(1, &staged).await.unwrap();
    assert_eq!(written(), 2);
    // No answer is lost where rows are only staged: that fault waits for the checkpoint.
    faults.add(Fault::AppliedButError, 1);
    sink.write(&conformance::batch(&options, &rows)).await.unwrap();
    assert_eq!(faults.left(), 1);
    assert!("slow".parse::<Fault>().unwrap_err().contains("throttled"));
}

#[tokio::test]
async fn a_batch_is_refused_whenever_it_is_sent() {
    let inner = (memory::kind().parse)(json!({ "name": "faulty_queue", "delivery": "outbox" })).unwrap();
    let faults = Faults::default();
    let connector = FaultyConnector::new(inner, faults.clone());
    let rows = conformance::every_type(0, 3);
    let options = conformance::sink_options("s", &rows.schema());
    assert_eq!(connector.commitment(&options), Commitment::Outbox { deduplicates: true });
    let batch = conformance::batch(&options, &rows);
    let id = BatchId { run: "r1".into(), checkpoint: 1, instance: 0, sequence: 0 };
    faults.add(Fault::Refused, 1);
    let mut sink = connector.sink(&options).await.unwrap();
    let outcomes = sink.send(&id, &[0, 1, 2], &batch).await.unwrap();
    let mut restarted = connector.sink(&options).await.unwrap();
    faults.add(Fault::AppliedButError, 1);
    assert_eq!(restarted.send(&id, &[0, 1, 2], &batch).await.unwrap_err().kind(), ErrorKind::Indeterminate);
    assert_eq!(restarted.send(&id, &[0, 1, 2], &batch).await.unwrap(), outcomes);
    assert_eq!(memory::handle("faulty_queue").rows_written("s"), 2);
}
