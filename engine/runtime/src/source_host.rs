//! Hosts a source: hands its splits to reader tasks, gives what they read at the current tick, and tells all
//! workers how far its splits have come.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use millstream_core::error::{Error, Result};
use millstream_core::source::{Applied, Position, Split, SplitId, SplitSource};
use millstream_core::time::{Watermark, micros};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::Scope;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::progress::frontier::MutableAntichain;
use timely::scheduling::Activator;
use tokio::sync::{Semaphore, mpsc};

use crate::acknowledge::{self, Acknowledgements};
use crate::checkpoint::{Finalised, Mail, Report, Request};
use crate::control::{Assignment, Boundary, Control, Ended, WatermarkUpdate};
use crate::dataflow::{Addressed, WorkerContext};
use crate::graph::SourceNode;
use crate::host::{Batches, Controls};
use crate::outlets::Outlets;
use crate::reader::{self, Acknowledging, FromReader, OPEN_SPLITS, ReaderSender};
use crate::source::SourceWorker;
use crate::tally::Tally;

/// Bytes of records given before other operators get their turn.
const TURN_BYTES: u64 = 2 << 20;

/// A split that begins at a place which would be another one if it were asked for again.
struct Starting {
    number: usize,
    split: Split,
    start: Position,
    /// The first checkpoint in which the place stands.
    covered_by: Option<u64>,
}

struct SourceHost {
    node: usize,
    ctx: Rc<WorkerContext>,
    worker: SourceWorker,
    splits: Arc<dyn SplitSource>,
    bounded: bool,
    idle_after: u64,
    /// For the current tick: one per output, the last for watermark updates. Empty before the first tick and
    /// after the last.
    capabilities: Vec<Capability<u64>>,
    outlets: Outlets,
    updates: OutputBuilder<u64, CapacityContainerBuilder<Vec<Addressed>>>,
    from_readers: mpsc::Receiver<(u64, FromReader)>,
    to_readers: ReaderSender,
    permits: Option<Arc<Semaphore>>,
    tasks: Vec<tokio::task::AbortHandle>,
    tally: Tally,
    /// Of a source whose records leave their stream once they are covered.
    acknowledgements: Option<Acknowledgements>,
    /// The current tick is this checkpoint's boundary.
    boundary: Option<Boundary>,
    /// The source will have no other splits.
    all_known: bool,
    /// Splits were handed out, to this worker or another.
    assigned: bool,
    next_split: usize,
    /// Splits whose beginning has to be in a checkpoint first.
    starting: Vec<Starting>,
    stopped: bool,
    told: Option<Option<Watermark>>,
    activator: Activator,
}

