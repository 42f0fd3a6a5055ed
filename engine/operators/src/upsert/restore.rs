//! Rows of snapshots taken back into an upsert whose pipeline may have changed since.
//!
//! A later row of a key replaces the earlier one entirely: what it does not have is null. Rows that are forgotten at the
//! watermark restored are left out, for no snapshot says that a key went, unless their keys are still to be written. All
//! that is known of the store is which keys it had not acknowledged at the newest checkpoint: these are dirty, and are
//! written as if for the first time. Whoever restores leaves the lists of earlier checkpoints out; given here they would
//! count, and keys written since would be written again.

use std::collections::{HashMap, HashSet};

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Int64Type, TimestampMicrosecondType, UInt32Type, UInt64Type};
use millstream_core::batch::TIMESTAMP;
use millstream_core::snapshot::{HASH, StateTable};
use millstream_core::{Error, Result};
use millstream_state::{Meta, Slot};

use super::Upsert;
use super::layout::Group;
use super::merge::Merged;
use super::remember::{
    ARRIVED_AT_OF, EVENT_TIME, EVENT_TIME_OF, FIRED, HASH_OF, MIXED, ORDER_OF, ROWS, UNWRITTEN, VERSION, listed,
    mixed_from,
};
use super::stamp::Stamp;

/// Stored stamps of columns that had one stamp.
struct StoredStamps<'a> {
    /// In the table as it is now; those that are gone are left out.
    columns: Vec<usize>,
    hash: &'a ArrayRef,
    order: Option<&'a ArrayRef>,
}

