//! Rows of results into a table that holds nothing else: each item replaced whole, without a condition.
//!
//! Of the rows of one key in a batch the last counts, and a retraction only where no row of its key comes with it: an
//! update is both, in any order. What the service leaves unprocessed is given back to be tried again.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{AsArray, Int8Array};
use arrow::datatypes::{Int8Type, SchemaRef};
use async_trait::async_trait;
use aws_sdk_dynamodb::error::ProvideErrorMetadata as _;
use aws_sdk_dynamodb::operation::batch_write_item::BatchWriteItemError;
use aws_sdk_dynamodb::types::{AttributeValue, DeleteRequest, PutRequest, WriteRequest};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use futures::stream::{self, StreamExt as _};
use millstream_core::batch::{hidden, user_schema};
use millstream_core::item::LIMIT;
use millstream_core::sink::{Outcome, Sink, SinkOptions};
use millstream_core::{Batch, Error, ErrorKind, Result};

use super::attributes::{Column, Refusal, key_of};
use super::client::{Item, Remote, throttled};
use super::config::DynamoDbConfig;
use super::json::key_text;
use super::keys;
use super::limiter::{Answer, Limiter};

/// Items of one BatchWriteItem.
const BATCH: usize = 25;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct DynamoDbSink {
    shared: Arc<Replacing>,
    first: bool,
    written: Arc<AtomicU64>,
}

#[derive(Debug)]
struct Replacing {
    remote: Arc<Remote>,
    limiter: Limiter,
    in_flight: usize,
    columns: SchemaRef,
    key: Vec<String>,
}

/// What one key is to become, and the rows that say so.
struct Write {
    rows: Vec<usize>,
    request: WriteRequest,
}

impl DynamoDbSink {
    /// Opens the table, whose key must be that of the rows.
    pub(crate) async fn open(
        remote: Arc<Remote>,
        config: &DynamoDbConfig,
        options: &SinkOptions,
        written: Arc<AtomicU64>,
    ) -> Result<Self> {
        let columns = user_schema(&options.schema);
        let found = keys::of_table(&remote.describe().await?);
        // The rows' key has no order of its own: that of the table decides.
        let key = ordered(&options.key, &found);
        let declared = keys::of_columns(&columns, &key)?;
        if let Some(difference) = keys::difference(remote.shown(), &declared, &found) {
            return Err(Error::config(format!("`{}`: {difference}", options.id)));
        }
        let shared = Replacing {
            remote,
            limiter: Limiter::new(config.max_rate.map(|rate| rate.0)),
            in_flight: usize::from(config.in_flight.max(1)).div_ceil(BATCH),
            columns,
            key,
        };
        Ok(Self { shared: Arc::new(shared), first: options.instance == 0, written })
    }
}

/// Columns in the order of the table's key, where they are the same.
fn ordered(key: &[String], found: &[keys::KeyPart]) -> Vec<String> {
    let names: Vec<String> = found.iter().map(|part| part.name.clone()).collect();
    let same = names.len() == key.len() && names.iter().all(|name| key.contains(name));
    if same { names } else { key.to_vec() }
}

impl Replacing {
    /// What is to be written, one write per key; refused rows are told in `outcomes`.
    fn writes(&self, batch: &Batch, outcomes: &mut [Outcome]) -> Result<Vec<Write>> {
        let indices = self.columns.fields().iter().map(|f| batch.rows.schema().index_of(f.name()));
        let rows = batch.rows.project(&indices.collect::<Result<Vec<_>, _>>()?)?;
        let columns = Column::all(rows.schema_ref(), rows.columns())?;
        let key: Vec<usize> = self.key.iter().map(|k| rows.schema().index_of(k)).collect::<Result<_, _>>()?;
        let diffs: Option<Int8Array> =
            batch.column(hidden::DIFF).and_then(|c| c.as_primitive_opt::<Int8Type>().cloned());
        let retracted = |row: usize| diffs.as_ref().is_some_and(|d| d.value(row) < 0);
        let mut order: Vec<String> = Vec::new();
        let mut by_key: HashMap<String, (Vec<usize>, Item, Option<usize>)> = HashMap::new();
        for (row, outcome) in outcomes.iter_mut().enumerate() {
            match key_of(&columns, &key, row) {
                Err(reason) => *outcome = Outcome::Refused(reason),
                Ok(item) => {
                    let text = key_text(&item, &self.key);
                    let (rows, _, last) = by_key.entry(text.clone()).or_insert_with(|| {
                        order.push(text);
                        (Vec::new(), item, None)
                    });
                    rows.push(row);
                    if !retracted(row) {
                        *last = Some(row);
                    }
                }
            }
        }
        let mut writes = Vec::with_capacity(order.len());
        for (rows, key, last) in order.iter().filter_map(|text| by_key.remove(text)) {
            match request(&columns, key, last) {
                Ok(request) => writes.push(Write { rows, request }),
                // The rows that it replaced had their effect, none.
                Err(reason) => {
                    if let Some(outcome) = last.and_then(|row| outcomes.get_mut(row)) {
                        *outcome = Outcome::Refused(reason);
                    }
                }
            }
        }
        Ok(writes)
    }

