//! What a person sees when a run has ended.

use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use millstream_core::time::EventTime;
use millstream_runtime::graph::{Graph, NodeKind};
use millstream_runtime::metrics::{Latency, NodeSnapshot, Snapshot};
use millstream_runtime::run::Handle;
use serde_json::{Value, json};

use crate::args::{RowFormat, RunArgs};
use crate::exit::Failure;
use crate::grid::Grid;
use crate::load::Loaded;
use crate::{ledger, logging, number, refused, rows, terminal, written};

/// Rows of results that are shown.
const SHOWN: usize = 8;
/// Rows of results in the JSON document.
const DOCUMENTED: usize = 100;

/// A run that has ended.
pub(crate) struct Ended {
    /// The last counters: those of all runs since the state was last empty.
    pub(crate) snapshot: Snapshot,
    /// The counters it began with: zero, or those of the checkpoint it went on from.
    pub(crate) before: Snapshot,
    /// Wall-clock time from the start.
    pub(crate) took: Duration,
    /// Whether somebody stopped it.
    pub(crate) stopped: bool,
    /// Worker threads.
    pub(crate) workers: usize,
    /// What ran.
    pub(crate) handle: Handle,
    /// How often its metrics could not be kept.
    pub(crate) unreported: u64,
}

impl Ended {
    /// The nodes that read.
    pub(crate) fn sources(&self) -> impl Iterator<Item = &NodeSnapshot> {
        self.snapshot.nodes.iter().filter(|n| n.kind == "source")
    }
    /// A node as it was when the run began.
    fn before(&self, id: &str) -> Option<&NodeSnapshot> {
        self.before.nodes.iter().find(|n| n.id == id)
    }
    /// Whether an earlier run was gone on from: then totals are not what this one did.
    pub(crate) fn resumed(&self) -> bool {
        self.before.nodes.iter().any(|n| n.counts.input + n.counts.produced > 0)
    }
    /// What this run added to a counter of a node.
    fn added(&self, node: &NodeSnapshot, counter: impl Fn(&NodeSnapshot) -> u64) -> u64 {
        counter(node).saturating_sub(self.before(&node.id).map_or(0, counter))
    }
    /// Records read in this run.
    pub(crate) fn records(&self) -> u64 {
        self.sources().map(|n| self.added(n, |n| n.counts.input)).sum()
    }
    /// Bytes of records read in this run.
    pub(crate) fn bytes(&self) -> u64 {
        self.sources().map(|n| self.added(n, |n| n.bytes)).sum()
    }
    /// Records read in all runs since the state was last empty.
    fn all_records(&self) -> u64 {
        self.sources().map(|n| n.counts.input).sum()
    }
    /// Something per second.
    pub(crate) fn per_second(&self, n: u64) -> f64 {
        n as f64 / self.took.as_secs_f64().max(1e-6)
    }
}

/// Prints the summary to stdout; a ledger that does not add up fails the run.
pub(crate) async fn print(args: &RunArgs, loaded: &Loaded, ended: &Ended, location: &str) -> Result<(), Failure> {
    let verdict = ledger::verdict(&ended.snapshot);
    let keyed = written::keyed(ended.handle.graph()).await;
    if args.json || logging::are_json_lines() {
        logging::document(&document(loaded, ended, &keyed)?);
    } else {
        head(loaded, ended);
        read(ended);
        heading(if ended.resumed() { "Ledger of all runs since the state was empty" } else { "Ledger" });
        terminal::out(&ledger::table(&ended.snapshot, terminal::width()));
        match &verdict {
            Ok(text) => terminal::line(&format!("  {} {text}", terminal::green("✓"))),
            Err(wrong) => wrong.iter().for_each(|w| terminal::line(&format!("  {} {w}", terminal::red("✗")))),
        }
        refusals(ended);
        places(loaded, ended);
        checkpoints(ended, location);
        if ended.unreported > 0 {
            let lost = number::of(ended.unreported, "report");
            terminal::line(&format!("  {lost} of metrics could not be kept; the log says why"));
        }
        for (sink, batches) in &keyed {
            first_rows(sink, batches)?;
        }
        next(args, loaded, ended.handle.graph());
    }
    match verdict {
        Ok(_) => Ok(()),
        Err(wrong) => {
            let message = format!(
                "the ledger does not add up (this is a bug in millstream, please report it): {}",
                wrong.join("; ")
            );
            Err(Failure::new(Failure::RUNNING, message))
        }
    }
}

