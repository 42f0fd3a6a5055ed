//! Hosts an upsert and writes its table through: state first, then the store, one flight of rows at a time.
//!
//! A flight is everything that is dirty when it starts. While it flies, further changes to the same keys
//! coalesce in state; they leave with the next flight. A tick is complete when the flight that carries its rows
//! has been acknowledged, so latency and back-pressure include the table.
//!
//! A checkpoint does not wait for the store: what it has not acknowledged at a boundary is saved as such, and counts as
//! of the tick behind the boundary from then on, so that a refusal of it is covered by the next checkpoint. Only the
//! last checkpoint, behind which nothing comes, waits.
//!
//! Rows that may be others when the same input is worked on again (answers of async functions went into them) are written
//! only after the claim of a checkpoint that holds them: see [`covered`].

mod covered;
mod writer;

use std::collections::BTreeMap;
use std::rc::Rc;

use millstream_core::batch::Batch;
use millstream_core::error::{Error, Result};
use millstream_core::ledger::Counts;
use millstream_core::operator::{InPort, Operator, OutPort, Output};
use millstream_core::table::{PutOutcome, TableRows};
use millstream_core::time::Tick;
use millstream_operators::upsert::{DirtyRows, Upsert};
use timely::dataflow::Scope;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::{Capability, CapabilityTrait};
use timely::progress::frontier::MutableAntichain;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::checkpoint::Report;
use crate::control::Boundary;
use crate::control_input::ControlInput;
use crate::dataflow::WorkerContext;
use crate::graph::{Routing, UpsertNode};
use crate::host::{Batches, Controls, DataInput};
use crate::outlets::Outlets;
use crate::stash::{Stash, Stashed};
use crate::tally::Tally;

use self::covered::Covered;
use self::writer::{Answers, TableWriter};

/// Rows per call of the store.
const PUT_ROWS: usize = 8192;

/// Rows on their way to the store, and the ticks they belong to.
struct Flight {
    /// Rows that were dirty when the flight started and have not left yet.
    left: usize,
    /// Of the `failed` port, by tick; the oldest holds the probe back.
    capabilities: BTreeMap<u64, Capability<u64>>,
    /// What the store has been given and not answered, and when the oldest record of it was read.
    rows: Option<DirtyRows>,
    since: u64,
}

struct TableHost {
    upsert: Upsert,
    inputs: Vec<DataInput>,
    control: ControlInput,
    outlets: Outlets,
    stash: Stash,
    tally: Tally,
    /// The last checkpoint, which waits until everything is acknowledged.
    last: Option<Boundary>,
    /// Where rows are written only after a checkpoint holds them.
    covered: Option<Covered>,
    /// Capabilities of the ticks whose rows are dirty and not in the flight.
    dirty: BTreeMap<u64, Capability<u64>>,
    /// When the oldest record behind those was read.
    dirty_since: Option<u64>,
    flight: Option<Flight>,
    to_writer: UnboundedSender<TableRows>,
    from_writer: UnboundedReceiver<Result<Answers>>,
    node: usize,
    failed: usize,
    drops_bad_rows: bool,
    /// Rows given to the store whose columns were cut.
    cut: u64,
    ctx: Rc<WorkerContext>,
}

