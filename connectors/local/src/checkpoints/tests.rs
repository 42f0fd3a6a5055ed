//! Stores by way of the connectors that can keep checkpoints.

use bytes::Bytes;
use millstream_core::checkpoint::Created;
use millstream_core::connector::{Connector, Role};
use serde_json::json;

use super::*;
use crate::fault::{Fault, Faults, FaultyConnector};

fn connector(kind: &str, options: serde_json::Value) -> Arc<dyn Connector> {
    let kind = crate::kinds().into_iter().find(|k| k.name == kind).unwrap();
    assert!(kind.roles.contains(&Role::Checkpoints));
    (kind.parse)(options).unwrap()
}

#[tokio::test]
async fn a_directory_keeps_them_hidden_by_pipeline() {
    let folder = tempfile::tempdir().unwrap();
    let connector = connector("directory", json!({ "path": folder.path() }));
    let (one, two) = (connector.checkpoints("one").await.unwrap(), connector.checkpoints("two").await.unwrap());
    assert_eq!(one.create("a/b", Bytes::from_static(b"1")).await.unwrap(), Created::New);
    assert_eq!(two.create("a/b", Bytes::from_static(b"2")).await.unwrap(), Created::New);
    assert_eq!(std::fs::read(folder.path().join(".millstream/one/a/b")).unwrap(), b"1");
    let same = default_store(&folder.path().join(".millstream"), "two").unwrap();
    assert_eq!(same.get("a/b").await.unwrap().unwrap(), "2");
    let _hold = one.hold("one").await.unwrap();
    two.hold("two").await.expect("each pipeline is held for itself");
}

#[tokio::test]
async fn a_memory_keeps_them_by_its_name_and_pipeline() {
    let named = json!({ "name": "checkpoints_of_this_test" });
    let store = connector("memory", named.clone()).checkpoints("one").await.unwrap();
    store.create("a", Bytes::from_static(b"1")).await.unwrap();
    // What a restarted process finds, and what a test does.
    let again = connector("memory", named.clone()).checkpoints("one").await.unwrap();
    assert_eq!(again.get("a").await.unwrap().unwrap(), "1");
    assert!(memory_stores("checkpoints_of_this_test").store("one").damage("a", Damage::FlipByte(0)));
    assert_eq!(again.get("a").await.unwrap().unwrap(), "0");
    for (name, pipeline) in [(named, "two"), (json!({ "name": "another" }), "one"), (json!({}), "one")] {
        let other = connector("memory", name).checkpoints(pipeline).await.unwrap();
        assert_eq!(other.list("").await.unwrap(), []);
    }
}

#[tokio::test]
async fn a_faulty_connector_has_a_faulty_store() {
    let faults = Faults::default();
    let connector = FaultyConnector::new(connector("memory", json!({})), faults.clone());
    let store = connector.checkpoints("one").await.unwrap();
    faults.add(Fault::Unavailable, 1);
    store.list("").await.unwrap_err();
    store.list("").await.unwrap();
}
