//! Rows to a queue.
//!
//! ```text
//! rows -> messages -> (too large: body to S3) -> calls of up to 10 messages and 1 MiB -> an outcome per row
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use millstream_core::sink::{BatchId, Outcome, Sink, SinkOptions};
use millstream_core::{Batch, Result};

use super::client::Queue;
use super::config::SqsConfig;
use super::outgoing::{self, LIMIT, Shape};
use super::payload::{Fitted, Payloads};
use crate::post::{self, Entry, Names, Outgoing, Post, set};

/// Sends rows to a queue.
pub(crate) struct SqsSink {
    queue: Queue,
    payloads: Payloads,
    shape: Shape,
    fifo: bool,
    names: Names,
    /// What the objects of large bodies begin with.
    folder: String,
    first: bool,
    /// Messages sent by all instances.
    sent: Arc<AtomicU64>,
}

impl SqsSink {
    pub(crate) fn new(
        queue: Queue,
        payloads: Payloads,
        config: &SqsConfig,
        options: &SinkOptions,
        sent: Arc<AtomicU64>,
    ) -> Result<Self> {
        Ok(Self {
            queue,
            payloads,
            shape: Shape::new(config, options)?,
            fifo: config.is_fifo(),
            names: Names::new(options),
            folder: format!("{}/{}", options.pipeline, options.id),
            first: options.instance == 0,
            sent,
        })
    }

    async fn deliver(&mut self, ids: &[String], batch: &Batch) -> Result<Vec<Outcome>> {
        let mut outcomes: Vec<Option<Outcome>> = vec![None; ids.len()];
        let mut ready = Vec::with_capacity(ids.len());
        for message in self.shape.messages(batch, ids)? {
            let row = message.row;
            match self.payloads.fitted(message, &self.folder).await? {
                Fitted::Fits(message) => ready.push(message),
                Fitted::Not(outcome) => set(&mut outcomes, row, outcome),
            }
        }
        match self.fifo {
            true => post::send_in_order(&self.queue, ready, &mut outcomes).await?,
            false => post::send_all(&self.queue, ready, &mut outcomes).await?,
        }
        let outcomes = post::every(outcomes)?;
        let done = outcomes.iter().filter(|o| **o == Outcome::Done).count() as u64;
        self.sent.fetch_add(done, Ordering::Relaxed);
        Ok(outcomes)
    }
}

#[async_trait]
impl Post for Queue {
    fn limit(&self) -> usize {
        LIMIT
    }
    async fn post(&self, call: &[Outgoing]) -> Result<Vec<Entry>> {
        let entries = call.iter().enumerate().map(|(place, message)| outgoing::entry(message, place));
        self.send(entries.collect::<Result<_>>()?).await
    }
}

#[async_trait]
impl Sink for SqsSink {
    async fn write(&mut self, batch: &Batch) -> Result<Vec<Outcome>> {
        let ids = self.names.next(batch.num_rows());
        self.deliver(&ids, batch).await
    }

    async fn send(&mut self, id: &BatchId, numbers: &[u32], rows: &Batch) -> Result<Vec<Outcome>> {
        let ids: Vec<String> = numbers.iter().map(|number| id.row(*number)).collect();
        self.deliver(&ids, rows).await
    }

    fn summary(&self) -> Option<String> {
        let sent = self.sent.load(Ordering::Relaxed);
        self.first.then(|| format!("{sent} messages to {}", self.queue.shown()))
    }
}