/// Puts an upsert and its table into the dataflow; gives the streams of the statuses, then of refused rows.
pub(crate) fn host<'s>(
    scope: Scope<'s, u64>,
    ctx: &Rc<WorkerContext>,
    node: usize,
    spec: &UpsertNode,
    inputs: Vec<(Batches<'s>, Routing)>,
    control: Controls<'s>,
) -> Result<Vec<Batches<'s>>> {
    let ports = ctx.shared.graph.nodes.get(node).map_or(1, |n| n.ports.len());
    let store = ctx.shared.opened.tables.get(&node).ok_or_else(|| Error::bug("a table was not opened"))?.clone();
    // Before the builder: timely panics where one is dropped unbuilt.
    let mut upsert = (spec.make)()?;
    let name = ctx.node_id(node);
    ctx.restore(&name, node, |tables, watermark| upsert.restore(tables, watermark))?;
    let mut builder = OperatorBuilder::new(ctx.node_id(node), scope);
    let inputs = inputs
        .into_iter()
        .map(|(stream, routing)| DataInput::connect(&mut builder, stream, &routing, ctx, node))
        .collect();
    let control = ControlInput::connect(&mut builder, control, ctx, node, ports);
    let (outlets, streams) = Outlets::connect(&mut builder, ports);
    let (to_writer, from_host) = unbounded_channel();
    let (to_host, from_writer) = unbounded_channel();
    let activator = scope.worker().sync_activator_for(builder.operator_info().address.to_vec());
    let writer = TableWriter {
        store,
        delivery: spec.delivery,
        clock: ctx.shared.options.clock.clone(),
        name: format!("`{}`", spec.table_id),
        from_host,
        to_host,
        activator,
    };
    ctx.shared.spawn(writer.run());
    let mut host = TableHost {
        upsert,
        inputs,
        control,
        outlets,
        stash: Stash::default(),
        tally: ctx.tally(node),
        last: None,
        covered: spec.after_checkpoint.then(Covered::default),
        dirty: BTreeMap::new(),
        dirty_since: None,
        flight: None,
        to_writer,
        from_writer,
        node,
        failed: ports.saturating_sub(1),
        drops_bad_rows: spec.delivery.bad_row == millstream_core::sink::BadRow::Drop,
        cut: 0,
        ctx: ctx.clone(),
    };
    let table = spec.table_id.clone();
    builder.build_reschedule(move |_| {
        move |frontiers: &[MutableAntichain<u64>]| {
            if host.ctx.shared.failure.is_set() {
                return false;
            }
            if let Err(e) = host.work(frontiers) {
                host.ctx.shared.failure.set(&table, e);
            }
            host.flight.is_some()
        }
    });
    Ok(streams)
}

impl TableHost {
    fn work(&mut self, frontiers: &[MutableAntichain<u64>]) -> Result<()> {
        self.control.receive();
        self.take_batches()?;
        self.pass_ticks(frontiers)?;
        self.follow(frontiers);
        while let Ok(outcomes) = self.from_writer.try_recv() {
            self.land(outcomes?)?;
        }
        self.take_off()?;
        self.finish_last()?;
        self.tell_written();
        self.report();
        Ok(())
    }

    fn take_batches(&mut self) -> Result<()> {
        let mut result = Ok(());
        let mut inputs = std::mem::take(&mut self.inputs);
        for (port, input) in inputs.iter_mut().enumerate() {
            input.for_each(|capability, envelope| {
                if result.is_err() {
                    return;
                }
                if self.control.is_beyond(*capability.time()) {
                    self.stash.put(port, envelope, &capability, self.outlets.len());
                    return;
                }
                let since = envelope.since;
                let Some(batch) = envelope.batch.take() else { return };
                result = self.take(port, batch).map(|out| self.send(out, since, |_| Some(&capability)));
                let failed = self.failed;
                self.mark_dirty(*capability.time(), since, || capability.retain(failed));
            });
        }
        self.inputs = inputs;
        result
    }

    fn take(&mut self, port: usize, batch: Batch) -> Result<Output> {
        let rows = batch.num_rows();
        let mut out = Output::default();
        if let Some(covered) = &mut self.covered {
            let bytes = batch.bytes() as u64;
            covered.bytes += bytes;
            self.ctx.hold_bytes(bytes as i64);
        }
        self.upsert.on_batch(InPort(port), batch, &mut out)?;
        self.tally.took(port, rows);
        self.tally.add(Counts { input: rows as u64, ..out.counts });
        Ok(out)
    }

    /// The rows of this tick are not complete before what is dirty has been acknowledged.
    fn mark_dirty(&mut self, time: u64, since: u64, capability: impl FnOnce() -> Capability<u64>) {
        if self.upsert.dirty_len() > 0 {
            if self.covered.is_none() {
                self.dirty.entry(time).or_insert_with(capability);
            }
            self.dirty_since = Some(self.dirty_since.map_or(since, |s| s.min(since)));
        }
    }

