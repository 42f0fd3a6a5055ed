//! `run`: runs a pipeline, shows how it goes, and accounts for every row at the end.

use std::pin::pin;
use std::time::Duration;

use millstream_core::time::EventTime;
use millstream_runtime::checkpoint::{Begin, Recovered};
use millstream_runtime::graph::{Graph, Node, NodeKind};
use millstream_runtime::metrics::Snapshot;
use millstream_runtime::run::Handle;
use millstream_runtime::{Ready, RunOptions};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use crate::args::RunArgs;
use crate::exit::Failure;
use crate::load::Loaded;
use crate::metrics::Reports;
use crate::progress::Progress;
use crate::summary::{self, Ended};
use crate::{crash, load, logging, metrics, number, registry, state, terminal};

/// Time between two looks at the counters.
const LOOK: Duration = Duration::from_millis(250);
/// Nothing has moved for this long: idle.
const IDLE: Duration = Duration::from_secs(2);

/// Runs the command.
pub(crate) fn execute(args: &RunArgs) -> Result<(), Failure> {
    let registry = registry::registry();
    let mut loaded = load::for_running(&args.file.file, &args.file.reading, args.json, &registry)?;
    let graph = graph(&mut loaded)?;
    let workers = workers(args.workers);
    if graph.nodes.iter().any(|n| matches!(&n.kind, NodeKind::Sink(sink) if sink.connector.kind() == "stdout")) {
        terminal::leave_stdout_to_rows();
    }
    let pipes = graph.nodes.iter().filter(|n| reads_stdin(n)).map(|n| n.id.clone()).collect::<Vec<_>>();
    if !args.json {
        let profile = loaded.parsed.profile.as_deref().unwrap_or("-");
        let threads = number::of(workers as u64, "worker");
        terminal::note(&format!("{} on profile {profile}, {threads}; Ctrl-C stops it\n", graph.name));
    }
    play(async {
        let checkpoints = state::checkpoints(&loaded, &args.begin, &registry).await?;
        let (begin, location) = (checkpoints.begin, checkpoints.store.location());
        let options =
            RunOptions { workers, checkpoints: Some(checkpoints), crash: crash::from_env(), ..RunOptions::default() };
        let ready = millstream_runtime::ready(graph, options).await?;
        let recovered = ready.recovered();
        if let Some(done) = recovered.as_ref().filter(|r| r.complete && !r.finished && begin == Begin::Resume) {
            if let Some(source) = pipes.first() {
                return Err(unread(source, done));
            }
            complete(args, &loaded, done, &location);
            return Ok(());
        }
        if !args.json {
            state::announce(begin, recovered.as_ref());
        }
        let metrics = metrics::open(&loaded, &registry).await?;
        let ended = run(ready, args.until_idle, args.json, metrics).await?;
        summary::print(args, &loaded, &ended, &location).await
    })
}

fn reads_stdin(node: &Node) -> bool {
    matches!(&node.kind, NodeKind::Source(source) if source.connector.kind() == "stdin")
}

/// What comes by a pipe comes once: to say that it was not read is not enough.
fn unread(source: &str, done: &Recovered) -> Failure {
    let message = format!(
        "`{source}` reads stdin, and the pipeline is complete since checkpoint {}: what comes now is not read",
        done.checkpoint
    );
    Failure::new(Failure::RUNNING, message).help("`--fresh` begins anew and reads it")
}

/// A run whose inputs were read to their end has nothing left to do.
fn complete(args: &RunArgs, loaded: &Loaded, done: &Recovered, location: &str) {
    let name = loaded.parsed.pipeline.as_ref().map_or("", |p| p.name.value.as_str());
    if args.json || logging::are_json_lines() {
        let at = done.at.to_string();
        logging::document(&json!({ "pipeline": name, "complete": true, "checkpoint": done.checkpoint, "at": at }));
        return;
    }
    terminal::line(&format!(
        "{} is complete: its inputs were read to their end {} ago (checkpoint {} in {location}). Nothing was done; what \
         was added to the inputs since, and changes of the file, do not count.",
        terminal::bold(name),
        number::duration(state::age(done.at)),
        done.checkpoint
    ));
    let profile = args.file.reading.profile.as_ref().map(|p| format!(" --profile {p}")).unwrap_or_default();
    terminal::line(&terminal::dim(&format!(
        "  run it anew over the same outputs: millstream run {}{profile} --fresh",
        args.file.file.display()
    )));
}

/// Runs something to its end. What hangs then, such as a read of the terminal, holds nobody back.
pub(crate) fn play<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = runtime()?;
    let result = runtime.block_on(work);
    runtime.shutdown_background();
    result
}

/// The graph of a file that may run.
pub(crate) fn graph(loaded: &mut Loaded) -> Result<Graph, Failure> {
    let graph = loaded.planned.as_mut().and_then(|p| p.graph.take());
    graph.ok_or_else(|| Failure::silent(Failure::FILE))
}