impl Upsert {
    /// Takes the rows of all layers back, oldest first; those forgotten at `limit` and not to be written are left out.
    pub(super) fn take_back(&mut self, tables: &[StateTable], limit: Option<i64>) -> Result<()> {
        let unwritten: Vec<&RecordBatch> =
            tables.iter().filter(|t| t.name == UNWRITTEN).flat_map(|t| &t.rows).collect();
        let mut kept = HashSet::new();
        for keys in &unwritten {
            kept.extend(column(keys, HASH, &DataType::UInt64)?.as_primitive::<UInt64Type>().values());
        }
        for table in tables.iter().filter(|t| t.name != UNWRITTEN) {
            if table.name != ROWS {
                return Err(Error::bug(format!("the state of `{}` has a table `{}`", self.spec.id, table.name)));
            }
            for rows in &table.rows {
                if let Some(rows) = self.not_forgotten(rows, limit, &kept)? {
                    self.take_rows_back(&rows)?;
                }
            }
        }
        unwritten.into_iter().try_for_each(|keys| self.write_again(keys))
    }
    /// The store has not acknowledged these keys' rows: they are written (again).
    fn write_again(&mut self, keys: &RecordBatch) -> Result<()> {
        let hashes = column(keys, HASH, &DataType::UInt64)?.as_primitive::<UInt64Type>();
        for slot in self.own.table.find(keys, &self.key_of(keys)?, hashes.values())? {
            // Going on without would lose the row: nothing else says that the store lacks it.
            let slot = slot.ok_or_else(|| {
                let id = &self.spec.id;
                Error::bug(format!("the state of `{id}` lacks the row of a key that is to be written"))
            })?;
            self.mark_dirty(slot);
        }
        Ok(())
    }
    /// Where stored rows have the key.
    fn key_of(&self, rows: &RecordBatch) -> Result<Vec<usize>> {
        let names = self.layout.names(&self.layout.key);
        names.into_iter().map(|name| Ok(rows.schema_ref().index_of(name)?)).collect()
    }
    /// The rows that are not forgotten; a key with one of the hashes `kept` is not before its row is written.
    fn not_forgotten(
        &self,
        rows: &RecordBatch,
        limit: Option<i64>,
        kept: &HashSet<u64>,
    ) -> Result<Option<RecordBatch>> {
        let times = column(rows, EVENT_TIME, &TIMESTAMP)?.as_primitive::<TimestampMicrosecondType>();
        let hashes = column(rows, HASH, &DataType::UInt64)?.as_primitive::<UInt64Type>();
        let Some(limit) = limit else { return Ok(Some(rows.clone())) };
        let keep = |(time, hash): (Option<i64>, &u64)| {
            Some(time.is_none_or(|t| !self.own.table.is_forgotten(t, limit)) || kept.contains(hash))
        };
        let kept: BooleanArray = times.iter().zip(hashes.values()).map(keep).collect();
        Ok(match kept.true_count() {
            0 => None,
            all if all == rows.num_rows() => Some(rows.clone()),
            _ => Some(filter_record_batch(rows, &kept)?),
        })
    }
    fn take_rows_back(&mut self, rows: &RecordBatch) -> Result<()> {
        let layout = self.layout.clone();
        let hashes = column(rows, HASH, &DataType::UInt64)?.as_primitive::<UInt64Type>();
        let key = self.key_of(rows)?;
        let mut slots = Vec::new();
        self.own.table.find_or_insert(rows, &key, hashes.values(), &mut slots)?;
        self.put_meta_back(rows, &slots)?;
        for (column, field) in layout.table.fields().iter().enumerate().filter(|(c, _)| !layout.key.contains(c)) {
            // The status column is never there.
            self.assign(column, &slots, rows.column_by_name(field.name()))?;
        }
        self.put_times_back(rows, &slots)?;
        self.put_stamps_back(rows, &slots)
    }
    fn assign(&mut self, column: usize, slots: &[Slot], values: Option<&ArrayRef>) -> Result<()> {
        let column = self.own.table.column_mut(column)?;
        let cells = values.map(|v| column.cells(v)).transpose()?;
        column.assign(slots, cells.as_ref());
        Ok(())
    }
    /// Version, fired bits, event time. No slot has stamps of single columns after that.
    fn put_meta_back(&mut self, rows: &RecordBatch, slots: &[Slot]) -> Result<()> {
        let versions = column(rows, VERSION, &DataType::UInt64)?.as_primitive::<UInt64Type>();
        let times = column(rows, EVENT_TIME, &TIMESTAMP)?.as_primitive::<TimestampMicrosecondType>();
        let fired = self.fired_bits(rows)?;
        for (((slot, version), time), fired) in slots.iter().zip(versions.values()).zip(times).zip(fired) {
            if self.own.table.meta(*slot).has(Meta::MIXED) {
                Merged::unmix(&mut self.own.mixed, &self.layout, *slot);
            }
            self.own.table.put_back(*slot, *version, fired, time.unwrap_or(i64::MIN));
        }
        Ok(())
    }
    /// Per row, the bits of the statuses that had fired and are still there, by name.
    fn fired_bits(&self, rows: &RecordBatch) -> Result<Vec<u32>> {
        let (fired, names) = columns_about(rows, FIRED, &DataType::UInt32)?
            .pop()
            .ok_or_else(|| Error::bug("the state of an upsert does not say which statuses have fired"))?;
        let place = |name: &String| self.spec.statuses.iter().position(|s| s.name == *name);
        let places: Vec<Option<usize>> = names.iter().map(place).collect();
        let bits = |stored: &u32| {
            let set = places.iter().enumerate().filter(|(bit, _)| stored & (1 << bit) != 0);
            set.filter_map(|(_, place)| *place).fold(0, |bits, place| bits | (1 << place))
        };
        Ok(fired.as_primitive::<UInt32Type>().values().iter().map(bits).collect())
    }
    /// The times of each input: from the stored input that set the same columns, or else the most of them.
    fn put_times_back(&mut self, rows: &RecordBatch, slots: &[Slot]) -> Result<()> {
        let layout = self.layout.clone();
        for (prefix, of) in [(EVENT_TIME_OF, true), (ARRIVED_AT_OF, false)] {
            let mut stored: Vec<_> = columns_about(rows, prefix, &TIMESTAMP)?.into_iter().map(Some).collect();
            let sets: Vec<Vec<&str>> = layout.inputs.iter().map(|i| layout.names(&i.sets())).collect();
            let mut found: Vec<Option<&ArrayRef>> = vec![None; sets.len()];
            for same in [true, false] {
                for (sets, found) in sets.iter().zip(&mut found).filter(|(_, found)| found.is_none()) {
                    let common = |names: &[String]| names.iter().filter(|n| sets.contains(&n.as_str())).count();
                    let fits = |names: &[String]| if same { names == sets.as_slice() } else { common(names) > 0 };
                    let best = stored
                        .iter_mut()
                        .filter(|s| s.as_ref().is_some_and(|(_, names)| fits(names)))
                        .max_by_key(|s| s.as_ref().map(|(_, names)| common(names)));
                    *found = best.and_then(Option::take).map(|(column, _)| column);
                }
            }
            for (input, found) in layout.inputs.iter().zip(found) {
                self.assign(if of { input.event_time } else { input.arrived_at }, slots, found)?;
            }
        }
        Ok(())
    }
    fn put_stamps_back(&mut self, rows: &RecordBatch, slots: &[Slot]) -> Result<()> {
        let layout = self.layout.clone();
        if let Some(mixed) = rows.column_by_name(MIXED) {
            for (slot, text) in slots.iter().zip(mixed.as_string::<i32>()) {
                for (name, stamp) in text.map(mixed_from).transpose()?.unwrap_or_default() {
                    if let Ok(column) = layout.table.index_of(&name) {
                        self.own.mix(*slot, column, stamp);
                    }
                }
            }
        }
        let mut stored = Vec::new();
        for (hash, names) in columns_about(rows, HASH_OF, &DataType::UInt64)? {
            let order = columns_about(rows, ORDER_OF, &DataType::Int64)?.into_iter().find(|(_, n)| *n == names);
            let columns = names.iter().filter_map(|name| layout.table.index_of(name).ok()).collect();
            stored.push(StoredStamps { columns, hash, order: order.map(|(column, _)| column) });
        }
        for group in &layout.groups {
            let about = |s: &&StoredStamps<'_>| s.columns.iter().any(|c| group.columns.contains(c));
            let from: Vec<&StoredStamps<'_>> = stored.iter().filter(about).collect();
            let one = if let [one] = from.as_slice() { Some(*one) } else { None };
            self.assign(group.hash, slots, one.map(|s| s.hash))?;
            if let Some(order) = group.order {
                self.assign(order, slots, one.and_then(|s| s.order))?;
            }
            match one {
                Some(one) => self.leave_unset(group, one, slots)?,
                None => self.put_together(group, &from, slots)?,
            }
        }
        Ok(())
    }
    /// Columns that were added are not what the group's event set, though nulls are values.
    fn leave_unset(&mut self, group: &Group, stored: &StoredStamps<'_>, slots: &[Slot]) -> Result<()> {
        for column in group.columns.iter().filter(|c| group.nulls_are_values && !stored.columns.contains(c)) {
            for (_, slot) in slots.iter().enumerate().filter(|(row, _)| stored.hash.is_valid(*row)) {
                self.own.mix(*slot, *column, None);
            }
        }
        Ok(())
    }
    /// The stamps of a group whose columns belonged to several.
    fn put_together(&mut self, group: &Group, from: &[&StoredStamps<'_>], slots: &[Slot]) -> Result<()> {
        for (row, slot) in slots.iter().enumerate().filter(|_| !from.is_empty()) {
            let mut stamps = HashMap::new();
            for column in &group.columns {
                let spoken = group.nulls_are_values || self.own.table.column(*column)?.is_valid(*slot);
                let stored = || from.iter().find(|s| s.columns.contains(column)).filter(|_| spoken)?.at(row);
                let own = self.own.mixed.get(&(*slot, *column)).copied().unwrap_or_else(stored);
                own.and_then(|stamp| stamps.insert(*column, stamp));
            }
            self.own.put_stamps(*slot, &stamps, &[])?;
        }
        Ok(())
    }
}

impl StoredStamps<'_> {
    fn at(&self, row: usize) -> Option<Stamp> {
        let hash = Some(self.hash.as_primitive::<UInt64Type>()).filter(|h| h.is_valid(row))?.value(row);
        let order = self.order.map(|o| o.as_primitive::<Int64Type>());
        Some(Stamp { order: order.map_or(0, |o| if o.is_valid(row) { o.value(row) } else { i64::MIN }), hash })
    }
}

fn column<'a>(rows: &'a RecordBatch, name: &str, data_type: &DataType) -> Result<&'a ArrayRef> {
    let column = rows.column_by_name(name).filter(|c| c.data_type() == data_type);
    column.ok_or_else(|| Error::bug(format!("the state of an upsert has no column `{name}` of type {data_type}")))
}

/// The columns whose names are `prefix` and a list, with the lists.
fn columns_about<'a>(
    rows: &'a RecordBatch,
    prefix: &str,
    data_type: &DataType,
) -> Result<Vec<(&'a ArrayRef, Vec<String>)>> {
    let mut found = Vec::new();
    for (field, column) in rows.schema_ref().fields().iter().zip(rows.columns()) {
        let Some(text) = field.name().strip_prefix(prefix).filter(|_| field.data_type() == data_type) else { continue };
        found.push((column, listed(text.trim_start_matches(|c: char| c.is_ascii_digit() || c == ':'))?));
    }
    Ok(found)
}
