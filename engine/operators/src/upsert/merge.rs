//! The merge: events of one input applied to the rows of a table, commutative, associative and idempotent.
//!
//! Of the events that set a column, the one with the greatest stamp wins: the greatest `latest_by`, then the greatest
//! content hash. A null is not an event about its column unless the input writes nulls. An event whose stamp a row
//! already has is an echo.
//!
//! A batch is applied column by column, each column in the order of the rows, so two events of one key in a batch act
//! as if they came one after the other. Where the row between the two is wanted, it is copied to a scratch slot as
//! each column passes it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use millstream_core::{Batch, Error, Result, key};
use millstream_state::{Cells, KeyedTable, Meta, Slot, content};

use super::events::{Events, Fate, Mode, Standing, fates};
use super::layout::{Group, Input, Layout};
use super::stamp::{Stamp, orders};

/// A batch that was applied; by row.
#[derive(Debug)]
pub(super) struct Applied {
    /// The row's key.
    pub(super) slots: Vec<Slot>,
    /// What it did.
    pub(super) fates: Vec<Fate>,
    /// Where the table's row as it was right after the event can be read.
    pub(super) after: Vec<Slot>,
    /// Slots to be given back once that was read.
    scratch: Vec<Slot>,
}

/// Rows by key, with the stamps that decide about them.
#[derive(Debug)]
pub(super) struct Merged {
    pub(super) table: KeyedTable,
    pub(super) layout: Arc<Layout>,
    /// Stamps of single columns that differ from their group's; `None` where nothing has set the column.
    pub(super) mixed: HashMap<(Slot, usize), Option<Stamp>>,
    /// Distinguishes batches in [`Meta::mark`].
    epoch: u32,
}

impl Merged {
    pub(super) fn new(layout: Arc<Layout>, slack: i64) -> Result<Self> {
        let table = KeyedTable::new(&layout.schema, &layout.key, slack)?;
        Ok(Self { table, layout, mixed: HashMap::new(), epoch: 0 })
    }
    /// Bytes of memory.
    pub(super) fn bytes(&self) -> usize {
        self.table.bytes() + self.mixed.capacity() * (size_of::<((Slot, usize), Option<Stamp>)>() + 1)
    }
    /// Forgets the stamps of single columns of a slot whose row goes.
    pub(super) fn unmix(mixed: &mut HashMap<(Slot, usize), Option<Stamp>>, layout: &Layout, slot: Slot) {
        for column in 0..layout.width {
            mixed.remove(&(slot, column));
        }
    }
    /// Removes a row.
    pub(super) fn remove(&mut self, slot: Slot) {
        if self.table.meta(slot).has(Meta::MIXED) {
            Self::unmix(&mut self.mixed, &self.layout, slot);
        }
        self.table.remove(slot);
    }
    /// Forgets the rows whose time lies before `limit` and that `may_go` lets go.
    pub(super) fn forget_before(&mut self, limit: i64, may_go: impl Fn(&Meta) -> bool, mut gone: impl FnMut(Slot)) {
        let (mixed, layout) = (&mut self.mixed, &self.layout);
        self.table.forget_before(limit, may_go, |slot| {
            if !mixed.is_empty() {
                Self::unmix(mixed, layout, slot);
            }
            gone(slot);
        });
    }

    fn group_stamp(&self, slot: Slot, group: &Group) -> Result<Option<Stamp>> {
        let Some(hash) = self.table.column(group.hash)?.u64_at(slot) else { return Ok(None) };
        let order = match group.order {
            Some(column) => self.table.column(column)?.i64_at(slot).unwrap_or(i64::MIN),
            None => 0,
        };
        Ok(Some(Stamp { order, hash }))
    }
    fn put_group_stamp(&mut self, slot: Slot, group: &Group, stamp: Stamp) -> Result<()> {
        self.table.column_mut(group.hash)?.put_u64(slot, stamp.hash);
        if let Some(column) = group.order {
            self.table.column_mut(column)?.put_i64(slot, stamp.order);
        }
        Ok(())
    }
    /// The stamp of the event that set a column of a row.
    pub(super) fn stamp(&self, slot: Slot, column: usize) -> Result<Option<Stamp>> {
        let Some((_, group)) = self.layout.group(column) else { return Ok(None) };
        self.stamp_under(slot, column, group, self.group_stamp(slot, group)?)
    }
    /// The same, given the stamp of its group.
    fn stamp_under(&self, slot: Slot, column: usize, group: &Group, of_group: Option<Stamp>) -> Result<Option<Stamp>> {
        if self.table.meta(slot).has(Meta::MIXED)
            && let Some(own) = self.mixed.get(&(slot, column))
        {
            return Ok(*own);
        }
        if !group.nulls_are_values && !self.table.column(column)?.is_valid(slot) {
            return Ok(None);
        }
        Ok(of_group)
    }
    pub(super) fn mix(&mut self, slot: Slot, column: usize, stamp: Option<Stamp>) {
        self.table.meta_mut(slot).flags |= Meta::MIXED;
        self.mixed.insert((slot, column), stamp);
    }

