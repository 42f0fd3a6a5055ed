//! Rows to a topic.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use millstream_core::sink::{BatchId, Outcome, Sink, SinkOptions};
use millstream_core::{Batch, Result};

use super::alert::Shape;
use super::client::Topic;
use super::config::SnsConfig;
use crate::post::{self, Names};

/// Sends rows to a topic.
pub(crate) struct SnsSink {
    topic: Topic,
    shape: Shape,
    fifo: bool,
    names: Names,
    first: bool,
    /// Messages sent by all instances.
    sent: Arc<AtomicU64>,
}

impl SnsSink {
    /// # Errors
    /// `Config` where a template is wrong.
    pub(crate) fn new(topic: Topic, config: &SnsConfig, options: &SinkOptions, sent: Arc<AtomicU64>) -> Result<Self> {
        Ok(Self {
            topic,
            shape: Shape::new(config, options)?,
            fifo: config.is_fifo(),
            names: Names::new(options),
            first: options.instance == 0,
            sent,
        })
    }

    async fn deliver(&mut self, ids: &[String], batch: &Batch) -> Result<Vec<Outcome>> {
        let mut outcomes: Vec<Option<Outcome>> = vec![None; ids.len()];
        let alerts = self.shape.alerts(batch, ids)?;
        match self.fifo {
            true => post::send_in_order(&self.topic, alerts, &mut outcomes).await?,
            false => post::send_all(&self.topic, alerts, &mut outcomes).await?,
        }
        let outcomes = post::every(outcomes)?;
        let done = outcomes.iter().filter(|o| **o == Outcome::Done).count() as u64;
        self.sent.fetch_add(done, Ordering::Relaxed);
        Ok(outcomes)
    }
}

#[async_trait]
impl Sink for SnsSink {
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
        self.first.then(|| format!("{sent} messages to {}", self.topic.shown()))
    }
}