fn heading(text: &str) {
    terminal::line(&format!("\n{}", terminal::bold(text)));
}

fn head(loaded: &Loaded, ended: &Ended) {
    let name = loaded.parsed.pipeline.as_ref().map_or("", |p| p.name.value.as_str());
    let how = if ended.stopped { "stopped after" } else { "done in" };
    terminal::line(&format!(
        "{} {how} {}: {}, {}, {} records/s on {}",
        terminal::bold(name),
        number::duration(ended.took),
        number::of(ended.records(), "record"),
        number::bytes(ended.bytes()),
        number::rate(ended.per_second(ended.records())),
        number::of(ended.workers as u64, "worker"),
    ));
    if ended.resumed() {
        let all = number::of(ended.all_records(), "record");
        terminal::line(&format!("  it went on from an earlier run: {all} in all"));
    }
    let open = ended.snapshot.nodes.iter().map(|n| n.open_windows as u64).sum::<u64>();
    if ended.stopped && open > 0 {
        let left = number::of(open, "window");
        terminal::line(&format!("  {left} had not ended and gave no final result yet; the next run goes on from here"));
    }
    let (ticks, rows) = (&ended.snapshot.tick_latency, &ended.snapshot.row_latency);
    if rows.count > 0 {
        terminal::line(&terminal::dim(&format!("  latency of rows: {}; of ticks: {}", latency(rows), latency(ticks))));
    }
    for table in ended.snapshot.nodes.iter().filter_map(|n| n.table.as_ref()).filter(|t| t.acknowledged.count > 0) {
        let (all, store) = (latency(&table.acknowledged), latency(&table.answered));
        terminal::line(&terminal::dim(&format!(
            "  {}: read to acknowledged {all}; of that its store {store}",
            table.id
        )));
    }
}

fn latency(l: &Latency) -> String {
    let time = |micros| number::duration(Duration::from_micros(micros));
    format!("p50 {}, p99 {}, max {}", time(l.p50), time(l.p99), time(l.max))
}

fn read(ended: &Ended) {
    heading("Read");
    let records = if ended.resumed() { "records now" } else { "records" };
    let columns = [
        ("source", false),
        (records, true),
        ("in all", true),
        ("bytes", true),
        ("in all", true),
        ("splits", true),
        ("newest event", false),
    ];
    let mut grid = Grid::new(columns);
    for source in ended.sources() {
        let newest = source.event_time.map_or_else(|| terminal::dim("-"), moment);
        let splits = match source.splits_finished == source.splits {
            true => number::count(source.splits),
            false => format!("{} of {}", number::count(source.splits_finished), number::count(source.splits)),
        };
        grid.row(vec![
            source.id.clone(),
            number::count(ended.added(source, |n| n.counts.input)),
            number::count(source.counts.input),
            number::bytes(ended.added(source, |n| n.bytes)),
            number::bytes(source.bytes),
            splits,
            newest,
        ]);
    }
    grid.keep(|i| ended.resumed() || ![2, 4].contains(&i));
    terminal::out(&grid.render());
    for source in ended.sources() {
        let retries = (source.retries > 0).then_some(("calls made again", source.retries));
        for (what, count) in source.counters.iter().map(|(w, c)| (*w, *c)).filter(|(_, c)| *c > 0).chain(retries) {
            terminal::line(&terminal::dim(&format!("  {}: {} {what}", source.id, number::count(count))));
        }
    }
}

