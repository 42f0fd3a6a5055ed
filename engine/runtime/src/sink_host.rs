//! Hosts a sink: hands rows to its writer task, holds on to their ticks until the writer has them, and passes on what a
//! checkpoint asks of it.
//!
//! ```text
//! up to the boundary: Write .. Write | Prepare(n) | beyond it: Write ..          to the writer, in this order
//! n counts:           Commit(n) -> rows refused only now leave by `failed` at the newest tick
//! ```

use std::collections::VecDeque;
use std::rc::Rc;

use millstream_core::batch::Batch;
use millstream_core::error::{Error, Result};
use millstream_core::ledger::Counts;
use millstream_core::refusal::{self, Refusal};
use millstream_core::sink::{Commitment, Prepared};
use millstream_core::snapshot::StateLayout;
use millstream_formats::refused::refusal;
use timely::dataflow::Scope;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::progress::frontier::MutableAntichain;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::checkpoint::{Finalised, Mail, Report};
use crate::control::Boundary;
use crate::control_input::ControlInput;
use crate::dataflow::WorkerContext;
use crate::delivery::{Delivered, FailedRow};
use crate::graph::{Routing, SinkNode};
use crate::host::{Batches, Controls, DataInput};
use crate::metrics::lock;
use crate::outbox::Outbox;
use crate::outlets::Outlets;
use crate::stash::{Stash, Stashed};
use crate::tally::Tally;
use crate::writer::{FromWriter, Sent, ToWriter, Writer};

/// A batch the writer has not answered for, with the capability of its tick.
struct Waiting {
    input: usize,
    batch: Batch,
    capability: Capability<u64>,
}

/// A sink in the dataflow of one worker.
struct SinkHost {
    inputs: Vec<DataInput>,
    control: ControlInput,
    outlets: Outlets,
    stash: Stash,
    tally: Tally,
    to_writer: UnboundedSender<ToWriter>,
    from_writer: UnboundedReceiver<FromWriter>,
    /// Oldest first.
    waiting: VecDeque<Waiting>,
    /// Rows and bytes in the outbox.
    outbox: (u64, u64),
    /// For rows that are refused after a commit: of the newest tick. Only where that can happen.
    newest: Option<Capability<u64>>,
    /// Refused while the last process's checkpoint was finished, to leave at the first tick.
    refused_before: Vec<(Batch, Delivered)>,
    /// With the watermarks at it: later ones are not covered.
    boundary: Option<(Boundary, Vec<(String, i64)>)>,
    layout: Option<StateLayout>,
    sends_later: bool,
    cleaned: bool,
    finishing: bool,
    finished: bool,
    node: usize,
    /// Whether the rows come from the node's inputs, or were made by its digest.
    counts_input: bool,
    has_failed_port: bool,
    ctx: Rc<WorkerContext>,
}

/// Puts a sink into the dataflow; gives the stream of rows it refused.
pub(crate) fn host<'s>(
    scope: Scope<'s, u64>,
    ctx: &Rc<WorkerContext>,
    node: usize,
    sink: &SinkNode,
    inputs: Vec<(Batches<'s>, Routing)>,
    control: Controls<'s>,
    counts_input: bool,
) -> Result<Batches<'s>> {
    let name = ctx.node_id(node);
    let opened = lock(&ctx.shared.opened.sinks).remove(&(node, ctx.index));
    let Some(opened) = opened else {
        return Err(Error::bug(format!("`{name}` was not opened for worker {}", ctx.index)));
    };
    let mut builder = OperatorBuilder::new(name.clone(), scope);
    let inputs = inputs
        .into_iter()
        .map(|(stream, routing)| DataInput::connect(&mut builder, stream, &routing, ctx, node))
        .collect();
    let control = ControlInput::connect(&mut builder, control, ctx, node, 1);
    let (outlets, mut failed) = Outlets::connect(&mut builder, 1);
    let path = builder.operator_info().address.to_vec();
    let (to_writer, from_host) = unbounded_channel();
    let (to_host, from_writer) = unbounded_channel();
    let sends_later = matches!(opened.commitment, Commitment::Outbox { .. });
    let writer = Writer {
        sink: opened.sink,
        outbox: sends_later.then(|| Outbox::new(&opened.options)),
        delivery: sink.delivery,
        shared: ctx.shared.clone(),
        name: format!("`{name}`"),
        from_host,
        to_host,
        activator: scope.worker().sync_activator_for(path),
        staged: None,
    };
    ctx.shared.spawn(writer.run());
    let mut host = SinkHost {
        inputs,
        control,
        outlets,
        stash: Stash::default(),
        tally: ctx.tally(node),
        to_writer,
        from_writer,
        waiting: VecDeque::new(),
        outbox: (0, 0),
        newest: None,
        refused_before: opened.refused,
        boundary: None,
        layout: crate::checkpoint::sink_layout(sink),
        sends_later,
        cleaned: ctx.index != 0,
        finishing: false,
        finished: false,
        node,
        counts_input,
        has_failed_port: sink.has_failed_port,
        ctx: ctx.clone(),
    };
    builder.build_reschedule(move |_| {
        move |frontiers: &[MutableAntichain<u64>]| {
            if host.ctx.shared.failure.is_set() {
                return false;
            }
            if let Err(e) = host.work(frontiers) {
                host.ctx.shared.failure.set(&host.ctx.node_id(host.node), e);
            }
            !host.finished
        }
    });
    failed.pop().ok_or_else(|| Error::bug("a sink has no output"))
}

