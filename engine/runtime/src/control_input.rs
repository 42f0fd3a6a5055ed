//! The control input of a host: watermark updates, ticks and boundaries, held back until their tick has passed.

use std::collections::BTreeMap;

use millstream_core::planted::{Bug, is_planted};
use millstream_core::time::Watermark;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::InputHandleCore;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::progress::frontier::MutableAntichain;

use crate::control::{Boundary, Control, WatermarkFold, WatermarkUpdate};
use crate::dataflow::{Addressed, WorkerContext};
use crate::host::{Controls, PipelinePuller};

/// See the [module](self).
pub(crate) struct ControlInput {
    handle: InputHandleCore<u64, Vec<Addressed>, PipelinePuller<Vec<Addressed>>>,
    fold: WatermarkFold,
    sources: Vec<usize>,
    reached: Watermark,
    /// Ticks that began and have not passed, each with what arrived at it.
    pending: BTreeMap<u64, PendingTick>,
    /// The tick of the boundary that has not passed.
    boundary: Option<u64>,
    /// Checkpoints that count, not yet taken.
    claimed: Vec<u64>,
    outputs: usize,
}

#[derive(Default)]
struct PendingTick {
    capabilities: Vec<Capability<u64>>,
    updates: Vec<WatermarkUpdate>,
    boundary: Option<Boundary>,
}

/// A tick that has passed: all data of it was given.
pub(crate) struct PassedTick {
    pub(crate) tick: u64,
    /// By output.
    pub(crate) capabilities: Vec<Capability<u64>>,
    /// The watermark, if it moved.
    pub(crate) watermark: Option<Watermark>,
    /// The checkpoint that covers everything up to this tick.
    pub(crate) boundary: Option<Boundary>,
}

impl ControlInput {
    pub(crate) fn connect<'s>(
        builder: &mut OperatorBuilder<'s, u64>,
        control: Controls<'s>,
        ctx: &WorkerContext,
        node: usize,
        outputs: usize,
    ) -> Self {
        let sources = ctx.shared.graph.nodes.get(node).map(|n| n.sources.clone()).unwrap_or_default();
        let fold = WatermarkFold::new(ctx.peers, ctx.shared.restored.watermarks.clone());
        Self {
            handle: builder.new_input(control, Pipeline),
            reached: fold.least_restored(&sources),
            fold,
            sources,
            pending: BTreeMap::new(),
            boundary: None,
            claimed: Vec::new(),
            outputs,
        }
    }

    /// Takes in what has arrived.
    pub(crate) fn receive(&mut self) {
        let (pending, outputs) = (&mut self.pending, self.outputs);
        let (announced, claimed) = (&mut self.boundary, &mut self.claimed);
        self.handle.for_each(|capability, messages| {
            let time = *capability.time();
            let tick = pending.entry(time).or_default();
            if tick.capabilities.is_empty() {
                tick.capabilities = (0..outputs).map(|output| capability.retain(output)).collect();
            }
            for (_, message) in messages.drain(..) {
                match message {
                    Control::Watermark(update) => tick.updates.push(update),
                    Control::Boundary(boundary) => {
                        tick.boundary = Some(boundary);
                        *announced = Some(time);
                    }
                    Control::Claimed(checkpoint) => claimed.push(checkpoint),
                    _ => {}
                }
            }
        });
    }

    /// Whether data of this time belongs behind a boundary that has not passed.
    pub(crate) fn is_beyond(&self, time: u64) -> bool {
        self.boundary.is_some_and(|boundary| time > boundary) && !is_planted(Bug::SkipStash)
    }

    /// Checkpoints that count since the last call.
    pub(crate) fn take_claimed(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.claimed)
    }

    /// The capability of the newest tick that has begun.
    pub(crate) fn newest(&self, output: usize) -> Option<Capability<u64>> {
        self.pending.last_key_value().and_then(|(_, t)| t.capabilities.get(output).cloned())
    }

    /// Whether the next tick to pass is a boundary.
    pub(crate) fn boundary_is_next(&self) -> bool {
        self.pending.first_key_value().is_some_and(|(_, t)| t.boundary.is_some())
    }

    /// The next tick that all frontiers have passed, in order.
    pub(crate) fn next_passed(&mut self, frontiers: &[MutableAntichain<u64>]) -> Option<PassedTick> {
        let first = self.pending.first_entry()?;
        if frontiers.iter().any(|f| f.frontier().less_equal(first.key())) {
            return None;
        }
        let (tick, PendingTick { capabilities, updates, boundary }) = first.remove_entry();
        self.fold.apply(updates);
        let watermark = self.fold.least(&self.sources);
        let moved = watermark > self.reached;
        self.reached = self.reached.max(watermark);
        if boundary.is_some() {
            self.boundary = None;
        }
        Some(PassedTick { tick, capabilities, watermark: moved.then_some(watermark), boundary })
    }

    /// The watermarks of the node's sources, by id, as of the last tick that has passed.
    pub(crate) fn watermarks(&self, ctx: &WorkerContext) -> Vec<(String, i64)> {
        self.sources.iter().map(|s| (ctx.node_id(*s), self.fold.of(*s).0.0)).collect()
    }
}
