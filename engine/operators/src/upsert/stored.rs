//! Rows that the store has beyond our own: an earlier run's, a forgotten key's, another writer's.
//!
//! They are merged with ours by the same rule, column by column the greater stamp, into what is written; our own
//! rows stay what our events made them. Inputs without `latest_by` need no stored stamps: a row's content hash is
//! computed again from the row.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, StringArray, new_null_array};
use arrow::compute::{concat_batches, interleave};
use millstream_core::table::StoredRow;
use millstream_core::{Result, key};
use millstream_state::{Meta, Slot, content};

use super::Upsert;
use super::merge::Merged;
use super::stamp::{Stamp, from_json};
use crate::isolate::evaluate;

/// By group that content hashes decide about, the stamp of each row.
pub(super) type Contents = Vec<(usize, Vec<Option<Stamp>>)>;

/// Puts whole rows, at most one per key, with their stamps as a store keeps them; gives their slots.
pub(super) fn put_rows(
    to: &mut Merged,
    rows: &RecordBatch,
    stamps: &[Option<&str>],
    contents: &Contents,
) -> Result<Vec<Slot>> {
    let layout = to.layout.clone();
    let hashes = key::hash_rows(rows, &layout.key)?;
    let mut slots = Vec::with_capacity(rows.num_rows());
    to.table.find_or_insert(rows, &layout.key, &hashes, &mut slots)?;
    for column in (0..layout.width).filter(|c| !layout.key.contains(c)) {
        let data = to.table.column_mut(column)?;
        let cells = data.cells(rows.column(column))?;
        data.scatter(&slots, &cells, None);
    }
    for (row, (slot, text)) in slots.iter().zip(stamps).enumerate() {
        let stamps: HashMap<usize, Stamp> = text
            .map(from_json)
            .unwrap_or_default()
            .into_iter()
            .filter_map(|(name, stamp)| Some((layout.table.index_of(&name).ok()?, stamp)))
            .collect();
        let content: Vec<(usize, Stamp)> =
            contents.iter().filter_map(|(g, hashes)| Some((*g, hashes.get(row).copied().flatten()?))).collect();
        to.put_stamps(*slot, &stamps, &content)?;
    }
    Ok(slots)
}

/// Own rows merged with what the store had.
pub(super) struct MergedRows {
    /// The table's columns.
    pub(super) rows: RecordBatch,
    /// Per row, whether any of its columns comes from the store.
    pub(super) from_store: Vec<bool>,
}

impl Upsert {
    /// The rows as they are to be written.
    pub(super) fn merged_rows(&self, slots: &[Slot]) -> Result<MergedRows> {
        let columns: Vec<usize> = (0..self.layout.width).collect();
        let own = self.own.table.rows_of(&columns, slots)?;
        let mut from_store = vec![false; slots.len()];
        let bases: Vec<(usize, Slot)> = match self.base_of.is_empty() {
            true => Vec::new(),
            false => slots.iter().enumerate().filter_map(|(i, s)| Some((i, *self.base_of.get(s)?))).collect(),
        };
        if bases.is_empty() {
            return Ok(MergedRows { rows: self.with_status(own)?, from_store });
        }
        let base_slots: Vec<Slot> = bases.iter().map(|(_, b)| *b).collect();
        let stored = self.base.table.rows_of(&columns, &base_slots)?;
        let mut merged = Vec::with_capacity(columns.len());
        for (column, (own, stored)) in own.columns().iter().zip(stored.columns()).enumerate() {
            let mut picks: Vec<(usize, usize)> = (0..slots.len()).map(|i| (0, i)).collect();
            let mut any = false;
            for (at, (row, base)) in bases.iter().enumerate() {
                let Some(slot) = slots.get(*row) else { continue };
                if self.stored_wins(column, *slot, *base)? {
                    any = true;
                    if let (Some(pick), Some(from)) = (picks.get_mut(*row), from_store.get_mut(*row)) {
                        (*pick, *from) = ((1, at), true);
                    }
                }
            }
            let arrays: [&dyn Array; 2] = [own, stored];
            merged.push(if any { interleave(&arrays, &picks)? } else { own.clone() });
        }
        let rows = RecordBatch::try_new(own.schema(), merged)?;
        Ok(MergedRows { rows: self.with_status(rows)?, from_store })
    }
    /// Whether the stored row's value of a column goes before our own.
    fn stored_wins(&self, column: usize, slot: Slot, base: Slot) -> Result<bool> {
        if self.layout.key.contains(&column) || Some(column) == self.spec.status_column {
            return Ok(false);
        }
        let (own, stored) = (self.own.stamp(slot, column)?, self.base.stamp(base, column)?);
        Ok(match own.cmp(&stored) {
            std::cmp::Ordering::Less => true,
            std::cmp::Ordering::Greater => false,
            // Equal stamps, equal values; where neither has one, ours is null, and the store's is another writer's.
            std::cmp::Ordering::Equal => {
                let (own, stored) = (self.own.table.column(column)?, self.base.table.column(column)?);
                !own.is_valid(slot) && stored.is_valid(base)
            }
        })
    }
    /// The same rows with the status their columns give.
    pub(super) fn with_status(&self, rows: RecordBatch) -> Result<RecordBatch> {
        let Some(column) = self.spec.status_column.filter(|_| !self.spec.statuses.is_empty()) else { return Ok(rows) };
        let mut names: Vec<Option<&str>> = vec![None; rows.num_rows()];
        for status in &self.spec.statuses {
            let answers = evaluate(status.predicate.as_ref(), &rows)?;
            for (row, name) in names.iter_mut().enumerate() {
                if name.is_none() && answers.is_true(row) {
                    *name = Some(&status.name);
                }
            }
        }
        let mut columns = rows.columns().to_vec();
        if let Some(place) = columns.get_mut(column) {
            *place = Arc::new(StringArray::from(names));
        }
        Ok(RecordBatch::try_new(rows.schema(), columns)?)
    }

