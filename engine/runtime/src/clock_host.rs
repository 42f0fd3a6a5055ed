//! The one clock: makes ticks on worker 0, and with them hands out splits and passes on commands.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use millstream_core::source::SplitSource;
use millstream_core::time::micros;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::Scope;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::progress::frontier::MutableAntichain;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::checkpoint::Request;
use crate::control::{Assignment, Control, Ended};
use crate::dataflow::{Addressed, WorkerContext};
use crate::discovery::{Discovered, Discovery, Found};
use crate::graph::NodeKind;
use crate::host::Controls;
use crate::metrics::lock;
use crate::run::Command;

struct ClockHost {
    /// Taken away at the end: no more ticks.
    capability: Option<Capability<u64>>,
    last: Option<u64>,
    /// Added to the wall clock's ticks: they never fall behind a restored checkpoint's.
    ahead: u64,
    discovered: UnboundedReceiver<Discovered>,
    /// Splits handed out, by source: the next goes to worker `count % workers`.
    handed_out: BTreeMap<usize, usize>,
    /// A boundary was announced, and not every worker has heard of it: its tick lasts.
    announced: bool,
    /// Sources were told to stop.
    stopped: bool,
    /// The last checkpoint was asked for.
    ending: bool,
    /// Nothing waits for a tick any more.
    closed: bool,
    ctx: Rc<WorkerContext>,
}

/// Puts the clock into the dataflow; its messages still have to be exchanged to the workers they are for.
pub(crate) fn host<'s>(scope: Scope<'s, u64>, ctx: &Rc<WorkerContext>) -> Controls<'s> {
    let mut builder = OperatorBuilder::new("clock".to_owned(), scope);
    let (output, stream) = builder.new_output::<Vec<Addressed>>();
    let activator = scope.activator_for(builder.operator_info().address);
    *ctx.clock.borrow_mut() = Some(scope.activator_for(builder.operator_info().address));
    let (found, discovered) = unbounded_channel();
    if ctx.index == 0 {
        for (source, splits) in &ctx.shared.opened.sources {
            let (tell, ended) = unbounded_channel();
            ctx.discoveries.borrow_mut().insert(*source, tell);
            ctx.shared.spawn(discovery(ctx, *source, splits.clone(), ended, found.clone()).run());
        }
    }
    let ctx = ctx.clone();
    builder.build(move |mut capabilities| {
        let mut output: OutputBuilder<u64, CapacityContainerBuilder<Vec<Addressed>>> = OutputBuilder::from(output);
        let capability = capabilities.pop().filter(|_| ctx.index == 0);
        let mut clock = ClockHost {
            capability,
            last: None,
            ahead: 0,
            discovered,
            handed_out: BTreeMap::new(),
            announced: false,
            stopped: false,
            ending: false,
            closed: false,
            ctx,
        };
        clock.catch_up();
        move |_: &[MutableAntichain<u64>]| {
            if let Some((tick, messages)) = clock.tick() {
                if let Some(capability) = &clock.capability {
                    let at = capability.delayed(&tick);
                    let mut session = output.activate();
                    let mut session = session.session_with_builder(&at);
                    messages.into_iter().for_each(|m| session.give(m));
                }
                clock.pass(tick);
            }
            if clock.capability.is_some() {
                match clock.ctx.shared.options.turns.is_some() {
                    true => activator.activate(),
                    false => activator.activate_after(clock.until_next()),
                }
            }
        }
    });
    stream
}

fn discovery(
    ctx: &WorkerContext,
    source: usize,
    splits: Arc<dyn SplitSource>,
    ended: UnboundedReceiver<Ended>,
    to: UnboundedSender<Discovered>,
) -> Discovery {
    let event_time = match ctx.shared.graph.nodes.get(source).map(|n| &n.kind) {
        Some(NodeKind::Source(node)) => node.event_time.as_ref(),
        _ => None,
    };
    Discovery {
        source,
        name: ctx.node_id(source),
        splits,
        metrics: ctx.shared.metrics.clone(),
        max_delay: event_time.map_or(0, |e| micros(e.max_delay)),
        known: ctx.shared.restored.splits.get(&source).cloned().unwrap_or_default(),
        ended,
        to,
    }
}

impl ClockHost {
    fn tick_micros(&self) -> u64 {
        self.ctx.shared.options.tick_ms * 1000
    }

    fn until_next(&self) -> Duration {
        Duration::from_micros(self.tick_micros() - self.ctx.now() % self.tick_micros())
    }

    /// Where the wall clock was set back while nothing ran, ticks go on behind the restored one all the same.
    fn catch_up(&mut self) {
        if let Some(tick) = self.ctx.shared.restored.tick {
            self.ahead = (tick + 1).saturating_sub(self.ctx.now() / self.tick_micros());
        }
    }

    /// The messages of the tick that is due, if one is.
    fn tick(&mut self) -> Option<(u64, Vec<Addressed>)> {
        self.capability.as_ref()?;
        if self.announced {
            if self.ctx.seen.get() < self.ctx.peers {
                return None;
            }
            self.announced = false;
        }
        let now = self.ctx.now() / self.tick_micros() + self.ahead;
        if self.last.is_some_and(|last| now <= last) {
            return None;
        }
        let mut messages = vec![Control::Tick];
        while let Ok(found) = self.discovered.try_recv() {
            messages.extend(self.hand_out(found));
        }
        for command in lock(&self.ctx.shared.commands).drain(..) {
            match command {
                Command::Stop => {
                    self.stopped = true;
                    messages.push(Control::Stop);
                }
                Command::Advance(to) => messages.push(Control::Advance(to)),
                Command::Claimed(checkpoint) => messages.push(Control::Claimed(checkpoint)),
                Command::Boundary(boundary) => {
                    self.announced = true;
                    self.ctx.seen.set(0);
                    self.ctx.shared.boundary_tick.store(now, Ordering::Relaxed);
                    messages.push(Control::Boundary(boundary));
                }
                Command::Close => self.closed = true,
            }
        }
        let to_all = messages.into_iter().flat_map(|m| (0..self.ctx.peers).map(move |w| (w, m.clone())));
        Some((now, to_all.collect()))
    }

    fn hand_out(&mut self, found: Discovered) -> Option<Control> {
        match found.splits {
            Ok(splits) => {
                let count = self.handed_out.entry(found.source).or_default();
                let splits = splits.into_iter().map(|Found { split, resume, start, floor }| {
                    let worker = *count % self.ctx.peers;
                    *count += 1;
                    Assignment { split, worker, resume, start, floor }
                });
                Some(Control::Splits { source: found.source, splits: splits.collect(), all: found.all })
            }
            Err(e) => {
                self.ctx.shared.failure.set(&self.ctx.node_id(found.source), e);
                None
            }
        }
    }

    /// Moves on behind `tick`; gives up the capability when there is nothing left to do.
    fn pass(&mut self, tick: u64) {
        self.last = Some(tick);
        if (self.stopped || self.ctx.ended.get()) && !self.ending {
            self.ending = true;
            self.ctx.shared.request(Request::Last { complete: self.ctx.ended.get() });
        }
        if self.closed {
            self.capability = None;
        } else if let Some(capability) = &mut self.capability {
            capability.downgrade(&(tick + 1));
        }
    }
}
