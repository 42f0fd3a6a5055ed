//! Writing through: which rows the store must be given, and what its answers mean.

use arrow::array::{Array, RecordBatch};
use millstream_core::format::Reason;
use millstream_core::operator::Output;
use millstream_core::refusal::{self, Refusal};
use millstream_core::table::{PutOutcome, StoredRow, TableRows};
use millstream_core::{Error, EventTime, Result};
use millstream_formats::value::row_json;
use millstream_state::{Meta, Slot};

use super::Upsert;
use super::stamp::{Stamp, to_json};

/// Rows handed out to be written; given back with the store's answers.
#[derive(Debug, Clone)]
pub struct DirtyRows {
    /// By row, its key's place in state.
    slots: Vec<Slot>,
    /// What the store is to put.
    pub rows: TableRows,
    /// By row, how often it was tried, where whoever puts the rows knows that.
    pub attempts: Vec<u64>,
}

impl DirtyRows {
    /// How many rows.
    pub fn len(&self) -> usize {
        self.slots.len()
    }
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
}

impl Upsert {
    /// How many keys changed since they were last handed out, those in flight included.
    pub fn dirty_len(&self) -> usize {
        self.dirty
    }
    /// How many keys were handed out and not answered for.
    pub fn in_flight_len(&self) -> usize {
        self.flying.len()
    }
    /// Hands out at most `max_rows` rows to be written, oldest change first; none where no key is dirty that is
    /// not in flight. They are in flight until [`Upsert::on_outcomes`] or [`Upsert::retry`].
    ///
    /// # Errors
    /// `Bug` only.
    pub fn take_dirty(&mut self, max_rows: usize) -> Result<Option<DirtyRows>> {
        let count = max_rows.min(self.queue.len());
        let (mut slots, mut versions) = (Vec::with_capacity(count), Vec::with_capacity(count));
        while slots.len() < max_rows
            && let Some(slot) = self.queue.pop_front()
        {
            let meta = self.own.table.meta_mut(slot);
            meta.flags &= !Meta::QUEUED;
            if meta.has(Meta::DIRTY) {
                meta.flags = (meta.flags & !Meta::DIRTY) | Meta::IN_FLIGHT;
                versions.push(if meta.has(Meta::CONTACTED) { meta.version.max(meta.written + 1) } else { 1 });
                slots.push(slot);
            }
        }
        if slots.is_empty() {
            return Ok(None);
        }
        self.dirty -= slots.len();
        self.flying.extend_from_slice(&slots);
        let merged = self.merged_rows(&slots)?;
        let rows = self.as_stored(&slots, merged.rows, versions)?;
        Ok(Some(DirtyRows { slots, rows, attempts: Vec::new() }))
    }
    /// Gives rows back that did not get through: they are dirty again.
    pub fn retry(&mut self, rows: DirtyRows) {
        self.land(&rows.slots);
        for slot in rows.slots {
            self.mark_dirty(slot);
        }
    }
    /// Takes the store's answers to rows of [`Upsert::take_dirty`]. A stale row is merged with the stored one, and is
    /// dirty again where that says more than the store; a refused one leaves by the failed port (counted as produced:
    /// the events behind it are merged); one to be retried is dirty again.
    ///
    /// # Errors
    /// `Bug` where the answers do not fit the rows.
    pub fn on_outcomes(&mut self, rows: DirtyRows, outcomes: Vec<PutOutcome>, out: &mut Output) -> Result<()> {
        if outcomes.len() != rows.slots.len() {
            return Err(Error::bug(format!("the store of `{}` answered for another number of rows", self.spec.id)));
        }
        self.land(&rows.slots);
        let mut refusals = Vec::new();
        let mut stale: Vec<(Slot, StoredRow)> = Vec::new();
        for (row, (slot, outcome)) in rows.slots.iter().zip(outcomes).enumerate() {
            let version = rows.rows.versions.get(row).copied().unwrap_or_default();
            match outcome {
                PutOutcome::Written => {
                    let meta = self.own.table.meta_mut(*slot);
                    meta.flags |= Meta::CONTACTED;
                    meta.written = version;
                }
                PutOutcome::Stale(stored) if stored.version < version => {
                    // Against its contract: trying again would never end.
                    let reason = "the store has a row of a lower version and lets none be put over it";
                    refusals.push(self.refuse(&rows, row, "stuck", reason)?);
                }
                PutOutcome::Stale(stored) => stale.push((*slot, *stored)),
                PutOutcome::Refused(reason) => refusals.push(self.refuse(&rows, row, "refused", &reason)?),
                PutOutcome::GivenUp(reason) => refusals.push(self.refuse(&rows, row, "unavailable", &reason)?),
                PutOutcome::Retry(_) => self.mark_dirty(*slot),
            }
        }
        if !stale.is_empty() {
            self.absorb(stale)?;
        }
        out.counts.produced += refusals.len() as u64;
        if !refusals.is_empty() {
            out.give(self.spec.failed, refusal::batch(&refusals)?);
        }
        Ok(())
    }
    /// Keys are not in flight any more; those that changed while they flew are queued.
    fn land(&mut self, slots: &[Slot]) {
        for slot in slots {
            let meta = self.own.table.meta_mut(*slot);
            if meta.has(Meta::IN_FLIGHT) {
                meta.flags &= !Meta::IN_FLIGHT;
                if meta.has(Meta::DIRTY) {
                    self.enqueue(*slot);
                }
            }
        }
        let table = &self.own.table;
        self.flying.retain(|slot| table.meta(*slot).has(Meta::IN_FLIGHT));
    }
    fn refuse(&self, rows: &DirtyRows, row: usize, rule: &str, reason: &str) -> Result<Refusal> {
        let slot = rows.slots.get(row).copied().unwrap_or_default();
        let arrived = self.greatest(&[slot], self.layout.inputs.iter().map(|i| i.arrived_at))?;
        let event_time = self.own.table.meta(slot).event_time;
        let reasons = vec![Reason { rule: rule.to_owned(), text: reason.to_owned() }];
        let arrived_at = EventTime(if arrived.is_valid(0) { arrived.value(0) } else { 0 });
        Ok(Refusal {
            row: Some(row_json(&rows.rows.rows, row)),
            version: rows.rows.versions.get(row).copied(),
            stamps: rows.rows.stamps.get(row).cloned().flatten(),
            attempts: rows.attempts.get(row).copied(),
            event_time: (event_time != i64::MIN).then_some(EventTime(event_time)),
            ..Refusal::new(&self.spec.id, "failed", reasons, arrived_at)
        })
    }
    /// Merged rows as the store is to have them.
    pub(super) fn as_stored(&self, slots: &[Slot], rows: RecordBatch, versions: Vec<u64>) -> Result<TableRows> {
        let stamps = slots.iter().map(|s| self.stamps(*s)).collect::<Result<_>>()?;
        let mut rows = TableRows { rows, versions, stamps, truncated: vec![None; slots.len()] };
        self.fit(slots, &mut rows)?;
        Ok(rows)
    }
    /// The stamps of a row as the store keeps them, where they cannot be computed again from the row: where `latest_by`
    /// decides, and where the columns of one input come from several of its events.
    pub(super) fn stamps(&self, slot: Slot) -> Result<Option<String>> {
        let based = self.base_of.contains_key(&slot);
        if !self.layout.stamped && !based && !self.own.table.meta(slot).has(Meta::MIXED) {
            return Ok(None);
        }
        let (text, needed) = self.stamps_of(slot)?;
        Ok(needed.then_some(text))
    }
    /// The stamps of a row, whether or not they could be computed again from it.
    pub(super) fn all_stamps(&self, slot: Slot) -> Result<String> {
        Ok(self.stamps_of(slot)?.0)
    }
    /// The stamps of a row, and whether they cannot be computed again from it.
    fn stamps_of(&self, slot: Slot) -> Result<(String, bool)> {
        let base = self.base_of.get(&slot).copied();
        let mut stamps = Vec::new();
        let mut needed = self.layout.stamped;
        let mut of_group: Vec<Option<Stamp>> = vec![None; self.layout.groups.len()];
        for (column, field) in self.layout.table.fields().iter().enumerate() {
            let own = self.own.stamp(slot, column)?;
            let stored = base.map(|b| self.base.stamp(b, column)).transpose()?.flatten();
            let Some(stamp) = own.max(stored) else { continue };
            if let Some(first) = self.layout.group(column).and_then(|(at, _)| of_group.get_mut(at)) {
                needed |= *first.get_or_insert(stamp) != stamp;
            }
            stamps.push((field.name().as_str(), stamp));
        }
        Ok((to_json(stamps.into_iter()), needed))
    }
}
