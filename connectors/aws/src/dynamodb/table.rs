//! A table of the pipeline in a table of DynamoDB: one item per key, written on the condition of its version.
//!
//! ```text
//! put(rows) -> a task per row: admit by the rate, one of `in_flight` permits, UpdateItem -> outcome
//! ```
//! A refused condition gives the stored item back: the row is stale, and what that means is not decided here.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes, ReturnValuesOnConditionCheckFailure};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, StreamExt as _, TryStreamExt as _};
use millstream_core::clock::Clock;
use millstream_core::table::{PutOutcome, STAMPS, StoredRow, TableRows, TableSchema, TableStore, UNVERSIONED, VERSION};
use millstream_core::time::micros;
use millstream_core::{Error, ErrorKind, Result};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::attributes::{Column, key_of};
use super::backoff::Backoff;
use super::client::{Item, Remote, throttled};
use super::config::DynamoDbConfig;
use super::json::key_text;
use super::keys;
use super::limiter::{Answer, Limiter};
use super::scan::{Scan, segment};
use super::stored::{is_alive, rows as rows_of};
use super::update::{Terms, Update, of_row};

/// How often a throttled write is tried before its row is handed back.
const ATTEMPTS: u32 = 4;
/// Keys of one BatchGetItem.
const GET_KEYS: usize = 100;
/// Rounds of a BatchGetItem that gave nothing before it is given up.
const GET_ROUNDS: u32 = 8;

/// A table that is open.
#[derive(Debug)]
pub(crate) struct DynamoDbTable {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    remote: Arc<Remote>,
    config: DynamoDbConfig,
    clock: Arc<dyn Clock>,
    schema: TableSchema,
    key: Vec<usize>,
    limiter: Limiter,
    in_flight: Arc<Semaphore>,
}

impl DynamoDbTable {
    /// Opens a table, whose key must be that of `schema`.
    pub(crate) async fn open(
        remote: Arc<Remote>,
        config: &DynamoDbConfig,
        schema: &TableSchema,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let declared = keys::of_columns(&schema.columns, &schema.key)?;
        let found = keys::of_table(&remote.describe().await?);
        if let Some(difference) = keys::difference(remote.shown(), &declared, &found) {
            return Err(Error::config(format!("`{}`: {difference}", schema.name)));
        }
        let key = schema.key.iter().map(|k| schema.columns.index_of(k)).collect::<Result<_, _>>()?;
        let shared = Shared {
            remote,
            config: config.clone(),
            clock,
            schema: schema.clone(),
            key,
            limiter: Limiter::new(config.max_rate.map(|rate| rate.0)),
            in_flight: Arc::new(Semaphore::new(usize::from(config.in_flight.max(1)))),
        };
        Ok(Self { shared: Arc::new(shared) })
    }
}

impl Shared {
    fn now(&self) -> i64 {
        self.clock.now().0.div_euclid(1_000_000)
    }

    /// Puts one row.
    ///
    /// # Errors
    /// What concerns all rows: permissions, a table that is gone.
    async fn write(&self, update: Update) -> Result<PutOutcome> {
        let mut backoff = Backoff::new();
        let mut attempt = 1;
        loop {
            let answer = {
                let Ok(_permit) = self.in_flight.acquire().await else {
                    return Err(Error::bug("the permits of a table's writes are gone"));
                };
                // Behind the permit: so few wait here that a rate that rises again is felt at once.
                self.limiter.admit().await;
                self.call(&update).await
            };
            let Some(error) = answer.err() else {
                self.limiter.answered(Answer::Taken);
                return Ok(PutOutcome::Written);
            };
            let hot = throttled(&error, |e| match e {
                UpdateItemError::ProvisionedThroughputExceededException(e) => Some(e.throttling_reasons()),
                UpdateItemError::ThrottlingException(e) => Some(e.throttling_reasons()),
                _ => None,
            });
            let Some(hot) = hot else {
                self.limiter.answered(Answer::Taken);
                return self.outcome(error);
            };
            self.limiter.answered(if hot { Answer::Hot } else { Answer::Throttled });
            if attempt == ATTEMPTS {
                return Ok(PutOutcome::Retry(self.remote.error("UpdateItem", error).to_string()));
            }
            attempt += 1;
            backoff.wait().await;
        }
    }

