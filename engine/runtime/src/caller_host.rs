//! Hosts a caller: keeps the tick of every batch open until all of its rows are answered.
//!
//! So a watermark passes behind rows that wait for an answer, never before them, and what waits counts as in flight:
//! sources read no further than that allows, nor while a caller of their worker has enough to ask. A boundary passes
//! when everything before it is answered, which the caller's time-outs and how many it asks at once bound; rows beyond
//! it wait in the stash.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use millstream_core::batch::Batch;
use millstream_core::caller::{Answered, Caller};
use millstream_core::error::Result;
use millstream_core::ledger::Counts;
use millstream_core::operator::{InPort, OutPort};
use timely::dataflow::Scope;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::progress::frontier::MutableAntichain;

use crate::checkpoint::Report;
use crate::control_input::ControlInput;
use crate::dataflow::WorkerContext;
use crate::graph::{CallerNode, Routing};
use crate::host::{Batches, Controls, DataInput};
use crate::outlets::Outlets;
use crate::stash::{Stash, Stashed};
use crate::tally::Tally;

/// A batch that is not done.
struct Waiting {
    /// By output.
    capabilities: Vec<Capability<u64>>,
    since: u64,
}

/// A caller in the dataflow of one worker.
struct CallerHost {
    caller: Box<dyn Caller>,
    inputs: Vec<DataInput>,
    control: ControlInput,
    outlets: Outlets,
    stash: Stash,
    tally: Tally,
    waiting: BTreeMap<u64, Waiting>,
    next_ticket: u64,
    /// Whether sources were told to wait.
    full: bool,
    node: usize,
    ctx: Rc<WorkerContext>,
}

/// Puts a caller into the dataflow; gives the streams of its ports.
pub(crate) fn host<'s>(
    scope: Scope<'s, u64>,
    ctx: &Rc<WorkerContext>,
    node: usize,
    spec: &CallerNode,
    inputs: Vec<(Batches<'s>, Routing)>,
    control: Controls<'s>,
) -> Result<Vec<Batches<'s>>> {
    let ports = ctx.shared.graph.nodes.get(node).map_or(1, |n| n.ports.len());
    let mut builder = OperatorBuilder::new(ctx.node_id(node), scope);
    let address = builder.operator_info().address;
    let activator = scope.worker().sync_activator_for(address.to_vec());
    let woken = std::sync::Mutex::new(activator);
    let wake = Arc::new(move || {
        // A worker that is gone needs no waking.
        let _ = crate::metrics::lock(&woken).activate();
    });
    let inputs = inputs
        .into_iter()
        .map(|(stream, routing)| DataInput::connect(&mut builder, stream, &routing, ctx, node))
        .collect();
    let control = ControlInput::connect(&mut builder, control, ctx, node, ports);
    let (outlets, streams) = Outlets::connect(&mut builder, ports);
    let tally = ctx.tally(node);
    let mut host = (spec.make)(wake).map(|caller| CallerHost {
        caller,
        inputs,
        control,
        outlets,
        stash: Stash::default(),
        tally,
        waiting: BTreeMap::new(),
        next_ticket: 0,
        full: false,
        node,
        ctx: ctx.clone(),
    });
    let (failure, name) = (ctx.shared.failure.clone(), ctx.node_id(node));
    builder.build(move |_| {
        move |frontiers: &[MutableAntichain<u64>]| {
            if failure.is_set() {
                return;
            }
            let worked = match &mut host {
                Ok(host) => host.work(frontiers),
                // Told here: timely panics where a builder is dropped unbuilt.
                Err(e) => Err(std::mem::replace(e, millstream_core::Error::bug("it was told why"))),
            };
            if let Err(e) = worked {
                failure.set(&name, e);
            }
        }
    });
    Ok(streams)
}

impl CallerHost {
    fn work(&mut self, frontiers: &[MutableAntichain<u64>]) -> Result<()> {
        self.control.receive();
        self.take_batches()?;
        self.answers()?;
        self.pass_ticks(frontiers)?;
        if self.caller.is_full() != self.full {
            self.full = !self.full;
            self.ctx.caller_is_full(self.full);
        }
        if let Some(m) = self.tally.shared() {
            m.set_held(self.ctx.index, self.caller.held());
        }
        Ok(())
    }

    fn take_batches(&mut self) -> Result<()> {
        let mut result = Ok(());
        let mut inputs = std::mem::take(&mut self.inputs);
        let outputs = self.outlets.len();
        for (port, input) in inputs.iter_mut().enumerate() {
            input.for_each(|capability, envelope| {
                if result.is_err() {
                    return;
                }
                if self.control.is_beyond(*capability.time()) {
                    self.stash.put(port, envelope, &capability, outputs);
                    return;
                }
                let since = envelope.since;
                let Some(batch) = envelope.batch.take() else { return };
                let capabilities = (0..outputs).map(|output| capability.retain(output)).collect();
                result = self.take(port, batch, Waiting { capabilities, since });
            });
        }
        self.inputs = inputs;
        result
    }

    fn take(&mut self, port: usize, batch: Batch, waiting: Waiting) -> Result<()> {
        let rows = batch.num_rows();
        self.tally.took(port, rows);
        self.tally.add(Counts { input: rows as u64, ..Counts::default() });
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.waiting.insert(ticket, waiting);
        self.caller.on_batch(InPort(port), batch, ticket)
    }

    fn answers(&mut self) -> Result<()> {
        for Answered { ticket, out, done } in self.caller.take()? {
            self.tally.add(out.counts);
            if let Some(waiting) = self.waiting.get(&ticket) {
                for (OutPort(port), batch) in out.batches {
                    if let Some(capability) = waiting.capabilities.get(port) {
                        self.outlets.give(port, batch, waiting.since, capability, &mut self.tally, true);
                    }
                }
            }
            if done {
                self.waiting.remove(&ticket);
            }
        }
        Ok(())
    }

    fn pass_ticks(&mut self, frontiers: &[MutableAntichain<u64>]) -> Result<()> {
        // What waits may be of a boundary's ticks; beyond it everything is in the stash.
        while self.waiting.is_empty() || !self.control.boundary_is_next() {
            let Some(passed) = self.control.next_passed(frontiers) else { return Ok(()) };
            if let (Some(watermark), Some(m)) = (passed.watermark, self.tally.shared()) {
                m.set_watermark(self.ctx.index, watermark);
            }
            drop(passed.capabilities);
            let Some(boundary) = passed.boundary else { continue };
            let name = self.ctx.node_id(self.node);
            self.ctx.report(
                boundary.checkpoint,
                Report {
                    place: name.clone(),
                    node: name,
                    counters: self.tally.counters(self.caller.held()),
                    watermarks: self.control.watermarks(&self.ctx),
                    ..Report::default()
                },
            );
            for Stashed { input, batch, since, capabilities } in self.stash.take() {
                self.take(input, batch, Waiting { capabilities, since })?;
            }
            self.answers()?;
        }
        Ok(())
    }
}