/// An event time without the noise of its fraction.
pub(crate) fn moment(time: EventTime) -> String {
    let text = time.to_string();
    text.split('.').next().unwrap_or(&text).trim_end_matches('Z').replace('T', " ")
}

/// Why rows were refused in this run, and what looks wrong.
fn refusals(ended: &Ended) {
    if let Some(table) = refused::table(&ended.snapshot) {
        heading(if ended.resumed() { "Refused in this run" } else { "Refused" });
        terminal::out(&table);
    }
    for line in refused::failed_results(&ended.snapshot) {
        terminal::line(&format!("  {line}"));
    }
    for warning in refused::warnings(&ended.snapshot, &ended.before) {
        terminal::line(&format!("  {} {warning}", terminal::yellow("warning:")));
    }
}

/// Where the results are.
fn places(loaded: &Loaded, ended: &Ended) {
    heading("Results");
    let rows = if ended.resumed() { "rows now" } else { "rows" };
    let mut grid = Grid::new([("written by", false), (rows, true), ("in all", true), ("where", false)]);
    for (node, in_graph) in ended.snapshot.nodes.iter().zip(&ended.handle.graph().nodes) {
        if let Some(table) = &node.table {
            let place = place_of(loaded, &table.id, in_graph).unwrap_or_default();
            let now = ended.added(node, |n| n.table.as_ref().map_or(0, |t| t.counts.out));
            grid.row(vec![table.id.clone(), number::count(now), number::count(table.counts.out), place]);
        }
        let (now, total) = (ended.added(node, |n| n.counts.out), node.counts.out);
        for (i, summary) in node.summaries.iter().enumerate() {
            let cells = match i {
                0 => [node.id.clone(), number::count(now), number::count(total)],
                _ => [const { String::new() }; 3],
            };
            let shown = if now == 0 { terminal::dim(summary) } else { summary.clone() };
            grid.row(cells.into_iter().chain([shown]).collect());
        }
    }
    grid.keep(|i| ended.resumed() || i != 2);
    terminal::out(&grid.render());
}

/// What checkpoints there were, and what they cost.
fn checkpoints(ended: &Ended, location: &str) {
    let Some(last) = ended.snapshot.checkpoint else { return };
    let time = |micros| number::duration(Duration::from_micros(micros));
    terminal::line(&terminal::dim(&format!(
        "  {}, the last ({}) took {}, {} of state in {location}; the data path paused {}",
        number::of(last.count, "checkpoint"),
        last.checkpoint,
        time(last.took),
        number::bytes(last.bytes),
        time(last.pause),
    )));
}

fn place_of(loaded: &Loaded, table: &str, node: &millstream_runtime::graph::Node) -> Option<String> {
    let NodeKind::Upsert(upsert) = &node.kind else { return None };
    let pipeline = loaded.parsed.pipeline.as_ref()?;
    let (_, declared) = pipeline.tables.iter().find(|(id, _)| id.value == table)?;
    let path = written::option(pipeline, loaded.parsed.profile.as_deref(), &declared.store.value, "path");
    Some(match path {
        Some(path) => format!("table {table} of {path}"),
        None => format!("table {table} ({})", upsert.connector.kind()),
    })
}

fn first_rows(sink: &str, batches: &[RecordBatch]) -> Result<(), Failure> {
    let count: usize = batches.iter().map(RecordBatch::num_rows).sum();
    let Some(first) = batches.first().filter(|_| count > 0) else { return Ok(()) };
    heading(&format!("First rows of {sink}"));
    let shown = head_of(batches, SHOWN);
    terminal::out(&rows::text(&first.schema(), &shown, RowFormat::Table)?);
    if count > SHOWN {
        terminal::line(&terminal::dim(&format!("  … and {} more", number::count((count - SHOWN) as u64))));
    }
    Ok(())
}

