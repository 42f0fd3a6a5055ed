//! Hosts a pure operator in the dataflow: gives it batches as they come, and watermarks and ticks when they are due.

use std::collections::BTreeMap;
use std::rc::Rc;

use millstream_core::error::Result;
use millstream_core::ledger::Counts;
use millstream_core::operator::{InPort, Operator, Output};
use millstream_core::time::{Tick, Watermark};
use timely::communication::Pull;
use timely::container::NoopBuilder;
use timely::dataflow::channels::Message;
use timely::dataflow::channels::pact::{DistributorPact, LogPuller, Pipeline};
use timely::dataflow::operators::generic::InputHandleCore;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::{Capability, InputCapability};
use timely::dataflow::{Scope, Stream};
use timely::progress::frontier::MutableAntichain;

use crate::control::{Control, WatermarkFold};
use crate::dataflow::{Addressed, WorkerContext};
use crate::envelope::Envelope;
use crate::graph::Routing;
use crate::routing::ByKeyGroup;

/// A stream of batches.
pub(crate) type Batches<'s> = Stream<'s, u64, Envelope>;
/// A stream of control messages, one copy per worker.
pub(crate) type Controls<'s> = Stream<'s, u64, Vec<Addressed>>;

type PipelinePuller<C> = <Pipeline as timely::dataflow::channels::pact::ParallelizationContract<u64, C>>::Puller;
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

/// The control input of a host: watermark updates and ticks, held back until their tick has passed.
pub(crate) struct ControlInput {
    handle: InputHandleCore<u64, Vec<Addressed>, PipelinePuller<Vec<Addressed>>>,
    fold: WatermarkFold,
    sources: Vec<usize>,
    reached: Watermark,
    /// Ticks that began and have not passed, each with what arrived at it.
    pending: BTreeMap<u64, PendingTick>,
    outputs: usize,
}

#[derive(Default)]
struct PendingTick {
    capabilities: Vec<Capability<u64>>,
    updates: Vec<crate::control::WatermarkUpdate>,
}

/// A tick that has passed: all data of it was given.
pub(crate) struct PassedTick {
    pub(crate) tick: u64,
    /// By output.
    pub(crate) capabilities: Vec<Capability<u64>>,
    /// The watermark, if it moved.
    pub(crate) watermark: Option<Watermark>,
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
        Self {
            handle: builder.new_input(control, Pipeline),
            fold: WatermarkFold::new(ctx.peers),
            sources,
            reached: Watermark::START,
            pending: BTreeMap::new(),
            outputs,
        }
    }

    /// Takes in what has arrived.
    pub(crate) fn receive(&mut self) {
        let (pending, outputs) = (&mut self.pending, self.outputs);
        self.handle.for_each(|capability, messages| {
            let tick = pending.entry(*capability.time()).or_default();
            if tick.capabilities.is_empty() {
                tick.capabilities = (0..outputs).map(|output| capability.retain(output)).collect();
            }
            for (_, message) in messages.drain(..) {
                if let Control::Watermark(update) = message {
                    tick.updates.push(update);
                }
            }
        });
    }

    /// Whether every tick that began has passed.
    pub(crate) fn is_drained(&self) -> bool {
        self.pending.is_empty()
    }

    /// The next tick that all frontiers have passed, in order.
    pub(crate) fn next_passed(&mut self, frontiers: &[MutableAntichain<u64>]) -> Option<PassedTick> {
        let first = self.pending.first_entry()?;
        if frontiers.iter().any(|f| f.frontier().less_equal(first.key())) {
            return None;
        }
        let (tick, PendingTick { capabilities, updates }) = first.remove_entry();
        updates.into_iter().for_each(|u| self.fold.apply(u));
        let watermark = self.fold.least(&self.sources);
        let moved = watermark > self.reached;
        self.reached = self.reached.max(watermark);
        Some(PassedTick { tick, capabilities, watermark: moved.then_some(watermark) })
    }
}

/// What the host counts of an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// The node.
    pub(crate) node: usize,
    /// The first stage counts what comes in and what becomes of it.
    pub(crate) first: bool,
    /// The last stage counts what is produced and owns the node's main port.
    pub(crate) last: bool,
}

type Outputs = Vec<OutputBuilder<u64, NoopBuilder<Envelope>>>;

