//! Rows as records of a stream, in order per partition key.

use std::sync::Arc;

use arrow::array::{Array as _, AsArray as _};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use async_trait::async_trait;
use millstream_core::batch::Batch;
use millstream_core::format::Encoder;
use millstream_core::sink::{BatchId, Outcome, Sink, SinkOptions};
use millstream_core::{Error, ErrorKind, Result};
use millstream_formats::{EncodeOptions, encoder};

use super::batches::Entry;
use super::client::Stream;
use super::put::put_all;

/// Writes to one stream. It cannot tell a record that it was sent before: a row that is sent again is there again.
pub(crate) struct KinesisSink {
    stream: Arc<Stream>,
    encoder: Box<dyn Encoder>,
    /// The column of the partition key.
    partition_key: Option<String>,
    first: bool,
    sent: u64,
    /// Spreads rows without a key.
    spread: u64,
}

impl KinesisSink {
    pub(crate) fn open(stream: Arc<Stream>, partition_key: Option<String>, options: &SinkOptions) -> Result<Self> {
        let encode = EncodeOptions { decimals_as_strings: options.decimals_as_strings };
        Ok(Self {
            stream,
            encoder: encoder(options.format, &options.schema, &encode)?,
            partition_key,
            first: options.instance == 0,
            sent: 0,
            spread: options.instance as u64,
        })
    }

    /// The partition keys of rows: `Err` says why a row has none that the service takes.
    fn keys(&mut self, batch: &Batch) -> Result<Vec<Result<String, String>>> {
        let rows = batch.num_rows();
        let Some(name) = &self.partition_key else {
            return Ok((0..rows)
                .map(|_| {
                    self.spread = self.spread.wrapping_add(1);
                    Ok(format!("{:016x}", xxhash_rust::xxh3::xxh3_64(&self.spread.to_le_bytes())))
                })
                .collect());
        };
        let column = batch.column(name).ok_or_else(|| Error::bug(format!("rows lost the column `{name}`")))?;
        let text = cast(column, &DataType::Utf8)?;
        let text = text.as_string::<i32>();
        let key = |row: usize| match text.is_null(row) {
            true => Err("its partition key is null".to_owned()),
            false => Ok(text.value(row).to_owned()),
        };
        Ok((0..rows).map(key).collect())
    }

    /// The rows as they are sent; those that cannot be are refused.
    fn entries(&mut self, batch: &Batch, outcomes: &mut [Outcome]) -> Result<Vec<Entry>> {
        let keys = self.keys(batch)?;
        let mut entries = Vec::with_capacity(keys.len());
        for (row, key) in keys.into_iter().enumerate() {
            let mut data = Vec::new();
            let encoded = self.encoder.encode(&batch.rows.slice(row, 1), &mut data);
            // A record ends by itself.
            if data.last() == Some(&b'\n') {
                data.pop();
            }
            let entry = match (key, encoded) {
                (Ok(key), Ok(())) => Entry { row, key, data }.checked(),
                (Err(why), _) => Err(why),
                (_, Err(e)) if e.kind() == ErrorKind::BadRow => Err(e.to_string()),
                (_, Err(e)) => return Err(e),
            };
            match (entry, outcomes.get_mut(row)) {
                (Ok(entry), _) => entries.push(entry),
                (Err(why), Some(outcome)) => *outcome = Outcome::Refused(why),
                (Err(_), None) => {}
            }
        }
        Ok(entries)
    }

    async fn put_all(&mut self, batch: &Batch) -> Result<Vec<Outcome>> {
        let mut outcomes = vec![Outcome::Done; batch.num_rows()];
        let entries = self.entries(batch, &mut outcomes)?;
        self.sent += put_all(&self.stream, entries, self.partition_key.is_some(), &mut outcomes).await?;
        Ok(outcomes)
    }
}

#[async_trait]
impl Sink for KinesisSink {
    async fn write(&mut self, batch: &Batch) -> Result<Vec<Outcome>> {
        self.put_all(batch).await
    }

    async fn send(&mut self, _id: &BatchId, _rows: &[u32], batch: &Batch) -> Result<Vec<Outcome>> {
        self.put_all(batch).await
    }

    fn summary(&self) -> Option<String> {
        (self.first || self.sent > 0).then(|| format!("{} records to {}", self.sent, self.stream.on))
    }
}
