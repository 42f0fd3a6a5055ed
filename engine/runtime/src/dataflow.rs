//! Builds the dataflow of a graph on every worker, and drives it to its end.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;

use millstream_core::error::{Error, Result};
use millstream_core::snapshot::{Snapshot, StateTable};
use millstream_core::time::Watermark;
use timely::dataflow::Scope;
use timely::dataflow::operators::probe::Handle as ProbeHandle;
use timely::dataflow::operators::{Concatenate, Exchange, Probe};
use timely::scheduling::{Activator, SyncActivator};
use timely::worker::Worker;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::checkpoint::{Mail, Report, Request, digest_name, stage_name, upload};
use crate::control::{Control, Ended, WatermarkFold};
use crate::graph::{NodeKind, Routing, Stage};
use crate::host::{self, Batches, Controls, Place};
use crate::metrics::lock;
use crate::run::{PARK, Shared};
use crate::tally::Tally;
use crate::{caller_host, clock_host, coordinator, sink_host, source_host, table_host};

/// A control message and the worker it is for.
pub(crate) type Addressed = (usize, Control);

/// What all operators of one worker share.
pub(crate) struct WorkerContext {
    pub(crate) index: usize,
    pub(crate) peers: usize,
    pub(crate) shared: Arc<Shared>,
    /// Behind every sink.
    pub(crate) probe: ProbeHandle<u64>,
    /// Watermarks as this worker has heard them.
    pub(crate) fold: RefCell<WatermarkFold>,
    /// All sources have been read to their end, everywhere.
    pub(crate) ended: Cell<bool>,
    /// On worker 0: how many workers have heard of the newest boundary.
    pub(crate) seen: Cell<usize>,
    pub(crate) clock: RefCell<Option<Activator>>,
    /// On worker 0: who discovers the splits of each source, to be told of those that have ended.
    pub(crate) discoveries: RefCell<BTreeMap<usize, UnboundedSender<Ended>>>,
    /// To the coordinator, which carries it to worker 0.
    outgoing: UnboundedSender<Mail>,
    pub(crate) mail_activator: RefCell<Option<Arc<SyncActivator>>>,
    /// Bytes in outboxes of this worker, and whether a checkpoint was asked for because of them.
    held: Cell<(u64, bool)>,
    /// Callers of this worker that have enough to ask.
    full: Cell<usize>,
    /// Ticks that began here and are not complete, with when they began.
    open_ticks: RefCell<VecDeque<(u64, u64)>>,
    /// Bytes of records given at a tick that is not complete, oldest first, and their sum.
    in_flight: RefCell<(VecDeque<(u64, u64)>, u64)>,
}

impl WorkerContext {
    fn new(worker: &Worker, shared: Arc<Shared>) -> (Self, UnboundedReceiver<Mail>) {
        let (outgoing, letters) = unbounded_channel();
        let ctx = Self {
            index: worker.index(),
            peers: worker.peers(),
            probe: ProbeHandle::new(),
            fold: RefCell::new(WatermarkFold::new(worker.peers(), shared.restored.watermarks.clone())),
            ended: Cell::new(false),
            seen: Cell::new(0),
            clock: RefCell::default(),
            discoveries: RefCell::default(),
            outgoing,
            mail_activator: RefCell::default(),
            held: Cell::default(),
            full: Cell::default(),
            open_ticks: RefCell::default(),
            in_flight: RefCell::default(),
            shared,
        };
        (ctx, letters)
    }

    /// A tally of a place of a node.
    pub(crate) fn tally(&self, node: usize) -> Tally {
        Tally::new(self.shared.metrics.clone(), self.shared.graph.clone(), node)
    }

    /// Gives an operator the state it goes on from, where there is any.
    pub(crate) fn restore(
        &self,
        place: &str,
        node: usize,
        take: impl FnOnce(Vec<StateTable>, Watermark) -> Result<()>,
    ) -> Result<()> {
        let restored = &self.shared.restored;
        if !restored.resumes {
            return Ok(());
        }
        let tables = lock(&restored.tables).remove(&(place.to_owned(), self.index)).unwrap_or_default();
        let sources = self.shared.graph.nodes.get(node).map(|n| n.sources.as_slice()).unwrap_or_default();
        let watermark = |s| restored.watermarks.get(s).copied().unwrap_or(Watermark::START);
        take(tables, sources.iter().map(watermark).min().unwrap_or(Watermark::START))
    }

    /// Takes a snapshot: the pause of the data path that a checkpoint costs.
    pub(crate) fn frozen(&self, snapshot: impl FnOnce() -> Result<Snapshot>) -> Result<Snapshot> {
        let began = self.now();
        let snapshot = snapshot()?;
        self.shared.metrics.froze(self.now().saturating_sub(began), snapshot.num_rows() as u64);
        self.shared.die_at("freeze")?;
        Ok(snapshot)
    }