/// Puts a source into the dataflow: the streams of its ports, and its watermark updates.
pub(crate) fn host<'s>(
    scope: Scope<'s, u64>,
    ctx: &Rc<WorkerContext>,
    node: usize,
    source: &SourceNode,
    clock: Controls<'s>,
) -> Result<(Vec<Batches<'s>>, Controls<'s>)> {
    let graph_node = ctx.shared.graph.nodes.get(node).ok_or_else(|| Error::bug("no such node"))?;
    let splits = ctx.shared.opened.sources.get(&node).ok_or_else(|| Error::bug("a source was not opened"))?.clone();
    let (bounded, acknowledges) = (splits.bounded(), splits.acknowledges());
    // Before the builder: timely panics where one is dropped unbuilt.
    let mut worker = SourceWorker::new(graph_node, source, splits.ordered() || !bounded)?;
    worker.late_by_arrival = splits.late_by_arrival();
    let mut builder = OperatorBuilder::new(graph_node.id.clone(), scope);
    let mut control = builder.new_input(clock, Pipeline);
    let (outlets, streams) = Outlets::connect(&mut builder, graph_node.ports.len());
    let (updates, update_stream) = builder.new_output::<Vec<Addressed>>();
    let address = builder.operator_info().address;
    let (channel, from_readers) = mpsc::channel(2 * OPEN_SPLITS);
    let sync = Arc::new(scope.worker().sync_activator_for(address.to_vec()));
    let mut host = SourceHost {
        node,
        ctx: ctx.clone(),
        worker,
        bounded,
        idle_after: source.event_time.as_ref().map_or(30_000_000, |e| micros(e.idle_after) as u64),
        splits,
        capabilities: Vec::new(),
        outlets,
        updates: OutputBuilder::from(updates),
        from_readers,
        to_readers: ReaderSender { channel, activator: sync, clock: ctx.shared.options.clock.clone() },
        permits: bounded.then(|| Arc::new(Semaphore::new(OPEN_SPLITS))),
        tasks: Vec::new(),
        tally: ctx.tally(node),
        acknowledgements: acknowledges.then(Acknowledgements::default),
        boundary: None,
        all_known: false,
        assigned: false,
        next_split: 0,
        starting: Vec::new(),
        stopped: false,
        told: None,
        activator: scope.activator_for(address),
    };
    builder.build(move |_| {
        move |frontiers: &[MutableAntichain<u64>]| {
            let mut messages = Vec::new();
            control.for_each(|capability, batch| {
                let outputs = host.outlets.len() + 1;
                let capabilities: Vec<_> = (0..outputs).map(|o| capability.retain(o)).collect();
                messages.push((capabilities, std::mem::take(batch)));
            });
            if host.ctx.shared.failure.is_set() {
                host.close();
                return;
            }
            messages.into_iter().for_each(|(capabilities, batch)| host.control(capabilities, batch));
            if let Err(e) = host.give().and_then(|()| host.finalise()) {
                host.ctx.shared.failure.set(&host.worker.component, e);
            }
            if frontiers.iter().all(|f| f.frontier().is_empty()) {
                host.tell();
                host.close();
            }
        }
    });
    Ok((streams, update_stream))
}

impl SourceHost {
    fn control(&mut self, capabilities: Vec<Capability<u64>>, messages: Vec<Addressed>) {
        let moves_on = match (self.capabilities.first(), capabilities.first()) {
            (Some(now), Some(next)) => next.time() > now.time(),
            _ => true,
        };
        if moves_on {
            // The old tick ends: what its watermark is, is said at it, and everything given up to it is covered by the
            // checkpoint whose boundary it is.
            self.fall_idle();
            self.tell();
            if let Some(boundary) = self.boundary.take() {
                self.record(&boundary);
            }
            self.capabilities = capabilities;
        }
        for (_, message) in messages {
            match message {
                Control::Splits { source, splits, all } if source == self.node => {
                    let parents: Vec<_> = splits.iter().flat_map(|a| a.split.parents.clone()).collect();
                    let index = self.ctx.index;
                    splits.into_iter().filter(|a| a.worker == index).for_each(|a| self.take_on(a));
                    let released = self.worker.succeeded(parents.iter());
                    if let Some(m) = self.tally.shared() {
                        m.awaits_children(-(released as i64));
                        m.discovered();
                    }
                    self.all_known |= all;
                    self.assigned = true;
                }
                Control::Stop => {
                    self.stopped = true;
                    self.close_readers();
                }
                Control::Advance(to) => self.worker.advance(to),
                Control::Boundary(boundary) => self.boundary = Some(boundary),
                Control::Claimed(checkpoint) => {
                    self.open_started(checkpoint);
                    if let Some(acknowledgements) = &mut self.acknowledgements {
                        acknowledgements.claimed(checkpoint);
                    }
                }
                _ => {}
            }
        }
    }

