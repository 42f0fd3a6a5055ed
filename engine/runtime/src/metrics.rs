//! What the runtime counts while it runs: the ledger, watermarks, state, latency. Read by the CLI at any time.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use hdrhistogram::Histogram;
use millstream_core::ledger::Counts;
use millstream_core::operator::StateSize;
use millstream_core::time::{EventTime, Watermark};
use serde::Serialize;

use crate::graph::{Graph, NodeKind};

/// Locks, also where a panicking thread left the lock: counters are valid after every single update.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counters of one node, over the workers of this process.
#[derive(Debug, Default)]
pub struct NodeMetrics {
    counts: Mutex<Counts>,
    /// Counts of an upsert's table.
    table: Mutex<Counts>,
    /// Rows given, by port.
    given: Vec<AtomicU64>,
    /// Rows taken, by in-port.
    taken: Vec<AtomicU64>,
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
    /// Milliseconds behind the stream's end, where the stream says so.
    behind: AtomicU64,
    /// What a sink says of where its rows went.
    summaries: Mutex<Vec<String>>,
}

impl NodeMetrics {
    fn new(ports: usize, inputs: usize, workers: usize) -> Self {
        let atomics = |n| (0..n).map(|_| AtomicU64::new(0)).collect::<Vec<_>>();
        Self {
            given: atomics(ports),
            taken: atomics(inputs),
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
    pub(crate) fn set_behind(&self, millis: u64) {
        self.behind.store(millis, Relaxed);
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
#[derive(Debug)]
pub struct Metrics {
    nodes: Vec<NodeMetrics>,
    tick_latency: Mutex<Histogram<u64>>,
    row_latency: Mutex<Histogram<u64>>,
    in_flight: Vec<AtomicU64>,
    completed_tick: Vec<AtomicU64>,
}

impl Metrics {
    pub(crate) fn new(graph: &Graph, workers: usize) -> Self {
        // One minute in microseconds, two digits.
        let histogram =
            || Mutex::new(Histogram::new_with_max(60_000_000, 2).unwrap_or_else(|_| unreachable_histogram()));
        Self {
            nodes: graph.nodes.iter().map(|n| NodeMetrics::new(n.ports.len(), n.inputs.len(), workers)).collect(),
            tick_latency: histogram(),
            row_latency: histogram(),
            in_flight: (0..workers).map(|_| AtomicU64::new(0)).collect(),
            completed_tick: (0..workers).map(|_| AtomicU64::new(0)).collect(),
        }
    }
    pub(crate) fn node(&self, node: usize) -> Option<&NodeMetrics> {
        self.nodes.get(node)
    }
    pub(crate) fn tick_took(&self, micros: u64) {
        lock(&self.tick_latency).saturating_record(micros);
    }
    pub(crate) fn rows_took(&self, micros: u64, rows: u64) {
        lock(&self.row_latency).saturating_record_n(micros, rows);
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
                let table = matches!(node.kind, NodeKind::Upsert(_)).then(|| {
                    let mut table = *lock(&m.table);
                    table.held += m.table_held.iter().map(|h| h.load(Relaxed)).sum::<u64>();
                    table
                });
                NodeSnapshot {
                    id: node.id.clone(),
                    kind: node.kind.name().to_owned(),
                    counts,
                    table: table
                        .zip(node.table_id().map(str::to_owned))
                        .map(|(counts, id)| TableSnapshot { id, counts }),
                    ports: node
                        .ports
                        .iter()
                        .zip(&m.given)
                        .enumerate()
                        .map(|(i, (_, given))| PortSnapshot { name: node.port_name(i), given: given.load(Relaxed) })
                        .collect(),
                    edges: node
                        .inputs
                        .iter()
                        .zip(&m.taken)
                        .map(|(from, taken)| EdgeSnapshot {
                            from: graph.nodes.get(from.node).map(|n| n.port_name(from.port)).unwrap_or_default(),
                            given: self
                                .nodes
                                .get(from.node)
                                .and_then(|n| n.given.get(from.port))
                                .map_or(0, |g| g.load(Relaxed)),
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
                    behind_millis: m.behind.load(Relaxed),
                    state_bytes: state.bytes,
                    state_keys: state.keys,
                    open_windows: state.open_windows,
                    summaries: lock(&m.summaries).clone(),
                }
            })
            .collect();
        Snapshot {
            nodes,
            tick_latency: Latency::of(&lock(&self.tick_latency)),
            row_latency: Latency::of(&lock(&self.row_latency)),
            in_flight_bytes: self.in_flight.iter().map(|b| b.load(Relaxed)).sum(),
        }
    }
}

#[expect(clippy::panic, reason = "the arguments of the histogram are constants")]
fn unreachable_histogram() -> Histogram<u64> {
    panic!("a histogram of constants cannot be made")
}

/// Percentiles, in microseconds.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Latency {
    /// How many were measured.
    pub count: u64,
    /// Half were faster.
    pub p50: u64,
    /// One in a hundred was slower.
    pub p99: u64,
    /// The slowest.
    pub max: u64,
}

impl Latency {
    fn of(h: &Histogram<u64>) -> Self {
        if h.is_empty() {
            return Self::default();
        }
        Self { count: h.len(), p50: h.value_at_quantile(0.5), p99: h.value_at_quantile(0.99), max: h.max() }
    }
}

/// One port's share of the ledger.
#[derive(Debug, Clone, Serialize)]
pub struct PortSnapshot {
    /// `node` or `node.port`.
    pub name: String,
    /// Rows given.
    pub given: u64,
}

/// One edge's share of the ledger.
#[derive(Debug, Clone, Serialize)]
pub struct EdgeSnapshot {
    /// The port it comes from.
    pub from: String,
    /// Rows the port gave.
    pub given: u64,
    /// Rows that were taken.
    pub taken: u64,
}

/// A table's share of the ledger.
#[derive(Debug, Clone, Serialize)]
pub struct TableSnapshot {
    /// Its id.
    pub id: String,
    /// `input` are rows made dirty, `out` rows written, `merged` writes that coalesced or were echoes.
    pub counts: Counts,
}

/// One node's share.
#[derive(Debug, Clone, Serialize)]
pub struct NodeSnapshot {
    /// Its id.
    pub id: String,
    /// `source`, `operator`, `upsert` or `sink`.
    pub kind: String,
    /// What became of its input.
    pub counts: Counts,
    /// An upsert's table.
    pub table: Option<TableSnapshot>,
    /// What it gave.
    pub ports: Vec<PortSnapshot>,
    /// What it took.
    pub edges: Vec<EdgeSnapshot>,
    /// The watermark it has reached.
    pub watermark: Option<EventTime>,
    /// Sources: the greatest event time seen.
    pub event_time: Option<EventTime>,
    /// Sources: bytes read.
    pub bytes: u64,
    /// Sources: bytes there are, where that is known.
    pub bytes_total: u64,
    /// Sources: splits found.
    pub splits: u64,
    /// Sources: splits read to their end.
    pub splits_finished: u64,
    /// Sources: how far behind the stream's end.
    pub behind_millis: u64,
    /// Bytes of state.
    pub state_bytes: usize,
    /// Keys in state.
    pub state_keys: usize,
    /// Windows that may still change.
    pub open_windows: usize,
    /// Sinks: where the rows went, by worker.
    pub summaries: Vec<String>,
}

impl NodeSnapshot {
    /// Whether its rows, its table's rows and its edges add up.
    pub fn adds_up(&self) -> bool {
        self.counts.adds_up()
            && self.table.as_ref().is_none_or(|t| t.counts.adds_up())
            && self.edges.iter().all(|e| e.given == e.taken)
            && (self.edges.is_empty() || self.counts.input == self.edges.iter().map(|e| e.taken).sum::<u64>())
    }
}

/// All counters at one time.
#[derive(Debug, Clone, Serialize)]
pub struct Snapshot {
    /// By node, in the graph's order.
    pub nodes: Vec<NodeSnapshot>,
    /// From a tick's control message to its completion behind the sinks.
    pub tick_latency: Latency,
    /// From the reading of a record to the acknowledgement of the rows it led to.
    pub row_latency: Latency,
    /// Bytes read and not yet complete.
    pub in_flight_bytes: u64,
}

impl Snapshot {
    /// Whether every node and edge adds up.
    pub fn adds_up(&self) -> bool {
        self.nodes.iter().all(NodeSnapshot::adds_up)
    }
}