/// One operator in the dataflow of one worker.
struct Hosted {
    operator: Box<dyn Operator>,
    inputs: Vec<DataInput>,
    control: ControlInput,
    outputs: Outputs,
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
    operator: Box<dyn Operator>,
) -> Vec<Batches<'s>> {
    let mut builder = OperatorBuilder::new(ctx.node_id(place.node), scope);
    let inputs = inputs
        .into_iter()
        .map(|(stream, routing)| DataInput::connect(&mut builder, stream, &routing, ctx, place.node))
        .collect();
    let control = ControlInput::connect(&mut builder, control, ctx, place.node, outputs);
    let (outputs, streams): (Outputs, Vec<_>) = (0..outputs)
        .map(|_| builder.new_output::<Envelope>())
        .map(|(output, stream)| (OutputBuilder::from(output), stream))
        .unzip();
    let mut hosted = Hosted { operator, inputs, control, outputs, place, ctx: ctx.clone() };
    builder.build(move |_| {
        move |frontiers: &[MutableAntichain<u64>]| {
            if !hosted.ctx.shared.failure.is_set()
                && let Err(e) = hosted.work(frontiers)
            {
                hosted.ctx.shared.failure.set(&hosted.ctx.node_id(hosted.place.node), e);
            }
        }
    });
    streams
}

impl Hosted {
    fn work(&mut self, frontiers: &[MutableAntichain<u64>]) -> Result<()> {
        self.control.receive();
        let mut result = Ok(());
        for (port, input) in self.inputs.iter_mut().enumerate() {
            let (operator, outputs, ctx, place) = (&mut self.operator, &mut self.outputs, &self.ctx, self.place);
            input.for_each(|capability, envelope| {
                if result.is_err() {
                    return;
                }
                let since = envelope.since;
                let Some(batch) = envelope.batch.take() else { return };
                let rows = batch.num_rows();
                let mut out = Output::default();
                result = operator.on_batch(InPort(port), batch, &mut out);
                account(ctx, place, Some((port, rows)), &out);
                send(ctx, place, outputs, &capability, out, since);
            });
        }
        result?;
        self.pass_ticks(frontiers)?;
        self.report();
        Ok(())
    }

    fn pass_ticks(&mut self, frontiers: &[MutableAntichain<u64>]) -> Result<()> {
        while let Some(passed) = self.control.next_passed(frontiers) {
            let mut out = Output::default();
            if let Some(watermark) = passed.watermark {
                self.operator.on_watermark(watermark, &mut out)?;
                if let Some(m) = self.ctx.shared.metrics.node(self.place.node) {
                    m.set_watermark(self.ctx.index, watermark);
                }
            }
            self.operator.on_tick(Tick(passed.tick), &mut out)?;
            if frontiers.iter().all(|f| f.frontier().is_empty()) && self.control.is_drained() {
                self.operator.on_end(&mut out)?;
            }
            account(&self.ctx, self.place, None, &out);
            let since = self.ctx.now();
            for (port, batch) in out.batches {
                if let (Some(output), Some(capability)) =
                    (self.outputs.get_mut(port.0), passed.capabilities.get(port.0))
                {
                    gave(&self.ctx, self.place, port.0, batch.num_rows());
                    let mut session = output.activate();
                    session.session_with_builder(capability).give_container(&mut Envelope::new(batch, since));
                }
            }
        }
        Ok(())
    }

    fn report(&self) {
        if let Some(m) = self.ctx.shared.metrics.node(self.place.node) {
            if self.place.first {
                m.set_held(self.ctx.index, self.operator.held());
            }
            if self.place.last {
                m.set_state(self.ctx.index, self.operator.state_size());
            }
        }
    }
}

fn send(
    ctx: &WorkerContext,
    place: Place,
    outputs: &mut Outputs,
    capability: &InputCapability<u64>,
    out: Output,
    since: u64,
) {
    for (port, batch) in out.batches {
        if let Some(output) = outputs.get_mut(port.0) {
            gave(ctx, place, port.0, batch.num_rows());
            let mut session = output.activate();
            session.session_with_builder(capability).give_container(&mut Envelope::new(batch, since));
        }
    }
}

/// What a stage before the last gives by its main port stays inside the node.
fn gave(ctx: &WorkerContext, place: Place, port: usize, rows: usize) {
    if (place.last || port > 0)
        && let Some(m) = ctx.shared.metrics.node(place.node)
    {
        m.gave(port, rows);
    }
}

/// Adds an operator's counts to its node's. The stages of a node share one line of the ledger: the first says what
/// became of the input, any what it produced for the outside.
fn account(ctx: &WorkerContext, place: Place, taken: Option<(usize, usize)>, out: &Output) {
    let Some(m) = ctx.shared.metrics.node(place.node) else { return };
    let mut counts = Counts::default();
    if place.first {
        counts = out.counts;
        if let Some((port, rows)) = taken {
            counts.input = rows as u64;
            m.took(port, rows);
        }
    }
    counts.produced = out.counts.produced;
    m.add(counts);
}