    /// How far each split has been read, for a checkpoint.
    fn record(&mut self, boundary: &Boundary) {
        for starting in &mut self.starting {
            starting.covered_by.get_or_insert(boundary.checkpoint);
        }
        let mut splits = self.worker.read_upto();
        if let Some(acknowledgements) = &mut self.acknowledgements {
            for (number, applied) in acknowledgements.boundary(boundary.checkpoint) {
                let split = self.worker.splits.get(&number).map(|s| SplitId(s.origin.split.clone()));
                if let Some(state) = split.and_then(|split| splits.get_mut(&split)) {
                    state.applied = applied;
                }
            }
        }
        self.ctx.report(
            boundary.checkpoint,
            Report {
                place: self.worker.component.clone(),
                node: self.worker.component.clone(),
                counters: self.tally.counters(0),
                splits,
                ..Report::default()
            },
        );
    }

    fn take_on(&mut self, assignment: Assignment) {
        let number = self.next_split;
        self.next_split += 1;
        self.worker.add_split(number, &assignment, self.ctx.fold.borrow().of(self.node));
        let Assignment { split, resume, start, .. } = assignment;
        let finished = resume.as_ref().is_some_and(|r| r.finished);
        let applied = resume.as_ref().map(|r| r.applied.clone()).unwrap_or_default();
        if let Some(m) = self.tally.shared() {
            m.found_split(split.size);
            if finished {
                m.finished_split();
                m.awaits_children(1);
            } else if !self.bounded {
                m.set_behind(&split.id.0, None);
            }
        }
        if finished {
            return;
        }
        match start {
            Some(start) if self.ctx.shared.epochs.is_some() => {
                self.starting.push(Starting { number, split, start, covered_by: None });
                self.ctx.shared.request(Request::Pressure);
            }
            start => self.open(number, split, start.or_else(|| resume.and_then(|r| r.position)), applied),
        }
    }

    /// Splits whose beginning is in a checkpoint that counts are read.
    fn open_started(&mut self, checkpoint: u64) {
        let covered = |s: &Starting| s.covered_by.is_some_and(|covered_by| covered_by <= checkpoint);
        let (ready, waiting) = std::mem::take(&mut self.starting).into_iter().partition(covered);
        self.starting = waiting;
        for Starting { number, split, start, .. } in ready {
            self.open(number, split, Some(start), Vec::new());
        }
    }

    fn open(&mut self, number: usize, split: Split, after: Option<Position>, applied: Vec<Applied>) {
        if self.stopped {
            return;
        }
        let (splits, permits) = (self.splits.clone(), self.permits.clone());
        let acknowledging = self.acknowledgements.as_mut().map(|acknowledgements| Acknowledging {
            from_host: acknowledgements.add(number, &applied),
            to_host: acknowledgements.to_host.clone(),
            applied,
        });
        let (metrics, node) = (self.ctx.shared.metrics.clone(), self.node);
        let retried = move || metrics.retried(node);
        let task = reader::read(splits, split, after, number, permits, self.to_readers.clone(), acknowledging, retried);
        self.tasks.push(self.ctx.shared.spawn(task));
    }

