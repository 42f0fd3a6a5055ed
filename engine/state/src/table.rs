//! The keyed table: rows by key, in typed columns, addressed by key group.
//!
//! ```text
//! shard (16 key groups) : hash index -> slot ----+--> Meta        hash, version, flags, ..
//!                                                +--> Column 0    one cell per slot
//!                                                +--> Column n
//!                                                +--> TimeIndex   which slots may be forgotten when
//! ```
//!
//! 1. A live slot is in exactly one shard, that of its key group, and its key columns are set and never change.
//! 2. A free slot is null in every column.
//! 3. A slot is in the time index at most once, and [`Meta::TIMED`] says whether it is.
//! 4. Whoever changes what must outlive the process says so ([`KeyedTable::mark_changed`]).

mod changes;

use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema, SchemaRef};
use hashbrown::HashTable;
use millstream_core::key::{self, KEY_GROUPS};
use millstream_core::{Error, Result};

use crate::bits::Bits;
use crate::cells::Cells;
use crate::column::Column;
use crate::lane::Lane;
use crate::slots::{Meta, Slot};
use crate::spread;
use crate::time_index::TimeIndex;

/// How many hash indices share the key groups: growing one of them is a short pause, growing a single large one
/// would be a long one.
const SHARDS: usize = 64;
const GROUPS_PER_SHARD: u64 = KEY_GROUPS / SHARDS as u64;

/// Rows by key in typed columns.
#[derive(Debug)]
pub struct KeyedTable {
    schema: SchemaRef,
    key: Vec<usize>,
    columns: Vec<Column>,
    shards: Vec<HashTable<u32>>,
    meta: Lane<Meta>,
    /// Slots ever used: all below are live or in `free`, or dead in the time index.
    used: u32,
    free: Vec<u32>,
    len: usize,
    times: TimeIndex,
    /// Live slots that changed since the last snapshot.
    changed: Bits,
}

