//! `bench`: runs a pipeline and measures what it costs.

use std::path::Path;
use std::time::Duration;

use millstream_local::checkpoints::default_store;
use millstream_runtime::RunOptions;
use millstream_runtime::checkpoint::Checkpoints;
use millstream_runtime::graph::{Graph, Node, NodeKind};
use millstream_runtime::metrics::Latency;
use serde_json::{Value, json};

use crate::args::BenchArgs;
use crate::exit::Failure;
use crate::grid::Grid;
use crate::load::Loaded;
use crate::summary::Ended;
use crate::{ledger, load, number, registry, run, terminal};

/// What one run took.
struct Measured {
    ended: Ended,
    cpu: Duration,
    /// Most memory of the process, in bytes, where the system says so.
    peak: Option<u64>,
}

impl Measured {
    fn per_core_second(&self) -> f64 {
        self.ended.records() as f64 / self.cpu.as_secs_f64().max(1e-6)
    }
    fn json(&self) -> Value {
        let ended = &self.ended;
        json!({
            "seconds": ended.took.as_secs_f64(),
            "records": ended.records(),
            "bytes": ended.bytes(),
            "records_per_second": ended.per_second(ended.records()),
            "bytes_per_second": ended.per_second(ended.bytes()),
            "cpu_seconds": self.cpu.as_secs_f64(),
            "records_per_core_second": self.per_core_second(),
            "peak_memory_bytes": self.peak,
            "tick_latency_micros": ended.snapshot.tick_latency,
            "row_latency_micros": ended.snapshot.row_latency,
            "checkpoint": ended.snapshot.checkpoint,
            "adds_up": ended.snapshot.adds_up(),
        })
    }
}

/// Runs the command.
pub(crate) fn execute(args: &BenchArgs) -> Result<(), Failure> {
    let registry = registry::registry();
    let workers = run::workers(args.workers);
    let mut runs = Vec::new();
    let (mut name, mut profile) = (String::new(), None);
    for _ in 0..args.repeat {
        let mut loaded = load::for_running(&args.file.file, &args.file.reading, false, &registry)?;
        let graph = run::graph(&mut loaded)?;
        name.clone_from(&graph.name);
        profile.clone_from(&loaded.parsed.profile);
        if runs.is_empty() {
            warn(&graph, args.repeat);
        }
        reset_peak();
        let before = cpu();
        let ended = run::play(async {
            let folder =
                tempfile::tempdir().map_err(|e| Failure::new(Failure::ENVIRONMENT, format!("no folder: {e}")))?;
            let checkpoints = args.durable.then(|| durable(&loaded, folder.path())).transpose()?;
            let options = RunOptions { workers, checkpoints, ..RunOptions::default() };
            run::run(millstream_runtime::ready(graph, options).await?, false, true, None).await
        })?;
        let cpu = cpu().saturating_sub(before);
        let stopped = ended.stopped;
        if let Err(wrong) = ledger::verdict(&ended.snapshot) {
            return Err(Failure::new(Failure::RUNNING, format!("the ledger does not add up: {}", wrong.join("; "))));
        }
        runs.push(Measured { ended, cpu, peak: peak() });
        if stopped {
            break;
        }
    }
    let shown = profile.as_deref().unwrap_or("-");
    terminal::line(&format!(
        "{} on profile {shown}, {}\n",
        terminal::bold(&name),
        number::of(workers as u64, "worker")
    ));
    terminal::out(&table(&runs));
    latencies(&runs);
    if let Some(path) = &args.json {
        let all: Vec<Value> = runs.iter().map(Measured::json).collect();
        let document = json!({ "pipeline": name, "profile": profile, "workers": workers, "runs": all });
        std::fs::write(path, format!("{document:#}\n"))
            .map_err(|e| Failure::new(Failure::ENVIRONMENT, format!("`{}` cannot be written: {e}", path.display())))?;
    }
    Ok(())
}

/// Says where rows really go: writing is part of what is measured.
fn warn(graph: &Graph, repeat: u32) {
    let place = |node: &Node| match &node.kind {
        NodeKind::Sink(sink) => Some((node.id.clone(), sink.connector.kind())),
        NodeKind::Upsert(upsert) => Some((upsert.table_id.clone(), upsert.connector.kind())),
        _ => None,
    };
    let places = graph.nodes.iter().filter_map(place).filter(|(_, kind)| *kind != "memory");
    let places: Vec<String> = places.map(|(id, kind)| format!("{id} ({kind})")).collect();
    if places.is_empty() {
        return;
    }
    let times = if repeat > 1 { format!(", {repeat} times") } else { String::new() };
    terminal::note(&format!(
        "{}: a bench writes for real{times}, beside or over what is there: {}. A profile of its own, with folders for \
         tests or `memory`, keeps results clean\n",
        terminal::yellow("warning"),
        places.join(", ")
    ));
}

/// Checkpoints as the file says, in a folder of their own.
fn durable(loaded: &Loaded, folder: &Path) -> Result<Checkpoints, Failure> {
    let pipeline = loaded.pipeline()?;
    let store = default_store(folder, &pipeline.name.value)?;
    Ok(Checkpoints { every: Some(pipeline.checkpoint.every), ..Checkpoints::new(store) })
}

fn table(runs: &[Measured]) -> String {
    let columns = ["run", "records", "seconds", "records/s", "MB/s", "CPU s", "records/s and core", "peak memory"];
    let mut grid = Grid::new(columns.map(|name| (name, true)));
    for (i, run) in runs.iter().enumerate() {
        let ended = &run.ended;
        grid.row(vec![
            (i + 1).to_string(),
            number::count(ended.records()),
            format!("{:.2}", ended.took.as_secs_f64()),
            number::count(ended.per_second(ended.records()) as u64),
            format!("{:.1}", ended.per_second(ended.bytes()) / 1e6),
            format!("{:.2}", run.cpu.as_secs_f64()),
            number::count(run.per_core_second() as u64),
            run.peak.map_or_else(|| "-".to_owned(), number::bytes),
        ]);
    }
    grid.render()
}

fn latencies(runs: &[Measured]) {
    let mut grid = Grid::new([("run", true), ("latency of", false), ("p50", true), ("p99", true), ("max", true)]);
    let time = |micros| number::duration(Duration::from_micros(micros));
    for (i, run) in runs.iter().enumerate() {
        let mut row = |what: &str, l: &Latency| {
            grid.row(vec![(i + 1).to_string(), what.to_owned(), time(l.p50), time(l.p99), time(l.max)]);
        };
        row("rows", &run.ended.snapshot.row_latency);
        row("ticks", &run.ended.snapshot.tick_latency);
    }
    terminal::line("");
    terminal::out(&grid.render());
}

/// User and system time of this process so far; zero where the system does not say.
fn cpu() -> Duration {
    /// Linux counts in hundredths of a second here on every architecture (USER_HZ).
    const PER_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name of the process stands in brackets and may hold spaces: fields are counted behind it.
    let fields = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    // utime and stime are fields 14 and 15 of all; 3 is the first behind the name.
    let ticks: u64 = fields.split(' ').skip(11).take(2).filter_map(|f| f.parse::<u64>().ok()).sum();
    Duration::from_secs_f64(ticks as f64 / PER_SECOND)
}

/// The most memory this process has had since the last [`reset_peak`].
fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches("kB").trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Makes the peak start anew, where the system can.
fn reset_peak() {
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}
