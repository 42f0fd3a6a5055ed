//! Tables of rows that may be others when the same input is worked on again: nothing of them may be seen outside before a
//! checkpoint holds it.
//!
//! ```text
//! boundary n: dirty rows -> covered, and with the state into checkpoint n -> CLAIM of n -> the store -> n is finalised
//! ```
//! After a crash the rows are in the state of n, not written yet or written: they are written (again), and the store's
//! versions say that they are the same.

use std::collections::VecDeque;

use millstream_core::error::Result;
use millstream_core::ledger::Counts;
use millstream_operators::upsert::DirtyRows;
use timely::dataflow::operators::Capability;
use timely::progress::frontier::MutableAntichain;

use super::{Flight, PUT_ROWS, TableHost};
use crate::checkpoint::{Finalised, Mail};
use crate::control::Boundary;

/// Rows that wait for the claim of the checkpoint that holds them, as they were at its boundary. They hold no tick back:
/// like those of an outbox they are part of the state. The next checkpoint waits for them.
#[derive(Default)]
pub(super) struct Covered {
    /// In the order they became dirty.
    pub(super) rows: VecDeque<DirtyRows>,
    /// The checkpoint that holds them counts.
    pub(super) claimed: bool,
    /// Of the newest tick, for rows that the store refuses.
    pub(super) newest: Option<Capability<u64>>,
    /// When the oldest record behind them was read.
    pub(super) since: Option<u64>,
    /// The newest boundary, and whether it is of a last checkpoint.
    pub(super) boundary: (u64, bool),
    /// Rows were written for it.
    pub(super) wrote: bool,
    /// Bytes taken in since the last boundary.
    pub(super) bytes: u64,
}

impl TableHost {
    /// What is dirty at a boundary is what its checkpoint holds: it may be written once that counts.
    pub(super) fn cover(&mut self, boundary: &Boundary) -> Result<()> {
        let Some(covered) = &mut self.covered else { return Ok(()) };
        while let Some(rows) = self.upsert.take_dirty(PUT_ROWS)? {
            covered.rows.push_back(rows);
        }
        covered.since = covered.since.or(self.dirty_since.take());
        covered.boundary = (boundary.checkpoint, boundary.last);
        covered.claimed = false;
        covered.wrote = !covered.rows.is_empty();
        self.ctx.hold_bytes(-(covered.bytes as i64));
        covered.bytes = 0;
        Ok(())
    }

    /// Hears which checkpoints count, and keeps the newest tick for refused rows.
    pub(super) fn follow(&mut self, frontiers: &[MutableAntichain<u64>]) {
        let claims = self.control.take_claimed();
        let Some(covered) = &mut self.covered else { return };
        covered.claimed |= claims.contains(&covered.boundary.0);
        if let Some(newest) = self.control.newest(self.failed) {
            covered.newest = Some(newest);
        } else if covered.rows.is_empty() && self.flight.is_none() && frontiers.iter().all(|f| f.frontier().is_empty())
        {
            covered.newest = None;
        }
    }

    /// Once what a checkpoint holds is written, the next one may come; after the last one, whether it must.
    pub(super) fn tell_written(&mut self) {
        let Some(covered) = &mut self.covered else { return };
        if covered.claimed && covered.rows.is_empty() && self.flight.is_none() {
            covered.claimed = false;
            let (checkpoint, last) = covered.boundary;
            let refused = u64::from(last && (covered.wrote || self.upsert.dirty_len() > 0));
            self.ctx.mail(Mail::Finalised(Finalised { checkpoint, refused }));
        }
    }

    /// Starts a flight with rows that a checkpoint holds, if none is in the air.
    pub(super) fn take_off_covered(&mut self) {
        let Some(covered) = self.covered.as_mut().filter(|c| c.claimed && self.flight.is_none()) else { return };
        let Some(rows) = covered.rows.pop_front() else { return };
        let since = if covered.rows.is_empty() { covered.since.take() } else { covered.since };
        let capabilities = covered.newest.iter().map(|c| (*c.time(), c.clone())).collect();
        self.tally.add_table(Counts { input: rows.len() as u64, ..Counts::default() });
        // A writer that is gone has said why.
        let _ = self.to_writer.send(rows.rows.clone());
        let since = since.unwrap_or_else(|| self.ctx.now());
        self.flight = Some(Flight { left: 0, capabilities, rows: Some(rows), since });
    }
}
