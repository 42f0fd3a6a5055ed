//! DynamoDB: the table store, the sink, the source, and what a service says of them.

mod needs;
mod reading;
mod replacing;
mod store;
mod troubles;

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_dynamodb::types::AttributeValue;
use millstream_core::connector::Connector;
use millstream_core::resource::Use;
use millstream_core::table::{PutOutcome, StoredRow, TableRows, TableSchema, TableStore};
use millstream_services as services;
use serde_json::{Value, json};

use crate::credentials;

pub(crate) type Item = std::collections::HashMap<String, AttributeValue>;

/// The connector over `table` at `endpoint`, with more options.
pub(crate) fn connector(endpoint: &str, table: &str, more: Value) -> Arc<dyn Connector> {
    credentials::set();
    let mut options = json!({ "table": table, "endpoint": endpoint, "region": services::REGION });
    options.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let kind = millstream_aws::kinds().into_iter().find(|k| k.name == "dynamodb").unwrap();
    (kind.parse)(options).unwrap()
}

/// A client of its own, to look at what is really there.
pub(crate) fn client() -> Client {
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .credentials_provider(Credentials::for_tests())
        .region(Region::new(services::REGION))
        .endpoint_url(services::dynamodb())
        .http_client(
            aws_smithy_http_client::Builder::new()
                .tls_provider(aws_smithy_http_client::tls::Provider::Rustls(
                    aws_smithy_http_client::tls::rustls_provider::CryptoMode::Ring,
                ))
                .build_https(),
        );
    Client::from_conf(config.build())
}

/// `id` (text), `n` (whole number), `note` (text).
pub(crate) fn rows(rows: &[(&str, Option<i64>, Option<&str>)]) -> RecordBatch {
    let schema = Schema::new(vec![
        Field::new("id", DataType::Utf8, false),
        Field::new("n", DataType::Int64, true),
        Field::new("note", DataType::Utf8, true),
    ]);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|r| Some(r.0)).collect::<StringArray>()),
        Arc::new(rows.iter().map(|r| r.1).collect::<Int64Array>()),
        Arc::new(rows.iter().map(|r| r.2).collect::<StringArray>()),
    ];
    RecordBatch::try_new(Arc::new(schema), columns).unwrap()
}

pub(crate) fn versioned(rows: RecordBatch, version: u64) -> TableRows {
    let count = rows.num_rows();
    TableRows { rows, versions: vec![version; count], stamps: vec![None; count], truncated: vec![None; count] }
}

pub(crate) fn schema(name: &str, key: &[&str], columns: &RecordBatch, ttl: Option<Duration>) -> TableSchema {
    TableSchema {
        name: name.into(),
        key: key.iter().map(|k| (*k).to_owned()).collect(),
        columns: columns.schema(),
        ttl,
    }
}

/// A fresh table of [`rows`] and its store, by way of `endpoint`.
pub(crate) struct Fresh {
    pub(crate) table: String,
    pub(crate) schema: TableSchema,
    pub(crate) store: Arc<dyn TableStore>,
}

impl Fresh {
    pub(crate) async fn with(endpoint: &str, ttl: Option<Duration>, more: Value) -> Self {
        let table = services::name("table");
        let schema = schema("t", &["id"], &rows(&[]), ttl);
        connector(services::dynamodb(), &table, more.clone()).create(&Use::Table(&schema)).await.unwrap();
        let store = connector(endpoint, &table, more).table(&schema).await.unwrap();
        Self { table, schema, store }
    }
    pub(crate) async fn new() -> Self {
        Self::with(services::dynamodb(), None, json!({})).await
    }
    /// The item as the service has it.
    pub(crate) async fn item(&self, id: &str) -> Option<Item> {
        let key = AttributeValue::S(id.into());
        client().get_item().table_name(&self.table).key("id", key).consistent_read(true).send().await.unwrap().item
    }
    /// Puts an item as another program does.
    pub(crate) async fn put_item(&self, item: &[(&str, AttributeValue)]) {
        let item: Item = item.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        client().put_item().table_name(&self.table).set_item(Some(item)).send().await.unwrap();
    }
    pub(crate) async fn get(&self, ids: &[&str]) -> Vec<Option<StoredRow>> {
        let keys: Vec<_> = ids.iter().map(|id| (*id, None, None)).collect();
        self.store.get(&rows(&keys).project(&[0]).unwrap()).await.unwrap()
    }
}

pub(crate) fn s(text: &str) -> AttributeValue {
    AttributeValue::S(text.into())
}
pub(crate) fn n(text: &str) -> AttributeValue {
    AttributeValue::N(text.into())
}

pub(crate) fn written(outcomes: &[PutOutcome]) -> usize {
    outcomes.iter().filter(|o| matches!(o, PutOutcome::Written)).count()
}

/// Puts rows until each is written or stale, as the runtime does; how many calls it took.
pub(crate) async fn insist(store: &dyn TableStore, rows: &TableRows) -> (Vec<PutOutcome>, usize) {
    let mut finals: Vec<Option<PutOutcome>> = vec![None; rows.versions.len()];
    for call in 1..100 {
        let left: Vec<usize> = (0..finals.len()).filter(|i| finals[*i].is_none()).collect();
        if left.is_empty() {
            return (finals.into_iter().flatten().collect(), call - 1);
        }
        let outcomes = store.put(&rows.take(&left).unwrap()).await.unwrap();
        for (outcome, row) in outcomes.into_iter().zip(left) {
            if !matches!(outcome, PutOutcome::Retry(_)) {
                finals[row] = Some(outcome);
            }
        }
    }
    panic!("rows are not put after 100 calls");
}