/// As many workers as asked for, else as the machine has cores.
pub(crate) fn workers(asked: Option<u16>) -> usize {
    asked.map_or_else(|| std::thread::available_parallelism().map_or(1, usize::from), usize::from)
}

/// The runtime of readers and writers; the workers have threads of their own.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::new(Failure::ENVIRONMENT, format!("no threads can be started: {e}")))
}

/// Runs a graph to its end, or until somebody stops it.
pub(crate) async fn run(
    ready: Ready,
    until_idle: bool,
    quiet: bool,
    metrics: Option<Reports>,
) -> Result<Ended, Failure> {
    let began = Instant::now();
    let (workers, before) = (ready.workers(), ready.recovered().map(|r| r.checkpoint));
    let running = ready.start().await?;
    let (handle, begins) = (running.handle(), running.begins().clone());
    let metrics = metrics.map(|reports| reports.begin(&handle));
    let ends = ends(handle.graph());
    let mut progress = Progress::new(ends.iter().all(|(_, ends)| *ends), &begins, began, quiet);
    let mut idle = Idle::new(ends, began);
    let mut stopped = false;
    let mut ended = pin!(running.wait());
    let mut look = tokio::time::interval(LOOK);
    let mut interrupts = Interrupts::new()?;
    let result = loop {
        tokio::select! {
            result = &mut ended => break result,
            () = interrupts.next() => {
                if stopped {
                    leave_at_once(&handle, before);
                }
                stopped = true;
                handle.stop();
                terminal::note(
                    "stopping: sources have stopped reading, what is in flight is finished and a last checkpoint taken; \
                     Ctrl-C again exits at once\n",
                );
            }
            now = look.tick() => {
                let snapshot = handle.snapshot();
                progress.show(&snapshot, now);
                if until_idle && !stopped && idle.is_idle(&snapshot, now) {
                    stopped = true;
                    handle.stop();
                }
            }
        }
    };
    let unreported = match metrics {
        Some(metrics) => metrics.end().await,
        None => 0,
    };
    terminal::clear();
    Ok(Ended { snapshot: result?, before: begins, took: began.elapsed(), stopped, workers, handle, unreported })
}

/// By source, whether it ends by itself.
fn ends(graph: &Graph) -> Vec<(String, bool)> {
    let source = |node: &Node| match &node.kind {
        NodeKind::Source(source) => Some((node.id.clone(), source.connector.bounded())),
        _ => None,
    };
    graph.nodes.iter().filter_map(source).collect()
}

/// The second Ctrl-C.
fn leave_at_once(handle: &Handle, before: Option<u64>) -> ! {
    let snapshot = handle.snapshot();
    let in_flight = number::bytes(snapshot.in_flight_bytes);
    let from = match (snapshot.checkpoint, before) {
        (Some(last), _) => {
            let age = i64::try_from(last.at).map_or(Duration::ZERO, |at| state::age(EventTime(at)));
            format!("goes on from checkpoint {}, taken {} ago", last.checkpoint, number::duration(age))
        }
        (None, Some(before)) => format!("goes on from checkpoint {before} again"),
        (None, None) => "reads its inputs from their beginning: there is no checkpoint yet".to_owned(),
    };
    terminal::clear();
    terminal::note(&format!(
        "stopped at once with {in_flight} in flight. The next run {from}; what was read since is read again, and no row is \
         lost or doubled by that in tables and files\n"
    ));
    std::process::exit(130)
}

/// Ctrl-C and the polite kill.
struct Interrupts {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Interrupts {
    fn new() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind).map_err(|e| Failure::new(Failure::ENVIRONMENT, format!("signals cannot be listened to: {e}")))
        };
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }
    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Watches for the time when nothing moves any more.
struct Idle {
    /// By source, whether it ends by itself.
    ends: Vec<(String, bool)>,
    rows: u64,
    since: Instant,
}

impl Idle {
    fn new(ends: Vec<(String, bool)>, now: Instant) -> Self {
        Self { ends, rows: 0, since: now }
    }
    fn is_idle(&mut self, snapshot: &Snapshot, now: Instant) -> bool {
        let rows = snapshot.nodes.iter().map(|n| n.counts.input + n.counts.produced).sum::<u64>();
        let ends = |id: &str| self.ends.iter().any(|(source, ends)| *ends && source == id);
        let unread = snapshot.nodes.iter().any(|n| ends(&n.id) && (n.splits == 0 || n.splits_finished < n.splits));
        let behind = snapshot.nodes.iter().any(|n| n.kind == "source" && !ends(&n.id) && !n.caught_up());
        if rows != self.rows || behind || unread || snapshot.in_flight_bytes > 0 {
            self.rows = rows;
            self.since = now;
        }
        now.duration_since(self.since) >= IDLE
    }
}
