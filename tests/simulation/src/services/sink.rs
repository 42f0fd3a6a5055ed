//! A sink whose service fails, and that makes nothing visible before the claim of the checkpoint that covers it.

use std::sync::Arc;

use arrow::array::UInt32Array;
use async_trait::async_trait;
use millstream_core::sink::{BatchId, Commitment, Outcome, Prepared, Sink, SinkOptions};
use millstream_core::snapshot::StateTable;
use millstream_core::{Batch, Error, ErrorKind, Result};
use serde_json::Value;

use super::digest;
use crate::planted::ServiceBug;
use crate::world::{Fault, World};

pub(super) struct SimulatedSink {
    inner: Box<dyn Sink>,
    service: &'static str,
    /// The sink and its instance.
    name: String,
    generation: String,
    commitment: Commitment,
    world: Arc<World>,
}

impl SimulatedSink {
    pub(super) fn new(
        inner: Box<dyn Sink>,
        service: &'static str,
        options: &SinkOptions,
        commitment: Commitment,
        world: Arc<World>,
    ) -> Self {
        let name = format!("{}.{}", options.id, options.instance);
        Self { inner, service, name, generation: options.generation.clone(), commitment, world }
    }

    fn note(&self, what: &str) {
        self.world.note(&format!("{} {what}", self.name));
    }

    /// Rows become visible.
    fn expect_claim(&self, checkpoint: u64) {
        if self.world.claim(checkpoint).is_none() {
            self.world.broken(format!("{} makes checkpoint {checkpoint} visible before it is claimed", self.name));
        }
    }
}

/// A call that is about a whole checkpoint: whether its answer is lost.
async fn reach(world: &World, service: &'static str) -> Result<bool> {
    match world.call(service, &[Fault::Unavailable, Fault::AnswerLost]).await {
        None => Ok(false),
        Some(Fault::AnswerLost) => Ok(true),
        Some(_) => Err(Error::unavailable("down on purpose")),
    }
}

/// What is said where it was done and nobody heard of it.
fn lost<T>(answer: T, lost: bool) -> Result<T> {
    if lost { Err(Error::unavailable("the answer was lost on purpose")) } else { Ok(answer) }
}

#[async_trait]
impl Sink for SimulatedSink {
    async fn write(&mut self, batch: &Batch) -> Result<Vec<Outcome>> {
        // What is staged is a matter of one process and its disk: no answer gets lost there before the checkpoint.
        let kinds: &[Fault] = match self.commitment {
            Commitment::Staged => &[Fault::Throttled, Fault::Partial, Fault::Unavailable],
            _ => &[Fault::Throttled, Fault::Unavailable],
        };
        let retry = || Outcome::Retry("throttled on purpose".into());
        match self.world.call(self.service, kinds).await {
            None => {
                self.note(&format!("writes {}", digest(&batch.rows)));
                self.inner.write(batch).await
            }
            Some(Fault::Partial) => {
                let kept: Vec<u32> = (0..batch.num_rows() as u32).filter(|_| self.world.below(2) == 0).collect();
                let mut outcomes = vec![retry(); batch.num_rows()];
                if !kept.is_empty() {
                    let some = batch.take(&UInt32Array::from(kept.clone()))?;
                    self.note(&format!("writes {} of {}", digest(&some.rows), batch.num_rows()));
                    let done = self.inner.write(&some).await?;
                    kept.into_iter().zip(done).for_each(|(row, outcome)| outcomes[row as usize] = outcome);
                }
                Ok(outcomes)
            }
            Some(Fault::Throttled) => Ok(vec![retry(); batch.num_rows()]),
            Some(_) => Err(Error::unavailable("down on purpose")),
        }
    }

    async fn send(&mut self, id: &BatchId, numbers: &[u32], batch: &Batch) -> Result<Vec<Outcome>> {
        let fault = self.world.call(self.service, &[Fault::Throttled, Fault::Unavailable, Fault::AnswerLost]).await;
        match fault {
            Some(Fault::Throttled) => {
                return Ok(vec![Outcome::Retry("throttled on purpose".into()); batch.num_rows()]);
            }
            Some(Fault::Unavailable) => return Err(Error::unavailable("down on purpose")),
            _ => {}
        }
        self.expect_claim(id.checkpoint);
        self.note(&format!("sends {id}: {}", digest(&batch.rows)));
        let mut id = id.clone();
        if self.world.has(ServiceBug::NewIds) {
            id.run += &self.generation;
        }
        let outcomes = self.inner.send(&id, numbers, batch).await?;
        tokio::task::yield_now().await;
        match fault {
            Some(_) => Err(Error::new(ErrorKind::Indeterminate, "the answer was lost on purpose")),
            None => Ok(outcomes),
        }
    }

    async fn poll(&mut self) -> Result<()> {
        self.inner.poll().await
    }

    async fn prepare(&mut self, checkpoint: u64, whole: bool) -> Result<Prepared> {
        let answer_lost = reach(&self.world, self.service).await?;
        let prepared = self.inner.prepare(checkpoint, whole).await?;
        self.note(&format!("prepares {checkpoint}, staged: {}", prepared.staged.is_some()));
        tokio::task::yield_now().await;
        lost(prepared, answer_lost)
    }

    async fn commit(&mut self, checkpoint: u64, staged: &Value) -> Result<()> {
        let answer_lost = reach(&self.world, self.service).await?;
        self.expect_claim(checkpoint);
        self.inner.commit(checkpoint, staged).await?;
        self.note(&format!("commits {checkpoint}"));
        tokio::task::yield_now().await;
        lost((), answer_lost)
    }

    async fn restore(&mut self, tables: Vec<StateTable>) -> Result<()> {
        if self.world.has(ServiceBug::ForgetFiles) {
            return Ok(());
        }
        self.inner.restore(tables).await
    }

    async fn clean(&mut self) -> Result<()> {
        let answer_lost = reach(&self.world, self.service).await?;
        self.inner.clean().await?;
        self.note("cleans");
        lost((), answer_lost)
    }

    fn summary(&self) -> Option<String> {
        self.inner.summary()
    }
}