    fn pass_ticks(&mut self, frontiers: &[MutableAntichain<u64>]) -> Result<()> {
        while let Some(passed) = self.control.next_passed(frontiers) {
            let mut out = Output::default();
            if let Some(watermark) = passed.watermark {
                self.upsert.on_watermark(watermark, &mut out)?;
                if let Some(m) = self.tally.shared() {
                    m.set_watermark(self.ctx.index, watermark);
                }
            }
            self.upsert.on_tick(Tick(passed.tick), &mut out)?;
            self.tally.add(out.counts);
            let now = self.ctx.now();
            self.send(out, now, |port| passed.capabilities.get(port));
            if let Some(boundary) = passed.boundary {
                if boundary.last && self.covered.is_none() {
                    self.last = Some(boundary);
                } else {
                    self.cover(&boundary)?;
                    self.freeze(&boundary)?;
                    self.move_behind(passed.tick);
                }
                for Stashed { input, batch, since, mut capabilities } in self.stash.take() {
                    let out = self.take(input, batch)?;
                    self.send(out, since, |port| capabilities.get(port));
                    if let Some(failed) = capabilities.pop() {
                        self.mark_dirty(*failed.time(), since, || failed);
                    }
                }
            }
        }
        Ok(())
    }

    /// Everything up to the boundary is in the state, and nothing beyond it.
    fn freeze(&mut self, boundary: &Boundary) -> Result<()> {
        let name = self.ctx.node_id(self.node);
        let mut state = None;
        if boundary.state
            && let Some(layout) = self.upsert.layout()
        {
            let (upsert, whole) = (&mut self.upsert, boundary.whole.contains(&name));
            state = Some((layout, self.ctx.frozen(|| upsert.snapshot(whole))?));
        }
        let mut counters = self.tally.counters(self.upsert.held());
        counters.table.held = if self.covered.is_some() { self.flying() } else { self.upsert.in_flight_len() } as u64;
        let report = Report {
            place: name.clone(),
            node: name,
            watermarks: self.control.watermarks(&self.ctx),
            counters,
            state,
            ..Report::default()
        };
        self.ctx.report(boundary.checkpoint, report);
        Ok(())
    }

    /// What is not acknowledged at a boundary is a matter of the tick behind it.
    fn move_behind(&mut self, boundary: u64) {
        let behind = boundary + 1;
        for capabilities in self.flight.iter_mut().map(|f| &mut f.capabilities).chain([&mut self.dirty]) {
            let later = capabilities.split_off(&behind);
            let moved = std::mem::replace(capabilities, later).pop_last().map(|(_, c)| c.delayed(&behind));
            if let Some(moved) = moved {
                capabilities.entry(behind).or_insert(moved);
            }
        }
    }

    /// The last checkpoint is told when nothing is on its way to the store any more.
    fn finish_last(&mut self) -> Result<()> {
        let waits = self.flight.is_some() || self.upsert.dirty_len() > 0;
        match self.last.take_if(|_| !waits) {
            Some(boundary) => self.freeze(&boundary),
            None => Ok(()),
        }
    }

    fn send<'c, C: CapabilityTrait<u64> + 'c>(
        &mut self,
        out: Output,
        since: u64,
        capability: impl Fn(usize) -> Option<&'c C>,
    ) {
        for (OutPort(port), batch) in out.batches {
            if let Some(capability) = capability(port) {
                self.outlets.give(port, batch, since, capability, &mut self.tally, true);
            }
        }
    }

