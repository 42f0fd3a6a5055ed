//! Writer tasks: one per sink and worker, on tokio, taking batches from a sink host in order.

use std::sync::Arc;
use std::time::Duration;

use millstream_core::batch::Batch;
use millstream_core::error::Result;
use millstream_core::sink::{Delivery, Sink};
use timely::scheduling::SyncActivator;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};

use crate::clock::Clock;
use crate::delivery::{Attempts, Delivered, deliver, passing};
use crate::metrics::Metrics;

/// What a sink host tells its writer.
#[derive(Debug)]
pub(crate) enum ToWriter {
    /// Write these rows; `since` is when the oldest record that led to them was read.
    Write { batch: Batch, since: u64 },
    /// There will be no more: make everything visible.
    Finish,
}

/// What a writer tells its host, in the order it was asked.
#[derive(Debug)]
pub(crate) enum FromWriter {
    /// What became of a batch.
    Wrote(Result<Delivered>),
    /// Everything is visible; where it is.
    Finished(Result<Option<String>>),
}

/// Everything a writer task needs.
pub(crate) struct Writer {
    pub(crate) sink: Box<dyn Sink>,
    pub(crate) delivery: Delivery,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) commit_every: Duration,
    pub(crate) name: String,
    pub(crate) from_host: UnboundedReceiver<ToWriter>,
    pub(crate) to_host: UnboundedSender<FromWriter>,
    pub(crate) activator: SyncActivator,
}

/// How often rolling files are looked at.
const POLL: Duration = Duration::from_secs(1);

impl Writer {
    /// Writes until the host finishes or is gone.
    pub(crate) async fn run(mut self) {
        let mut poll = tokio::time::interval(POLL);
        poll.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut committed = self.clock.micros();
        loop {
            tokio::select! {
                biased;
                message = self.from_host.recv() => {
                    let (reply, last) = match message {
                        Some(ToWriter::Write { batch, since }) => (FromWriter::Wrote(self.write(&batch, since).await), false),
                        Some(ToWriter::Finish) => (FromWriter::Finished(self.finish().await), true),
                        None => return,
                    };
                    if !self.reply(reply) || last {
                        return;
                    }
                }
                _ = poll.tick() => {
                    let due = self.clock.micros().saturating_sub(committed) >= self.commit_every.as_micros() as u64;
                    if due {
                        committed = self.clock.micros();
                    }
                    if let Err(e) = self.settle(due).await
                        && !self.reply(FromWriter::Wrote(Err(e)))
                    {
                        return;
                    }
                }
            }
        }
    }

    fn reply(&self, reply: FromWriter) -> bool {
        self.to_host.send(reply).is_ok() && self.activator.activate().is_ok()
    }

    async fn write(&mut self, batch: &Batch, since: u64) -> Result<Delivered> {
        let delivered = deliver(self.sink.as_mut(), batch, &self.delivery, self.clock.as_ref(), &self.name).await?;
        self.metrics.rows_took(self.clock.micros().saturating_sub(since), batch.num_rows() as u64);
        Ok(delivered)
    }

    /// Looks at rolling files, or makes everything visible; tried again while the service is away.
    async fn settle(&mut self, commit: bool) -> Result<()> {
        let mut attempts = Attempts::new(&self.delivery, self.clock.as_ref());
        loop {
            let settled = if commit { self.sink.commit().await } else { self.sink.poll().await };
            match settled {
                Err(e) if passing(&e) => {
                    if !attempts.again(&self.name, &e.to_string()).await {
                        return Err(attempts.unavailable(&self.name, &e.to_string()));
                    }
                }
                settled => return settled,
            }
        }
    }

    async fn finish(&mut self) -> Result<Option<String>> {
        self.settle(true).await?;
        Ok(self.sink.summary())
    }
}
