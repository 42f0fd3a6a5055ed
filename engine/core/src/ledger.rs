//! The ledger: what became of every row, at every node and on every edge.
//!
//! At every node `input = out + filtered + rejected + late + duplicate + failed + merged + held`. What a node
//! makes anew (window results, transitions, unnested rows) is `produced`, outside that sum. On every edge,
//! what the port gave is what the reader took.

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

/// What became of the rows a node took in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Rows (records, for a source) taken in.
    pub input: u64,
    /// Went on as themselves, by any port of accepted rows; for sinks and tables: written.
    pub out: u64,
    /// Did not meet a `WHERE`.
    pub filtered: u64,
    /// Left by `.rejected`.
    pub rejected: u64,
    /// Left by `.late`.
    pub late: u64,
    /// Were seen before.
    pub duplicate: u64,
    /// Left by `.failed`.
    pub failed: u64,
    /// Went into state: a table row, a window, a digest.
    pub merged: u64,
    /// Taken in and not yet any of these.
    pub held: u64,
    /// Made by the node itself.
    pub produced: u64,
    /// Duplicates whose content differs from the row first seen (part of `duplicate`).
    pub conflicts: u64,
    /// Rows dropped by `bad_row: drop` (part of `failed`).
    pub dropped: u64,
}

impl Counts {
    /// The sum of what became of the input.
    pub fn accounted(&self) -> u64 {
        self.out + self.filtered + self.rejected + self.late + self.duplicate + self.failed + self.merged + self.held
    }
    /// Whether every row taken in is accounted for.
    pub fn adds_up(&self) -> bool {
        self.input == self.accounted()
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, o: Self) {
        self.input += o.input;
        self.out += o.out;
        self.filtered += o.filtered;
        self.rejected += o.rejected;
        self.late += o.late;
        self.duplicate += o.duplicate;
        self.failed += o.failed;
        self.merged += o.merged;
        self.held += o.held;
        self.produced += o.produced;
        self.conflicts += o.conflicts;
        self.dropped += o.dropped;
    }
}
