//! A simulated process: the real engine on a tokio runtime and worker threads that run only when they are told to.
//!
//! ```text
//! driver --give(w)--> worker thread: one step of its dataflow     (all others wait)
//!        --tasks(n)-> tokio: so many turns of tasks                (on the driver's own thread)
//!        --wait(d)--> the process's clock, and what sleeps by it
//! ```
//! A process that is not told anything stands still: this is how it is paused, in the middle of whatever it does.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use millstream_core::checkpoint::CheckpointStore;
use millstream_runtime::checkpoint::{Checkpoints, CrashPoints};
use millstream_runtime::clock::Clock;
use millstream_runtime::metrics::Snapshot;
use millstream_runtime::run::{Handle, RunError, Running};
use millstream_runtime::{Graph, RunOptions, start};
use tokio::runtime::Runtime;
use tokio::time::Instant;

use crate::baton::Baton;
use crate::world::World;

/// 2024-06-01T00:00:00Z: wall-clock time when a simulation begins.
pub(crate) const BEGIN: u64 = 1_717_200_000_000_000;

/// The wall clock of a process: what its tokio runtime shows.
#[derive(Debug)]
struct SimulatedClock {
    from: u64,
    since: Instant,
    /// For worker threads, which are outside the runtime.
    shown: AtomicU64,
}

impl SimulatedClock {
    /// To be called inside the runtime.
    fn look(&self) -> u64 {
        let now = self.from + self.since.elapsed().as_micros() as u64;
        self.shown.store(now, Ordering::Relaxed);
        now
    }
}

impl Clock for SimulatedClock {
    fn micros(&self) -> u64 {
        if tokio::runtime::Handle::try_current().is_ok() { self.look() } else { self.shown.load(Ordering::Relaxed) }
    }
}

/// What a process does when it comes to a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum At {
    Dies,
    /// Is paused at its next call of a service.
    Pauses,
}

/// Points of a process, counted.
#[derive(Debug)]
struct Points {
    world: Arc<World>,
    plan: Option<(String, u64, At)>,
    met: Mutex<BTreeMap<String, u64>>,
    paused: AtomicBool,
}

impl CrashPoints for Points {
    fn dies_at(&self, point: &str) -> bool {
        let times = {
            let mut met = self.met.lock().unwrap_or_else(PoisonError::into_inner);
            let times = met.entry(point.to_owned()).or_default();
            *times += 1;
            *times
        };
        self.world.note(&format!("is at {point}, for time {times}"));
        match &self.plan {
            Some((planned, hit, at)) if planned == point && *hit == times => {
                let what = if *at == At::Dies { "crash" } else { "pause" };
                self.world.count(format!("{what} at {point}"));
                self.paused.store(*at == At::Pauses, Ordering::Relaxed);
                *at == At::Dies
            }
            _ => false,
        }
    }
}

enum Stage {
    Starting(Pin<Box<dyn Future<Output = Result<Running, RunError>>>>),
    NotStarted(RunError),
    Running(Running),
    Ended,
}

/// How a process is set up.
pub(crate) struct Setup {
    pub(crate) index: usize,
    pub(crate) workers: usize,
    pub(crate) tick_ms: u64,
    pub(crate) max_in_flight: u64,
    pub(crate) every: Duration,
    pub(crate) keep: usize,
    pub(crate) point: Option<(String, u64, At)>,
    /// Wall-clock time at its start.
    pub(crate) from: u64,
}

/// See the [module](self).
pub(crate) struct Process {
    pub(crate) index: usize,
    pub(crate) workers: usize,
    world: Arc<World>,
    runtime: Option<Runtime>,
    clock: Arc<SimulatedClock>,
    baton: Baton,
    points: Arc<Points>,
    stage: Stage,
    started: bool,
    handle: Option<Handle>,
}

/// How a process ended.
#[derive(Debug)]
pub(crate) enum End {
    /// By itself: its inputs were read to their end, or it was stopped.
    Done(Box<Snapshot>),
    Failed(RunError),
    /// While it was starting.
    KilledInStart,
}

