//! What the counters of a run say at one time.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use millstream_core::ledger::Counts;
use millstream_core::time::EventTime;
use serde::Serialize;

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
    pub(crate) fn of(h: &Histogram<u64>) -> Self {
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

/// One reason for which rows were refused in this run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReasonSnapshot {
    /// The port they left by: `node.rejected`.
    pub port: String,
    /// The short name of the reason.
    pub rule: String,
    /// Rows it was a reason for; a row may have several.
    pub rows: u64,
    /// The reason in words, of one of them.
    pub example: String,
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
#[derive(Debug, Clone, Default, Serialize)]
pub struct TableSnapshot {
    /// Its id.
    pub id: String,
    /// `input` are rows made dirty, `out` rows written, `merged` writes that coalesced or were echoes.
    pub counts: Counts,
    /// From the reading of a record to the acknowledgement of the row it led to; for rows that were written together, of the
    /// oldest record behind them.
    pub acknowledged: Latency,
    /// The part of that from when the store was given the row: the service's, and the way to it.
    pub answered: Latency,
}

/// One node's share.
#[derive(Debug, Clone, Default, Serialize)]
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
    /// Why rows were refused in this run, by port, the most frequent reason first.
    pub reasons: Vec<ReasonSnapshot>,
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
    /// Sources: how far behind the stream's end, of the split that is furthest.
    pub behind_millis: u64,
    /// Sources: the same of each open split; `None` where it is not known.
    pub behind: BTreeMap<String, Option<u64>>,
    /// Sources: splits that were read to their end and whose children are not known yet.
    pub awaiting_children: u64,
    /// Sources: their splits were listed.
    pub discovered: bool,
    /// Sources: calls that were refused or lost, and made again.
    pub retries: u64,
    /// Sources: what they left out, and why.
    pub counters: BTreeMap<&'static str, u64>,
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
    /// Whether a stream is read to where it ends now: every split is caught up, and none waits for its children.
    pub fn caught_up(&self) -> bool {
        self.discovered && self.awaiting_children == 0 && self.behind.values().all(|b| *b == Some(0))
    }
    /// Results of its own that could not be computed and left by `.failed`: nothing of its input, so no part of
    /// [`Counts::failed`].
    pub fn failed_results(&self) -> u64 {
        let failed = self.ports.iter().filter(|p| p.name.ends_with(".failed")).map(|p| p.given).sum::<u64>();
        if self.kind == "operator" { failed.saturating_sub(self.counts.failed) } else { 0 }
    }
    /// Whether its rows, its table's rows and its edges add up.
    pub fn adds_up(&self) -> bool {
        self.counts.adds_up()
            && self.table.as_ref().is_none_or(|t| t.counts.adds_up())
            && self.edges.iter().all(|e| e.given == e.taken)
            && (self.edges.is_empty() || self.counts.input == self.edges.iter().map(|e| e.taken).sum::<u64>())
    }
}

/// All counters at one time.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Snapshot {
    /// By node, in the graph's order.
    pub nodes: Vec<NodeSnapshot>,
    /// From a tick's control message to its completion behind the sinks.
    pub tick_latency: Latency,
    /// From the reading of a record to the acknowledgement of the rows it led to.
    pub row_latency: Latency,
    /// Bytes read and not yet complete.
    pub in_flight_bytes: u64,
    /// The last checkpoint.
    pub checkpoint: Option<CheckpointMetrics>,
    /// When the checkpoint that is on its way began, in wall-clock microseconds.
    pub checkpoint_since: Option<u64>,
}

/// What a checkpoint cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct CheckpointMetrics {
    /// Its number.
    pub checkpoint: u64,
    /// When it was complete, in wall-clock microseconds.
    pub at: u64,
    /// From its announcement until everything it covers was visible, in microseconds.
    pub took: u64,
    /// Bytes of state written.
    pub bytes: u64,
    /// The longest time that one place stood still for it, in microseconds.
    pub pause: u64,
    /// Rows of state written.
    pub rows: u64,
    /// How many there have been in this process.
    pub count: u64,
}

impl Snapshot {
    /// Whether every node and edge adds up.
    pub fn adds_up(&self) -> bool {
        self.nodes.iter().all(NodeSnapshot::adds_up)
    }
}
