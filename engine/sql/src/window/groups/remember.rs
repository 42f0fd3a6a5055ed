//! What the state of a windowed query gives to a snapshot, and how it is taken back.
//!
//! ```text
//! slots written since --> __hash | window_start | keys.. | states.. | arrived_at | event_time --> slots
//! ```
//!
//! Invariants:
//! 1. Nothing says that a group was forgotten: at restore, rows of windows that are settled at the watermark are left
//!    out, by the same question that [`Groups::forget`] asks.
//! 2. What was given is not stored: a window has fired if it was due at the watermark, because a snapshot is taken
//!    after everything that was due. So the changes of fired windows were given too, and those of others were not,
//!    or only early.
//! 3. A group keeps its window, so every layer's rows of it are left out or none.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, UInt32Array, UInt64Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimestampMicrosecondType, UInt64Type};
use datafusion::common::{Result as DfResult, exec_datafusion_err};
use millstream_core::Watermark;
use millstream_core::key::{hash_rows, key_bytes};
use millstream_core::snapshot::{HASH, StateTable};

use super::Groups;
use crate::window::plan::WindowPlan;

/// Its one table.
const TABLE: &str = "groups";
/// The most rows of one batch: offsets of text in a batch have 32 bits.
const BATCH: usize = 8192;

/// The slots written since the last snapshot, each once.
///
/// A slot stays marked when its group is forgotten, so that the list is no longer than the slots even where no
/// snapshot is ever taken; whoever takes it leaves out those without a group.
#[derive(Debug, Default)]
pub(super) struct Unsaved {
    marked: Vec<bool>,
    slots: Vec<usize>,
}

impl Unsaved {
    /// Remembers a slot.
    pub(super) fn mark(&mut self, slot: usize) {
        if slot >= self.marked.len() {
            self.marked.resize(slot + 1, false);
        }
        if let Some(marked) = self.marked.get_mut(slot)
            && !std::mem::replace(marked, true)
        {
            self.slots.push(slot);
        }
    }

    /// Bytes of memory, about.
    pub(super) fn bytes(&self) -> usize {
        self.marked.len() + self.slots.len() * size_of::<usize>()
    }

    fn take(&mut self) -> Vec<usize> {
        let slots = std::mem::take(&mut self.slots);
        for &slot in &slots {
            if let Some(marked) = self.marked.get_mut(slot) {
                *marked = false;
            }
        }
        slots
    }
}

/// The table's columns: the hash of the group, then a chunk's.
fn schema(plan: &WindowPlan) -> SchemaRef {
    let chunk = plan.partial.fields();
    let hash: FieldRef = Arc::new(Field::new(HASH, DataType::UInt64, false));
    let columns = chunk.iter().take(chunk.len().saturating_sub(1)).cloned();
    Arc::new(Schema::new(std::iter::once(hash).chain(columns).collect::<Vec<_>>()))
}

#[expect(clippy::indexing_slicing, reason = "slots are indices into this state's own vectors")]
impl Groups {
    /// All groups, or those that were written since the last snapshot.
    pub(crate) fn snapshot(&mut self, plan: &WindowPlan, whole: bool) -> DfResult<StateTable> {
        let mut slots = self.unsaved.take();
        if whole {
            slots = self.windows.values().flat_map(|w| w.slots.iter().copied()).collect();
        } else {
            slots.retain(|&s| self.slots[s].chunk != usize::MAX);
        }
        let schema = schema(plan);
        let rows = slots.chunks(BATCH).map(|slots| {
            let hashes = UInt64Array::from_iter_values(slots.iter().map(|&s| self.slots[s].hash));
            let mut columns: Vec<ArrayRef> = vec![Arc::new(hashes)];
            columns.extend(self.gather(slots)?);
            Ok(RecordBatch::try_new(schema.clone(), columns)?)
        });
        Ok(StateTable { name: TABLE.to_owned(), rows: rows.collect::<DfResult<_>>()? })
    }

    /// Takes back the groups of all layers, as they were when `watermark` had been applied.
    pub(crate) fn restore(&mut self, plan: &WindowPlan, tables: Vec<StateTable>, watermark: Watermark) -> DfResult<()> {
        let expected = schema(plan);
        for table in tables {
            if table.name != TABLE {
                return Err(exec_datafusion_err!("a table named {} is not of a window", table.name));
            }
            for rows in table.rows {
                let stored = rows.schema();
                let same = |(a, b): (&FieldRef, &FieldRef)| a.name() == b.name() && a.data_type() == b.data_type();
                let columns = stored.fields().iter().zip(expected.fields());
                if stored.fields().len() != expected.fields().len() || !columns.into_iter().all(same) {
                    return Err(exec_datafusion_err!("stored groups have other columns than those of the query"));
                }
                self.put_back(plan, &rows, watermark)?;
            }
        }
        for (&start, window) in &mut self.windows {
            window.fired = plan.is_due(start, watermark);
            for &slot in window.slots.iter().filter(|_| !window.fired) {
                self.slots[slot].changed = true;
                self.changed.push(slot);
            }
        }
        Ok(())
    }

    /// Takes back one batch; its rows replace earlier ones of the same groups.
    fn put_back(&mut self, plan: &WindowPlan, rows: &RecordBatch, watermark: Watermark) -> DfResult<()> {
        let windows = rows.column(1).as_primitive_opt::<TimestampMicrosecondType>();
        let windows = windows.ok_or_else(|| exec_datafusion_err!("stored groups without windows"))?;
        let open = (0_u32..).zip(windows.values()).filter(|(_, start)| !plan.is_settled(**start, watermark));
        let open = UInt32Array::from_iter_values(open.map(|(row, _)| row));
        // Taken even where all are: what was decoded is a slice of a whole object, which must not stay in memory.
        let mut rows = take_record_batch(rows, &open)?;
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let hashes = rows.remove_column(0);
        let columns: Vec<usize> = (0..plan.group_columns()).collect();
        let computed = hash_rows(&rows, &columns).map_err(|e| exec_datafusion_err!("{e}"))?;
        if hashes.as_primitive_opt::<UInt64Type>().is_none_or(|stored| **stored.values() != *computed) {
            return Err(exec_datafusion_err!("stored groups are not hashed as rows are now"));
        }
        let (mut slots, mut key) = (Vec::with_capacity(computed.len()), Vec::new());
        for (row, (&hash, &from)) in computed.iter().zip(open.values()).enumerate() {
            key.clear();
            key_bytes(&rows, &columns, row, &mut key).map_err(|e| exec_datafusion_err!("{e}"))?;
            slots.push(self.find_or_insert(&key, hash, windows.value(from as usize)).0);
        }
        self.store(rows.columns().to_vec(), slots);
        self.tidy()
    }
}
