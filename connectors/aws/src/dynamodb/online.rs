//! Asks DynamoDB whether a pipeline could use a table: by calls that change nothing.
//!
//! Writing is tried with an update of a key that is not there on the condition that it is: where it is allowed, the
//! condition refuses it.

use std::collections::HashMap;

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::{AttributeValue, DeleteRequest, KeysAndAttributes, ScalarAttributeType, WriteRequest};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use millstream_core::Error;
use millstream_core::resource::{Obstacle, Use};

use super::client::{Item, Remote};
use super::config::DynamoDbConfig;
use super::keys::{self, KeyPart};
use super::needs;
use crate::probe::{Probe, missing};
use millstream_core::batch::user_schema;

/// A key that no item is meant to have.
const PROBE: &str = "millstream-check-probe-9f2c";

/// What stands in the way of a use of a table.
pub(super) async fn obstacles(remote: &Remote, config: &DynamoDbConfig, of: &Use<'_>) -> Vec<Obstacle> {
    let found = match remote.describe().await {
        Ok(description) => keys::of_table(&description),
        Err(error) => return vec![of_error("dynamodb:DescribeTable", &error)],
    };
    let mut obstacles = Vec::new();
    let declared = match of {
        Use::Table(schema) => keys::of_columns(&schema.columns, &schema.key).ok(),
        Use::Sink(options) => keys::of_columns(&user_schema(&options.schema), &options.key).ok(),
        Use::Source(_) | Use::Checkpoints(_) | Use::Metrics(_) => None,
    };
    if let Some(difference) = declared.and_then(|declared| keys::difference(remote.shown(), &declared, &found)) {
        obstacles.push(Obstacle::fatal(difference));
    }
    let key = probe(&found);
    for action in needs::actions(of) {
        let refused = match *action {
            "dynamodb:UpdateItem" => update(remote, &key, &found).await,
            "dynamodb:BatchWriteItem" => batch_write(remote, &key).await,
            "dynamodb:BatchGetItem" => batch_get(remote, &key).await,
            "dynamodb:Scan" => scan(remote).await,
            _ => None,
        };
        obstacles.extend(refused);
    }
    if needs::expires(of) {
        obstacles.extend(expiry(remote, config).await);
    }
    obstacles
}

/// An item's key, of the right types, that nobody has.
fn probe(key: &[KeyPart]) -> Item {
    let value = |part: &KeyPart| match part.scalar {
        ScalarAttributeType::N => AttributeValue::N("-99999999999999999999999999999999999999".to_owned()),
        ScalarAttributeType::B => AttributeValue::B(Blob::new(PROBE)),
        _ => AttributeValue::S(PROBE.to_owned()),
    };
    key.iter().map(|part| (part.name.clone(), value(part))).collect()
}

/// What an error of describing the table says.
fn of_error(action: &'static str, error: &Error) -> Obstacle {
    let denied = error.message().contains("allow the action");
    if denied { missing(action, error) } else { Obstacle::fatal(error.to_string()) }
}

/// The obstacle that the answer to a call is, if it is one.
fn refused<T, E>(
    remote: &Remote,
    operation: &'static str,
    action: &'static str,
    answer: Result<T, SdkError<E, HttpResponse>>,
) -> Option<Obstacle>
where
    E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
{
    // An update is made on a condition that refuses it, where it is allowed.
    let allowed = &["ConditionalCheckFailedException"];
    Probe { call: remote.call(operation), action, allowed }.obstacle(answer)
}

async fn update(remote: &Remote, key: &Item, parts: &[KeyPart]) -> Option<Obstacle> {
    let first = parts.first().map(|p| p.name.clone()).unwrap_or_default();
    let call = remote.client.update_item().table_name(&remote.table).set_key(Some(key.clone()));
    let call = call
        .update_expression("SET #p = :p")
        .condition_expression("attribute_exists(#k)")
        .expression_attribute_names("#p", "_millstream_probe")
        .expression_attribute_names("#k", first)
        .expression_attribute_values(":p", AttributeValue::Bool(true));
    refused(remote, "UpdateItem", "dynamodb:UpdateItem", call.send().await)
}

/// Deletes an item that is not there.
async fn batch_write(remote: &Remote, key: &Item) -> Option<Obstacle> {
    let delete = DeleteRequest::builder().set_key(Some(key.clone())).build().ok()?;
    let request = WriteRequest::builder().delete_request(delete).build();
    let call = remote.client.batch_write_item().request_items(&remote.table, vec![request]);
    refused(remote, "BatchWriteItem", "dynamodb:BatchWriteItem", call.send().await)
}

async fn batch_get(remote: &Remote, key: &Item) -> Option<Obstacle> {
    let keys = KeysAndAttributes::builder().keys(key.clone()).build().ok()?;
    let tables = HashMap::from([(remote.table.clone(), keys)]);
    refused(
        remote,
        "BatchGetItem",
        "dynamodb:BatchGetItem",
        remote.client.batch_get_item().set_request_items(Some(tables)).send().await,
    )
}

async fn scan(remote: &Remote) -> Option<Obstacle> {
    refused(remote, "Scan", "dynamodb:Scan", remote.client.scan().table_name(&remote.table).limit(1).send().await)
}

/// Items are written with their expiry whatever the table does about it.
async fn expiry(remote: &Remote, config: &DynamoDbConfig) -> Option<Obstacle> {
    let wanted = &config.ttl_attribute;
    let shown = remote.shown();
    Some(match needs::expiry_attribute(remote).await {
        Ok(Some(attribute)) if attribute == *wanted => return None,
        Ok(Some(attribute)) => {
            Obstacle::warning(format!("{shown} expires by `{attribute}`, and `{wanted}` is written"))
                .help(format!("say `ttl_attribute: {attribute}`"))
        }
        Ok(None) => Obstacle::warning(format!("{shown} never removes expired items: time to live is not enabled"))
            .help(format!("enable it on `{wanted}`: `millstream resources FILE --create` does")),
        Err(error) => Obstacle { fatal: false, ..of_error("dynamodb:DescribeTimeToLive", &error) },
    })
}
