//! Operators: deterministic state machines over batches and watermarks.

use crate::batch::Batch;
use crate::error::Result;
use crate::ledger::Counts;
use crate::snapshot::{Snapshot, StateLayout, StateTable};
use crate::time::{Tick, Watermark};

/// Which of an operator's inputs a batch came by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InPort(pub usize);

/// Which of an operator's outputs a batch leaves by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OutPort(pub usize);

/// What an operator gives: batches by port, and the counts that make the ledger add up.
#[derive(Debug, Default)]
pub struct Output {
    /// In the order given.
    pub batches: Vec<(OutPort, Batch)>,
    /// What became of the input rows; the host adds `input` itself.
    pub counts: Counts,
}

impl Output {
    /// Gives a batch; one with no rows is not sent.
    pub fn give(&mut self, port: OutPort, batch: Batch) {
        if batch.num_rows() > 0 {
            self.batches.push((port, batch));
        }
    }
}

/// A deterministic state machine: synchronous, no clock, no I/O, no randomness. One instance per worker, which
/// sees exactly the rows whose key group belongs to the worker.
///
/// What becomes of a row may depend only on its content and on earlier rows of its own split, never on how
/// splits interleave, how batches are cut, or when a watermark comes.
pub trait Operator: Send {
    /// Takes a batch.
    ///
    /// # Errors
    /// Any error ends the pipeline: refused rows are outputs, not errors.
    fn on_batch(&mut self, port: InPort, batch: Batch, out: &mut Output) -> Result<()>;
    /// The watermark of the operator's inputs has moved on, after all rows before it were given. Strictly
    /// increasing.
    ///
    /// # Errors
    /// As `on_batch`.
    fn on_watermark(&mut self, watermark: Watermark, out: &mut Output) -> Result<()> {
        let _ = (watermark, out);
        Ok(())
    }
    /// A tick has ended: all rows of it were given. Only for what may depend on time without changing
    /// final results (early window results, digests).
    ///
    /// # Errors
    /// As `on_batch`.
    fn on_tick(&mut self, tick: Tick, out: &mut Output) -> Result<()> {
        let _ = (tick, out);
        Ok(())
    }
    /// There will be no more ticks: the input has ended or the pipeline was stopped. Only for what must not wait for
    /// the next start (digests); final results belong to [`Watermark::COMPLETE`].
    ///
    /// # Errors
    /// As `on_batch`.
    fn on_end(&mut self, out: &mut Output) -> Result<()> {
        let _ = out;
        Ok(())
    }
    /// What its state looks like; `None` where it remembers nothing but the watermark.
    fn layout(&self) -> Option<StateLayout> {
        None
    }
    /// Its state now: all of it (`whole`), or what changed since the last snapshot or restore. Called between ticks,
    /// after everything due at the tick was given. The data path waits for it: rows are copied here, and encoded and
    /// stored elsewhere.
    ///
    /// # Errors
    /// `Bug` only.
    fn snapshot(&mut self, whole: bool) -> Result<Snapshot> {
        let _ = whole;
        Ok(Snapshot::default())
    }
    /// Takes back what [`Operator::snapshot`] gave, here or in an earlier process with other workers: the tables of
    /// all layers, oldest first, only rows of this worker's key groups. Called at most once, before anything else;
    /// `watermark` is where the operator's inputs were at the snapshot.
    ///
    /// # Errors
    /// `Bug` where the tables are not of this operator: a layout that does not fit was refused before.
    fn restore(&mut self, tables: Vec<StateTable>, watermark: Watermark) -> Result<()> {
        let _ = (tables, watermark);
        Ok(())
    }
    /// Rows taken in and neither given on nor merged yet (the `held` of the ledger).
    fn held(&self) -> u64 {
        0
    }
    /// Bytes of state, and a count of what it holds, for progress and metrics.
    fn state_size(&self) -> StateSize {
        StateSize::default()
    }
}

/// How much an operator remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StateSize {
    /// Bytes of memory.
    pub bytes: usize,
    /// Keys (ids of a dedup, rows of an upsert, groups of windows).
    pub keys: usize,
    /// Windows that may still change.
    pub open_windows: usize,
}

/// A boolean question about rows, compiled from the user's SQL: the rules of `validate`, the statuses of `upsert`.
pub trait Predicate: Send + Sync {
    /// Per row, true, false or null.
    ///
    /// # Errors
    /// `Bug` where the rows do not have the schema it was compiled for; `BadRow` where a value makes the
    /// expression fail (overflow, division by zero).
    fn evaluate(&self, rows: &arrow::array::RecordBatch) -> Result<arrow::array::BooleanArray>;
}
