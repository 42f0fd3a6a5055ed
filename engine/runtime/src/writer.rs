//! Writer tasks: one per sink and worker, on tokio, taking batches from a sink host in order.
//!
//! A writer makes one of two of every sink: one that writes at once and stages, or one that gathers in an outbox and
//! sends when the checkpoint counts.

use std::sync::Arc;
use std::time::Duration;

use millstream_core::batch::Batch;
use millstream_core::error::Result;
use millstream_core::sink::{Delivery, Prepared, Sink};
use timely::scheduling::SyncActivator;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};

use crate::delivery::{Attempts, Delivered, How, deliver, passing};
use crate::outbox::{Letter, Outbox};
use crate::run::Shared;

/// What a sink host tells its writer.
#[derive(Debug)]
pub(crate) enum ToWriter {
    /// Write these rows; `since` is when the oldest record that led to them was read.
    Write { batch: Batch, since: u64 },
    /// The checkpoint with this number covers all rows so far: have them safe.
    Prepare { checkpoint: u64, whole: bool },
    /// This checkpoint counts: make visible what it covers. `clean`: and remove what nobody will.
    Commit { checkpoint: u64, clean: bool },
    /// There will be no more.
    Finish,
}

/// What a writer tells its host, in the order it was asked.
#[derive(Debug)]
pub(crate) enum FromWriter {
    /// What became of a batch.
    Wrote(Result<Delivered>),
    /// The rows of this checkpoint are safe.
    Prepared(u64, Result<Prepared>),
    /// They are visible, but for those that were refused.
    Committed(u64, Result<Sent>),
    /// Where everything is.
    Finished(Option<String>),
}

/// What became of the batches of an outbox.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    pub(crate) delivered: Vec<(Batch, Delivered)>,
}

/// Everything a writer task needs.
pub(crate) struct Writer {
    pub(crate) sink: Box<dyn Sink>,
    /// Where the sink sends after commits.
    pub(crate) outbox: Option<Outbox>,
    pub(crate) delivery: Delivery,
    pub(crate) shared: Arc<Shared>,
    pub(crate) name: String,
    pub(crate) from_host: UnboundedReceiver<ToWriter>,
    pub(crate) to_host: UnboundedSender<FromWriter>,
    pub(crate) activator: SyncActivator,
    /// What was staged for a checkpoint that does not count yet.
    pub(crate) staged: Option<(u64, serde_json::Value)>,
}

/// How often rolling files are looked at.
const POLL: Duration = Duration::from_secs(1);

impl Writer {
    /// Writes until the host finishes or is gone.
    pub(crate) async fn run(mut self) {
        let mut poll = tokio::time::interval(POLL);
        poll.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let (reply, last) = tokio::select! {
                biased;
                message = self.from_host.recv() => match message {
                    None => return,
                    Some(ToWriter::Finish) => (FromWriter::Finished(self.sink.summary()), true),
                    Some(message) => (self.act(message).await, false),
                },
                _ = poll.tick() => match self.insist(Ask::Poll).await {
                    Ok(()) => continue,
                    Err(e) => (FromWriter::Wrote(Err(e)), true),
                },
            };
            if self.to_host.send(reply).is_err() || self.activator.activate().is_err() || last {
                return;
            }
        }
    }

    async fn act(&mut self, message: ToWriter) -> FromWriter {
        match message {
            ToWriter::Write { batch, since } => FromWriter::Wrote(self.write(batch, since).await),
            ToWriter::Prepare { checkpoint, whole } => {
                FromWriter::Prepared(checkpoint, self.prepare(checkpoint, whole).await)
            }
            ToWriter::Commit { checkpoint, clean } => {
                FromWriter::Committed(checkpoint, self.commit(checkpoint, clean).await)
            }
            ToWriter::Finish => FromWriter::Finished(None),
        }
    }

    async fn write(&mut self, batch: Batch, since: u64) -> Result<Delivered> {
        if let Some(outbox) = &mut self.outbox {
            let held = batch.num_rows() as u64;
            outbox.put(batch, since);
            return Ok(Delivered { held, ..Delivered::default() });
        }
        let clock = self.shared.options.clock.clone();
        let delivered =
            deliver(self.sink.as_mut(), How::Write, &batch, &self.delivery, clock.as_ref(), &self.name).await?;
        self.shared.metrics.rows_took(clock.micros().saturating_sub(since), batch.num_rows() as u64);
        Ok(delivered)
    }

    async fn prepare(&mut self, checkpoint: u64, whole: bool) -> Result<Prepared> {
        self.shared.die_at("prepare.before")?;
        let prepared = match &mut self.outbox {
            Some(outbox) => Prepared { staged: None, state: outbox.close(checkpoint)? },
            None => {
                let mut prepared = Prepared::default();
                self.insist(Ask::Prepare(checkpoint, whole, &mut prepared)).await?;
                prepared
            }
        };
        self.staged = prepared.staged.clone().map(|staged| (checkpoint, staged));
        self.shared.die_at("prepare.after")?;
        Ok(prepared)
    }

    async fn commit(&mut self, checkpoint: u64, clean: bool) -> Result<Sent> {
        self.shared.die_at("commit.before")?;
        if let Some((_, staged)) = self.staged.take_if(|(n, _)| *n == checkpoint) {
            self.insist(Ask::Commit(checkpoint, &staged)).await?;
        }
        let due = self.outbox.as_mut().map(|o| o.take_upto(checkpoint)).unwrap_or_default();
        let mut sent = Sent::default();
        for Letter { id, batch, since } in due {
            let clock = self.shared.options.clock.clone();
            let sink = self.sink.as_mut();
            let delivered = deliver(sink, How::Send(&id), &batch, &self.delivery, clock.as_ref(), &self.name).await?;
            self.shared.metrics.rows_took(clock.micros().saturating_sub(since), batch.num_rows() as u64);
            sent.delivered.push((batch, delivered));
            self.shared.die_at("commit.sent")?;
        }
        if clean {
            self.insist(Ask::Clean).await?;
        }
        self.shared.die_at("commit.after")?;
        Ok(sent)
    }

    /// Asks the sink for something that is not about single rows; again while the service is away.
    async fn insist(&mut self, mut ask: Ask<'_>) -> Result<()> {
        let clock = self.shared.options.clock.clone();
        let mut attempts = Attempts::new(&self.delivery, clock.as_ref());
        loop {
            let done = match &mut ask {
                Ask::Poll => self.sink.poll().await,
                Ask::Prepare(n, whole, prepared) => self.sink.prepare(*n, *whole).await.map(|p| **prepared = p),
                Ask::Commit(n, staged) => self.sink.commit(*n, staged).await,
                Ask::Clean => self.sink.clean().await,
            };
            match done {
                // What is staged is rows that were taken: there is no giving up on them.
                Err(e) if passing(&e) => attempts.again_always(&self.name, &e.to_string()).await,
                done => return done,
            }
        }
    }
}

/// What [`Writer::insist`] asks for.
enum Ask<'a> {
    Poll,
    Prepare(u64, bool, &'a mut Prepared),
    Commit(u64, &'a serde_json::Value),
    Clean,
}