    /// Has a report stored, and told to the committer.
    pub(crate) fn report(&self, checkpoint: u64, report: Report) {
        let (shared, worker) = (self.shared.clone(), self.index);
        let (outgoing, activator) = (self.outgoing.clone(), self.mail_activator.borrow().clone());
        self.shared.spawn(async move {
            match upload(&shared, checkpoint, worker, report).await {
                Ok(mail) => {
                    // Nobody reads it any more where the run has failed.
                    let _ = outgoing.send(mail);
                    let _ = activator.map(|a| a.activate());
                }
                Err(e) => shared.failure.set("checkpoint", e),
            }
        });
    }

    /// Sends a message to the committer.
    pub(crate) fn mail(&self, mail: Mail) {
        let _ = self.outgoing.send(mail);
        if let Some(activator) = self.mail_activator.borrow().as_ref() {
            let _ = activator.activate();
        }
    }

    /// Bytes went into an outbox, or out of it. When outboxes hold half of what may be in flight, it is time for a
    /// checkpoint.
    pub(crate) fn hold_bytes(&self, more: i64) {
        let (held, asked) = self.held.get();
        let held = held.saturating_add_signed(more);
        let full = held > self.shared.options.max_in_flight / 2;
        if full && !asked {
            self.shared.request(Request::Pressure);
        }
        self.held.set((held, full));
    }

    /// A tick has begun.
    pub(crate) fn began(&self, tick: u64) {
        self.open_ticks.borrow_mut().push_back((tick, self.now()));
    }

    /// Wall-clock microseconds.
    pub(crate) fn now(&self) -> u64 {
        self.shared.options.clock.micros()
    }

    /// The id of a node, for names and errors.
    pub(crate) fn node_id(&self, node: usize) -> String {
        self.shared.graph.nodes.get(node).map(|n| n.id.clone()).unwrap_or_default()
    }

    /// Whether sources of this worker may read on.
    pub(crate) fn has_room(&self) -> bool {
        let bytes = self.in_flight.borrow().1 + self.held.get().0;
        self.full.get() == 0 && bytes < self.shared.options.max_in_flight
    }

    /// A caller has enough to ask, or not any more. Its rows may be few bytes and take long: a checkpoint waits for them.
    pub(crate) fn caller_is_full(&self, full: bool) {
        let callers = self.full.get();
        self.full.set(if full { callers + 1 } else { callers.saturating_sub(1) });
    }

    /// Bytes were given at `tick`.
    pub(crate) fn sent(&self, tick: u64, bytes: u64) {
        let mut in_flight = self.in_flight.borrow_mut();
        in_flight.1 += bytes;
        match in_flight.0.back_mut() {
            Some((last, sum)) if *last == tick => *sum += bytes,
            _ => in_flight.0.push_back((tick, bytes)),
        }
    }

    /// Looks at the probe: which ticks are complete, and so what is no longer in flight.
    fn observe(&self) {
        let metrics = &self.shared.metrics;
        let mut open = self.open_ticks.borrow_mut();
        let mut completed = None;
        let now = if open.is_empty() { 0 } else { self.now() };
        while let Some((tick, began)) = open.front().copied()
            && !self.probe.less_equal(&tick)
        {
            open.pop_front();
            completed = Some(tick);
            metrics.tick_took(now.saturating_sub(began));
        }
        let mut in_flight = self.in_flight.borrow_mut();
        while let Some((tick, bytes)) = in_flight.0.front().copied()
            && !self.probe.less_equal(&tick)
        {
            in_flight.0.pop_front();
            in_flight.1 -= bytes;
        }
        if let Some(tick) = completed {
            metrics.set_completed_tick(self.index, tick);
            metrics.set_in_flight(self.index, in_flight.1);
        }
    }
}

/// Runs the dataflow on all workers of this process until it ends or fails.
pub(crate) fn execute(shared: &Arc<Shared>) -> Result<()> {
    let workers = shared.options.workers;
    let config = if workers == 1 { timely::Config::thread() } else { timely::Config::process(workers) };
    let for_workers = shared.clone();
    let guards = timely::execute(config, move |worker| run_worker(worker, &for_workers))
        .map_err(|e| Error::bug(format!("the dataflow cannot start: {e}")))?;
    for ended in guards.join() {
        ended.map_err(|e| Error::bug(format!("a worker thread panicked: {e}")))?;
    }
    Ok(())
}

fn run_worker(worker: &mut Worker, shared: &Arc<Shared>) {
    let turns = shared.options.turns.clone();
    let index = worker.index();
    if let Some(turns) = &turns {
        turns.wait(index);
    }
    let (ctx, letters) = WorkerContext::new(worker, shared.clone());
    let ctx = Rc::new(ctx);
    let built = worker.dataflow::<u64, _, _>(|scope| build(scope, &ctx, letters));
    if let Err(e) = built {
        shared.failure.set("engine", e);
    }
    // A panic must not leave the other workers waiting for this one: it fails the run like any error.
    let drive = AssertUnwindSafe(|| {
        while worker.has_dataflows() && !shared.failure.is_set() {
            match &turns {
                None => drop(worker.step_or_park(Some(PARK))),
                Some(turns) => {
                    worker.step();
                    ctx.observe();
                    turns.done(index, false);
                    turns.wait(index);
                }
            }
            ctx.observe();
        }
    });
    if let Err(panic) = catch_unwind(drive) {
        let said = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
        shared.failure.set("engine", Error::bug(format!("a worker panicked: {}", said.unwrap_or("no message"))));
    }
    for dataflow in worker.installed_dataflows() {
        worker.drop_dataflow(dataflow);
    }
    drop(ctx);
    if let Some(turns) = turns {
        turns.done(index, true);
    }
}

