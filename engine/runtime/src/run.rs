//! Starting, stopping and ending a run.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use millstream_core::error::{Error, Result};
use millstream_core::sink::Sink;
use millstream_core::source::SplitSource;
use millstream_core::table::TableStore;
use millstream_core::time::EventTime;

use crate::clock::{Clock, SystemClock};
use crate::dataflow;
use crate::graph::{Graph, NodeKind};
use crate::metrics::{Metrics, Snapshot, lock};

/// How a graph is run.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// Worker threads of this process.
    pub workers: usize,
    /// Milliseconds between ticks.
    pub tick_ms: u64,
    /// Bytes of records per worker that may be read and not yet complete behind the sinks.
    pub max_in_flight: u64,
    /// Wall-clock time.
    pub clock: Arc<dyn Clock>,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self { workers: 1, tick_ms: 10, max_in_flight: 32 << 20, clock: Arc::new(SystemClock) }
    }
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
#[derive(Debug, Clone, Copy)]
pub(crate) enum Command {
    Stop,
    Advance(EventTime),
}

/// What was opened before the dataflow starts.
pub(crate) struct Opened {
    pub(crate) sources: BTreeMap<usize, Arc<dyn SplitSource>>,
    pub(crate) tables: BTreeMap<usize, Arc<dyn TableStore>>,
    /// By node and worker; each worker takes its own.
    pub(crate) sinks: Mutex<BTreeMap<(usize, usize), Box<dyn Sink>>>,
}

/// What all workers of this process share.
pub(crate) struct Shared {
    pub(crate) graph: Arc<Graph>,
    pub(crate) options: RunOptions,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) failure: Failure,
    pub(crate) commands: Mutex<Vec<Command>>,
    pub(crate) opened: Opened,
    pub(crate) tokio: tokio::runtime::Handle,
}

/// Opens every connector of a graph, then runs it on threads of its own.
///
/// # Errors
/// What a connector says when it is opened, with the node that asked.
pub async fn start(graph: Graph, options: RunOptions) -> Result<Running, RunError> {
    let graph = Arc::new(graph);
    let opened = open(&graph, &options).await?;
    let metrics = Arc::new(Metrics::new(&graph, options.workers));
    let shared = Arc::new(Shared {
        graph: graph.clone(),
        options,
        metrics: metrics.clone(),
        failure: Failure::default(),
        commands: Mutex::default(),
        opened,
        tokio: tokio::runtime::Handle::current(),
    });
    let running = shared.clone();
    let thread = tokio::task::spawn_blocking(move || dataflow::execute(&running));
    Ok(Running { shared, thread })
}

async fn open(graph: &Graph, options: &RunOptions) -> Result<Opened, RunError> {
    let (mut sources, mut tables, mut sinks) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for (i, node) in graph.nodes.iter().enumerate() {
        let at = |e: Error| RunError { node: node.id.clone(), error: e };
        match &node.kind {
            NodeKind::Source(s) => {
                sources.insert(i, Arc::from(s.connector.source(&s.options).await.map_err(at)?));
            }
            NodeKind::Upsert(u) => {
                tables.insert(i, u.connector.table(&u.table).await.map_err(at)?);
            }
            NodeKind::Sink(s) => {
                for worker in 0..options.workers {
                    let mut sink_options = s.options.clone();
                    sink_options.instance = worker;
                    sink_options.instances = options.workers;
                    sinks.insert((i, worker), s.connector.sink(&sink_options).await.map_err(at)?);
                }
            }
            NodeKind::Operator(_) => {}
        }
    }
    Ok(Opened { sources, tables, sinks: Mutex::new(sinks) })
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
}

/// Stops, advances and watches a pipeline from elsewhere.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
}

impl Handle {
    /// Sources stop reading, everything in flight is finished, and the run ends.
    pub fn stop(&self) {
        lock(&self.shared.commands).push(Command::Stop);
    }
    /// Sources' watermarks move at least to `t`.
    pub fn advance(&self, t: EventTime) {
        lock(&self.shared.commands).push(Command::Advance(t));
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

    /// Waits for its end: bounded inputs read to theirs, or a stop.
    ///
    /// # Errors
    /// The first error of any node.
    pub async fn wait(self) -> Result<Snapshot, RunError> {
        let ended = self.thread.await;
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