impl SinkHost {
    fn work(&mut self, frontiers: &[MutableAntichain<u64>]) -> Result<()> {
        self.control.receive();
        self.hold_newest(frontiers)?;
        self.take_batches();
        while let Some(passed) = self.control.next_passed(frontiers) {
            if let Some(boundary) = passed.boundary {
                self.prepare(boundary);
            }
        }
        for checkpoint in self.control.take_claimed() {
            let clean = !std::mem::replace(&mut self.cleaned, true);
            let _ = self.to_writer.send(ToWriter::Commit { checkpoint, clean });
        }
        while let Ok(answer) = self.from_writer.try_recv() {
            self.on_answer(answer)?;
        }
        self.report();
        if !self.finishing && self.waiting.is_empty() && frontiers.iter().all(|f| f.frontier().is_empty()) {
            self.finishing = true;
            self.newest = None;
            let _ = self.to_writer.send(ToWriter::Finish);
        }
        Ok(())
    }

    /// Rows that are refused after a commit leave at the newest tick: its capability is kept until the next one begins.
    fn hold_newest(&mut self, frontiers: &[MutableAntichain<u64>]) -> Result<()> {
        if !self.sends_later || !self.has_failed_port || self.finishing {
            return Ok(());
        }
        if let Some(newest) = self.control.newest(0) {
            self.newest = Some(newest);
            for (batch, delivered) in std::mem::take(&mut self.refused_before) {
                self.refuse_later(&batch, delivered)?;
            }
        } else if frontiers.iter().all(|f| f.frontier().is_empty()) {
            self.newest = None;
        }
        Ok(())
    }

    fn take_batches(&mut self) {
        let mut inputs = std::mem::take(&mut self.inputs);
        for (input, from) in inputs.iter_mut().enumerate() {
            from.for_each(|capability, envelope| {
                if self.control.is_beyond(*capability.time()) {
                    self.stash.put(input, envelope, &capability, 1);
                    return;
                }
                let since = envelope.since;
                if let Some(batch) = envelope.batch.take() {
                    self.take(input, batch, since, capability.retain(0));
                }
            });
        }
        self.inputs = inputs;
    }

    fn take(&mut self, input: usize, batch: Batch, since: u64, capability: Capability<u64>) {
        // A writer that is gone has said why.
        let _ = self.to_writer.send(ToWriter::Write { batch: batch.clone(), since });
        self.waiting.push_back(Waiting { input, batch, capability });
    }

    /// Everything up to the boundary is with the writer, and nothing beyond it.
    fn prepare(&mut self, boundary: Boundary) {
        let whole = boundary.whole.contains(&self.ctx.node_id(self.node));
        let _ = self.to_writer.send(ToWriter::Prepare { checkpoint: boundary.checkpoint, whole });
        self.boundary = Some((boundary, self.control.watermarks(&self.ctx)));
        for Stashed { input, batch, since, mut capabilities } in self.stash.take() {
            if let Some(capability) = capabilities.pop() {
                self.take(input, batch, since, capability);
            }
        }
    }

    fn on_answer(&mut self, answer: FromWriter) -> Result<()> {
        match answer {
            FromWriter::Wrote(delivered) => self.settle(delivered?),
            FromWriter::Prepared(checkpoint, prepared) => self.prepared(checkpoint, prepared?),
            FromWriter::Committed(checkpoint, sent) => self.committed(checkpoint, sent?),
            FromWriter::Finished(summary) => {
                self.finished = true;
                if let Some(m) = self.tally.shared() {
                    m.set_summary(summary);
                }
                Ok(())
            }
        }
    }