impl KeyedTable {
    /// An empty table of these columns, keyed by those at `key`, that forgets keys at most `slack` microseconds later
    /// than asked. Columns outside the key may be null, whatever the schema says.
    ///
    /// # Errors
    /// `Config` where a column has a type no table can hold; `Bug` where the key is not among the columns.
    pub fn new(schema: &SchemaRef, key: &[usize], slack: i64) -> Result<Self> {
        if key.is_empty() || key.iter().any(|k| *k >= schema.fields().len()) {
            return Err(Error::bug("the key of a table is not among its columns"));
        }
        let fields: Vec<Field> = schema
            .fields()
            .iter()
            .enumerate()
            .map(|(i, f)| f.as_ref().clone().with_nullable(f.is_nullable() || !key.contains(&i)))
            .collect();
        let columns = fields.iter().map(|f| Column::new(f.data_type())).collect::<Result<_>>()?;
        Ok(Self {
            schema: Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone())),
            key: key.to_vec(),
            columns,
            shards: (0..SHARDS).map(|_| HashTable::new()).collect(),
            meta: Lane::new(),
            used: 0,
            free: Vec::new(),
            len: 0,
            times: TimeIndex::new(slack),
            changed: Bits::default(),
        })
    }
    /// Its columns; those outside the key are nullable.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }
    /// Indices of the key's columns.
    pub fn key(&self) -> &[usize] {
        &self.key
    }
    /// How many keys it holds.
    pub fn len(&self) -> usize {
        self.len
    }
    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
    /// Bytes of memory, exactly but for allocator overhead.
    pub fn bytes(&self) -> usize {
        self.columns.iter().map(Column::bytes).sum::<usize>()
            + self.shards.iter().map(HashTable::allocation_size).sum::<usize>()
            + self.meta.bytes()
            + self.free.capacity() * size_of::<u32>()
            + self.times.bytes()
            + self.changed.bytes()
    }

    /// The slots of the keys at `key_columns` of `rows`, taking new ones where a key is not held. Appends to `slots`;
    /// a slot is new where its version is 0.
    ///
    /// # Errors
    /// `Bug` where the key columns do not fit; `Environment` where the table is full (2^32 keys).
    pub fn find_or_insert(
        &mut self,
        rows: &RecordBatch,
        key_columns: &[usize],
        hashes: &[u64],
        slots: &mut Vec<Slot>,
    ) -> Result<()> {
        let cells = self.key_cells(rows, key_columns)?;
        slots.reserve(hashes.len());
        for (row, hash) in hashes.iter().enumerate() {
            let slot = match self.find_row(*hash, &cells, row) {
                Some(slot) => slot,
                None => self.insert(*hash, &cells, row)?,
            };
            slots.push(slot);
        }
        Ok(())
    }
    /// The slots of the keys at `key_columns` of `rows`, where they are held.
    ///
    /// # Errors
    /// `Bug` where the key columns do not fit.
    pub fn find(&self, rows: &RecordBatch, key_columns: &[usize], hashes: &[u64]) -> Result<Vec<Option<Slot>>> {
        let cells = self.key_cells(rows, key_columns)?;
        Ok(hashes.iter().enumerate().map(|(row, hash)| self.find_row(*hash, &cells, row)).collect())
    }
    /// The slot of the key that `other`, a table with the same key, holds at `slot`.
    ///
    /// # Errors
    /// `Bug` only.
    pub fn find_same(&self, other: &Self, slot: Slot) -> Result<Option<Slot>> {
        let meta = other.meta(slot);
        let key = other.rows_of(&other.key, &[slot])?;
        let columns: Vec<usize> = (0..self.key.len()).collect();
        Ok(self.find(&key, &columns, &[meta.hash])?.pop().flatten())
    }
    fn key_cells(&self, rows: &RecordBatch, key_columns: &[usize]) -> Result<Vec<Cells>> {
        if key_columns.len() != self.key.len() {
            return Err(Error::bug("a batch has another number of key columns than its table"));
        }
        let array =
            |c: usize| rows.columns().get(c).ok_or_else(|| Error::bug("a batch lacks a key column of its table"));
        self.key.iter().zip(key_columns).map(|(k, c)| self.column(*k)?.cells(array(*c)?)).collect()
    }
    #[inline]
    fn find_row(&self, hash: u64, cells: &[Cells], row: usize) -> Option<Slot> {
        let shard = self.shards.get(shard_of(hash))?;
        let same = |slot: &u32| {
            let slot = Slot(*slot);
            self.meta.get(slot.index()).hash == hash
                && self
                    .key
                    .iter()
                    .zip(cells)
                    .all(|(k, c)| self.columns.get(*k).is_some_and(|col| col.equals(slot, c, row)))
        };
        shard.find(spread(hash), same).map(|s| Slot(*s))
    }
    fn insert(&mut self, hash: u64, cells: &[Cells], row: usize) -> Result<Slot> {
        let slot = self.allocate()?;
        self.meta.set(slot.index(), Meta::new(hash));
        for (k, c) in self.key.iter().zip(cells) {
            if let Some(column) = self.columns.get_mut(*k).filter(|_| c.is_valid(row)) {
                column.set(slot, c, row);
            }
        }
        let meta = &self.meta;
        if let Some(shard) = self.shards.get_mut(shard_of(hash)) {
            shard.insert_unique(spread(hash), slot.0, |s| spread(meta.get(*s as usize).hash));
        }
        self.len += 1;
        self.mark_changed(slot);
        Ok(slot)
    }
    fn allocate(&mut self) -> Result<Slot> {
        if let Some(slot) = self.free.pop() {
            return Ok(Slot(slot));
        }
        if self.used == u32::MAX {
            return Err(Error::environment("a table of state has 2^32 keys and no room for more: add workers"));
        }
        self.used += 1;
        Ok(Slot(self.used - 1))
    }

    /// A slot that belongs to no key, to hold a copy for a while; given back by [`KeyedTable::release_scratch`].
    ///
    /// # Errors
    /// `Environment` where the table is full.
    pub fn scratch(&mut self) -> Result<Slot> {
        let slot = self.allocate()?;
        self.meta.set(slot.index(), Meta::default());
        Ok(slot)
    }
    /// Gives a slot of [`KeyedTable::scratch`] back.
    pub fn release_scratch(&mut self, slot: Slot) {
        self.clear(slot);
        self.free.push(slot.0);
    }
    fn clear(&mut self, slot: Slot) {
        for column in &mut self.columns {
            column.clear(slot);
        }
    }
    /// Removes a slot's key.
    pub fn remove(&mut self, slot: Slot) {
        if !self.unlink(slot) {
            return;
        }
        if self.meta(slot).has(Meta::TIMED) {
            // The time index still threads through it.
            self.meta_mut(slot).flags |= Meta::DEAD;
        } else {
            self.free.push(slot.0);
        }
    }
    /// Takes a slot out of its shard and clears it; false where it is in none.
    fn unlink(&mut self, slot: Slot) -> bool {
        let hash = self.meta(slot).hash;
        let Some(shard) = self.shards.get_mut(shard_of(hash)) else { return false };
        let Ok(entry) = shard.find_entry(spread(hash), |s| *s == slot.0) else { return false };
        entry.remove();
        self.len -= 1;
        self.changed.clear(slot.index());
        self.clear(slot);
        true
    }

    /// What is known of a slot beside its columns.
    #[inline]
    pub fn meta(&self, slot: Slot) -> Meta {
        self.meta.get(slot.index())
    }
    /// What is known of a slot, to be changed.
    #[inline]
    pub fn meta_mut(&mut self, slot: Slot) -> &mut Meta {
        self.meta.slot(slot.index())
    }
    /// A column.
    ///
    /// # Errors
    /// `Bug` where there is no such column.
    pub fn column(&self, i: usize) -> Result<&Column> {
        self.columns.get(i).ok_or_else(|| Error::bug("a table of state lacks a column"))
    }
    /// A column, to be changed. The columns of the key must not be.
    ///
    /// # Errors
    /// As [`KeyedTable::column`].
    pub fn column_mut(&mut self, i: usize) -> Result<&mut Column> {
        self.columns.get_mut(i).ok_or_else(|| Error::bug("a table of state lacks a column"))
    }
    /// The rows of these slots, in this order: all columns.
    ///
    /// # Errors
    /// `Bug` only.
    pub fn rows(&self, slots: &[Slot]) -> Result<RecordBatch> {
        let columns = self.columns.iter().map(|c| c.gather(slots)).collect::<Result<_>>()?;
        Ok(RecordBatch::try_new(self.schema.clone(), columns)?)
    }
    /// The rows of these slots: only these columns.
    ///
    /// # Errors
    /// `Bug` only.
    pub fn rows_of(&self, columns: &[usize], slots: &[Slot]) -> Result<RecordBatch> {
        let arrays = columns.iter().map(|c| self.column(*c)?.gather(slots)).collect::<Result<Vec<_>>>()?;
        Ok(RecordBatch::try_new(Arc::new(self.schema.project(columns)?), arrays)?)
    }

    /// Says that an event of this time (microseconds) went into a slot: it is forgotten by the greatest of them.
    pub fn touch(&mut self, slot: Slot, time: i64) {
        let meta = self.meta.slot(slot.index());
        meta.event_time = meta.event_time.max(time);
        if !meta.has(Meta::TIMED) {
            meta.flags |= Meta::TIMED;
            self.times.insert(slot, time);
        }
        self.mark_changed(slot);
    }
    /// Forgets the keys whose greatest event time lies before `limit` (at most the slack later: those that
    /// [`KeyedTable::is_forgotten`]) and that `may_go` lets go; the others are asked about again when the limit has moved
    /// on. `gone` is told each slot before it is cleared.
    pub fn forget_before(&mut self, limit: i64, may_go: impl Fn(&Meta) -> bool, mut gone: impl FnMut(Slot)) {
        let mut times = std::mem::replace(&mut self.times, TimeIndex::new(1));
        let is_before = times.before(limit);
        times.drain_before(limit, |slot| {
            let meta = self.meta(slot);
            if meta.has(Meta::DEAD) {
                self.free.push(slot.0);
                return None;
            }
            if !is_before(meta.event_time) || !may_go(&meta) {
                return Some(meta.event_time);
            }
            gone(slot);
            self.unlink(slot);
            self.free.push(slot.0);
            None
        });
        self.times = times;
        for column in &mut self.columns {
            column.compact(self.used as usize);
        }
    }
    /// All slots whose key group is in `groups`: what a snapshot of them holds.
    pub fn slots_of_groups(&self, groups: Range<u64>) -> impl Iterator<Item = Slot> + '_ {
        let shards = self.shards.iter().enumerate().filter({
            let groups = groups.clone();
            move |(i, _)| {
                let first = *i as u64 * GROUPS_PER_SHARD;
                first < groups.end && groups.start < first + GROUPS_PER_SHARD
            }
        });
        shards
            .flat_map(|(_, shard)| shard.iter())
            .map(|s| Slot(*s))
            .filter(move |s| groups.contains(&key::key_group(self.meta(*s).hash)))
    }
}

fn shard_of(hash: u64) -> usize {
    (key::key_group(hash) / GROUPS_PER_SHARD) as usize
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
