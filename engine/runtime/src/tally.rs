//! One place's part of the ledger on one worker, kept twice: here, so that a checkpoint has it as it was at the
//! boundary, and in the shared metrics, for whoever looks.

use std::sync::Arc;

use millstream_core::batch::Batch;
use millstream_core::ledger::Counts;
use millstream_state::checkpoint::NodeCounters;

use crate::graph::{Graph, Port};
use crate::metrics::{Metrics, NodeMetrics};

/// Counters of one place on one worker.
pub(crate) struct Tally {
    metrics: Arc<Metrics>,
    graph: Arc<Graph>,
    node: usize,
    counts: Counts,
    table: Counts,
    given: Vec<u64>,
    /// Which ports are of refused rows.
    refuses: Vec<bool>,
    taken: Vec<u64>,
    bytes: u64,
}

impl Tally {
    pub(crate) fn new(metrics: Arc<Metrics>, graph: Arc<Graph>, node: usize) -> Self {
        let (ports, inputs) = graph.nodes.get(node).map_or((0, 0), |n| (n.ports.len(), n.inputs.len()));
        let (given, taken) = (vec![0; ports], vec![0; inputs]);
        let (counts, table) = (Counts::default(), Counts::default());
        let ports = graph.nodes.get(node).map(|n| n.ports.as_slice()).unwrap_or_default();
        let refuses = ports.iter().map(Port::is_refused).collect();
        Self { metrics, graph, node, counts, table, given, refuses, taken, bytes: 0 }
    }
    /// The node's shared metrics, for what is only looked at.
    pub(crate) fn shared(&self) -> Option<&NodeMetrics> {
        self.metrics.node(self.node)
    }
    pub(crate) fn add(&mut self, counts: Counts) {
        self.counts += counts;
        if let Some(m) = self.metrics.node(self.node) {
            m.add(counts);
        }
    }
    pub(crate) fn add_table(&mut self, counts: Counts) {
        self.table += counts;
        if let Some(m) = self.metrics.node(self.node) {
            m.add_table(counts);
        }
    }
    pub(crate) fn gave(&mut self, port: usize, batch: &Batch) {
        let rows = batch.num_rows();
        if let Some(given) = self.given.get_mut(port) {
            *given += rows as u64;
        }
        if let Some(m) = self.metrics.node(self.node) {
            m.gave(port, rows);
            if self.refuses.get(port) == Some(&true) {
                m.refused(port, batch);
            }
        }
    }
    pub(crate) fn took(&mut self, input: usize, rows: usize) {
        if let Some(taken) = self.taken.get_mut(input) {
            *taken += rows as u64;
        }
        if let Some(m) = self.metrics.node(self.node) {
            m.took(input, rows);
        }
    }
    pub(crate) fn read(&mut self, bytes: u64) {
        self.bytes += bytes;
        if let Some(m) = self.metrics.node(self.node) {
            m.read(bytes);
        }
    }
    /// As they are now; `held` rows are neither in nor out.
    pub(crate) fn counters(&self, held: u64) -> NodeCounters {
        let mut counters =
            NodeCounters { counts: self.counts, table: self.table, bytes: self.bytes, ..NodeCounters::default() };
        counters.counts.held = held;
        let Some(node) = self.graph.nodes.get(self.node) else { return counters };
        for (port, rows) in self.given.iter().enumerate() {
            counters.given.insert(node.port_name(port), *rows);
        }
        for (from, rows) in node.inputs.iter().zip(&self.taken) {
            let name = self.graph.nodes.get(from.node).map(|n| n.port_name(from.port)).unwrap_or_default();
            *counters.taken.entry(name).or_default() += rows;
        }
        counters
    }
}
