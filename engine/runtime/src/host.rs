//! Hosts a pure operator in the dataflow: gives it batches as they come, and watermarks and ticks when they are due.

use std::rc::Rc;

use millstream_core::batch::Batch;
use millstream_core::error::Result;
use millstream_core::ledger::Counts;
use millstream_core::operator::{InPort, Operator, OutPort, Output};
use millstream_core::time::Tick;
use timely::communication::Pull;
use timely::dataflow::channels::Message;
use timely::dataflow::channels::pact::{DistributorPact, LogPuller, Pipeline};
use timely::dataflow::operators::InputCapability;
use timely::dataflow::operators::generic::InputHandleCore;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::{Scope, Stream};
use timely::progress::frontier::MutableAntichain;

use crate::checkpoint::{Report, place_layout};
use crate::control::Boundary;
use crate::control_input::{ControlInput, PassedTick};
use crate::dataflow::{Addressed, WorkerContext};
use crate::envelope::Envelope;
use crate::graph::Routing;
use crate::outlets::Outlets;
use crate::routing::ByKeyGroup;
use crate::stash::{Stash, Stashed};
use crate::tally::Tally;

/// A stream of batches.
pub(crate) type Batches<'s> = Stream<'s, u64, Envelope>;
/// A stream of control messages, one copy per worker.
pub(crate) type Controls<'s> = Stream<'s, u64, Vec<Addressed>>;

pub(crate) type PipelinePuller<C> =
    <Pipeline as timely::dataflow::channels::pact::ParallelizationContract<u64, C>>::Puller;
type RoutedPuller = LogPuller<Box<dyn Pull<Message<u64, Envelope>>>>;

/// An input of batches, local or routed.
pub(crate) enum DataInput {
    Local(InputHandleCore<u64, Envelope, PipelinePuller<Envelope>>),
    Routed(InputHandleCore<u64, Envelope, RoutedPuller>),
}

impl DataInput {
    pub(crate) fn connect<'s>(
        builder: &mut OperatorBuilder<'s, u64>,
        stream: Batches<'s>,
        routing: &Routing,
        ctx: &WorkerContext,
        node: usize,
    ) -> Self {
        match routing {
            Routing::Local => Self::Local(builder.new_input(stream, Pipeline)),
            routing => {
                let by = ByKeyGroup::new(routing.clone(), ctx.shared.failure.clone(), ctx.node_id(node));
                Self::Routed(builder.new_input(stream, DistributorPact(move |_| by)))
            }
        }
    }

    pub(crate) fn for_each(&mut self, logic: impl FnMut(InputCapability<u64>, &mut Envelope)) {
        match self {
            Self::Local(handle) => handle.for_each(logic),
            Self::Routed(handle) => handle.for_each(logic),
        }
    }
}

/// What the host counts of an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// The node.
    pub(crate) node: usize,
    /// Names its state: the node, with its stage where it has several.
    pub(crate) name: String,
    /// The first stage counts what comes in and what becomes of it.
    pub(crate) first: bool,
    /// The last stage counts what is produced and owns the node's main port.
    pub(crate) last: bool,
}

impl Place {
    /// What a stage before the last gives by its main port stays inside the node.
    fn gives_outside(&self, port: usize) -> bool {
        self.last || port > 0
    }
}

/// One operator in the dataflow of one worker.
struct Hosted {
    operator: Box<dyn Operator>,
    inputs: Vec<DataInput>,
    control: ControlInput,
    outlets: Outlets,
    stash: Stash,
    tally: Tally,
    place: Place,
    ctx: Rc<WorkerContext>,
}

/// Puts `operator` into the dataflow; gives one stream per output.
pub(crate) fn host<'s>(
    scope: Scope<'s, u64>,
    ctx: &Rc<WorkerContext>,
    place: Place,
    inputs: Vec<(Batches<'s>, Routing)>,
    control: Controls<'s>,
    outputs: usize,
    mut operator: Box<dyn Operator>,
) -> Result<Vec<Batches<'s>>> {
    ctx.restore(&place.name, place.node, |tables, watermark| operator.restore(tables, watermark))?;
    let mut builder = OperatorBuilder::new(ctx.node_id(place.node), scope);
    let inputs = inputs
        .into_iter()
        .map(|(stream, routing)| DataInput::connect(&mut builder, stream, &routing, ctx, place.node))
        .collect();
    let control = ControlInput::connect(&mut builder, control, ctx, place.node, outputs);
    let (outlets, streams) = Outlets::connect(&mut builder, outputs);
    let tally = ctx.tally(place.node);
    let mut hosted =
        Hosted { operator, inputs, control, outlets, stash: Stash::default(), tally, place, ctx: ctx.clone() };
    builder.build(move |_| {
        move |frontiers: &[MutableAntichain<u64>]| {
            if !hosted.ctx.shared.failure.is_set()
                && let Err(e) = hosted.work(frontiers)
            {
                hosted.ctx.shared.failure.set(&hosted.ctx.node_id(hosted.place.node), e);
            }
        }
    });
    Ok(streams)
}

