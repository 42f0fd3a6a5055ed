//! Putting records into a stream: what `millstream produce` does.

use std::sync::Arc;

use async_trait::async_trait;
use millstream_core::Result;
use millstream_core::producer::{NewRecord, Producer};
use millstream_core::sink::Outcome;

use super::batches::Entry;
use super::client::Stream;
use super::put::put_all;

/// Puts into one stream, in order per key.
pub(crate) struct KinesisProducer(pub(crate) Arc<Stream>);

#[async_trait]
impl Producer for KinesisProducer {
    async fn put(&mut self, records: &[NewRecord]) -> Result<Vec<Outcome>> {
        let mut outcomes = vec![Outcome::Done; records.len()];
        let mut entries = Vec::with_capacity(records.len());
        for (row, (record, outcome)) in records.iter().zip(&mut outcomes).enumerate() {
            match (Entry { row, key: record.key.clone(), data: record.data.to_vec() }).checked() {
                Ok(entry) => entries.push(entry),
                Err(why) => *outcome = Outcome::Refused(why),
            }
        }
        put_all(&self.0, entries, true, &mut outcomes).await?;
        Ok(outcomes)
    }
}
