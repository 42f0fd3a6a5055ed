//! What `check --online` and `resources` learn of DynamoDB.

use std::time::Duration;

use millstream_core::connector::SourceOptions;
use millstream_core::resource::{Obstacle, Presence, Use};
use millstream_core::schema::{ExtraFields, SourceSchema};
use millstream_services::{self as services, Fault, Proxy, Rule};
use serde_json::json;

use super::{Fresh, client, connector, rows, schema};

async fn asked(endpoint: &str, table: &str, of: Use<'_>) -> Vec<Obstacle> {
    connector(endpoint, table, json!({ "timeout": "2s" })).online(&of).await
}

#[tokio::test]
async fn nothing_is_wrong_and_nothing_is_changed() {
    let table = Fresh::with(services::dynamodb(), Some(Duration::from_secs(60)), json!({})).await;
    let found = asked(services::dynamodb(), &table.table, Use::Table(&table.schema)).await;
    assert_eq!(found, []);
    let items = client().scan().table_name(&table.table).send().await.unwrap();
    assert_eq!(items.count(), 0);
}

#[tokio::test]
async fn each_action_that_is_denied_is_named() {
    let proxy = Proxy::start(services::dynamodb(), 21);
    let table = Fresh::new().await;
    for (operation, of_source) in
        [("UpdateItem", false), ("BatchGetItem", false), ("Scan", true), ("DescribeTable", true)]
    {
        proxy.rule(Rule::on(operation, Fault::refuse(400, "AccessDeniedException")));
        let schema = SourceSchema { columns: Vec::new(), extra: ExtraFields::Ignore };
        let source = SourceOptions { id: "s".into(), pipeline: "p".into(), schema: schema.into() };
        let of = if of_source { Use::Source(&source) } else { Use::Table(&table.schema) };
        let found = asked(proxy.url(), &table.table, of).await;
        assert_eq!(found.len(), 1, "{operation}: {found:?}");
        assert!(found[0].fatal);
        assert_eq!(found[0].action.as_deref(), Some(format!("dynamodb:{operation}").as_str()));
        assert!(found[0].help.as_deref().unwrap().contains(operation), "{found:?}");
        proxy.heal();
    }
}

#[tokio::test]
async fn a_table_that_is_missing_or_of_another_key_or_keeps_expired_items() {
    let table = Fresh::new().await;
    let missing = asked(services::dynamodb(), &services::name("missing"), Use::Table(&table.schema)).await;
    assert!(missing[0].fatal && missing[0].message.contains("does not exist"), "{missing:?}");
    let other = schema("t", &["note"], &rows(&[]), None);
    let other = asked(services::dynamodb(), &table.table, Use::Table(&other)).await;
    assert!(other[0].fatal && other[0].message.contains("has the key id (S)"), "{other:?}");
    let ttl = schema("t", &["id"], &rows(&[]), Some(Duration::from_secs(60)));
    let kept = asked(services::dynamodb(), &table.table, Use::Table(&ttl)).await;
    assert!(kept.len() == 1 && !kept[0].fatal && kept[0].message.contains("time to live"), "{kept:?}");
}

#[tokio::test]
async fn what_is_needed_is_known_without_a_service() {
    let schema = schema("t", &["id", "n"], &rows(&[]), Some(Duration::from_secs(60)));
    let local = connector("http://127.0.0.1:1", "trips", json!({ "region": "eu-central-1" }));
    let resource = local.resource(&Use::Table(&schema)).unwrap();
    assert_eq!((resource.kind, resource.name.as_str()), ("DynamoDB table", "trips"));
    assert_eq!(resource.properties, ["key id (S), n (N)", "expiry by _expires_at"]);
    assert_eq!(resource.grants[0].arns, ["arn:aws:dynamodb:eu-central-1:{account}:table/trips"]);
    assert!(resource.grants[0].actions.contains(&"dynamodb:UpdateItem"));
    assert!(!resource.grants[0].actions.contains(&"dynamodb:PutItem"), "nothing that is not done");
    assert_eq!(local.resource(&Use::Checkpoints("p")), None);
}

#[tokio::test]
async fn making_a_table_twice_makes_it_once() {
    let declared = schema("t", &["id"], &rows(&[]), Some(Duration::from_secs(60)));
    let connector = connector(services::dynamodb(), &services::name("made"), json!({}));
    assert_eq!(connector.create(&Use::Table(&declared)).await.unwrap(), Presence::Created);
    assert_eq!(connector.create(&Use::Table(&declared)).await.unwrap(), Presence::Exists);
    assert_eq!(connector.online(&Use::Table(&declared)).await, []);
}
