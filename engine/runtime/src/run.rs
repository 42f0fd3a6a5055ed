//! Starting, stopping and ending a run.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use millstream_core::checkpoint::Hold;
use millstream_core::error::{Error, ErrorKind, Result};
use millstream_core::time::EventTime;
use millstream_state::checkpoint::Epochs;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::task::{AbortHandle, JoinSet};

use crate::checkpoint::{
    Checkpoints, Committer, CrashPoints, Found, Mail, Opened, Recovered, Request, Requests, Restored, deal_places,
    find, open,
};
use crate::clock::{Clock, SystemClock};
use crate::control::Boundary;
use crate::dataflow;
use crate::graph::Graph;
use crate::metrics::{Metrics, Snapshot, lock};

/// How a graph is run.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// Worker threads of this process.
    pub workers: usize,
    /// Milliseconds between ticks.
    pub tick_ms: u64,
    /// Bytes of records per worker that may be read and not yet complete behind the sinks, or in outboxes.
    pub max_in_flight: u64,
    /// Wall-clock time.
    pub clock: Arc<dyn Clock>,
    /// Where state is kept; without it, sinks commit in the rhythm of the graph, and a run begins with nothing.
    pub checkpoints: Option<Checkpoints>,
    /// Distinguishes this process from all others that ever run the pipeline: letters and digits.
    pub generation: String,
    /// Where the process dies, in tests.
    pub crash: Option<Arc<dyn CrashPoints>>,
    /// One thread at a time runs, and nothing waits for time to pass: who may take a step, in simulations.
    pub turns: Option<Arc<dyn Turns>>,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            workers: 1,
            tick_ms: 10,
            max_in_flight: 32 << 20,
            clock: Arc::new(SystemClock),
            checkpoints: None,
            generation: generation(&SystemClock),
            crash: None,
            turns: None,
        }
    }
}

/// A name for a process that no other has: the time, and which of the process's names it is.
pub fn generation(clock: &dyn Clock) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let process = u64::from(std::process::id());
    format!("{:x}x{:x}", clock.micros(), process << 16 | (count & 0xffff))
}

/// Gives turns to worker threads, so that one at a time runs.
pub trait Turns: Send + Sync + std::fmt::Debug {
    /// Waits until the worker may take a step.
    fn wait(&self, worker: usize);
    /// The worker has taken its step; `ended`: its last.
    fn done(&self, worker: usize, ended: bool);
}

impl RunOptions {
    /// Dies here if a test wants it so.
    pub(crate) fn die_at(&self, point: &str) -> Result<()> {
        match &self.crash {
            Some(crash) if crash.dies_at(point) => Err(killed(point)),
            _ => Ok(()),
        }
    }
}

fn killed(at: &str) -> Error {
    Error::new(ErrorKind::Killed, format!("killed at {at}"))
}

/// The first error of a run; whoever sets it ends the run.
#[derive(Debug, Clone, Default)]
pub(crate) struct Failure {
    set: Arc<AtomicBool>,
    first: Arc<Mutex<Option<(String, Error)>>>,
}

impl Failure {
    pub(crate) fn set(&self, node: &str, error: Error) {
        let mut first = lock(&self.first);
        if first.is_none() {
            *first = Some((node.to_owned(), error));
        }
        self.set.store(true, Ordering::Release);
    }
    pub(crate) fn is_set(&self) -> bool {
        self.set.load(Ordering::Acquire)
    }
    fn take(&self) -> Option<(String, Error)> {
        lock(&self.first).take()
    }
}

/// What the outside tells a running pipeline; the clock passes it on.
#[derive(Debug, Clone)]
pub(crate) enum Command {
    Stop,
    Advance(EventTime),
    Boundary(Boundary),
    Claimed(u64),
    /// No more ticks.
    Close,
}

