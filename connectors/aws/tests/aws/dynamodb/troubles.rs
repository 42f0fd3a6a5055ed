//! The table store against a service that fails.

use std::time::Duration;

use arrow::array::RecordBatch;
use futures::TryStreamExt as _;
use millstream_core::ErrorKind;
use millstream_core::table::{PutOutcome, VERSION};
use millstream_local::conformance;
use millstream_services::proxy::Kind;
use millstream_services::{self as services, Fault, Proxy, Rule};
use serde_json::json;

use super::{Fresh, connector, insist, n, rows, versioned, written};

fn many(count: usize) -> Vec<String> {
    (0..count).map(|i| format!("key-{i:04}")).collect()
}

fn batch(ids: &[String]) -> RecordBatch {
    rows(&ids.iter().map(|id| (id.as_str(), Some(1), None)).collect::<Vec<_>>())
}

async fn scanned(table: &Fresh) -> Vec<String> {
    let all: Vec<RecordBatch> = table.store.scan().await.unwrap().try_collect().await.unwrap();
    conformance::json_lines(&all)
}

#[tokio::test(flavor = "multi_thread")]
async fn throttles_cost_time_and_no_row() {
    let proxy = Proxy::start(services::dynamodb(), 1);
    proxy.rule(Rule::on("UpdateItem", Fault::Throttle).share(0.3));
    let table = Fresh::with(proxy.url(), None, json!({})).await;
    let ids = many(300);
    let (outcomes, _) = insist(table.store.as_ref(), &versioned(batch(&ids), 1)).await;
    assert_eq!(written(&outcomes), 300);
    assert!(proxy.faults(Kind::Throttle) > 50);
    proxy.heal();
    assert_eq!(scanned(&table).await, conformance::json_lines(&[batch(&ids)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_whose_answer_is_lost_comes_back_as_its_own_echo() {
    let proxy = Proxy::start(services::dynamodb(), 2);
    let table = Fresh::with(proxy.url(), None, json!({})).await;
    proxy.rule(Rule::on("UpdateItem", Fault::Lose).times(1));
    let put = versioned(rows(&[("a", Some(1), Some("x"))]), 1);
    let first = table.store.put(&put).await.unwrap();
    assert!(matches!(first[0], PutOutcome::Retry(_)), "it may have happened: {first:?}");
    assert_eq!(table.item("a").await.unwrap()["n"], n("1"), "and it has");
    let again = table.store.put(&put).await.unwrap();
    let PutOutcome::Stale(stored) = &again[0] else { panic!("{again:?}") };
    assert_eq!((stored.version, &stored.row), (1, &put.rows));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_takes_too_long_is_read_back_too() {
    let proxy = Proxy::start(services::dynamodb(), 3);
    let table = Fresh::with(proxy.url(), None, json!({ "timeout": "300ms" })).await;
    proxy.rule(Rule::on("UpdateItem", Fault::Hold(Duration::from_secs(20))).times(1));
    let put = versioned(rows(&[("a", Some(1), None)]), 1);
    let first = table.store.put(&put).await.unwrap();
    assert!(matches!(first[0], PutOutcome::Retry(_)), "{first:?}");
    let (outcomes, _) = insist(table.store.as_ref(), &put).await;
    assert!(matches!(&outcomes[0], PutOutcome::Stale(stored) if stored.version == 1), "{outcomes:?}");
    assert_eq!(table.item("a").await.unwrap()[VERSION], n("1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_down_or_broken_is_tried_again() {
    let proxy = Proxy::start(services::dynamodb(), 4);
    let table = Fresh::with(proxy.url(), None, json!({})).await;
    let put = versioned(rows(&[("a", Some(1), None)]), 1);
    for fault in [
        Fault::Drop,
        Fault::Gateway(503),
        Fault::refuse(500, "InternalServerError"),
        Fault::Cut { after: 1 },
        Fault::refuse(400, "RequestLimitExceeded"),
        Fault::refuse(400, "TransactionConflictException"),
        Fault::refuse(400, "ReplicatedWriteConflictException"),
    ] {
        proxy.rule(Rule::on("UpdateItem", fault.clone()).times(4));
        let outcomes = table.store.put(&put).await.unwrap();
        let passing = matches!(outcomes[0], PutOutcome::Retry(_)) || fault.kind() == Kind::Cut;
        assert!(passing, "{fault:?}: {outcomes:?}");
        proxy.heal();
    }
    insist(table.store.as_ref(), &put).await;
    assert_eq!(table.item("a").await.unwrap()["n"], n("1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permission_that_is_missing_stops_and_is_named() {
    let proxy = Proxy::start(services::dynamodb(), 5);
    let table = Fresh::with(proxy.url(), None, json!({})).await;
    proxy.rule(Rule::on("UpdateItem", Fault::refuse(400, "AccessDeniedException")));
    proxy.rule(Rule::on("Scan", Fault::refuse(400, "AccessDeniedException")));
    let error = table.store.put(&versioned(rows(&[("a", None, None)]), 1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Environment);
    assert!(error.to_string().contains("dynamodb:UpdateItem"), "{error}");
    let error = table.store.scan().await.unwrap().try_collect::<Vec<_>>().await.unwrap_err();
    assert!(error.kind() == ErrorKind::Environment && error.to_string().contains("dynamodb:Scan"), "{error}");
    proxy.heal();
    proxy.rule(Rule::on("UpdateItem", Fault::refuse(400, "ExpiredTokenException")));
    let error = table.store.put(&versioned(rows(&[("a", None, None)]), 1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Environment, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn so_many_writes_are_in_flight_and_no_more() {
    let proxy = Proxy::start(services::dynamodb(), 6);
    let table = Fresh::with(proxy.url(), None, json!({ "in_flight": 5, "timeout": "60s" })).await;
    proxy.rule(Rule::on("UpdateItem", Fault::Delay(Duration::from_secs(50))));
    let (store, put) = (table.store.clone(), versioned(batch(&many(20)), 1));
    let putting = tokio::spawn(async move { store.put(&put).await });
    while proxy.requests("UpdateItem") < 5 {
        assert!(!putting.is_finished());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // The sixth would come at once if nothing held it: a scan goes round after it.
    table.store.get(&rows(&[("key-0000", None, None)]).project(&[0]).unwrap()).await.unwrap();
    assert_eq!(proxy.requests("UpdateItem"), 5);
    putting.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_were_left_unprocessed_are_asked_for_again() {
    let proxy = Proxy::start(services::dynamodb(), 7);
    let table = Fresh::with(proxy.url(), None, json!({})).await;
    let ids = many(250);
    insist(table.store.as_ref(), &versioned(batch(&ids), 1)).await;
    proxy.rule(Rule::on("BatchGetItem", Fault::Partial { share: 0.4 }));
    let mut asked: Vec<&str> = ids.iter().map(String::as_str).collect();
    asked.extend(["absent", "key-0000"]);
    let found = table.get(&asked).await;
    assert_eq!(found.iter().flatten().count(), 251, "each that is there, also one asked for twice");
    assert!(found[250].is_none());
    assert!(proxy.faults(Kind::Partial) > 0 && proxy.requests("BatchGetItem") > 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn scans_go_on_where_they_were_throttled() {
    let proxy = Proxy::start(services::dynamodb(), 8);
    let table = Fresh::with(proxy.url(), None, json!({ "segments": 3 })).await;
    let ids = many(100);
    insist(table.store.as_ref(), &versioned(batch(&ids), 1)).await;
    proxy.rule(Rule::on("Scan", Fault::Throttle).times(3));
    assert_eq!(scanned(&table).await, conformance::json_lines(&[batch(&ids)]));
    assert!(proxy.requests("Scan") >= 6);
    proxy.rule(Rule::on("Scan", Fault::Drop));
    let error = table.store.scan().await.unwrap().try_collect::<Vec<_>>().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
}

#[tokio::test]
async fn a_service_that_is_not_there_is_unavailable() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let table = Fresh::new().await;
    let nobody = connector(&format!("http://127.0.0.1:{port}"), &table.table, json!({ "timeout": "200ms" }));
    let error = nobody.table(&table.schema).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
}