fn head_of(batches: &[RecordBatch], mut rows: usize) -> Vec<RecordBatch> {
    let mut shown = Vec::new();
    for batch in batches {
        let taken = rows.min(batch.num_rows());
        if taken > 0 {
            shown.push(batch.slice(0, taken));
        }
        rows -= taken;
    }
    shown
}

/// Commands worth trying now.
fn next(args: &RunArgs, loaded: &Loaded, graph: &Graph) {
    heading("Next");
    let file = args.file.file.display();
    let profile = args.file.reading.profile.as_ref().map(|p| format!(" --profile {p}")).unwrap_or_default();
    let mut lines = Vec::new();
    if let Some(sql) = sample_query(graph) {
        lines.push((format!("millstream query {file}{profile} \"{sql}\""), "SQL over tables and results"));
    }
    if loaded.parsed.pipeline.as_ref().is_some_and(|p| !p.tests.is_empty()) {
        lines.push((format!("millstream test {file}"), "the file's own tests"));
    }
    lines.push((format!("millstream explain {file}{profile}"), "what each node does and guarantees"));
    lines.push((format!("millstream check {file}"), "finds mistakes after an edit"));
    for (command, what) in lines {
        terminal::line(&format!("  {}\n      {command}", terminal::dim(what)));
    }
}

/// A query that shows something.
fn sample_query(graph: &Graph) -> Option<String> {
    let table = graph.nodes.iter().find_map(|n| match &n.kind {
        NodeKind::Upsert(u) if u.connector.kind() != "memory" => Some(u),
        _ => None,
    });
    if let Some(table) = table {
        let id = &table.table_id;
        return Some(match table.table.columns.index_of("status") {
            Ok(_) => format!("SELECT status, count(*) AS rows FROM {id} GROUP BY status"),
            Err(_) => format!("SELECT * FROM {id} LIMIT 10"),
        });
    }
    graph.nodes.iter().find_map(|n| match &n.kind {
        NodeKind::Sink(s) if s.options.mode == millstream_core::sink::WriteMode::Overwrite => {
            Some(format!("SELECT * FROM {}", n.id))
        }
        _ => None,
    })
}

/// The summary for programs.
fn document(loaded: &Loaded, ended: &Ended, keyed: &[(String, Vec<RecordBatch>)]) -> Result<Value, Failure> {
    let mut results = serde_json::Map::new();
    for (sink, batches) in keyed {
        results.insert(sink.clone(), json_rows(&head_of(batches, DOCUMENTED))?);
    }
    Ok(json!({
        "pipeline": loaded.parsed.pipeline.as_ref().map(|p| p.name.value.as_str()),
        "profile": loaded.parsed.profile,
        "workers": ended.workers,
        "stopped": ended.stopped,
        "seconds": ended.took.as_secs_f64(),
        "records": ended.records(),
        "bytes": ended.bytes(),
        "records_per_second": ended.per_second(ended.records()),
        "resumed": ended.resumed(),
        "records_in_all": ended.all_records(),
        "complete": !ended.stopped,
        "checkpoint": ended.snapshot.checkpoint,
        "adds_up": ended.snapshot.adds_up(),
        "warnings": refused::warnings(&ended.snapshot, &ended.before),
        "faults": ledger::verdict(&ended.snapshot).err().unwrap_or_default(),
        "tick_latency_micros": ended.snapshot.tick_latency,
        "row_latency_micros": ended.snapshot.row_latency,
        "metrics_lost": ended.unreported,
        "nodes": ended.snapshot.nodes,
        "results": results,
    }))
}

fn json_rows(batches: &[RecordBatch]) -> Result<Value, Failure> {
    let Some(first) = batches.first() else { return Ok(json!([])) };
    let all = concat_batches(&first.schema(), batches).map_err(millstream_core::Error::from)?;
    let lines = rows::text(&first.schema(), &[all], RowFormat::Json)?;
    Ok(lines.lines().map(|l| serde_json::from_str::<Value>(l).unwrap_or_else(|_| json!(l))).collect())
}