impl Hosted {
    fn work(&mut self, frontiers: &[MutableAntichain<u64>]) -> Result<()> {
        self.control.receive();
        self.take_batches()?;
        self.pass_ticks(frontiers)?;
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
                result = self.take(port, batch).map(|out| self.give(out, since, &capability));
            });
        }
        self.inputs = inputs;
        result
    }

    fn take(&mut self, port: usize, batch: Batch) -> Result<Output> {
        let rows = batch.num_rows();
        let mut out = Output::default();
        self.operator.on_batch(InPort(port), batch, &mut out)?;
        self.account(Some((port, rows)), &out);
        Ok(out)
    }

    fn give(&mut self, out: Output, since: u64, capability: &InputCapability<u64>) {
        for (OutPort(port), batch) in out.batches {
            let counted = self.place.gives_outside(port);
            self.outlets.give(port, batch, since, capability, &mut self.tally, counted);
        }
    }

    fn give_later(&mut self, out: Output, since: u64, capabilities: &[timely::dataflow::operators::Capability<u64>]) {
        for (OutPort(port), batch) in out.batches {
            let counted = self.place.gives_outside(port);
            if let Some(capability) = capabilities.get(port) {
                self.outlets.give(port, batch, since, capability, &mut self.tally, counted);
            }
        }
    }

    fn pass_ticks(&mut self, frontiers: &[MutableAntichain<u64>]) -> Result<()> {
        while let Some(passed) = self.control.next_passed(frontiers) {
            let mut out = Output::default();
            if let Some(watermark) = passed.watermark {
                self.operator.on_watermark(watermark, &mut out)?;
                if let Some(m) = self.tally.shared() {
                    m.set_watermark(self.ctx.index, watermark);
                }
            }
            self.operator.on_tick(Tick(passed.tick), &mut out)?;
            if passed.boundary.as_ref().is_some_and(|b| b.last) {
                self.operator.on_end(&mut out)?;
            }
            self.account(None, &out);
            let now = self.ctx.now();
            let PassedTick { capabilities, boundary, .. } = passed;
            self.give_later(out, now, &capabilities);
            drop(capabilities);
            if let Some(boundary) = boundary {
                self.freeze(&boundary)?;
                for Stashed { input, batch, since, capabilities } in self.stash.take() {
                    let out = self.take(input, batch)?;
                    self.give_later(out, since, &capabilities);
                }
            }
        }
        Ok(())
    }

    /// Everything up to the boundary has been worked on, and nothing beyond it.
    fn freeze(&mut self, boundary: &Boundary) -> Result<()> {
        let mut state = None;
        if boundary.state
            && let Some(layout) = self.operator.layout()
        {
            let whole = boundary.whole.contains(&self.place.name);
            let operator = &mut self.operator;
            let layout = place_layout(layout, &self.ctx.shared.graph, self.place.node);
            state = Some((layout, self.ctx.frozen(|| operator.snapshot(whole))?));
        }
        let held = if self.place.first { self.operator.held() } else { 0 };
        self.ctx.report(
            boundary.checkpoint,
            Report {
                place: self.place.name.clone(),
                node: self.ctx.node_id(self.place.node),
                counters: self.tally.counters(held),
                watermarks: self.control.watermarks(&self.ctx),
                state,
                ..Report::default()
            },
        );
        Ok(())
    }

    /// Adds an operator's counts to its node's. The stages of a node share one line of the ledger: the first says what
    /// became of the input, any what it produced for the outside.
    fn account(&mut self, taken: Option<(usize, usize)>, out: &Output) {
        let mut counts = Counts::default();
        if self.place.first {
            counts = out.counts;
            if let Some((port, rows)) = taken {
                counts.input = rows as u64;
                self.tally.took(port, rows);
            }
        }
        counts.produced = out.counts.produced;
        self.tally.add(counts);
    }

    fn report(&self) {
        if let Some(m) = self.tally.shared() {
            if self.place.first {
                m.set_held(self.ctx.index, self.operator.held());
            }
            if self.place.last {
                m.set_state(self.ctx.index, self.operator.state_size());
            }
        }
    }
}