/// What all workers of this process share.
pub(crate) struct Shared {
    pub(crate) graph: Arc<Graph>,
    pub(crate) options: RunOptions,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) failure: Failure,
    pub(crate) commands: Mutex<Vec<Command>>,
    pub(crate) opened: Opened,
    pub(crate) restored: Restored,
    pub(crate) epochs: Option<Epochs>,
    pub(crate) requests: Requests,
    /// For worker 0's post office.
    pub(crate) to_committer: Mutex<Option<UnboundedSender<Mail>>>,
    /// The tick of the newest boundary.
    pub(crate) boundary_tick: AtomicU64,
    tokio: tokio::runtime::Handle,
    tasks: Mutex<JoinSet<()>>,
    /// Kept as long as anything of the run is.
    _hold: Option<Box<dyn Hold>>,
}

impl Shared {
    /// Runs a task that ends with the run at the latest.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        let mut tasks = lock(&self.tasks);
        while tasks.try_join_next().is_some() {}
        tasks.spawn_on(task, &self.tokio)
    }
    /// Dies here if a test wants it so.
    pub(crate) fn die_at(&self, point: &str) -> Result<()> {
        self.options.die_at(point).inspect_err(|e| {
            self.failure.set("engine", Error::new(e.kind(), e.message()));
        })
    }
    async fn abort_tasks(&self) {
        let mut tasks = std::mem::take(&mut *lock(&self.tasks));
        tasks.shutdown().await;
    }
}

/// A run that has found what it begins from, and not begun.
pub struct Ready {
    graph: Arc<Graph>,
    options: RunOptions,
    epochs: Option<Epochs>,
    found: Option<Found>,
    hold: Option<Box<dyn Hold>>,
}

/// Holds the state of a pipeline and finds what a run of it begins from; nothing is opened yet.
///
/// # Errors
/// `Fenced` where another process holds it; `Environment` where it is damaged; `Config` where it does not fit.
pub async fn ready(graph: impl Into<Arc<Graph>>, options: RunOptions) -> Result<Ready, RunError> {
    let graph = graph.into();
    let at = |error| RunError { node: "checkpoint".to_owned(), error };
    let (mut epochs, mut found, mut hold) = (None, None, None);
    if let Some(checkpoints) = &options.checkpoints {
        hold = Some(checkpoints.store.hold(&checkpoints.holder).await.map_err(at)?);
        let all = Epochs::new(checkpoints.store.clone());
        found = Some(find(&graph, checkpoints, &all, &options).await.map_err(at)?);
        epochs = Some(all);
    }
    Ok(Ready { graph, options, epochs, found, hold })
}

impl Ready {
    /// How many workers there will be.
    pub fn workers(&self) -> usize {
        self.options.workers
    }
    /// The checkpoint the run goes on from; `None` where it begins with nothing.
    pub fn recovered(&self) -> Option<Recovered> {
        self.found.as_ref().and_then(Found::recovered)
    }

    /// Opens every connector, finishes what the checkpoint covers, then runs the graph on threads of its own.
    ///
    /// # Errors
    /// What a connector says when it is opened, with the node that asked.
    pub async fn start(self) -> Result<Running, RunError> {
        let Self { graph, options, epochs, found, hold } = self;
        let mut restored = match &found {
            Some(found) => found.restored(&graph, &options.generation),
            None => {
                let own = || options.generation.clone();
                Restored { state: own(), run: own(), next: 1, ..Restored::default() }
            }
        };
        let opened = open(&graph, &options, epochs.as_ref(), found.as_ref(), &mut restored).await?;
        if let Some(epochs) = &epochs {
            let dealt = deal_places(&restored, epochs, &graph, &options).await;
            dealt.map_err(|error| RunError { node: "checkpoint".to_owned(), error })?;
        }
        let metrics = Arc::new(Metrics::new(&graph, options.workers));
        metrics.restore(&graph, &restored.counters);
        let begins = metrics.snapshot(&graph);
        opened.sources.iter().for_each(|(node, source)| metrics.watch(*node, source));
        let ((requests, asked), (to_committer, mail)) = (unbounded_channel(), unbounded_channel());
        let shared = Arc::new(Shared {
            graph,
            options,
            metrics,
            failure: Failure::default(),
            commands: Mutex::default(),
            opened,
            restored,
            epochs,
            requests,
            to_committer: Mutex::new(Some(to_committer)),
            boundary_tick: AtomicU64::new(0),
            tokio: tokio::runtime::Handle::current(),
            tasks: Mutex::default(),
            _hold: hold,
        });
        let retained = found.map(|f| f.retained).unwrap_or_default();
        shared.spawn(Committer::new(shared.clone(), asked, mail, retained).run());
        let running = shared.clone();
        let thread = tokio::task::spawn_blocking(move || dataflow::execute(&running));
        Ok(Running { shared, thread, begins })
    }
}

