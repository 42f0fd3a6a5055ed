use bytes::Bytes;
use millstream_core::ErrorKind;
use millstream_core::checkpoint::Created;
use millstream_local::checkpoints::Holds;
use millstream_local::conformance;
use millstream_services::{self as services, Fault, Proxy, Rule};
use serde_json::json;

use super::Bucket;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn keeps_the_promises_of_a_checkpoint_store() {
    let bucket = Bucket::new("checkpoints").await;
    let connector = bucket.connector(json!({ "prefix": "lake/deep/" }));
    conformance::checkpoints(async || connector.checkpoints("trips.aws").await.unwrap(), Holds::Shared).await;
    let connector = bucket.connector(json!({ "prefix": "/lake/" }));
    let store = connector.checkpoints("trips.aws").await.unwrap();
    assert_eq!(store.location(), format!("{}/lake/.millstream/trips.aws", bucket.url()));
    assert_eq!(store.place("epochs/1"), format!("{}/lake/.millstream/trips.aws/epochs/1", bucket.url()));
    assert_eq!(connector.checkpoints("../x").await.unwrap_err().kind(), ErrorKind::Bug);
}

#[tokio::test]
async fn pipelines_and_environments_have_a_store_each() {
    let bucket = Bucket::new("stores").await;
    let connector = bucket.connector(json!({}));
    let one = connector.checkpoints("trips").await.unwrap();
    let two = connector.checkpoints("trips.aws").await.unwrap();
    assert_eq!(one.create("a", Bytes::from_static(b"1")).await.unwrap(), Created::New);
    assert_eq!(two.create("a", Bytes::from_static(b"2")).await.unwrap(), Created::New);
    assert_eq!(one.list("").await.unwrap().len(), 1);
    assert_eq!(two.get("a").await.unwrap().unwrap(), "2");
}

#[tokio::test]
async fn more_objects_than_a_page_holds_are_listed() {
    let bucket = Bucket::new("pages").await;
    let store = bucket.connector(json!({})).checkpoints("p").await.unwrap();
    let names: Vec<String> = (0..1_030).map(|i| format!("many/{i:05}")).collect();
    for some in names.chunks(64) {
        let puts = some.iter().map(|name| store.create(name, Bytes::from_static(b"x")));
        futures::future::try_join_all(puts).await.unwrap();
    }
    let listed: Vec<String> = store.list("many/").await.unwrap().into_iter().map(|o| o.name).collect();
    assert_eq!(listed, names);
}

/// The answer gets lost: whether it is there is not known, and creating again tells.
#[tokio::test]
async fn a_create_whose_answer_is_lost_is_told_so() {
    let bucket = Bucket::new("ambiguous").await;
    let proxy = Proxy::start(services::s3(), 1);
    let store = bucket.connector(json!({ "endpoint": proxy.url() })).checkpoints("p").await.unwrap();
    proxy.rule(Rule::on("PutObject", Fault::Lose).times(1));
    let error = store.create("epochs/1", Bytes::from_static(b"mine")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Indeterminate, "{error}");
    assert_eq!(store.create("epochs/1", Bytes::from_static(b"mine")).await.unwrap(), Created::Exists);
    assert_eq!(store.get("epochs/1").await.unwrap().unwrap(), "mine");
}

#[tokio::test]
async fn trouble_that_passes_is_not_told() {
    let bucket = Bucket::new("trouble").await;
    let proxy = Proxy::start(services::s3(), 2);
    let store = bucket.connector(json!({ "endpoint": proxy.url() })).checkpoints("p").await.unwrap();
    let bytes = Bytes::from(vec![7; 300_000]);
    proxy.rule(Rule::on("PutObject", Fault::Throttle).times(2));
    proxy.rule(Rule::on("PutObject", Fault::refuse(409, "ConditionalRequestConflict")).times(2));
    assert_eq!(store.create("a", bytes.clone()).await.unwrap(), Created::New, "the service wants fewer calls");
    // Another creates it while this one waits.
    proxy.heal();
    proxy.rule(Rule::on("PutObject", Fault::refuse(409, "ConditionalRequestConflict")).times(1));
    assert_eq!(store.create("a", bytes.clone()).await.unwrap(), Created::Exists);
    proxy.heal();
    proxy.rule(Rule::on("GetObject", Fault::Cut { after: 100_000 }).times(1));
    proxy.rule(Rule::on("GetObject", Fault::Drop).times(1));
    proxy.rule(Rule::on("GetObject", Fault::refuse(500, "InternalError")).times(1));
    assert_eq!(store.get("a").await.unwrap().unwrap(), bytes, "never a part of an object");
    proxy.rule(Rule::on("ListObjectsV2", Fault::Gateway(502)).times(1));
    assert_eq!(store.list("").await.unwrap().len(), 1);
    proxy.rule(Rule::on("DeleteObject", Fault::Lose).times(1));
    store.delete("a").await.unwrap();
    assert_eq!(store.list("").await.unwrap(), []);
    proxy.rule(Rule::on("*", Fault::Throttle));
    assert_eq!(store.get("a").await.unwrap_err().kind(), ErrorKind::Unavailable, "nor is it waited for ever");
}

#[tokio::test]
async fn what_a_person_must_mend_is_told_with_the_fix() {
    let bucket = Bucket::new("denied").await;
    let proxy = Proxy::start(services::s3(), 3);
    let store = bucket.connector(json!({ "endpoint": proxy.url() })).checkpoints("p").await.unwrap();
    proxy.rule(Rule::on("PutObject", Fault::refuse(403, "AccessDenied")));
    let error = store.create("a", Bytes::new()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Environment);
    assert!(error.to_string().contains("s3:PutObject") && error.to_string().contains("p/a"), "{error}");
    let store = bucket.connector(json!({ "bucket": "no-such-bucket-here" })).checkpoints("p").await.unwrap();
    for error in [store.create("a", Bytes::new()).await.unwrap_err(), store.list("").await.unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::Environment, "{error}");
        assert!(error.to_string().contains("no-such-bucket-here"), "{error}");
    }
}
