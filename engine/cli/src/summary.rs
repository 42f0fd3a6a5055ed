//! What a person sees when a run has ended.

use std::time::Duration;

use millstream_core::connector::Registry;
use millstream_runtime::metrics::{Latency, NodeSnapshot, Snapshot};
use serde_json::{Value, json};

use crate::args::RunArgs;
use crate::exit::Failure;
use crate::load::Loaded;
use crate::{ledger, number, terminal};

/// A run that has ended.
pub(crate) struct Ended {
    /// The last counters.
    pub(crate) snapshot: Snapshot,
    /// Wall-clock time from the start.
    pub(crate) took: Duration,
    /// Whether somebody stopped it.
    pub(crate) stopped: bool,
    /// Worker threads.
    pub(crate) workers: usize,
}

impl Ended {
    /// The nodes that read.
    pub(crate) fn sources(&self) -> impl Iterator<Item = &NodeSnapshot> {
        self.snapshot.nodes.iter().filter(|n| n.kind == "source")
    }
    /// Records read.
    pub(crate) fn records(&self) -> u64 {
        self.sources().map(|n| n.counts.input).sum()
    }
    /// Bytes of records read.
    pub(crate) fn bytes(&self) -> u64 {
        self.sources().map(|n| n.bytes).sum()
    }
    /// Something per second.
    pub(crate) fn per_second(&self, n: u64) -> f64 {
        n as f64 / self.took.as_secs_f64().max(1e-6)
    }
}

/// Prints the summary to stdout; a ledger that does not add up fails the run.
pub(crate) async fn print(args: &RunArgs, loaded: &Loaded, _registry: &Registry, ended: &Ended) -> Result<(), Failure> {
    let verdict = ledger::verdict(&ended.snapshot);
    if args.json {
        terminal::line(&format!("{:#}", document(loaded, ended)));
    } else {
        head(loaded, ended);
        terminal::line(&format!("\n{}", terminal::bold("Ledger")));
        terminal::out(&ledger::table(&ended.snapshot, terminal::width()));
        match &verdict {
            Ok(text) => terminal::line(&format!("  {} {text}", terminal::green("✓"))),
            Err(wrong) => wrong.iter().for_each(|w| terminal::line(&format!("  {} {w}", terminal::red("✗")))),
        }
        results(&ended.snapshot);
        next(args);
    }
    match verdict {
        Ok(_) => Ok(()),
        Err(wrong) => {
            let message = format!("the ledger does not add up (this is a bug in millstream, please report it): {}", wrong.join("; "));
            Err(Failure::new(Failure::RUNNING, message))
        }
    }
}

fn head(loaded: &Loaded, ended: &Ended) {
    let name = loaded.parsed.pipeline.as_ref().map_or("", |p| p.name.value.as_str());
    let how = if ended.stopped { "stopped after" } else { "done in" };
    let records = number::of(ended.records(), "record");
    terminal::line(&format!(
        "{} {how} {}: {records}, {} read, {} records/s on {}",
        terminal::bold(name),
        number::duration(ended.took),
        number::bytes(ended.bytes()),
        number::rate(ended.per_second(ended.records())),
        number::of(ended.workers as u64, "worker"),
    ));
    let (ticks, rows) = (&ended.snapshot.tick_latency, &ended.snapshot.row_latency);
    if rows.count > 0 {
        terminal::line(&terminal::dim(&format!("  latency of rows: {}; of ticks: {}", latency(rows), latency(ticks))));
    }
}

fn latency(l: &Latency) -> String {
    let time = |micros| number::duration(Duration::from_micros(micros));
    format!("p50 {}, p99 {}, max {}", time(l.p50), time(l.p99), time(l.max))
}

fn results(snapshot: &Snapshot) {
    terminal::line(&format!("\n{}", terminal::bold("Results")));
    for node in &snapshot.nodes {
        if let Some(table) = &node.table {
            let written = number::of(table.counts.out, "write");
            terminal::line(&format!("  {:<16} {written}", table.id));
        }
        let rows = number::of(node.counts.out, "row");
        for summary in &node.summaries {
            terminal::line(&format!("  {:<16} {rows}: {summary}", node.id));
        }
    }
}

fn next(args: &RunArgs) {
    let file = args.file.file.display();
    terminal::line(&format!("\n{}", terminal::bold("Next")));
    for (command, what) in [("explain", "what each node does, and what each sink guarantees")] {
        terminal::line(&format!("  millstream {command} {file}   {}", terminal::dim(what)));
    }
}

/// The summary for programs.
pub(crate) fn document(loaded: &Loaded, ended: &Ended) -> Value {
    json!({
        "pipeline": loaded.parsed.pipeline.as_ref().map(|p| p.name.value.as_str()),
        "profile": loaded.parsed.profile,
        "workers": ended.workers,
        "stopped": ended.stopped,
        "seconds": ended.took.as_secs_f64(),
        "records": ended.records(),
        "bytes": ended.bytes(),
        "records_per_second": ended.per_second(ended.records()),
        "adds_up": ended.snapshot.adds_up(),
        "tick_latency_micros": ended.snapshot.tick_latency,
        "row_latency_micros": ended.snapshot.row_latency,
        "nodes": ended.snapshot.nodes,
    })
}
