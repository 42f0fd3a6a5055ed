//! What the runtime counts while it runs: the ledger, watermarks, state, latency. Read by the CLI at any time.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use std::collections::BTreeMap;

use millstream_core::batch::Batch;
use millstream_core::ledger::Counts;
use millstream_core::operator::StateSize;
use millstream_core::source::SplitSource;
use millstream_core::time::{EventTime, Watermark};
use millstream_state::checkpoint::NodeCounters;

use crate::graph::{Graph, NodeKind};
use crate::reasons::Reasons;
use crate::recorder::Recorder;
pub use crate::snapshot::{
    CheckpointMetrics, EdgeSnapshot, Latency, NodeSnapshot, PortSnapshot, ReasonSnapshot, Snapshot, TableSnapshot,
};

/// Locks, also where a panicking thread left the lock: counters are valid after every single update.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counters of one node, over the workers of this process.
#[derive(Default)]
pub struct NodeMetrics {
    counts: Mutex<Counts>,
    /// Counts of an upsert's table.
    table: Mutex<Counts>,
    /// From the reading of a record to the table's acknowledgement of its row.
    acknowledged: Recorder,
    /// From giving a row to the table to its answer.
    answered: Recorder,
    /// Rows given, by port.
    given: Vec<AtomicU64>,
    /// Why rows were refused.
    reasons: Mutex<Reasons>,
    /// Rows taken, by in-port.
    taken: Vec<AtomicU64>,
    /// Rows the port had given before the edge was there, by in-port.
    before: Vec<AtomicU64>,
    /// Per worker: rows taken in and neither given on nor merged.
    held: Vec<AtomicU64>,
    /// Per worker: rows dirty or on their way to the table.
    table_held: Vec<AtomicU64>,
    state: Vec<Mutex<StateSize>>,
    watermark: Vec<AtomicI64>,
    /// Sources: greatest event time seen.
    event_time: AtomicI64,
    /// Sources: bytes of records read.
    bytes: AtomicU64,
    /// Sources: bytes there are to read, where that is known for all splits; else 0.
    bytes_total: AtomicU64,
    splits: AtomicU64,
    splits_finished: AtomicU64,
    /// Open splits of streams: milliseconds behind the stream's end, 0 where they are caught up, `None` where that is not
    /// known.
    behind: Mutex<BTreeMap<String, Option<u64>>>,
    /// Splits that were read to their end and whose children are not known yet.
    awaiting_children: AtomicI64,
    /// Its splits were listed.
    discovered: AtomicBool,
    /// Calls of a source that were refused or lost, and made again.
    retries: AtomicU64,
    /// What a source itself counts.
    source: OnceLock<Arc<dyn SplitSource>>,
    /// What a sink says of where its rows went.
    summaries: Mutex<Vec<String>>,
}

impl NodeMetrics {
    fn new(ports: usize, inputs: usize, workers: usize) -> Self {
        let atomics = |n| (0..n).map(|_| AtomicU64::new(0)).collect::<Vec<_>>();
        Self {
            given: atomics(ports),
            taken: atomics(inputs),
            before: atomics(inputs),
            held: atomics(workers),
            table_held: atomics(workers),
            state: (0..workers).map(|_| Mutex::default()).collect(),
            watermark: (0..workers).map(|_| AtomicI64::new(i64::MIN)).collect(),
            event_time: AtomicI64::new(i64::MIN),
            ..Self::default()
        }
    }
    pub(crate) fn add(&self, counts: Counts) {
        *lock(&self.counts) += counts;
    }
    pub(crate) fn add_table(&self, counts: Counts) {
        *lock(&self.table) += counts;
    }
    pub(crate) fn gave(&self, port: usize, rows: usize) {
        if let Some(port) = self.given.get(port) {
            port.fetch_add(rows as u64, Relaxed);
        }
    }
    pub(crate) fn refused(&self, port: usize, rows: &Batch) {
        lock(&self.reasons).add(port, rows);
    }
    pub(crate) fn took(&self, port: usize, rows: usize) {
        if let Some(port) = self.taken.get(port) {
            port.fetch_add(rows as u64, Relaxed);
        }
    }
    pub(crate) fn read(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Relaxed);
    }
    pub(crate) fn saw_event_time(&self, t: i64) {
        self.event_time.fetch_max(t, Relaxed);
    }
    pub(crate) fn found_split(&self, size: Option<u64>) {
        self.splits.fetch_add(1, Relaxed);
        self.bytes_total.fetch_add(size.unwrap_or(0), Relaxed);
    }
    pub(crate) fn finished_split(&self) {
        self.splits_finished.fetch_add(1, Relaxed);
    }
    pub(crate) fn set_behind(&self, split: &str, millis: Option<u64>) {
        let mut behind = lock(&self.behind);
        match behind.get_mut(split) {
            Some(known) => *known = millis,
            None => drop(behind.insert(split.to_owned(), millis)),
        }
    }
    pub(crate) fn forget_behind(&self, split: &str) {
        lock(&self.behind).remove(split);
    }
    pub(crate) fn awaits_children(&self, more: i64) {
        self.awaiting_children.fetch_add(more, Relaxed);
    }
    pub(crate) fn discovered(&self) {
        self.discovered.store(true, Relaxed);
    }
    pub(crate) fn set_held(&self, worker: usize, rows: u64) {
        if let Some(held) = self.held.get(worker) {
            held.store(rows, Relaxed);
        }
    }
    pub(crate) fn set_table_held(&self, worker: usize, rows: u64) {
        if let Some(held) = self.table_held.get(worker) {
            held.store(rows, Relaxed);
        }
    }
    pub(crate) fn set_state(&self, worker: usize, size: StateSize) {
        if let Some(state) = self.state.get(worker) {
            *lock(state) = size;
        }
    }
    pub(crate) fn set_watermark(&self, worker: usize, watermark: Watermark) {
        if let Some(w) = self.watermark.get(worker) {
            w.store(watermark.0.0, Relaxed);
        }
    }
    /// A sink's instances each say what they wrote; what they say differs only in numbers, so all are kept.
    pub(crate) fn set_summary(&self, summary: Option<String>) {
        if let Some(summary) = summary {
            lock(&self.summaries).push(summary);
        }
    }
}