    /// Applies a batch of an input. Rows after which `wants_row` wants to see the table's row can be read at
    /// [`Applied::after`], until [`Merged::release`].
    pub(super) fn apply(&mut self, input: usize, batch: &Batch, wants_row: impl Fn(&Meta) -> bool) -> Result<Applied> {
        let layout = self.layout.clone();
        let input =
            layout.inputs.get(input).ok_or_else(|| Error::bug("an upsert got a batch by no input of its own"))?;
        let hashes = key::hash_rows(&batch.rows, &input.key)?;
        let mut slots = Vec::new();
        self.table.find_or_insert(&batch.rows, &input.key, &hashes, &mut slots)?;
        let arrays = self.arrays(input, batch)?;
        let events = Events {
            input,
            slots: &slots,
            hashes: content::hash_arrays(&arrays, slots.len(), input.seed)?,
            orders: input.latest_by.map(|c| orders(batch.rows.column(c))).transpose()?,
        };
        let mut standings = Vec::with_capacity(input.groups.len());
        for group in input.groups.iter().filter_map(|g| layout.groups.get(*g)) {
            standings.push(self.stamp_rows(group, &events)?);
        }
        let mut fates =
            if input.groups.is_empty() { self.existence(input, &slots)? } else { fates(&standings, slots.len()) };
        let (after, scratch) = self.scratch_rows(&slots, &fates, wants_row)?;
        for ((column, _), array) in input.columns.iter().zip(&arrays) {
            let Some((at, group)) = layout.group(*column) else { continue };
            let Some(standing) = input.groups.iter().position(|g| *g == at).and_then(|i| standings.get(i)) else {
                continue;
            };
            let cells = self.table.column(*column)?.cells(array)?;
            if scratch.is_empty() && standing.before.is_empty() && !group.nulls_are_values {
                self.set_fast(*column, &cells, &slots, &standing.modes)?;
            } else {
                self.set_exactly(*column, group, &cells, &events, standing, &mut fates, &after)?;
            }
        }
        self.count(input, batch, &slots, &fates, &after)?;
        if !scratch.is_empty() {
            self.copy_rest(input, &slots, &after)?;
        }
        Ok(Applied { slots, fates, after, scratch })
    }
    /// Gives the scratch slots of a batch back.
    pub(super) fn release(&mut self, applied: Applied) {
        for slot in applied.scratch {
            self.table.release_scratch(slot);
        }
    }
    /// What an input sets, in the types of the table.
    fn arrays(&self, input: &Input, batch: &Batch) -> Result<Vec<ArrayRef>> {
        let cast = |(to, from): &(usize, usize)| {
            let array =
                batch.rows.columns().get(*from).ok_or_else(|| Error::bug("an upsert's input lacks a column"))?;
            let wanted = self.table.column(*to)?.data_type();
            if array.data_type() == wanted { Ok(array.clone()) } else { Ok(arrow::compute::cast(array, wanted)?) }
        };
        input.columns.iter().map(cast).collect()
    }
    /// Compares each event with its row's stamp and moves the stamp on.
    fn stamp_rows(&mut self, group: &Group, events: &Events<'_>) -> Result<Standing> {
        let mut modes = Vec::with_capacity(events.slots.len());
        let mut before = Vec::new();
        for (row, slot) in events.slots.iter().enumerate() {
            let new = events.stamp(row, group);
            let old = self.group_stamp(*slot, group)?;
            let mode = match old {
                None => Mode::First,
                Some(old) if old == new => Mode::Echo,
                Some(old) if old < new => Mode::Newer,
                Some(_) => Mode::Older,
            };
            if matches!(mode, Mode::First | Mode::Newer) {
                self.put_group_stamp(*slot, group, new)?;
            }
            if matches!(mode, Mode::Newer | Mode::Older) && before.is_empty() {
                before.resize(events.slots.len(), Stamp::default());
            }
            if let (Some(old), Some(place)) = (old, before.get_mut(row)) {
                *place = old;
            }
            modes.push(mode);
        }
        Ok(Standing { modes, before })
    }
    /// The fates of events that set nothing but the key: the first of a key changes it.
    fn existence(&self, input: &Input, slots: &[Slot]) -> Result<Vec<Fate>> {
        let mut met = HashSet::new();
        let known = self.table.column(input.arrived_at)?;
        let fate = |slot: &Slot| if known.is_valid(*slot) || !met.insert(*slot) { Fate::Echo } else { Fate::Changed };
        Ok(slots.iter().map(fate).collect())
    }
    /// Where each event's row will be readable: its slot, or a scratch slot where a later event of the batch goes on
    /// changing it and the row between is wanted.
    fn scratch_rows(
        &mut self,
        slots: &[Slot],
        fates: &[Fate],
        wants_row: impl Fn(&Meta) -> bool,
    ) -> Result<(Vec<Slot>, Vec<Slot>)> {
        let (mut after, mut scratch) = (slots.to_vec(), Vec::new());
        self.epoch = self.epoch.wrapping_add(1).max(1);
        for (row, slot) in slots.iter().enumerate().rev() {
            if fates.get(row) == Some(&Fate::Echo) {
                continue;
            }
            let meta = self.table.meta_mut(*slot);
            if meta.mark != self.epoch {
                meta.mark = self.epoch;
            } else if wants_row(meta) {
                let copy = self.table.scratch()?;
                scratch.push(copy);
                if let Some(place) = after.get_mut(row) {
                    *place = copy;
                }
            }
        }
        Ok((after, scratch))
    }
    /// Sets a column where every event is its row's first or an echo.
    fn set_fast(&mut self, column: usize, cells: &Cells, slots: &[Slot], modes: &[Mode]) -> Result<()> {
        let column = self.table.column_mut(column)?;
        if modes.iter().all(|m| *m == Mode::First) {
            column.scatter(slots, cells, None);
        } else {
            let chosen: Vec<bool> = modes.iter().map(|m| *m == Mode::First).collect();
            column.scatter(slots, cells, Some(&chosen));
        }
        Ok(())
    }
    /// Sets a column event by event.
    #[expect(clippy::too_many_arguments, reason = "everything that is known of the batch, once")]
    fn set_exactly(
        &mut self,
        column: usize,
        group: &Group,
        cells: &Cells,
        events: &Events<'_>,
        standing: &Standing,
        fates: &mut [Fate],
        after: &[Slot],
    ) -> Result<()> {
        for (row, (slot, mode)) in events.slots.iter().zip(&standing.modes).enumerate() {
            let before = standing.before.get(row).copied();
            let changed = self.set_one(column, group, *slot, cells, row, events, *mode, before)?;
            if let (true, Some(fate)) = (changed, fates.get_mut(row)) {
                *fate = Fate::Changed;
            }
            if let Some(copy) = after.get(row).filter(|a| **a != *slot) {
                self.table.column_mut(column)?.copy(*slot, *copy);
            }
        }
        Ok(())
    }
    /// Sets one cell; true where an older event still had something to say.
    #[expect(clippy::too_many_arguments, reason = "everything that is known of the event, once")]
    fn set_one(
        &mut self,
        column: usize,
        group: &Group,
        slot: Slot,
        cells: &Cells,
        row: usize,
        events: &Events<'_>,
        mode: Mode,
        before: Option<Stamp>,
    ) -> Result<bool> {
        let speaks = cells.is_valid(row) || events.input.write_nulls;
        match mode {
            Mode::Echo => {}
            Mode::First | Mode::Newer if speaks => {
                self.write(column, slot, cells, row)?;
                if self.table.meta(slot).has(Meta::MIXED) {
                    self.mixed.remove(&(slot, column));
                }
            }
            Mode::First => {
                if group.nulls_are_values {
                    self.mix(slot, column, None);
                }
            }
            Mode::Newer => {
                // The group's stamp has moved on over a column that keeps its value, and so its stamp.
                let own = self.stamp_under(slot, column, group, before)?;
                if own.is_some() || group.nulls_are_values {
                    self.mix(slot, column, own);
                }
            }
            Mode::Older if speaks => {
                let new = events.stamp(row, group);
                if self.stamp_under(slot, column, group, before)?.is_none_or(|own| own < new) {
                    self.write(column, slot, cells, row)?;
                    self.mix(slot, column, Some(new));
                    return Ok(true);
                }
            }
            Mode::Older => {}
        }
        Ok(false)
    }
    fn write(&mut self, column: usize, slot: Slot, cells: &Cells, row: usize) -> Result<()> {
        let column = self.table.column_mut(column)?;
        if cells.is_valid(row) {
            column.set(slot, cells, row);
        } else {
            column.clear(slot);
        }
        Ok(())
    }
    /// Counts versions and keeps the greatest times.
    fn count(&mut self, input: &Input, batch: &Batch, slots: &[Slot], fates: &[Fate], after: &[Slot]) -> Result<()> {
        let (event_times, arrivals) = (batch.event_time()?, batch.arrived_at()?);
        for (row, slot) in slots.iter().enumerate() {
            match fates.get(row) {
                None | Some(Fate::Echo) => continue,
                Some(Fate::Superseded) => {}
                Some(Fate::Changed) => self.table.meta_mut(*slot).version += 1,
            }
            self.table.mark_changed(*slot);
            if event_times.is_valid(row) {
                let time = event_times.value(row);
                self.table.touch(*slot, time);
                raise(&mut self.table, input.event_time, *slot, time)?;
            }
            raise(&mut self.table, input.arrived_at, *slot, arrivals.value(row))?;
            if let Some(copy) = after.get(row).filter(|a| **a != *slot) {
                self.table.column_mut(input.event_time)?.copy(*slot, *copy);
                self.table.column_mut(input.arrived_at)?.copy(*slot, *copy);
            }
        }
        Ok(())
    }
    /// Completes the scratch rows with what this input does not set.
    fn copy_rest(&mut self, input: &Input, slots: &[Slot], after: &[Slot]) -> Result<()> {
        for column in 0..self.layout.schema.fields().len() {
            let set = input.columns.iter().any(|(c, _)| *c == column);
            if set || column == input.event_time || column == input.arrived_at {
                continue;
            }
            let data = self.table.column_mut(column)?;
            for (slot, copy) in slots.iter().zip(after).filter(|(slot, copy)| slot != copy) {
                data.copy(*slot, *copy);
            }
        }
        Ok(())
    }
    /// Puts a row with its stamps as they are: how stored rows come in. `stamps` are by column; a column of a group
    /// none of whose columns has one is stamped by `content`.
    pub(super) fn put_stamps(
        &mut self,
        slot: Slot,
        stamps: &HashMap<usize, Stamp>,
        content: &[(usize, Stamp)],
    ) -> Result<()> {
        let layout = self.layout.clone();
        for (at, group) in layout.groups.iter().enumerate() {
            let greatest = group.columns.iter().filter_map(|c| stamps.get(c)).max().copied();
            let from_content = content.iter().find(|(g, _)| *g == at).map(|(_, stamp)| *stamp);
            let Some(stamp) = greatest.or(from_content) else { continue };
            self.put_group_stamp(slot, group, stamp)?;
            if greatest.is_some() {
                for column in &group.columns {
                    let own = stamps.get(column).copied();
                    if own != Some(stamp) && (own.is_some() || group.nulls_are_values) {
                        self.mix(slot, *column, own);
                    }
                }
            }
        }
        Ok(())
    }
}

fn raise(table: &mut KeyedTable, column: usize, slot: Slot, time: i64) -> Result<()> {
    let column = table.column_mut(column)?;
    if column.i64_at(slot).is_none_or(|t| t < time) {
        column.put_i64(slot, time);
    }
    Ok(())
}