    /// Merges rows the store has with ours: keys for which that says more than the store are dirty, keys for which it
    /// says the same are clean.
    pub(super) fn absorb(&mut self, stale: Vec<(Slot, StoredRow)>) -> Result<()> {
        let rows: Vec<RecordBatch> = stale.iter().map(|(_, s)| self.aligned(&s.row)).collect::<Result<_>>()?;
        let stored = concat_batches(&self.layout.table, &rows)?;
        let slots: Vec<Slot> = stale.iter().map(|(slot, _)| *slot).collect();
        self.keep_stored(&slots, &stale, &stored)?;
        let merged = self.merged_rows(&slots)?;
        // As it would be written: what is cut from ours is cut from theirs, too.
        let fitted = self.as_stored(&slots, merged.rows, vec![0; slots.len()])?;
        let mut differs = vec![false; slots.len()];
        for (column, (ours, theirs)) in fitted.rows.columns().iter().zip(stored.columns()).enumerate() {
            let same = self.equality(column, ours, theirs)?;
            differs.iter_mut().zip(same).for_each(|(differs, same)| *differs |= !same);
        }
        for (row, (slot, stored)) in stale.iter().enumerate() {
            let stamps_differ = fitted.stamps.get(row) != Some(&stored.stamps);
            if differs.get(row) == Some(&true) || stamps_differ {
                self.mark_dirty(*slot);
            } else {
                self.mark_clean(*slot);
            }
            if merged.from_store.get(row) == Some(&false)
                && let Some(base) = self.base_of.remove(slot)
            {
                // Ours says all that the store does.
                self.base.remove(base);
            }
        }
        Ok(())
    }
    /// A stored row in the table's columns.
    pub(super) fn aligned(&self, row: &RecordBatch) -> Result<RecordBatch> {
        let column = |field: &Arc<arrow::datatypes::Field>| -> Result<ArrayRef> {
            match row.column_by_name(field.name()) {
                None => Ok(new_null_array(field.data_type(), row.num_rows())),
                Some(c) if c.data_type() == field.data_type() => Ok(c.clone()),
                Some(c) => Ok(arrow::compute::cast(c, field.data_type())?),
            }
        };
        let columns = self.layout.table.fields().iter().map(column).collect::<Result<_>>()?;
        Ok(RecordBatch::try_new(self.layout.table.clone(), columns)?)
    }
    /// Per row, whether two columns of the table are equal there.
    fn equality(&self, column: usize, ours: &ArrayRef, theirs: &ArrayRef) -> Result<Vec<bool>> {
        let mut column = millstream_state::Column::new(self.own.table.column(column)?.data_type())?;
        let (ours, theirs) = (column.cells(ours)?, column.cells(theirs)?);
        let slots: Vec<Slot> = (0..ours.len() as u32).map(Slot).collect();
        column.scatter(&slots, &ours, None);
        Ok(slots.iter().enumerate().map(|(row, slot)| column.equals(*slot, &theirs, row)).collect())
    }
    /// Puts stored rows, with their stamps, into the base.
    fn keep_stored(&mut self, slots: &[Slot], stale: &[(Slot, StoredRow)], stored: &RecordBatch) -> Result<()> {
        for (slot, row) in stale {
            if let Some(old) = self.base_of.remove(slot) {
                self.base.remove(old);
            }
            let meta = self.own.table.meta_mut(*slot);
            meta.flags |= Meta::CONTACTED;
            meta.written = row.version;
        }
        let stamps: Vec<Option<&str>> = stale.iter().map(|(_, row)| row.stamps.as_deref()).collect();
        let contents = self.contents(stored)?;
        let bases = put_rows(&mut self.base, stored, &stamps, &contents)?;
        self.base_of.extend(slots.iter().copied().zip(bases));
        Ok(())
    }
    /// For each group that content hashes decide about, its stamp per row; none where nothing has set it.
    pub(super) fn contents(&self, rows: &RecordBatch) -> Result<Contents> {
        let mut contents = Vec::new();
        for (at, group) in self.layout.groups.iter().enumerate().filter(|(_, g)| !g.latest) {
            // Such a group is all that its one input sets.
            let Some(input) = self.layout.inputs.iter().find(|i| i.groups.contains(&at)) else { continue };
            let columns: Vec<usize> = input.columns.iter().map(|(c, _)| *c).collect();
            let hashes = content::hash_rows(rows, &columns, input.seed)?;
            let spoken = |row: usize| group.columns.iter().any(|c| rows.column(*c).is_valid(row));
            let stamp = |(row, hash): (usize, u64)| spoken(row).then_some(Stamp { order: 0, hash });
            contents.push((at, hashes.into_iter().enumerate().map(stamp).collect()));
        }
        Ok(contents)
    }
    fn mark_clean(&mut self, slot: Slot) {
        let meta = self.own.table.meta_mut(slot);
        if meta.has(Meta::DIRTY) {
            meta.flags &= !Meta::DIRTY;
            self.dirty -= 1;
        }
    }
}
