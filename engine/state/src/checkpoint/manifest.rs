//! What belongs to a checkpoint: JSON, whose checksum stands in the claim.

use std::collections::BTreeMap;

use millstream_core::ledger::Counts;
use millstream_core::snapshot::{Layer, StateLayout};
use millstream_core::source::{Applied, Position, SplitId};
use millstream_core::time::EventTime;
use serde::{Deserialize, Serialize};

impl Manifest {
    /// The version of the manifest's format that this binary writes; it reads this one.
    pub const FORMAT: u32 = 1;
}

/// Everything a restart needs to know, but for the rows of state, which stand in the parts it names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this format.
    pub format: u32,
    /// The pipeline's name.
    pub pipeline: String,
    /// The number of the checkpoint.
    pub checkpoint: u64,
    /// The run of the pipeline: since its state was last empty.
    pub run: String,
    /// The process that wrote it.
    pub generation: String,
    /// When, by the wall clock.
    pub at: EventTime,
    /// The boundary: everything up to this tick is covered.
    pub tick: u64,
    /// How many workers there were.
    pub workers: usize,
    /// The inputs were read to their end and everything they led to is covered.
    pub complete: bool,
    /// By source node.
    pub sources: BTreeMap<String, SourceState>,
    /// By place: a node with state, or one of its stages.
    pub places: BTreeMap<String, PlaceState>,
    /// What sinks have to make visible, by sink node.
    pub staged: BTreeMap<String, Vec<Staged>>,
    /// The ledger, by node.
    pub counters: BTreeMap<String, NodeCounters>,
}

/// How far a source has been read.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SourceState {
    /// Its watermark at the boundary.
    pub watermark: Option<EventTime>,
    /// Its splits.
    pub splits: BTreeMap<SplitId, SplitState>,
}

/// How far a split has been read, and what its watermark depends on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SplitState {
    /// Behind the last record that is covered; `None` where none is.
    pub position: Option<Position>,
    /// The greatest event time seen in it.
    pub seen: Option<EventTime>,
    /// Its watermark never falls below this.
    pub floor: Option<EventTime>,
    /// It was read to its end.
    pub finished: bool,
    /// Its size in bytes, where that is known.
    pub size: Option<u64>,
    /// Of a queue: records that are covered and not known to have left it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub applied: Vec<Applied>,
    /// The splits it follows: they stay until it is in a committed checkpoint.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parents: Vec<SplitId>,
}

/// The state of an operator or sink.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlaceState {
    /// What it looks like.
    pub layout: StateLayout,
    /// Its layers, oldest first; each of one or several parts.
    pub parts: Vec<PartRef>,
}

/// A part in the store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PartRef {
    /// The object's name.
    pub object: String,
    /// Whether it replaces the layers before its checkpoint's.
    pub layer: Layer,
    /// The checkpoint it was written for.
    pub checkpoint: u64,
    /// Its size.
    pub bytes: u64,
    /// Its rows, all tables together.
    pub rows: u64,
}

/// What one instance of a sink has staged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Staged {
    /// The instance.
    pub instance: usize,
    /// For the sink to understand.
    pub staged: serde_json::Value,
}

/// A node's part of the ledger, summed over workers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct NodeCounters {
    /// What became of its rows.
    pub counts: Counts,
    /// The same of an upsert's table.
    pub table: Counts,
    /// Rows given, by port.
    pub given: BTreeMap<String, u64>,
    /// Rows taken, by the port they come from.
    pub taken: BTreeMap<String, u64>,
    /// Bytes of records read.
    pub bytes: u64,
}

impl NodeCounters {
    /// Adds another worker's or another process's.
    pub fn add(&mut self, other: &Self) {
        self.counts += other.counts;
        self.table += other.table;
        self.bytes += other.bytes;
        for (sums, more) in [(&mut self.given, &other.given), (&mut self.taken, &other.taken)] {
            for (port, rows) in more {
                *sums.entry(port.clone()).or_default() += rows;
            }
        }
    }
}

impl PlaceState {
    /// Puts the parts of a checkpoint behind those there are; a whole layer replaces them.
    pub fn push(&mut self, layout: StateLayout, parts: Vec<PartRef>) {
        if parts.iter().any(|p| p.layer == Layer::Whole) {
            self.parts.clear();
        }
        self.layout = layout;
        self.parts.extend(parts);
    }
    /// Whether the changes have outgrown what they change: then the next snapshot is better a whole one.
    pub fn wants_whole(&self) -> bool {
        /// Smaller changes are not worth a rewrite.
        const SMALL: u64 = 1 << 20;
        /// More parts make a restart slow, however small they are.
        const MANY: usize = 64;
        let bytes = |layer| self.parts.iter().filter(|p| p.layer == layer).map(|p| p.bytes).sum::<u64>();
        self.parts.len() > MANY || bytes(Layer::Changes) > bytes(Layer::Whole).max(SMALL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(checkpoint: u64, layer: Layer, bytes: u64) -> PartRef {
        PartRef { object: format!("{checkpoint}"), layer, checkpoint, bytes, rows: 1 }
    }

    #[test]
    fn changes_pile_up_until_they_outgrow_their_base() {
        let mut place = PlaceState { layout: StateLayout::new("k"), parts: Vec::new() };
        place.push(StateLayout::new("k"), vec![part(1, Layer::Whole, 3 << 20), part(1, Layer::Whole, 1 << 20)]);
        place.push(StateLayout::new("k"), vec![part(2, Layer::Changes, 4 << 20)]);
        assert!(!place.wants_whole());
        place.push(StateLayout::new("k"), vec![part(3, Layer::Changes, 1)]);
        assert!(place.wants_whole());
        place.push(StateLayout::new("k"), vec![part(4, Layer::Whole, 5 << 20)]);
        assert_eq!(place.parts.iter().map(|p| p.checkpoint).collect::<Vec<_>>(), [4]);
        assert!(!place.wants_whole());
    }
}
