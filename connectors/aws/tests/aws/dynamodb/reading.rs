//! A table as a source.

use std::collections::BTreeSet;
use std::sync::Arc;

use millstream_core::connector::{Connector, SourceOptions};
use millstream_core::schema::{ExtraFields, SourceSchema};
use millstream_core::source::{Read, SplitSource};
use millstream_local::conformance;
use millstream_services as services;
use serde_json::json;

use super::{Fresh, connector, insist, n, rows, s, versioned};

fn options() -> SourceOptions {
    let schema = SourceSchema { columns: Vec::new(), extra: ExtraFields::Ignore };
    SourceOptions { id: "old_trips".into(), pipeline: "p".into(), schema: Arc::new(schema) }
}

async fn open(connector: &Arc<dyn Connector>) -> Box<dyn SplitSource> {
    connector.source(&options()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_keeps_the_promises_of_sources() {
    let table = Fresh::new().await;
    // More than a page of a segment, which is 1 MB.
    let note = "x".repeat(1500);
    let ids: Vec<String> = (0..1800).map(|i| format!("key-{i:04}")).collect();
    let data: Vec<_> = ids.iter().map(|id| (id.as_str(), Some(1), Some(note.as_str()))).collect();
    insist(table.store.as_ref(), &versioned(rows(&data), 3)).await;
    table.put_item(&[("id", s("expired")), ("_expires_at", n("1700000000"))]).await;
    let expected = ids.iter().map(|id| format!(r#"{{"id":"{id}","n":1,"note":"{note}"}}"#).into_bytes()).collect();
    let connector = connector(services::dynamodb(), &table.table, json!({ "segments": 2 }));
    assert!(connector.bounded() && !connector.positions_are_offsets());
    conformance::source(async || open(&connector).await, Some(expected)).await;
}

#[tokio::test]
async fn an_empty_table_ends() {
    let table = Fresh::new().await;
    let source = open(&connector(services::dynamodb(), &table.table, json!({}))).await;
    let splits = source.discover(&BTreeSet::new()).await.unwrap();
    assert_eq!(splits.len(), 4);
    for split in &splits {
        let mut reader = source.open(split, None).await.unwrap();
        assert!(matches!(reader.next().await.unwrap(), Read::Finished));
    }
    let finished = splits.into_iter().map(|s| s.id).collect();
    assert!(source.discover(&finished).await.unwrap().is_empty());
}

#[tokio::test]
async fn another_number_of_segments_is_told_apart() {
    let table = Fresh::new().await;
    let four = open(&connector(services::dynamodb(), &table.table, json!({}))).await;
    let two = open(&connector(services::dynamodb(), &table.table, json!({ "segments": 2 }))).await;
    let split = four.discover(&BTreeSet::new()).await.unwrap().remove(0);
    let error = two.open(&split, None).await.err().unwrap();
    assert!(error.to_string().contains("`segments`"), "{error}");
}