    async fn call(&self, update: &Update) -> Result<(), SdkError<UpdateItemError, HttpResponse>> {
        let call = self.remote.client.update_item().table_name(&self.remote.table);
        call.set_key(Some(update.key.clone()))
            .update_expression(&update.update)
            .condition_expression(&update.condition)
            .set_expression_attribute_names(Some(update.names.clone()))
            .set_expression_attribute_values(Some(update.values.clone()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await
            .map(drop)
    }

    /// What an error that is no throttle says of the row.
    fn outcome(&self, error: SdkError<UpdateItemError, HttpResponse>) -> Result<PutOutcome> {
        if let SdkError::ServiceError(answer) = &error {
            match answer.err() {
                UpdateItemError::ConditionalCheckFailedException(refused) => {
                    let Some(item) = refused.item() else {
                        return Ok(PutOutcome::Retry("the stored item did not come with the refusal".into()));
                    };
                    return Ok(match self.stored(item) {
                        Ok(stored) => PutOutcome::Stale(Box::new(stored)),
                        // Merging with what cannot be read would lose it.
                        Err(reason) => PutOutcome::Refused(format!("the stored item cannot be merged with: {reason}")),
                    });
                }
                other => {
                    let code = aws_sdk_dynamodb::error::ProvideErrorMetadata::code(other).unwrap_or_default();
                    // The expressions are well formed: what is invalid is the row.
                    if matches!(code, "ValidationException" | "ItemCollectionSizeLimitExceededException") {
                        let said = self.remote.error("UpdateItem", error);
                        return Ok(PutOutcome::Refused(said.to_string()));
                    }
                }
            }
        }
        let error = self.remote.error("UpdateItem", error);
        match error.kind() {
            // Putting again is safe: a row that did get there comes back as stale and equal.
            ErrorKind::Unavailable | ErrorKind::Indeterminate => Ok(PutOutcome::Retry(error.to_string())),
            _ => Err(error),
        }
    }

    /// An item as a row of the table.
    fn stored(&self, item: &Item) -> Result<StoredRow, String> {
        let row = rows_of(&self.schema.columns, std::slice::from_ref(item)).map_err(|misfit| misfit.reason)?;
        let version = match item.get(VERSION) {
            None | Some(AttributeValue::Null(_)) => UNVERSIONED,
            Some(AttributeValue::N(text)) => text.parse().map_err(|_| format!("its `{VERSION}` is {text}"))?,
            Some(_) => return Err(format!("its `{VERSION}` is no number")),
        };
        let stamps = item.get(STAMPS).and_then(|v| v.as_s().ok()).cloned();
        Ok(StoredRow { row, version, stamps })
    }

    fn unreadable(&self, item: &Item, reason: &str) -> Error {
        let key = key_text(item, &self.schema.key);
        Error::environment(format!(
            "{}: the item {key} is no row of `{}`: {reason}",
            self.remote.shown(),
            self.schema.name
        ))
    }

    /// Items by their keys; what the service leaves out is asked for again.
    async fn items(&self, keys: Vec<Item>) -> Result<Vec<Item>> {
        let mut found = Vec::new();
        let mut left = keys;
        let mut backoff = Backoff::new();
        let mut rounds = 0;
        while !left.is_empty() {
            let wanted = KeysAndAttributes::builder().set_keys(Some(left)).consistent_read(true).build();
            let wanted = wanted.map_err(|e| Error::bug("keys are missing").caused_by(e))?;
            let call = || {
                let tables = HashMap::from([(self.remote.table.clone(), wanted.clone())]);
                self.remote.client.batch_get_item().set_request_items(Some(tables)).send()
            };
            let answer = self.remote.read("BatchGetItem", call).await?;
            let before = found.len();
            found.extend(answer.responses.unwrap_or_default().into_values().flatten());
            left = answer.unprocessed_keys.unwrap_or_default().into_values().flat_map(|keys| keys.keys).collect();
            if !left.is_empty() {
                rounds = if found.len() > before { 0 } else { rounds + 1 };
                if rounds == GET_ROUNDS {
                    return Err(Error::unavailable(format!("{} does not answer for all keys", self.remote.shown())));
                }
                backoff.wait().await;
            }
        }
        Ok(found)
    }
}

#[async_trait]
impl TableStore for DynamoDbTable {
    async fn put(&self, rows: &TableRows) -> Result<Vec<PutOutcome>> {
        let shared = &self.shared;
        let columns = Column::all(rows.rows.schema_ref(), rows.rows.columns())?;
        let now = shared.now();
        let terms = Terms {
            key: &shared.key,
            ttl_attribute: &shared.config.ttl_attribute,
            now,
            expires: shared.schema.ttl.map(|ttl| now.saturating_add(micros(ttl) / 1_000_000)),
        };
        let mut outcomes: Vec<PutOutcome> = vec![PutOutcome::Retry(String::new()); rows.rows.num_rows()];
        let mut writes = JoinSet::new();
        for (row, outcome) in outcomes.iter_mut().enumerate() {
            match of_row(&terms, &columns, rows, row) {
                Ok(update) => {
                    let shared = shared.clone();
                    writes.spawn(async move { (row, shared.write(update).await) });
                }
                Err(reason) => *outcome = PutOutcome::Refused(reason),
            }
        }
        while let Some(done) = writes.join_next().await {
            let (row, outcome) = done.map_err(|e| Error::bug("a write to DynamoDB panicked").caused_by(e))?;
            let outcome = outcome?;
            if let Some(place) = outcomes.get_mut(row) {
                *place = outcome;
            }
        }
        Ok(outcomes)
    }

    async fn get(&self, keys: &RecordBatch) -> Result<Vec<Option<StoredRow>>> {
        let shared = &self.shared;
        let columns = Column::all(keys.schema_ref(), keys.columns())?;
        let all: Vec<usize> = (0..columns.len()).collect();
        // A key that no item can have has none.
        let wanted: Vec<Option<Item>> = (0..keys.num_rows()).map(|row| key_of(&columns, &all, row).ok()).collect();
        let texts: Vec<Option<String>> =
            wanted.iter().map(|k| k.as_ref().map(|k| key_text(k, &shared.schema.key))).collect();
        let mut distinct: HashMap<&String, Item> = HashMap::new();
        for (text, key) in texts.iter().zip(&wanted) {
            if let (Some(text), Some(key)) = (text, key) {
                distinct.entry(text).or_insert_with(|| key.clone());
            }
        }
        let mut found: HashMap<String, Item> = HashMap::new();
        let all_keys: Vec<Item> = distinct.into_values().collect();
        let mut calls: Vec<BoxFuture<'_, _>> = Vec::with_capacity(all_keys.len().div_ceil(GET_KEYS));
        for part in all_keys.chunks(GET_KEYS) {
            calls.push(shared.items(part.to_vec()).boxed());
        }
        let mut calls = stream::iter(calls).buffer_unordered(8);
        while let Some(items) = calls.try_next().await? {
            found.extend(items.into_iter().map(|item| (key_text(&item, &shared.schema.key), item)));
        }
        let now = shared.now();
        let row = |text: &Option<String>| {
            let item = text.as_ref().and_then(|t| found.get(t));
            let alive = item.filter(|item| is_alive(item, &shared.config.ttl_attribute, now));
            alive.map(|item| shared.stored(item).map_err(|reason| shared.unreadable(item, &reason))).transpose()
        };
        texts.iter().map(row).collect()
    }

    async fn scan(&self) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        let shared = self.shared.clone();
        let mut attributes: Vec<String> = shared.schema.columns.fields().iter().map(|f| f.name().clone()).collect();
        attributes.push(shared.config.ttl_attribute.clone());
        let scan = Arc::new(Scan {
            remote: shared.remote.clone(),
            segments: shared.config.segments.max(1),
            consistent: shared.config.consistent,
            attributes: Some(attributes),
        });
        let pages = (0..scan.segments).map(|n| segment(scan.clone(), n, None).boxed());
        let pages = stream::select_all(pages).map(move |page| {
            let now = shared.now();
            let mut items = page?.items;
            items.retain(|item| is_alive(item, &shared.config.ttl_attribute, now));
            rows_of(&shared.schema.columns, &items).map_err(|misfit| match items.get(misfit.row) {
                Some(item) => shared.unreadable(item, &misfit.reason),
                None => Error::bug(misfit.reason),
            })
        });
        // A page of nothing but expired items is no batch.
        Ok(pages.try_filter(|rows| std::future::ready(rows.num_rows() > 0)).boxed())
    }
}
