//! What became of each row of an input batch: every row has exactly one fate, however many rows come of it.

use arrow::array::RecordBatch;
use datafusion::common::Result as DfResult;
use millstream_core::ledger::Counts;

use crate::chain::input_rows;

/// In rising order: where a row has several (it was unnested), the greatest counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fate {
    /// No row came of it.
    Filtered,
    /// It left by `.failed`.
    Failed,
    /// It left by `.late`.
    Late,
    /// It went into a window.
    Merged,
    /// It went on.
    Out,
}

/// The fates of a batch's rows.
#[derive(Debug)]
pub(crate) struct Fates {
    fates: Vec<Fate>,
    /// Rows given, by accepted and refused ports.
    out: u64,
    late: u64,
    failed: u64,
}

impl Fates {
    pub(crate) fn new(rows: usize) -> Self {
        Self { fates: vec![Fate::Filtered; rows], out: 0, late: 0, failed: 0 }
    }

    /// Row `row` of the input has this fate, or a greater one.
    pub(crate) fn set(&mut self, row: u32, fate: Fate) {
        if let Some(own) = self.fates.get_mut(row as usize) {
            *own = fate.max(*own);
        }
    }

    /// The input rows that `rows` come from have this fate.
    pub(crate) fn mark(&mut self, rows: &RecordBatch, fate: Fate) -> DfResult<()> {
        for &row in input_rows(rows)?.values() {
            self.set(row, fate);
        }
        if fate == Fate::Out {
            self.out += rows.num_rows() as u64;
        }
        Ok(())
    }

    /// So many rows left by a refused port.
    pub(crate) fn refused(&mut self, fate: Fate, rows: usize) {
        match fate {
            Fate::Late => self.late += rows as u64,
            _ => self.failed += rows as u64,
        }
    }

    /// Adds to a ledger. Rows given beyond one per row of the same fate are produced.
    pub(crate) fn count(&self, counts: &mut Counts) {
        let of = |fate| self.fates.iter().filter(|f| **f == fate).count() as u64;
        let (out, late, failed) = (of(Fate::Out), of(Fate::Late), of(Fate::Failed));
        counts.out += out;
        counts.late += late;
        counts.failed += failed;
        counts.filtered += of(Fate::Filtered);
        counts.merged += of(Fate::Merged);
        counts.produced += (self.out - out) + (self.late - late) + (self.failed - failed);
    }
}