/// Begins a run at once.
///
/// # Errors
/// As [`ready`] and [`Ready::start`].
pub async fn start(graph: impl Into<Arc<Graph>>, options: RunOptions) -> Result<Running, RunError> {
    ready(graph, options).await?.start().await
}

/// An error and the node it came from.
#[derive(Debug)]
pub struct RunError {
    /// The node's id.
    pub node: String,
    /// What happened.
    pub error: Error,
}

impl std::fmt::Display for RunError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.node, self.error)
    }
}

impl std::error::Error for RunError {}

/// A pipeline that runs.
pub struct Running {
    shared: Arc<Shared>,
    thread: tokio::task::JoinHandle<Result<()>>,
    begins: Snapshot,
}

/// Stops, advances and watches a pipeline from elsewhere.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
}

impl Handle {
    /// Sources stop reading, everything in flight is finished, a last checkpoint is taken, and the run ends.
    pub fn stop(&self) {
        self.shared.command(Command::Stop);
    }
    /// Sources' watermarks move at least to `t`.
    pub fn advance(&self, t: EventTime) {
        self.shared.command(Command::Advance(t));
    }
    /// Takes a checkpoint now; gives its number when all it covers is visible, and nothing where the run ends first.
    pub async fn checkpoint(&self) -> Option<u64> {
        let (told, number) = oneshot::channel();
        self.shared.request(Request::Now(told));
        number.await.ok()
    }
    /// Ends the run as if the process had died: nothing in flight is finished.
    pub fn kill(&self) {
        self.shared.failure.set("engine", killed("the wish of a test"));
    }
    /// The counters now.
    pub fn snapshot(&self) -> Snapshot {
        self.shared.metrics.snapshot(&self.shared.graph)
    }
    /// The tick that wall-clock time stands in now.
    pub fn current_tick(&self) -> u64 {
        self.shared.options.clock.micros() / 1000 / self.shared.options.tick_ms
    }
    /// The greatest tick of which nothing is in flight any more.
    pub fn completed_tick(&self) -> u64 {
        self.shared.metrics.completed_tick()
    }
    /// The graph that runs.
    pub fn graph(&self) -> &Graph {
        &self.shared.graph
    }
    /// Whether the run is failing; the error comes from [`Running::wait`].
    pub fn has_failed(&self) -> bool {
        self.shared.failure.is_set()
    }
}

impl Running {
    /// A handle to it.
    pub fn handle(&self) -> Handle {
        Handle { shared: self.shared.clone() }
    }

    /// The counters it began with: those of the checkpoint it goes on from.
    pub fn begins(&self) -> &Snapshot {
        &self.begins
    }

    /// Whether all workers of this process have ended: then [`Running::wait`] does not wait for them.
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits for its end: bounded inputs read to theirs, or a stop.
    ///
    /// # Errors
    /// The first error of any node.
    pub async fn wait(self) -> Result<Snapshot, RunError> {
        let ended = self.thread.await;
        self.shared.abort_tasks().await;
        if let Some((node, error)) = self.shared.failure.take() {
            return Err(RunError { node, error });
        }
        let engine = |error| RunError { node: "engine".into(), error };
        match ended {
            Ok(Ok(())) => Ok(self.shared.metrics.snapshot(&self.shared.graph)),
            Ok(Err(e)) => Err(engine(e)),
            Err(e) => Err(engine(Error::bug("a worker thread panicked").caused_by(e))),
        }
    }
}

/// How long a worker sleeps at most when nothing wakes it: only bounds how fast a failure elsewhere is seen.
pub(crate) const PARK: Duration = Duration::from_millis(20);