    /// The oldest batch is done: its tick may pass. It is counted now, not when it came: so the counts at a boundary,
    /// which the writer answers in order, are of what is covered.
    fn settle(&mut self, delivered: Delivered) -> Result<()> {
        let Some(Waiting { input, batch, capability }) = self.waiting.pop_front() else {
            return Err(Error::bug("a writer answered for a batch it was not given"));
        };
        if self.counts_input {
            self.tally.took(input, batch.num_rows());
            self.tally.add(Counts { input: batch.num_rows() as u64, ..Counts::default() });
        }
        if delivered.held > 0 {
            self.outbox.0 += delivered.held;
            self.outbox.1 += batch.bytes() as u64;
            self.ctx.hold_bytes(batch.bytes() as i64);
        }
        self.count(&delivered);
        self.refuse(&batch, delivered, &capability)
    }

    fn count(&mut self, delivered: &Delivered) {
        if self.counts_input {
            self.tally.add(Counts {
                out: delivered.written,
                failed: delivered.failed.len() as u64 + delivered.dropped,
                dropped: delivered.dropped,
                ..Counts::default()
            });
        }
    }

    /// Gives the refused rows of a batch.
    fn refuse(&mut self, batch: &Batch, delivered: Delivered, at: &Capability<u64>) -> Result<()> {
        if delivered.failed.is_empty() {
            return Ok(());
        }
        let component = self.ctx.node_id(self.node);
        let refusals = delivered.failed.into_iter().map(|failed| refuse(&component, batch, failed));
        let refusals = refusals.collect::<Result<Vec<Refusal>>>()?;
        if !self.has_failed_port {
            let why = refusals.first().and_then(|r| r.reasons.first()).map(|r| r.text.clone()).unwrap_or_default();
            return Err(Error::unavailable(format!("refused rows have nowhere else to go: {why}")));
        }
        self.outlets.give(0, refusal::batch(&refusals)?, self.ctx.now(), at, &mut self.tally, true);
        Ok(())
    }

    fn refuse_later(&mut self, batch: &Batch, delivered: Delivered) -> Result<()> {
        match self.newest.clone() {
            Some(newest) => self.refuse(batch, delivered, &newest),
            None if delivered.failed.is_empty() => Ok(()),
            None if self.has_failed_port => Err(Error::bug("rows were refused after the last tick")),
            None => Err(Error::unavailable(format!(
                "refused rows have nowhere else to go: {}",
                delivered.failed.first().map(|f| f.reason.text.clone()).unwrap_or_default()
            ))),
        }
    }

    /// Everything up to the boundary is safe.
    fn prepared(&mut self, checkpoint: u64, prepared: Prepared) -> Result<()> {
        let Some((boundary, watermarks)) = self.boundary.take() else {
            return Err(Error::bug("a writer prepared a checkpoint it was not asked for"));
        };
        let state = match &self.layout {
            Some(layout) if boundary.state => Some((layout.clone(), prepared.state)),
            _ => None,
        };
        let held = if self.counts_input { self.outbox.0 } else { 0 };
        self.ctx.report(
            checkpoint,
            Report {
                place: self.ctx.node_id(self.node),
                node: self.ctx.node_id(self.node),
                counters: self.tally.counters(held),
                watermarks,
                state,
                staged: prepared.staged,
                ..Report::default()
            },
        );
        Ok(())
    }

    /// What the checkpoint covers is visible.
    fn committed(&mut self, checkpoint: u64, sent: Sent) -> Result<()> {
        let mut refused = 0;
        for (batch, delivered) in sent.delivered {
            self.outbox.0 = self.outbox.0.saturating_sub(batch.num_rows() as u64);
            self.outbox.1 = self.outbox.1.saturating_sub(batch.bytes() as u64);
            self.ctx.hold_bytes(-(batch.bytes() as i64));
            refused += delivered.failed.len() as u64;
            self.count(&delivered);
            self.refuse_later(&batch, delivered)?;
        }
        self.ctx.mail(Mail::Finalised(Finalised { checkpoint, refused }));
        Ok(())
    }

    fn report(&self) {
        if let Some(m) = self.tally.shared()
            && self.counts_input
        {
            m.set_held(self.ctx.index, self.outbox.0);
        }
    }
}

/// A row that a sink could not take, as a refusal.
fn refuse(component: &str, batch: &Batch, FailedRow { row, reason, attempts }: FailedRow) -> Result<Refusal> {
    Ok(Refusal { attempts: Some(attempts), ..refusal(component, "failed", batch, row, vec![reason])? })
}