/// Streams of a node's ports.
type Ports<'s> = Vec<Batches<'s>>;

fn build(scope: Scope<'_, u64>, ctx: &Rc<WorkerContext>, letters: UnboundedReceiver<Mail>) -> Result<()> {
    let graph = ctx.shared.graph.clone();
    let clock = clock_host::host(scope, ctx).exchange(|(worker, _): &Addressed| *worker as u64);
    let mut controls = vec![clock.clone()];
    let mut ports: BTreeMap<usize, Ports<'_>> = BTreeMap::new();
    for (i, node) in graph.nodes.iter().enumerate() {
        if let NodeKind::Source(source) = &node.kind {
            let (streams, updates) = source_host::host(scope, ctx, i, source, clock.clone())?;
            ports.insert(i, streams);
            controls.push(updates.exchange(|(worker, _): &Addressed| *worker as u64));
        }
    }
    let control = scope.concatenate(controls);
    coordinator::coordinate(scope, ctx, control.clone(), letters);
    for (i, node) in graph.nodes.iter().enumerate() {
        let mut inputs = Vec::new();
        for from in &node.inputs {
            let stream = ports.get(&from.node).and_then(|p| p.get(from.port)).cloned();
            inputs.push(stream.ok_or_else(|| Error::bug(format!("`{}` reads a port that is not there", node.id)))?);
        }
        let streams = match &node.kind {
            NodeKind::Source(_) => continue,
            NodeKind::Operator(stages) => operator(scope, ctx, i, stages, inputs, &control)?,
            NodeKind::Caller(caller) => {
                let routed = inputs.into_iter().zip(caller.routing.iter().cloned()).collect();
                caller_host::host(scope, ctx, i, caller, routed, control.clone())?
            }
            NodeKind::Upsert(upsert) => {
                let routed = inputs.into_iter().zip(upsert.routing.iter().cloned()).collect();
                table_host::host(scope, ctx, i, upsert, routed, control.clone())?
            }
            NodeKind::Sink(sink) => match &sink.before {
                None => {
                    let routed = inputs.into_iter().map(|s| (s, sink.routing.clone())).collect();
                    vec![sink_host::host(scope, ctx, i, sink, routed, control.clone(), true)?]
                }
                Some(make) => {
                    let routed = inputs.into_iter().map(|s| (s, Routing::Single)).collect();
                    let place = Place { node: i, name: digest_name(&node.id), first: true, last: false };
                    let digests = host::host(scope, ctx, place, routed, control.clone(), 1, make()?)?;
                    let routed = digests.into_iter().map(|s| (s, Routing::Local)).collect();
                    vec![sink_host::host(scope, ctx, i, sink, routed, control.clone(), false)?]
                }
            },
        };
        ports.insert(i, streams);
    }
    // What nobody reads ends at the probe; it sees the frontiers of all nodes before through these.
    for (i, streams) in ports {
        for (port, stream) in streams.into_iter().enumerate() {
            let read = graph.readers(crate::graph::PortRef { node: i, port }).next().is_some();
            if !read {
                stream.probe_with(&ctx.probe);
            }
        }
    }
    Ok(())
}

/// The stages of a node in sequence. Ports other than the main one collect what any stage gives.
fn operator<'s>(
    scope: Scope<'s, u64>,
    ctx: &Rc<WorkerContext>,
    node: usize,
    stages: &[Stage],
    inputs: Vec<Batches<'s>>,
    control: &Controls<'s>,
) -> Result<Ports<'s>> {
    let ports = ctx.shared.graph.nodes.get(node).map_or(0, |n| n.ports.len());
    let mut collected: Vec<Vec<Batches<'s>>> = (0..ports).map(|_| Vec::new()).collect();
    let mut current = inputs;
    for (s, stage) in stages.iter().enumerate() {
        let name = stage_name(&ctx.node_id(node), s, stages.len());
        let last = s + 1 == stages.len();
        let place = Place { node, name, first: s == 0, last };
        let routings = stage.routing.iter().cloned().chain(std::iter::repeat(Routing::Local));
        let routed = current.drain(..).zip(routings).collect();
        let outputs = host::host(scope, ctx, place, routed, control.clone(), ports.max(1), (stage.make)()?)?;
        for (port, stream) in outputs.into_iter().enumerate() {
            if port == 0 && !last {
                current.push(stream);
            } else if let Some(streams) = collected.get_mut(port) {
                streams.push(stream);
            }
        }
    }
    Ok(collected.into_iter().map(|streams| scope.concatenate(streams)).collect())
}