/// All counters of a run in this process.
pub struct Metrics {
    nodes: Vec<NodeMetrics>,
    tick_latency: Recorder,
    row_latency: Recorder,
    in_flight: Vec<AtomicU64>,
    completed_tick: Vec<AtomicU64>,
    checkpoint: Mutex<Checkpointing>,
}

/// The last checkpoint, and the one on its way.
#[derive(Debug, Default)]
struct Checkpointing {
    last: Option<CheckpointMetrics>,
    since: Option<u64>,
    pause: u64,
    rows: u64,
}

impl Metrics {
    pub(crate) fn new(graph: &Graph, workers: usize) -> Self {
        Self {
            nodes: graph.nodes.iter().map(|n| NodeMetrics::new(n.ports.len(), n.inputs.len(), workers)).collect(),
            tick_latency: Recorder::default(),
            row_latency: Recorder::default(),
            in_flight: (0..workers).map(|_| AtomicU64::new(0)).collect(),
            completed_tick: (0..workers).map(|_| AtomicU64::new(0)).collect(),
            checkpoint: Mutex::default(),
        }
    }
    /// Goes on counting where a checkpoint has left off.
    pub(crate) fn restore(&self, graph: &Graph, counters: &BTreeMap<String, NodeCounters>) {
        for (node, m) in graph.nodes.iter().zip(&self.nodes) {
            let Some(before) = counters.get(&node.id) else { continue };
            m.add(before.counts);
            m.add_table(before.table);
            m.read(before.bytes);
            for (port, given) in m.given.iter().enumerate() {
                given.store(before.given.get(&node.port_name(port)).copied().unwrap_or(0), Relaxed);
            }
        }
        for (node, m) in graph.nodes.iter().zip(&self.nodes) {
            let taken_before = counters.get(&node.id).map(|c| &c.taken);
            for (edge, from) in node.inputs.iter().enumerate() {
                let name = graph.nodes.get(from.node).map(|n| n.port_name(from.port)).unwrap_or_default();
                let taken = taken_before.and_then(|t| t.get(&name)).copied().unwrap_or(0);
                let given =
                    self.nodes.get(from.node).and_then(|n| n.given.get(from.port)).map_or(0, |g| g.load(Relaxed));
                if let (Some(t), Some(b)) = (m.taken.get(edge), m.before.get(edge)) {
                    t.store(taken, Relaxed);
                    // An edge that is new takes nothing of what was given before it.
                    b.store(given.saturating_sub(taken), Relaxed);
                }
            }
        }
    }
    pub(crate) fn checkpoint_began(&self, at: u64) {
        let mut checkpoint = lock(&self.checkpoint);
        *checkpoint = Checkpointing { last: checkpoint.last, since: Some(at), pause: 0, rows: 0 };
    }
    /// A place stood still for so long to give so many rows of state.
    pub(crate) fn froze(&self, micros: u64, rows: u64) {
        let mut checkpoint = lock(&self.checkpoint);
        checkpoint.pause = checkpoint.pause.max(micros);
        checkpoint.rows += rows;
    }
    pub(crate) fn checkpoint_took(&self, took: CheckpointMetrics) {
        let mut checkpoint = lock(&self.checkpoint);
        let count = checkpoint.last.map_or(0, |l| l.count) + 1;
        checkpoint.last = Some(CheckpointMetrics { pause: checkpoint.pause, rows: checkpoint.rows, count, ..took });
        checkpoint.since = None;
    }
    /// A source was asked again.
    pub(crate) fn retried(&self, node: usize) {
        if let Some(m) = self.nodes.get(node) {
            m.retries.fetch_add(1, Relaxed);
        }
    }
    /// What a source counts itself belongs to its node.
    pub(crate) fn watch(&self, node: usize, source: &Arc<dyn SplitSource>) {
        if let Some(m) = self.nodes.get(node) {
            let _ = m.source.set(source.clone());
        }
    }
    pub(crate) fn node(&self, node: usize) -> Option<&NodeMetrics> {
        self.nodes.get(node)
    }
    pub(crate) fn tick_took(&self, micros: u64) {
        self.tick_latency.record(micros, 1);
    }
    pub(crate) fn rows_took(&self, micros: u64, rows: u64) {
        self.row_latency.record(micros, rows);
    }
    /// A table has acknowledged rows so long after their records were read, and so long after it was given them.
    pub(crate) fn table_took(&self, node: usize, since_read: u64, since_given: u64, rows: u64) {
        self.rows_took(since_read, rows);
        if let Some(m) = self.nodes.get(node) {
            m.acknowledged.record(since_read, rows);
            m.answered.record(since_given, rows);
        }
    }
    pub(crate) fn set_in_flight(&self, worker: usize, bytes: u64) {
        if let Some(b) = self.in_flight.get(worker) {
            b.store(bytes, Relaxed);
        }
    }
    pub(crate) fn set_completed_tick(&self, worker: usize, tick: u64) {
        if let Some(t) = self.completed_tick.get(worker) {
            t.store(tick, Relaxed);
        }
    }
    /// The greatest tick that is complete on every worker of this process: nothing up to it is in flight here.
    pub fn completed_tick(&self) -> u64 {
        self.completed_tick.iter().map(|t| t.load(Relaxed)).min().unwrap_or(0)
    }
    /// A consistent enough copy: exact once the run has ended.
    pub fn snapshot(&self, graph: &Graph) -> Snapshot {
        let nodes = graph
            .nodes
            .iter()
            .zip(&self.nodes)
            .map(|(node, m)| {
                let mut counts = *lock(&m.counts);
                counts.held += m.held.iter().map(|h| h.load(Relaxed)).sum::<u64>();
                let state = m.state.iter().fold(StateSize::default(), |mut sum, s| {
                    let s = *lock(s);
                    sum.bytes += s.bytes;
                    sum.keys += s.keys;
                    sum.open_windows += s.open_windows;
                    sum
                });
                let behind = lock(&m.behind).clone();
                let table = matches!(node.kind, NodeKind::Upsert(_)).then(|| {
                    let mut table = *lock(&m.table);
                    table.held += m.table_held.iter().map(|h| h.load(Relaxed)).sum::<u64>();
                    table
                });
                NodeSnapshot {
                    id: node.id.clone(),
                    kind: node.kind.name().to_owned(),
                    counts,
                    table: table.zip(node.table_id().map(str::to_owned)).map(|(counts, id)| TableSnapshot {
                        id,
                        counts,
                        acknowledged: m.acknowledged.latency(),
                        answered: m.answered.latency(),
                    }),
                    ports: node
                        .ports
                        .iter()
                        .zip(&m.given)
                        .enumerate()
                        .map(|(i, (_, given))| PortSnapshot { name: node.port_name(i), given: given.load(Relaxed) })
                        .collect(),
                    reasons: lock(&m.reasons).snapshot(node),
                    edges: node
                        .inputs
                        .iter()
                        .zip(m.taken.iter().zip(&m.before))
                        .map(|(from, (taken, before))| EdgeSnapshot {
                            from: graph.nodes.get(from.node).map(|n| n.port_name(from.port)).unwrap_or_default(),
                            given: self
                                .nodes
                                .get(from.node)
                                .and_then(|n| n.given.get(from.port))
                                .map_or(0, |g| g.load(Relaxed).saturating_sub(before.load(Relaxed))),
                            taken: taken.load(Relaxed),
                        })
                        .collect(),
                    watermark: m
                        .watermark
                        .iter()
                        .map(|w| w.load(Relaxed))
                        .min()
                        .map(EventTime)
                        .filter(|t| *t != EventTime::MIN),
                    event_time: Some(EventTime(m.event_time.load(Relaxed))).filter(|t| *t != EventTime::MIN),
                    bytes: m.bytes.load(Relaxed),
                    bytes_total: m.bytes_total.load(Relaxed),
                    splits: m.splits.load(Relaxed),
                    splits_finished: m.splits_finished.load(Relaxed),
                    behind_millis: behind.values().flatten().max().copied().unwrap_or(0),
                    behind,
                    awaiting_children: m.awaiting_children.load(Relaxed).max(0) as u64,
                    discovered: m.discovered.load(Relaxed),
                    retries: m.retries.load(Relaxed),
                    counters: m.source.get().map(|s| s.counters()).unwrap_or_default().into_iter().collect(),
                    state_bytes: state.bytes,
                    state_keys: state.keys,
                    open_windows: state.open_windows,
                    summaries: lock(&m.summaries).clone(),
                }
            })
            .collect();
        let checkpoint = lock(&self.checkpoint);
        Snapshot {
            nodes,
            tick_latency: self.tick_latency.latency(),
            row_latency: self.row_latency.latency(),
            in_flight_bytes: self.in_flight.iter().map(|b| b.load(Relaxed)).sum(),
            checkpoint: checkpoint.last,
            checkpoint_since: checkpoint.since,
        }
    }
}