impl Process {
    pub(crate) fn begin(world: &Arc<World>, graph: Arc<Graph>, store: Arc<dyn CheckpointStore>, setup: Setup) -> Self {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_time().start_paused(true).event_interval(1).build().expect("a runtime");
        let since = runtime.block_on(async { Instant::now() });
        let clock = Arc::new(SimulatedClock { from: setup.from, since, shown: AtomicU64::new(setup.from) });
        let points = Arc::new(Points {
            world: world.clone(),
            plan: setup.point.clone(),
            met: Mutex::default(),
            paused: AtomicBool::new(false),
        });
        let baton = Baton::new(setup.workers);
        let generation = format!("g{:02}", setup.index);
        let mut checkpoints = Checkpoints::new(store);
        checkpoints.every = Some(setup.every);
        checkpoints.keep = setup.keep;
        checkpoints.holder.clone_from(&generation);
        let options = RunOptions {
            workers: setup.workers,
            tick_ms: setup.tick_ms,
            max_in_flight: setup.max_in_flight,
            clock: clock.clone(),
            checkpoints: Some(checkpoints),
            generation,
            crash: Some(points.clone()),
            turns: Some(Arc::new(baton.clone())),
        };
        Self {
            index: setup.index,
            workers: setup.workers,
            world: world.clone(),
            runtime: Some(runtime),
            clock,
            baton,
            points,
            stage: Stage::Starting(Box::pin(start(graph, options))),
            started: false,
            handle: None,
        }
    }

    /// Whether it got through its start.
    pub(crate) fn has_started(&self) -> bool {
        self.started
    }

    fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().expect("a process that has not ended")
    }

    /// The handle, once it has started.
    pub(crate) fn handle(&self) -> Option<&Handle> {
        self.handle.as_ref()
    }

    /// Workers that have steps left to take; none while it is starting.
    pub(crate) fn awake(&self) -> Vec<usize> {
        if self.handle.is_some() { self.baton.awake() } else { Vec::new() }
    }

    /// One step of a worker.
    pub(crate) fn give(&self, worker: usize) {
        self.world.enter(self.index);
        self.baton.give(worker);
    }

    /// So many turns of tasks; while it starts, its start is one of them.
    pub(crate) fn tasks(&mut self, turns: u64) {
        self.world.enter(self.index);
        for _ in 0..turns {
            let (runtime, stage) = (self.runtime.as_ref().expect("a process that has not ended"), &mut self.stage);
            let started = runtime.block_on(async {
                self.clock.look();
                let started = match stage {
                    Stage::Starting(starting) => futures::poll!(starting.as_mut()),
                    _ => Poll::Pending,
                };
                tokio::task::yield_now().await;
                started
            });
            if let Poll::Ready(started) = started {
                self.started(started);
            }
        }
    }

    /// Time passes.
    pub(crate) fn wait(&mut self, time: Duration) {
        self.world.enter(self.index);
        self.runtime().block_on(async {
            tokio::time::advance(time).await;
            self.clock.look();
        });
    }

    /// Wall-clock time.
    pub(crate) fn now(&self) -> u64 {
        self.clock.shown.load(Ordering::Relaxed)
    }

    fn started(&mut self, started: Result<Running, RunError>) {
        match started {
            Ok(running) => {
                self.handle = Some(running.handle());
                self.started = true;
                self.stage = Stage::Running(running);
                self.world.note("has started");
            }
            Err(error) => self.stage = Stage::NotStarted(error),
        }
    }

    /// Whether it came to the point where it is to pause.
    pub(crate) fn is_paused(&self) -> bool {
        self.points.paused.load(Ordering::Relaxed)
    }

    /// Its end, if it has come to it by itself.
    pub(crate) fn ended(&mut self) -> Option<End> {
        let over = match &self.stage {
            Stage::NotStarted(_) => true,
            Stage::Running(_) => self.baton.awake().is_empty() || self.handle.as_ref().is_some_and(Handle::has_failed),
            Stage::Starting(_) | Stage::Ended => false,
        };
        over.then(|| self.end())
    }

    /// Dies now.
    pub(crate) fn kill(&mut self) -> End {
        self.world.enter(self.index);
        if let Some(handle) = &self.handle {
            handle.kill();
        }
        self.end()
    }

    /// Lets its threads find that it is over, and waits for them; none of its tasks runs meanwhile.
    fn end(&mut self) -> End {
        self.world.enter(self.index);
        let end = match std::mem::replace(&mut self.stage, Stage::Ended) {
            Stage::Starting(starting) => {
                self.runtime().block_on(async { drop(starting) });
                End::KilledInStart
            }
            Stage::NotStarted(error) => End::Failed(error),
            Stage::Running(running) => {
                while let awake = self.baton.awake()
                    && !awake.is_empty()
                {
                    awake.into_iter().for_each(|w| self.baton.give(w));
                }
                while !running.is_finished() {
                    std::thread::yield_now();
                }
                match self.runtime().block_on(running.wait()) {
                    Ok(snapshot) => End::Done(Box::new(snapshot)),
                    Err(error) => End::Failed(error),
                }
            }
            Stage::Ended => End::KilledInStart,
        };
        self.handle = None;
        // Whatever is left of its tasks is dropped here.
        drop(self.runtime.take());
        end
    }
}

impl Drop for Process {
    /// Also where a simulation panics: worker threads must not wait for their turn for ever.
    fn drop(&mut self) {
        if self.runtime.is_some() {
            self.kill();
        }
    }
}
