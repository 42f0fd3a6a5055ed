//! What an upsert remembers, as the tables of a snapshot.
//!
//! ```text
//! rows: __hash __version __event_time __fired:[..] (__mixed) | table's columns | per group: __hash:[..] (__order:[..])
//!                                                            | per input: __event_time:0:[..] __arrived_at:0:[..]
//!
//! latest unwritten: __hash | key columns
//! ```
//!
//! The second table has the keys that the store had not acknowledged at the freeze, dirty or in flight, each once. It is
//! there where there are any, whether or not their rows changed since the last snapshot, and says nothing once there is
//! a newer checkpoint, even one without such a table.
//!
//! Columns are restored by name, for a changed pipeline has other places for them. Where a name must tell more it is
//! followed by a JSON list: of the columns that a stamp or an input is about, of the statuses that the bits of
//! `__fired` mean. The status column is a function of the others and is left out.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray, TimestampMicrosecondArray, UInt32Array, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema};
use millstream_core::batch::TIMESTAMP;
use millstream_core::planted::{Bug, is_planted};
use millstream_core::snapshot::{HASH, Snapshot, StateTable};
use millstream_core::{Error, Result};
use millstream_state::{Meta, Slot};

use super::Upsert;
use super::stamp::{Stamp, from_json, to_json};

/// The rows: all of them, or those that changed.
pub(super) const ROWS: &str = "rows";
/// How many distinct events changed the row.
pub(super) const VERSION: &str = "__version";
/// The greatest event time that went into it, in microseconds; null where there was none.
pub(super) const EVENT_TIME: &str = "__event_time";
/// One bit per status of the list.
pub(super) const FIRED: &str = "__fired:";
/// Stamps of single columns, as stores keep them; there where a row of the batch has any.
pub(super) const MIXED: &str = "__mixed";
/// Stamps: content hashes.
pub(super) const HASH_OF: &str = "__hash:";
/// Stamps: values of `latest_by`.
pub(super) const ORDER_OF: &str = "__order:";
/// The greatest event time of an input's events. Its place makes the name unique and means nothing.
pub(super) const EVENT_TIME_OF: &str = "__event_time:";
/// The greatest arrival time of an input's events.
pub(super) const ARRIVED_AT_OF: &str = "__arrived_at:";

/// Keys that the store has not acknowledged; those of the newest checkpoint replace those of earlier ones, for the name
/// begins with [`LATEST`](millstream_core::snapshot::LATEST).
pub(super) const UNWRITTEN: &str = "latest unwritten";

/// Rows per batch of a snapshot: no column of text may reach 2 GiB.
const BATCH: usize = 1 << 14;

