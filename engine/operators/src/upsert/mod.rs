//! `upsert`: events of several inputs merged by key into the rows of a table, and transitions between statuses.
//!
//! ```text
//! input 0 --+                    +--> status ports: a row when its predicate first holds, once per key
//! input 1 --+--> own rows -------+
//!                   |  dirty     +--> failed: rows the store refused
//!                   v
//!           take_dirty -> store -> on_outcomes      (written through by whoever hosts the operator)
//! ```
//!
//! 1. The own rows are a function of the set of events applied: neither their order, nor repetitions, nor the cut of
//!    batches change them. Of two unequal events of one input about one key, the one with the greater content
//!    hash wins, or the one with the greater `latest_by` (ties: the greater content hash).
//! 2. A status fires once per key, when its predicate first holds for the own row. Rows found in the store never
//!    fire one.
//! 3. A key is dirty, in flight, both (it changed while it flew) or neither; it is queued to be written while it is
//!    dirty and not in flight (a key found clean stays queued until it is met). None of these is forgotten.
//!
//! A row's version is the number of its events that changed it. The first write of a key is sent as version 1, so that
//! it succeeds only where the store has no row: what another run left there comes back and is merged, never overwritten.
//! Later writes are sent as the row's version, or one above the stored row's, whichever is greater.
//!
//! A snapshot has the own rows that changed since the last one, with their stamps, versions and fired statuses: what
//! replaying the events would make again. A checkpoint does not wait for the store, so it also lists the keys that are
//! dirty or in flight at the freeze, all of them: they are dirty after a restart, and are not forgotten before they were
//! written. Only the list of the newest checkpoint counts. Not in it, on purpose:
//!
//! - *What is known of the store.* After a restart the first write of a key is sent as version 1 again, and the store's
//!   answer brings back what it has beyond our own. That is also right where the store went on after the snapshot.
//! - *Which of the listed keys flew, and in which order they waited.* Whether the store got a row that flew is not known:
//!   it is written again, and where the store has it already, its answer says so.
//! - *What was answered for.* Every row whose key is not listed was written, found to be in the store already, or given
//!   out by the failed port. A row that was refused or given up is done with: it is not tried again until an event
//!   changes it.
//! - *Which keys went.* Rows forgotten at the watermark restored are not taken back, but for those listed.

mod compatible;
mod events;
mod fit;
mod layout;
mod merge;
mod remember;
mod replay;
mod restore;
mod spec;
mod stamp;
mod stored;
mod transitions;
mod write;

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, BooleanArray, RecordBatch};
use arrow::datatypes::SchemaRef;
use millstream_core::format::Reason;
use millstream_core::operator::{InPort, Operator, OutPort, Output, StateSize};
use millstream_core::schema::type_name;
use millstream_core::snapshot::{Snapshot, StateLayout, StateTable};
use millstream_core::time::micros;
use millstream_core::{Batch, Error, Result, Watermark, refusal};
use millstream_state::{Meta, Slot};

pub use spec::{InputSpec, STATUS, StatusSpec, UpsertSpec};
pub use write::DirtyRows;

use events::Fate;
use layout::Layout;
use merge::Merged;
use millstream_formats::refused::refusal;
use transitions::Blanks;

/// See the [module](self).
pub struct Upsert {
    spec: Arc<UpsertSpec>,
    layout: Arc<Layout>,
    /// What this run's events say.
    own: Merged,
    /// What the store had beyond that, by own slot -> slot here.
    base: Merged,
    base_of: HashMap<Slot, Slot>,
    /// Keys to be written, oldest change first.
    queue: VecDeque<Slot>,
    /// Keys that changed since they were last handed out.
    dirty: usize,
    /// The keys in flight: a freeze must know them without a look at every key there is.
    flying: Vec<Slot>,
    /// The fired bits of a key that has nothing left to fire.
    all_fired: u32,
    blanks: Blanks,
    /// By input, name and type of its `latest_by`, as far as they are known.
    orders: Vec<Option<String>>,
}