    /// Sends writes of different keys; one outcome each.
    async fn send(&self, writes: &[Write]) -> Result<Vec<Outcome>> {
        for _ in writes {
            self.limiter.admit().await;
        }
        let requests: Vec<WriteRequest> = writes.iter().map(|w| w.request.clone()).collect();
        let answer = self.remote.client.batch_write_item().request_items(&self.remote.table, requests).send().await;
        let error = match answer {
            Ok(answer) => {
                let left: Vec<WriteRequest> =
                    answer.unprocessed_items.unwrap_or_default().into_values().flatten().collect();
                return Ok(self.processed(writes, &left));
            }
            Err(error) => error,
        };
        let hot = throttled(&error, |e| match e {
            BatchWriteItemError::ProvisionedThroughputExceededException(e) => Some(e.throttling_reasons()),
            BatchWriteItemError::ThrottlingException(e) => Some(e.throttling_reasons()),
            _ => None,
        });
        if let Some(hot) = hot {
            let answer = if hot { Answer::Hot } else { Answer::Throttled };
            writes.iter().for_each(|_| self.limiter.answered(answer));
        }
        let invalid = error.code() == Some("ValidationException");
        let error = self.remote.error("BatchWriteItem", error);
        match error.kind() {
            // One bad item refuses the whole call: each is tried alone.
            _ if invalid && writes.len() == 1 => Ok(vec![Outcome::Refused(error.to_string())]),
            _ if invalid => {
                let mut outcomes = Vec::with_capacity(writes.len());
                for write in writes {
                    outcomes.extend(Box::pin(self.send(std::slice::from_ref(write))).await?);
                }
                Ok(outcomes)
            }
            ErrorKind::Unavailable | ErrorKind::Indeterminate => {
                Ok(vec![Outcome::Retry(error.to_string()); writes.len()])
            }
            _ => Err(error),
        }
    }

    /// Outcomes of a call that was answered: all done but what is left.
    fn processed(&self, writes: &[Write], left: &[WriteRequest]) -> Vec<Outcome> {
        let left: Vec<String> = left.iter().map(|request| self.key_of(request)).collect();
        let outcome = |write: &Write| {
            if !left.is_empty() && left.contains(&self.key_of(&write.request)) {
                self.limiter.answered(Answer::Throttled);
                return Outcome::Retry("DynamoDB left it unprocessed".into());
            }
            self.limiter.answered(Answer::Taken);
            Outcome::Done
        };
        writes.iter().map(outcome).collect()
    }

    fn key_of(&self, request: &WriteRequest) -> String {
        let put = request.put_request().map(|put| put.item());
        let item = put.or_else(|| request.delete_request().map(|delete| delete.key()));
        item.map(|item| key_text(item, &self.key)).unwrap_or_default()
    }
}

/// Replaces the item by a row, or deletes it by its key alone.
fn request(columns: &[Column], key: Item, row: Option<usize>) -> Result<WriteRequest, Refusal> {
    let incomplete = |e: aws_sdk_dynamodb::error::BuildError| e.to_string();
    let Some(row) = row else {
        let delete = DeleteRequest::builder().set_key(Some(key)).build().map_err(incomplete)?;
        return Ok(WriteRequest::builder().delete_request(delete).build());
    };
    let mut item = key;
    for column in columns {
        if let Some(value) = column.value(row)? {
            item.insert(column.name().to_owned(), value);
        }
    }
    let size = item.iter().map(|(name, value)| name.len() + value_bytes(value)).sum::<usize>();
    if size > LIMIT {
        return Err(format!(
            "the row is {} KB, and a row of a table is at most {} KB",
            size.div_ceil(1024),
            LIMIT / 1024
        ));
    }
    let put = PutRequest::builder().set_item(Some(item)).build().map_err(incomplete)?;
    Ok(WriteRequest::builder().put_request(put).build())
}

/// The bytes of texts and bytes: what can make an item too large.
fn value_bytes(value: &AttributeValue) -> usize {
    match value {
        AttributeValue::S(text) => text.len(),
        AttributeValue::B(bytes) => bytes.as_ref().len(),
        AttributeValue::L(items) => items.iter().map(value_bytes).sum(),
        AttributeValue::M(map) => map.iter().map(|(name, value)| name.len() + value_bytes(value)).sum(),
        _ => 1,
    }
}

#[async_trait]
impl Sink for DynamoDbSink {
    async fn write(&mut self, batch: &Batch) -> Result<Vec<Outcome>> {
        let mut outcomes = vec![Outcome::Done; batch.num_rows()];
        let writes = self.shared.writes(batch, &mut outcomes)?;
        let shared = &self.shared;
        let mut calls: Vec<BoxFuture<'_, _>> = Vec::with_capacity(writes.len().div_ceil(BATCH));
        for part in writes.chunks(BATCH) {
            calls.push(async move { (part, shared.send(part).await) }.boxed());
        }
        let mut sent = stream::iter(calls).buffer_unordered(shared.in_flight);
        let mut done = 0;
        while let Some((part, answers)) = sent.next().await {
            for (write, answer) in part.iter().zip(answers?) {
                done += u64::from(answer == Outcome::Done);
                // Only the last row of a key is sent again: the others have had their effect, none.
                let rows = write.rows.iter().rev();
                let last = rows.take(1).copied().next();
                if let Some(outcome) = last.and_then(|row| outcomes.get_mut(row))
                    && answer != Outcome::Done
                {
                    *outcome = answer;
                }
            }
        }
        self.written.fetch_add(done, Ordering::Relaxed);
        Ok(outcomes)
    }

    fn summary(&self) -> Option<String> {
        let items = self.written.load(Ordering::Relaxed);
        self.first.then(|| format!("{items} writes to {}", self.shared.remote.shown()))
    }
}
