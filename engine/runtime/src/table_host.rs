//! Hosts an upsert and writes its table through: state first, then the store, one flight of rows at a time.
//!
//! A flight is everything that is dirty when it starts. While it flies, further changes to the same keys
//! coalesce in state; they leave with the next flight. A tick is complete when the flight that carries its rows
//! has been acknowledged, so latency and back-pressure include the table.

use std::collections::BTreeMap;
use std::rc::Rc;

use millstream_core::error::{Error, Result};
use millstream_core::ledger::Counts;
use millstream_core::operator::{InPort, Operator, OutPort, Output};
use millstream_core::table::{PutOutcome, TableRows, TableStore};
use millstream_core::time::Tick;
use millstream_operators::upsert::{DirtyRows, Upsert};
use timely::container::NoopBuilder;
use timely::dataflow::Scope;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::progress::frontier::MutableAntichain;
use timely::scheduling::SyncActivator;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::dataflow::WorkerContext;
use crate::delivery::put;
use crate::envelope::Envelope;
use crate::graph::{Routing, UpsertNode};
use crate::host::{Batches, ControlInput, Controls, DataInput};

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
    outputs: Vec<OutputBuilder<u64, NoopBuilder<Envelope>>>,
    /// Capabilities of the ticks whose rows are dirty and not in the flight.
    dirty: BTreeMap<u64, Capability<u64>>,
    /// When the oldest record behind those was read.
    dirty_since: Option<u64>,
    flight: Option<Flight>,
    to_writer: UnboundedSender<TableRows>,
    from_writer: UnboundedReceiver<Result<Vec<PutOutcome>>>,
    node: usize,
    failed: usize,
    drops_bad_rows: bool,
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
    let upsert = (spec.make)()?;
    let mut builder = OperatorBuilder::new(ctx.node_id(node), scope);
    let inputs = inputs
        .into_iter()
        .map(|(stream, routing)| DataInput::connect(&mut builder, stream, &routing, ctx, node))
        .collect();
    let control = ControlInput::connect(&mut builder, control, ctx, node, ports);
    let (outputs, streams): (Vec<_>, Vec<_>) = (0..ports)
        .map(|_| builder.new_output::<Envelope>())
        .map(|(output, stream)| (OutputBuilder::from(output), stream))
        .unzip();
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
    ctx.shared.tokio.spawn(writer.run());
    let mut host = TableHost {
        upsert,
        inputs,
        control,
        outputs,
        dirty: BTreeMap::new(),
        dirty_since: None,
        flight: None,
        to_writer,
        from_writer,
        node,
        failed: ports.saturating_sub(1),
        drops_bad_rows: spec.delivery.bad_row == millstream_core::sink::BadRow::Drop,
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
        while let Ok(outcomes) = self.from_writer.try_recv() {
            self.land(outcomes?)?;
        }
        self.take_off()?;
        self.report();
        Ok(())
    }

    fn take_batches(&mut self) -> Result<()> {
        let mut result = Ok(());
        for (port, input) in self.inputs.iter_mut().enumerate() {
            let (upsert, outputs, ctx, node) = (&mut self.upsert, &mut self.outputs, &self.ctx, self.node);
            let (dirty, dirty_since, failed) = (&mut self.dirty, &mut self.dirty_since, self.failed);
            input.for_each(|capability, envelope| {
                if result.is_err() {
                    return;
                }
                let since = envelope.since;
                let Some(batch) = envelope.batch.take() else { return };
                let rows = batch.num_rows();
                let mut out = Output::default();
                result = upsert.on_batch(InPort(port), batch, &mut out);
                if let Some(m) = ctx.shared.metrics.node(node) {
                    m.took(port, rows);
                    m.add(Counts { input: rows as u64, ..out.counts });
                }
                for (OutPort(port), batch) in out.batches {
                    let Some(output) = outputs.get_mut(port) else { continue };
                    if let Some(m) = ctx.shared.metrics.node(node) {
                        m.gave(port, batch.num_rows());
                    }
                    let mut session = output.activate();
                    session.session_with_builder(&capability).give_container(&mut Envelope::new(batch, since));
                }
                if upsert.dirty_len() > 0 {
                    dirty.entry(*capability.time()).or_insert_with(|| capability.retain(failed));
                    *dirty_since = Some(dirty_since.map_or(since, |s| s.min(since)));
                }
            });
        }
        result
    }

    fn pass_ticks(&mut self, frontiers: &[MutableAntichain<u64>]) -> Result<()> {
        while let Some(passed) = self.control.next_passed(frontiers) {
            let mut out = Output::default();
            if let Some(watermark) = passed.watermark {
                self.upsert.on_watermark(watermark, &mut out)?;
                if let Some(m) = self.ctx.shared.metrics.node(self.node) {
                    m.set_watermark(self.ctx.index, watermark);
                }
            }
            self.upsert.on_tick(Tick(passed.tick), &mut out)?;
            if let Some(m) = self.ctx.shared.metrics.node(self.node) {
                m.add(out.counts);
            }
            self.send(out, |port| passed.capabilities.get(port));
        }
        Ok(())
    }

    fn send<'c>(&mut self, out: Output, capability: impl Fn(usize) -> Option<&'c Capability<u64>>) {
        let since = self.ctx.now();
        for (OutPort(port), batch) in out.batches {
            if let Some(m) = self.ctx.shared.metrics.node(self.node) {
                m.gave(port, batch.num_rows());
            }
            if let (Some(output), Some(capability)) = (self.outputs.get_mut(port), capability(port)) {
                output.activate().session_with_builder(capability).give_container(&mut Envelope::new(batch, since));
            }
        }
    }

    /// Starts a flight with all that is dirty, if none is in the air.
    fn take_off(&mut self) -> Result<()> {
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
            flight.left = flight.left.saturating_sub(count);
            if let Some(m) = self.ctx.shared.metrics.node(self.node) {
                m.add_table(Counts { input: count as u64, ..Counts::default() });
            }
            // A writer that is gone has said why.
            let _ = self.to_writer.send(rows.rows.clone());
            flight.rows = Some(rows);
        }
        Ok(())
    }

    /// The store has answered.
    fn land(&mut self, outcomes: Vec<PutOutcome>) -> Result<()> {
        let Some(mut flight) = self.flight.take() else {
            return Err(Error::bug("a table answered for rows it was not given"));
        };
        let Some(rows) = flight.rows.take() else {
            return Err(Error::bug("a table answered twice for the same rows"));
        };
        let count = rows.rows.versions.len() as u64;
        let mut counts = Counts::default();
        let mut outcomes = outcomes;
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
        if let Some(m) = self.ctx.shared.metrics.node(self.node) {
            m.add(out.counts);
            m.add_table(counts);
        }
        let now = self.ctx.now();
        self.ctx.shared.metrics.rows_took(now.saturating_sub(flight.since), count);
        let last = flight.capabilities.last_key_value().map(|(_, c)| c.clone());
        self.send(out, |_| last.as_ref());
        if flight.left > 0 {
            self.flight = Some(flight);
        } else if self.upsert.dirty_len() == 0 {
            self.dirty.clear();
        } else if self.dirty.is_empty() {
            // A stale row was merged and must be written again: its tick is not complete.
            if let Some(capability) = last {
                self.dirty.insert(*capability.time(), capability);
            }
        }
        Ok(())
    }

    fn report(&self) {
        if let Some(m) = self.ctx.shared.metrics.node(self.node) {
            let in_flight = self.flight.as_ref().and_then(|f| f.rows.as_ref()).map_or(0, |r| r.rows.versions.len());
            m.set_table_held(self.ctx.index, in_flight as u64);
            m.set_held(self.ctx.index, self.upsert.held());
            m.set_state(self.ctx.index, self.upsert.state_size());
        }
    }
}

/// Puts rows on tokio, in the order given.
struct TableWriter {
    store: std::sync::Arc<dyn TableStore>,
    delivery: millstream_core::sink::Delivery,
    clock: std::sync::Arc<dyn crate::clock::Clock>,
    name: String,
    from_host: UnboundedReceiver<TableRows>,
    to_host: UnboundedSender<Result<Vec<PutOutcome>>>,
    activator: SyncActivator,
}

impl TableWriter {
    async fn run(mut self) {
        while let Some(rows) = self.from_host.recv().await {
            let outcomes = put(self.store.as_ref(), &rows, &self.delivery, self.clock.as_ref(), &self.name).await;
            if self.to_host.send(outcomes).is_err() || self.activator.activate().is_err() {
                return;
            }
        }
    }
}