impl Upsert {
    /// An upsert without state.
    ///
    /// # Errors
    /// `Config` where inputs share columns without `latest_by`, `latest_by` or the table has an unsuitable type, or
    /// there are more than 32 statuses; `Bug` where the spec does not fit together.
    pub fn new(spec: Arc<UpsertSpec>) -> Result<Self> {
        let layout = Layout::new(&spec)?;
        let slack = spec.forget_after.map_or(i64::MAX, |d| micros(d) / 64);
        Ok(Self {
            own: Merged::new(layout.clone(), slack)?,
            base: Merged::new(layout.clone(), i64::MAX)?,
            base_of: HashMap::new(),
            queue: VecDeque::new(),
            dirty: 0,
            flying: Vec::new(),
            all_fired: (0..spec.statuses.len()).fold(0, |bits, i| bits | (1 << i)),
            blanks: Blanks::new(&layout),
            orders: Vec::new(),
            layout,
            spec,
        })
    }
    /// The same, knowing the schemas of its inputs by port: its layout then tells `latest_by` by names and types, and not
    /// by places.
    #[must_use]
    pub fn named(mut self, inputs: &[SchemaRef]) -> Self {
        let order = |(input, schema): (&InputSpec, &SchemaRef)| {
            let field = schema.fields().get(input.latest_by?)?;
            Some(format!("{} {}", field.name(), type_name(field.data_type())))
        };
        self.orders = self.spec.inputs.iter().zip(inputs).map(order).collect();
        self
    }
    /// Rows of an earlier event time are forgotten; none are at the end: nothing comes any more.
    fn limit(&self, watermark: Watermark) -> Option<i64> {
        let after = self.spec.forget_after.filter(|_| !watermark.is_complete())?;
        Some(watermark.0.minus(after).0)
    }
    /// Rows whose key is null leave by the failed port; gives the others.
    fn refuse_null_keys(&self, port: InPort, batch: Batch, out: &mut Output) -> Result<Option<Batch>> {
        let Some(input) = self.layout.inputs.get(port.0) else {
            return Err(Error::bug(format!("`{}` got a batch by a port it does not have", self.spec.id)));
        };
        let key: Vec<_> = input.key.iter().filter_map(|k| batch.rows.columns().get(*k)).collect();
        if key.iter().all(|c| c.null_count() == 0) {
            return Ok(Some(batch));
        }
        let has_key: Vec<bool> = (0..batch.num_rows()).map(|row| key.iter().all(|c| c.is_valid(row))).collect();
        let mut refusals = Vec::new();
        for (row, _) in has_key.iter().enumerate().filter(|(_, has)| !**has) {
            let text = format!("the key of `{}` is null", self.spec.id);
            let reason = Reason { rule: "null_key".to_owned(), text };
            refusals.push(refusal(&self.spec.id, "failed", &batch, row, vec![reason])?);
        }
        out.counts.failed += refusals.len() as u64;
        out.give(self.spec.failed, refusal::batch(&refusals)?);
        let rest = batch.filter(&BooleanArray::from(has_key))?;
        Ok(Some(rest).filter(|b| b.num_rows() > 0))
    }
    fn mark_dirty(&mut self, slot: Slot) {
        let meta = self.own.table.meta_mut(slot);
        if !meta.has(Meta::DIRTY) {
            meta.flags |= Meta::DIRTY;
            self.dirty += 1;
            if !meta.has(Meta::IN_FLIGHT) {
                self.enqueue(slot);
            }
        }
    }
    fn enqueue(&mut self, slot: Slot) {
        let meta = self.own.table.meta_mut(slot);
        if !meta.has(Meta::QUEUED) {
            meta.flags |= Meta::QUEUED;
            self.queue.push_back(slot);
        }
    }
    /// The rows that the operator's own events made, for tests and inspection: the table's columns, in no order.
    ///
    /// # Errors
    /// `Bug` only.
    pub fn own_rows(&self) -> Result<RecordBatch> {
        let slots: Vec<Slot> = self.own.table.slots_of_groups(0..millstream_core::key::KEY_GROUPS).collect();
        let columns: Vec<usize> = (0..self.layout.width).collect();
        let rows = self.own.table.rows_of(&columns, &slots)?;
        self.with_status(rows)
    }
}

impl Operator for Upsert {
    fn on_batch(&mut self, port: InPort, batch: Batch, out: &mut Output) -> Result<()> {
        let Some(batch) = self.refuse_null_keys(port, batch, out)? else { return Ok(()) };
        let all_fired = self.all_fired;
        let applied = self.own.apply(port.0, &batch, |meta| meta.fired != all_fired)?;
        for (slot, fate) in applied.slots.iter().zip(&applied.fates) {
            match fate {
                Fate::Echo => out.counts.duplicate += 1,
                Fate::Superseded => out.counts.merged += 1,
                Fate::Changed => {
                    out.counts.merged += 1;
                    self.mark_dirty(*slot);
                }
            }
        }
        self.fire(&applied, out)?;
        self.own.release(applied);
        Ok(())
    }
    fn on_watermark(&mut self, watermark: Watermark, _out: &mut Output) -> Result<()> {
        let Some(limit) = self.limit(watermark) else { return Ok(()) };
        let (base, base_of) = (&mut self.base, &mut self.base_of);
        let idle = |meta: &Meta| meta.flags & (Meta::DIRTY | Meta::IN_FLIGHT | Meta::QUEUED) == 0;
        self.own.forget_before(limit, idle, |slot| {
            if let Some(stored) = base_of.remove(&slot) {
                base.remove(stored);
            }
        });
        Ok(())
    }
    fn layout(&self) -> Option<StateLayout> {
        Some(compatible::describe(&self.spec, &self.layout, &self.orders))
    }
    fn snapshot(&mut self, whole: bool) -> Result<Snapshot> {
        self.remember(whole)
    }
    fn restore(&mut self, tables: Vec<StateTable>, watermark: Watermark) -> Result<()> {
        self.take_back(&tables, self.limit(watermark))
    }
    fn state_size(&self) -> StateSize {
        let queued = self.queue.capacity() + self.flying.capacity();
        let queues = queued * size_of::<Slot>() + self.base_of.capacity() * 9;
        StateSize { bytes: self.own.bytes() + self.base.bytes() + queues, keys: self.own.table.len(), open_windows: 0 }
    }
}

impl fmt::Debug for Upsert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upsert")
            .field("id", &self.spec.id)
            .field("keys", &self.own.table.len())
            .field("dirty", &self.dirty)
            .field("in_flight", &self.flying.len())
            .finish_non_exhaustive()
    }
}

/// The port of a status.
fn port_of(spec: &UpsertSpec, status: usize) -> Option<OutPort> {
    spec.statuses.get(status).map(|s| s.port)
}

#[cfg(test)]
mod change_tests;
#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod fit_tests;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod permutation_tests;
#[cfg(test)]
mod remember_tests;
#[cfg(test)]
mod tests;