impl Upsert {
    /// All rows, or those that changed since the last snapshot; in any case all keys that are to be written.
    pub(super) fn remember(&mut self, whole: bool) -> Result<Snapshot> {
        let mut slots = self.own.table.take_changed(whole);
        if is_planted(Bug::LoseChangedRow) {
            slots.pop();
        }
        let columns = self.remembered_columns();
        let rows: Vec<RecordBatch> =
            slots.chunks(BATCH).map(|slots| self.remembered_rows(slots, &columns)).collect::<Result<_>>()?;
        let mut tables = if rows.is_empty() { Vec::new() } else { vec![StateTable { name: ROWS.into(), rows }] };
        tables.extend(self.unwritten()?);
        Ok(if whole { Snapshot::whole(tables) } else { Snapshot::changes(tables) })
    }
    /// The keys whose rows the store has not acknowledged: hash and key columns. Whoever takes them back writes them.
    fn unwritten(&self) -> Result<Option<StateTable>> {
        let waiting = self.queue.iter().filter(|s| self.own.table.meta(**s).has(Meta::DIRTY));
        let slots: Vec<Slot> = waiting.chain(&self.flying).copied().collect();
        if slots.is_empty() || is_planted(Bug::ForgetUnwritten) {
            return Ok(None);
        }
        let key = &self.layout.key;
        let batch = |slots: &[Slot]| -> Result<RecordBatch> {
            let keys = self.own.table.rows_of(key, slots)?;
            let hashes = UInt64Array::from_iter_values(slots.iter().map(|s| self.own.table.meta(*s).hash));
            let mut fields = vec![Arc::new(Field::new(HASH, DataType::UInt64, false))];
            fields.extend(keys.schema_ref().fields().iter().cloned());
            let mut columns: Vec<ArrayRef> = vec![Arc::new(hashes)];
            columns.extend(keys.columns().iter().cloned());
            Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
        };
        let rows = slots.chunks(BATCH).map(batch).collect::<Result<_>>()?;
        Ok(Some(StateTable { name: UNWRITTEN.into(), rows }))
    }
    /// The columns of the state with their fields in a snapshot.
    fn remembered_columns(&self) -> Vec<(usize, Field)> {
        let layout = &self.layout;
        let mut columns = Vec::with_capacity(layout.schema.fields().len());
        let mut add = |column: usize, name: Option<String>| {
            if let Some(field) = layout.schema.fields().get(column) {
                let field = field.as_ref().clone();
                columns.push((column, if let Some(name) = name { field.with_name(name) } else { field }));
            }
        };
        for column in (0..layout.width).filter(|c| Some(*c) != self.spec.status_column) {
            add(column, None);
        }
        for group in &layout.groups {
            let about = list(&layout.names(&group.columns));
            add(group.hash, Some(format!("{HASH_OF}{about}")));
            if let Some(order) = group.order {
                add(order, Some(format!("{ORDER_OF}{about}")));
            }
        }
        for (at, input) in layout.inputs.iter().enumerate() {
            let about = list(&layout.names(&input.sets()));
            add(input.event_time, Some(format!("{EVENT_TIME_OF}{at}:{about}")));
            add(input.arrived_at, Some(format!("{ARRIVED_AT_OF}{at}:{about}")));
        }
        columns
    }
    fn remembered_rows(&self, slots: &[Slot], columns: &[(usize, Field)]) -> Result<RecordBatch> {
        let statuses: Vec<&str> = self.spec.statuses.iter().map(|s| s.name.as_str()).collect();
        let mut fields = vec![
            Field::new(HASH, DataType::UInt64, false),
            Field::new(VERSION, DataType::UInt64, false),
            Field::new(EVENT_TIME, TIMESTAMP, true),
            Field::new(format!("{FIRED}{}", list(&statuses)), DataType::UInt32, false),
        ];
        let mut arrays = self.remembered_meta(slots);
        // In all batches of a snapshot, or in none.
        if !self.own.mixed.is_empty() {
            fields.push(Field::new(MIXED, DataType::Utf8, true));
            arrays.push(Arc::new(slots.iter().map(|s| self.mixed_text(*s)).collect::<StringArray>()));
        }
        for (column, field) in columns {
            fields.push(field.clone());
            arrays.push(self.own.table.column(*column)?.gather(slots)?);
        }
        Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)?)
    }
    /// Hash, version, event time and fired bits.
    fn remembered_meta(&self, slots: &[Slot]) -> Vec<ArrayRef> {
        let (mut hashes, mut versions) = (Vec::with_capacity(slots.len()), Vec::with_capacity(slots.len()));
        let (mut times, mut fired) = (Vec::with_capacity(slots.len()), Vec::with_capacity(slots.len()));
        for slot in slots {
            let meta = self.own.table.meta(*slot);
            hashes.push(meta.hash);
            versions.push(meta.version);
            times.push((meta.event_time != i64::MIN).then_some(meta.event_time));
            fired.push(meta.fired);
        }
        vec![
            Arc::new(UInt64Array::from(hashes)),
            Arc::new(UInt64Array::from(versions)),
            Arc::new(TimestampMicrosecondArray::from(times)),
            Arc::new(UInt32Array::from(fired)),
        ]
    }
    /// The stamps of single columns of a row, where it has any: those that have one, and those that nothing has set.
    fn mixed_text(&self, slot: Slot) -> Option<String> {
        if !self.own.table.meta(slot).has(Meta::MIXED) {
            return None;
        }
        let (mut set, mut unset) = (Vec::new(), Vec::new());
        for (column, field) in self.layout.table.fields().iter().enumerate() {
            match self.own.mixed.get(&(slot, column)) {
                None => {}
                Some(Some(stamp)) => set.push((field.name().as_str(), *stamp)),
                Some(None) => unset.push(field.name().as_str()),
            }
        }
        let any = !set.is_empty() || !unset.is_empty();
        any.then(|| serde_json::json!([to_json(set.into_iter()), unset]).to_string())
    }
}

/// Reads what [`Upsert::mixed_text`] wrote.
pub(super) fn mixed_from(text: &str) -> Result<Vec<(String, Option<Stamp>)>> {
    let (set, unset): (String, Vec<String>) = serde_json::from_str(text)
        .map_err(|e| Error::bug("the state of an upsert has stamps that cannot be read").caused_by(e))?;
    let set = from_json(&set).into_iter().map(|(name, stamp)| (name, Some(stamp)));
    Ok(set.chain(unset.into_iter().map(|name| (name, None))).collect())
}

/// Names as part of a column's name.
fn list(names: &[&str]) -> String {
    serde_json::json!(names).to_string()
}

/// Reads what [`list`] wrote.
pub(super) fn listed(text: &str) -> Result<Vec<String>> {
    serde_json::from_str(text)
        .map_err(|e| Error::bug(format!("the state of an upsert has a column of unknown name: {text}")).caused_by(e))
}