    /// Gives what the readers have, as far as there is room.
    fn give(&mut self) -> Result<()> {
        let mut turn = 0;
        while !self.stopped && !self.capabilities.is_empty() && self.ctx.has_room() {
            if turn > TURN_BYTES {
                self.activator.activate();
                return Ok(());
            }
            let Ok((read_at, message)) = self.from_readers.try_recv() else { return Ok(()) };
            let now = self.ctx.now();
            match message {
                FromReader::Records { split, records, upto, behind } => {
                    // A position alone that moves on says nothing new to a split that is caught up.
                    match records.records.is_empty() && behind.is_some_and(|b| b.is_zero()) {
                        true => self.fell_silent(split, now),
                        false => self.worker.wake(split, self.ctx.fold.borrow().of(self.node)),
                    }
                    let bytes = records.total_bytes();
                    turn += bytes;
                    let out = self.worker.decode(split, &records, upto)?;
                    if let Some(acknowledgements) = &mut self.acknowledgements {
                        acknowledgements.apply(split, &records);
                    }
                    self.tally.add(out.counts);
                    self.tally.read(bytes);
                    if let Some(m) = self.tally.shared() {
                        m.saw_event_time(self.worker.seen());
                        if !self.bounded {
                            m.set_behind(&self.worker.name(split), behind.map(|b| b.as_millis() as u64));
                        }
                    }
                    if let Some(capability) = self.capabilities.first() {
                        self.ctx.sent(*capability.time(), bytes);
                    }
                    for (port, batch) in out.batches {
                        if let Some(capability) = self.capabilities.get(port) {
                            self.outlets.give(port, batch, read_at, capability, &mut self.tally, true);
                        }
                    }
                }
                FromReader::Idle(split) => {
                    self.fell_silent(split, now);
                    self.set_behind(split, Duration::ZERO);
                }
                FromReader::Behind(split, behind) => {
                    self.worker.wake(split, self.ctx.fold.borrow().of(self.node));
                    self.set_behind(split, behind);
                }
                FromReader::Finished(split) => self.finished(split),
                FromReader::Failed(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn fell_silent(&mut self, split: usize, now: u64) {
        if let Some(s) = self.worker.splits.get_mut(&split) {
            s.silent_since.get_or_insert(now);
        }
    }

    fn set_behind(&self, split: usize, behind: Duration) {
        if let Some(m) = self.tally.shared().filter(|_| !self.bounded) {
            m.set_behind(&self.worker.name(split), Some(behind.as_millis() as u64));
        }
    }

    fn finished(&mut self, number: usize) {
        let split = SplitId(self.worker.name(number));
        let followed = self.splits.has_children(&split);
        let watermark = self.worker.finish(number, followed);
        if let Some(m) = self.tally.shared() {
            m.finished_split();
            m.forget_behind(&split.0);
            m.awaits_children(i64::from(followed));
        }
        if followed {
            self.ctx.mail(Mail::Ended(Ended { source: self.node, split, watermark }));
        }
    }

    /// A split that is caught up and silent for long enough no longer holds the watermark back.
    fn fall_idle(&mut self) {
        let now = self.ctx.now();
        if !self.bounded {
            for split in self.worker.splits.values_mut() {
                split.idle |= split.silent_since.is_some_and(|since| now.saturating_sub(since) >= self.idle_after);
            }
        }
    }

    /// Tells all workers the watermark, if it changed, at the current tick.
    fn tell(&mut self) {
        // A stop ends nothing: what was not read will be. And before its splits are known, a source has nothing to say.
        if self.stopped || !self.assigned {
            return;
        }
        let watermark = self.worker.watermark(self.all_known);
        let Some(capability) = self.capabilities.last() else { return };
        if self.told == Some(watermark) {
            return;
        }
        self.told = Some(watermark);
        let update = WatermarkUpdate { source: self.node, worker: self.ctx.index, watermark };
        let mut output = self.updates.activate();
        let mut session = output.session_with_builder(capability);
        (0..self.ctx.peers).for_each(|to| session.give((to, Control::Watermark(update))));
    }

    /// Tells the committer that readers have let go of what a checkpoint covers.
    fn finalise(&mut self) -> Result<()> {
        if let Some(acknowledgements) = &mut self.acknowledgements
            && let Some(checkpoint) = acknowledgements.answers()?
        {
            self.ctx.mail(Mail::Finalised(Finalised { checkpoint, refused: 0 }));
        }
        Ok(())
    }

    fn close_readers(&mut self) {
        self.from_readers.close();
        let Some(acknowledgements) = &mut self.acknowledgements else {
            self.tasks.drain(..).for_each(|t| t.abort());
            return;
        };
        // They live on: the last checkpoint is still to come.
        let mut left: HashMap<usize, Vec<Position>> = HashMap::new();
        while let Ok((_, message)) = self.from_readers.try_recv() {
            if let FromReader::Records { split, .. } = &message {
                left.entry(*split).or_default().extend(acknowledge::positions(&message));
            }
        }
        acknowledgements.release(left);
    }

    fn close(&mut self) {
        self.capabilities.clear();
        self.close_readers();
    }
}