    /// Starts a flight with all that is dirty, if none is in the air.
    fn take_off(&mut self) -> Result<()> {
        if self.covered.is_some() {
            self.take_off_covered();
            return Ok(());
        }
        if self.flight.is_none() && self.upsert.dirty_len() > 0 {
            self.flight = Some(Flight {
                left: self.upsert.dirty_len(),
                capabilities: std::mem::take(&mut self.dirty),
                rows: None,
                since: self.dirty_since.take().unwrap_or_else(|| self.ctx.now()),
            });
        }
        if let Some(flight) = &mut self.flight
            && flight.rows.is_none()
        {
            let Some(rows) = self.upsert.take_dirty(PUT_ROWS.min(flight.left))? else {
                // What was dirty has been forgotten: nothing is left to wait for.
                self.flight = None;
                self.dirty.clear();
                return Ok(());
            };
            let count = rows.rows.versions.len();
            let cut = rows.rows.truncated.iter().flatten().count() as u64;
            flight.left = flight.left.saturating_sub(count);
            self.tally.add_table(Counts { input: count as u64, ..Counts::default() });
            // A writer that is gone has said why.
            let _ = self.to_writer.send(rows.rows.clone());
            flight.rows = Some(rows);
            self.tell_of_cuts(cut);
        }
        Ok(())
    }

    /// Readers of the store see which values were cut; who runs the pipeline is told, each time their number has doubled.
    fn tell_of_cuts(&mut self, cut: u64) {
        let before = self.cut;
        self.cut += cut;
        if self.cut > 0 && (before == 0 || self.cut.ilog2() > before.ilog2()) {
            let table = self.ctx.shared.graph.nodes.get(self.node).and_then(|n| n.table_id()).unwrap_or_default();
            tracing::warn!(rows = self.cut, "`{table}`: columns of rows over the size limit were cut");
        }
    }

    /// The store has answered.
    fn land(&mut self, answers: Answers) -> Result<()> {
        let Some(mut flight) = self.flight.take() else {
            return Err(Error::bug("a table answered for rows it was not given"));
        };
        let Some(mut rows) = flight.rows.take() else {
            return Err(Error::bug("a table answered twice for the same rows"));
        };
        let count = rows.rows.versions.len() as u64;
        let mut counts = Counts::default();
        let (mut outcomes, attempts): (Vec<_>, Vec<_>) = answers.rows.into_iter().unzip();
        rows.attempts = attempts;
        for outcome in &mut outcomes {
            match outcome {
                PutOutcome::Written => counts.out += 1,
                PutOutcome::Stale(_) => counts.merged += 1,
                PutOutcome::GivenUp(_) | PutOutcome::Retry(_) => counts.failed += 1,
                PutOutcome::Refused(_) => {
                    counts.failed += 1;
                    if self.drops_bad_rows {
                        counts.dropped += 1;
                        *outcome = PutOutcome::Written;
                    }
                }
            }
        }
        let mut out = Output::default();
        self.upsert.on_outcomes(rows, outcomes, &mut out)?;
        self.tally.add(out.counts);
        self.tally.add_table(counts);
        let now = self.ctx.now();
        self.ctx.shared.metrics.table_took(self.node, now.saturating_sub(flight.since), answers.took, count);
        let last = flight.capabilities.last_key_value().map(|(_, c)| c.clone());
        self.send(out, now, |_| last.as_ref());
        if flight.left > 0 {
            self.flight = Some(flight);
        } else if self.upsert.dirty_len() == 0 {
            self.dirty.clear();
        } else if self.dirty.is_empty() && self.covered.is_none() {
            // A stale row was merged and must be written again: its tick is not complete.
            if let Some(capability) = last {
                self.dirty.insert(*capability.time(), capability);
            }
        }
        Ok(())
    }

    /// Rows that the store was given and has not answered.
    fn flying(&self) -> usize {
        self.flight.as_ref().and_then(|f| f.rows.as_ref()).map_or(0, |r| r.rows.versions.len())
    }

    fn report(&self) {
        if let Some(m) = self.tally.shared() {
            m.set_table_held(self.ctx.index, self.flying() as u64);
            m.set_held(self.ctx.index, self.upsert.held());
            m.set_state(self.ctx.index, self.upsert.state_size());
        }
    }
}
