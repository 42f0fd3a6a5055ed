//! What a pipeline needs of DynamoDB: the table, and the actions on it.

use std::time::Duration;

use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, TableStatus, TimeToLiveSpecification,
};
use millstream_core::resource::{Grant, Presence, Resource, Use};
use millstream_core::{Error, Result};

use super::client::Remote;
use super::config::DynamoDbConfig;
use super::keys::{self, KeyPart};
use millstream_core::batch::user_schema;

/// How long a table may take to be made.
const MAKING: Duration = Duration::from_secs(120);

/// The key that a use needs the table to have; `None` where any will do.
fn key(of: &Use<'_>) -> Option<Result<Vec<KeyPart>>> {
    match of {
        Use::Table(schema) => Some(keys::of_columns(&schema.columns, &schema.key)),
        Use::Sink(options) => Some(keys::of_columns(&user_schema(&options.schema), &options.key)),
        Use::Source(_) | Use::Checkpoints(_) | Use::Metrics(_) => None,
    }
}

/// Whether a use writes when items expire.
pub(super) fn expires(of: &Use<'_>) -> bool {
    matches!(of, Use::Table(schema) if schema.ttl.is_some())
}

/// The actions of a use, without which it fails.
pub(super) fn actions(of: &Use<'_>) -> &'static [&'static str] {
    match of {
        Use::Table(_) => &["dynamodb:DescribeTable", "dynamodb:UpdateItem", "dynamodb:BatchGetItem", "dynamodb:Scan"],
        Use::Sink(_) => &["dynamodb:DescribeTable", "dynamodb:BatchWriteItem"],
        Use::Source(_) => &["dynamodb:DescribeTable", "dynamodb:Scan"],
        Use::Checkpoints(_) | Use::Metrics(_) => &[],
    }
}

/// The table as something a pipeline needs.
pub(super) fn resource(config: &DynamoDbConfig, of: &Use<'_>) -> Option<Resource> {
    if actions(of).is_empty() {
        return None;
    }
    let mut properties = Vec::new();
    if let Some(Ok(key)) = key(of) {
        properties.push(format!("key {}", keys::words(&key)));
    }
    if expires(of) {
        properties.push(format!("expiry by {}", config.ttl_attribute));
    }
    let grants = vec![Grant::on(config.arn(), actions(of))];
    Some(Resource { kind: "DynamoDB table", name: config.table.clone(), properties, grants })
}

/// Makes the table where it is not there: paid by the request, with its expiry enabled.
pub(super) async fn create(remote: &Remote, config: &DynamoDbConfig, of: &Use<'_>) -> Result<Presence> {
    let Some(key) = key(of) else {
        // A source reads what somebody else has written.
        return remote.describe().await.map(|_| Presence::Exists);
    };
    let key = key?;
    let broken = |e| Error::bug("a table's description is incomplete").caused_by(e);
    let mut making = remote.client.create_table().table_name(&remote.table).billing_mode(BillingMode::PayPerRequest);
    for (part, kind) in key.iter().zip([KeyType::Hash, KeyType::Range]) {
        let element = KeySchemaElement::builder().attribute_name(&part.name).key_type(kind);
        let definition = AttributeDefinition::builder().attribute_name(&part.name).attribute_type(part.scalar.clone());
        making = making
            .key_schema(element.build().map_err(broken)?)
            .attribute_definitions(definition.build().map_err(broken)?);
    }
    let presence = match making.send().await {
        Ok(_) => Presence::Created,
        Err(error) if error.as_service_error().is_some_and(|e| e.is_resource_in_use_exception()) => Presence::Exists,
        Err(error) => return Err(remote.error("CreateTable", error)),
    };
    await_active(remote).await?;
    if expires(of) {
        enable_expiry(remote, config).await?;
    }
    Ok(presence)
}

async fn await_active(remote: &Remote) -> Result<()> {
    let active = async {
        let mut backoff = super::backoff::Backoff::new();
        loop {
            let described = remote.client.describe_table().table_name(&remote.table).send().await;
            let description = described.map_err(|e| remote.error("DescribeTable", e))?.table;
            let status = description.as_ref().and_then(|d| d.table_status());
            if status.is_none_or(|s| matches!(s, TableStatus::Active | TableStatus::Updating)) {
                return Ok(());
            }
            backoff.wait().await;
        }
    };
    tokio::time::timeout(MAKING, active)
        .await
        .map_err(|_| Error::unavailable(format!("{} is still being made after {MAKING:?}", remote.shown())))?
}

/// The attribute that time to live is enabled on.
pub(super) async fn expiry_attribute(remote: &Remote) -> Result<Option<String>> {
    let call = || remote.client.describe_time_to_live().table_name(&remote.table).send();
    let description = remote.read("DescribeTimeToLive", call).await?.time_to_live_description;
    let Some(description) = description else { return Ok(None) };
    let status = description.time_to_live_status().map(|s| s.as_str()).unwrap_or_default();
    let enabled = matches!(status, "ENABLED" | "ENABLING");
    Ok(description.attribute_name.filter(|_| enabled))
}

async fn enable_expiry(remote: &Remote, config: &DynamoDbConfig) -> Result<()> {
    if let Some(attribute) = expiry_attribute(remote).await? {
        if attribute == config.ttl_attribute {
            return Ok(());
        }
        return Err(Error::environment(format!(
            "{} expires by `{attribute}`, not by `{}`: say `ttl_attribute: {attribute}`",
            remote.shown(),
            config.ttl_attribute
        )));
    }
    let expiry = TimeToLiveSpecification::builder().enabled(true).attribute_name(&config.ttl_attribute).build();
    let expiry = expiry.map_err(|e| Error::bug("an expiry is incomplete").caused_by(e))?;
    let call = remote.client.update_time_to_live().table_name(&remote.table).time_to_live_specification(expiry);
    call.send().await.map_err(|e| remote.error("UpdateTimeToLive", e))?;
    Ok(())
}
