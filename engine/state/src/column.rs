//! One typed column of a keyed table: a cell per slot, or nothing.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float64Type, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType,
    UInt64Type,
};
use millstream_core::Result;

use crate::arena::Arena;
use crate::bits::Bits;
use crate::cells::{Cells, Values};
use crate::lane::Lane;
use crate::nested::Nested;
use crate::slots::Slot;

/// Cells by physical type.
#[derive(Debug)]
pub(crate) enum Data {
    Bool(Lane<bool>),
    I32(Lane<i32>),
    I64(Lane<i64>),
    U64(Lane<u64>),
    I128(Lane<i128>),
    F64(Lane<f64>),
    Text(Arena),
    Bytes(Arena),
    Nested(Nested),
}

/// A typed column. Slots that were never set are null and take no memory behind the last one that was.
#[derive(Debug)]
pub struct Column {
    pub(crate) data_type: DataType,
    pub(crate) data: Data,
    pub(crate) valid: Bits,
}

impl Column {
    /// An empty column of an Arrow type.
    ///
    /// # Errors
    /// `Config` where no table can hold the type.
    pub fn new(data_type: &DataType) -> Result<Self> {
        let data = match data_type {
            DataType::Boolean => Data::Bool(Lane::new()),
            DataType::Int32 | DataType::Date32 => Data::I32(Lane::new()),
            DataType::Int64 | DataType::Timestamp(TimeUnit::Microsecond, _) => Data::I64(Lane::new()),
            DataType::UInt64 => Data::U64(Lane::new()),
            DataType::Decimal128(..) => Data::I128(Lane::new()),
            DataType::Float64 => Data::F64(Lane::new()),
            DataType::Utf8 => Data::Text(Arena::default()),
            DataType::Binary => Data::Bytes(Arena::default()),
            other => Data::Nested(Nested::new(other)?),
        };
        Ok(Self { data_type: data_type.clone(), data, valid: Bits::default() })
    }
    /// Its Arrow type.
    pub fn data_type(&self) -> &DataType {
        &self.data_type
    }
    /// Brings a column of a batch into this column's shape, casting it where its type differs.
    ///
    /// # Errors
    /// `Bug` where it cannot be cast: the plan lets only fitting types through.
    pub fn cells(&self, array: &ArrayRef) -> Result<Cells> {
        let cast;
        let array = if array.data_type() == &self.data_type {
            array
        } else {
            cast = arrow::compute::cast(array, &self.data_type)?;
            &cast
        };
        let values = match (&self.data, &self.data_type) {
            (Data::Bool(_), _) => Values::Bool(array.as_boolean().values().clone()),
            (Data::I32(_), DataType::Date32) => Values::I32(array.as_primitive::<Date32Type>().values().clone()),
            (Data::I32(_), _) => Values::I32(array.as_primitive::<Int32Type>().values().clone()),
            (Data::I64(_), DataType::Int64) => Values::I64(array.as_primitive::<Int64Type>().values().clone()),
            (Data::I64(_), _) => Values::I64(array.as_primitive::<TimestampMicrosecondType>().values().clone()),
            (Data::U64(_), _) => Values::U64(array.as_primitive::<UInt64Type>().values().clone()),
            (Data::I128(_), _) => Values::I128(array.as_primitive::<Decimal128Type>().values().clone()),
            (Data::F64(_), _) => Values::F64(array.as_primitive::<Float64Type>().values().clone()),
            (Data::Text(_), _) => Values::Text(array.as_string::<i32>().clone()),
            (Data::Bytes(_), _) => Values::Bytes(array.as_binary::<i32>().clone()),
            (Data::Nested(n), _) => Values::Nested(n.encode(array)?),
        };
        Ok(Cells { values, nulls: array.nulls().cloned() })
    }
    /// Whether a slot has a value.
    #[inline]
    pub fn is_valid(&self, slot: Slot) -> bool {
        self.valid.get(slot.index())
    }
    /// Sets a slot to row `row` of `cells`, which is not null there.
    #[expect(clippy::indexing_slicing, reason = "rows are below the batch's length")]
    pub fn set(&mut self, slot: Slot, cells: &Cells, row: usize) {
        let i = slot.index();
        match (&mut self.data, &cells.values) {
            (Data::Bool(d), Values::Bool(v)) => d.set(i, v.value(row)),
            (Data::I32(d), Values::I32(v)) => d.set(i, v[row]),
            (Data::I64(d), Values::I64(v)) => d.set(i, v[row]),
            (Data::U64(d), Values::U64(v)) => d.set(i, v[row]),
            (Data::I128(d), Values::I128(v)) => d.set(i, v[row]),
            (Data::F64(d), Values::F64(v)) => d.set(i, v[row]),
            (Data::Text(d), Values::Text(v)) => d.set(i, v.value(row).as_bytes()),
            (Data::Bytes(d), Values::Bytes(v)) => d.set(i, v.value(row)),
            (Data::Nested(d), Values::Nested(v)) => d.values.set(i, v.row(row).as_ref()),
            _ => debug_assert!(false, "cells of another column"),
        }
        self.valid.set(i);
    }
    /// Makes a slot null.
    pub fn clear(&mut self, slot: Slot) {
        let i = slot.index();
        if self.valid.get(i) {
            self.valid.clear(i);
            match &mut self.data {
                Data::Text(d) | Data::Bytes(d) => d.clear(i),
                Data::Nested(d) => d.values.clear(i),
                // The value behind a null is never read.
                _ => {}
            }
        }
    }
    /// Sets `slots[i]` to row i of `cells` for every row that is not null and that `chosen` (all, where it is none)
    /// names: as [`Column::set`] row by row, in order.
    pub fn scatter(&mut self, slots: &[Slot], cells: &Cells, chosen: Option<&[bool]>) {
        fn fixed<T: Copy + Default>(
            lane: &mut Lane<T>,
            valid: &mut Bits,
            slots: &[Slot],
            values: &[T],
            wanted: impl Fn(usize) -> bool,
        ) {
            for (row, (slot, value)) in slots.iter().zip(values).enumerate() {
                if wanted(row) {
                    lane.set(slot.index(), *value);
                    valid.set(slot.index());
                }
            }
        }
        let nulls = cells.nulls.as_ref();
        let wanted = |row: usize| {
            nulls.is_none_or(|n| n.is_valid(row)) && chosen.is_none_or(|c| c.get(row).copied().unwrap_or(false))
        };
        let valid = &mut self.valid;
        match (&mut self.data, &cells.values) {
            (Data::I32(d), Values::I32(v)) => fixed(d, valid, slots, v, wanted),
            (Data::I64(d), Values::I64(v)) => fixed(d, valid, slots, v, wanted),
            (Data::U64(d), Values::U64(v)) => fixed(d, valid, slots, v, wanted),
            (Data::I128(d), Values::I128(v)) => fixed(d, valid, slots, v, wanted),
            (Data::F64(d), Values::F64(v)) => fixed(d, valid, slots, v, wanted),
            (Data::Text(d), Values::Text(v)) => {
                for (row, slot) in slots.iter().enumerate().filter(|(row, _)| wanted(*row)) {
                    d.set(slot.index(), v.value(row).as_bytes());
                    valid.set(slot.index());
                }
            }
            _ => {
                for (row, slot) in slots.iter().enumerate().filter(|(row, _)| wanted(*row)) {
                    self.set(*slot, cells, row);
                }
            }
        }
    }
    /// Sets `slots[i]` to row i of `cells` for every row, in order, and makes it null where that is; all are null where
    /// there are no cells.
    pub fn assign(&mut self, slots: &[Slot], cells: Option<&Cells>) {
        for (row, slot) in slots.iter().enumerate() {
            match cells.filter(|c| c.is_valid(row)) {
                Some(cells) => self.set(*slot, cells, row),
                None => self.clear(*slot),
            }
        }
    }
    /// Copies a cell.
    pub fn copy(&mut self, from: Slot, to: Slot) {
        if !self.is_valid(from) {
            self.clear(to);
            return;
        }
        let (f, t) = (from.index(), to.index());
        match &mut self.data {
            Data::Bool(d) => d.set(t, d.get(f)),
            Data::I32(d) => d.set(t, d.get(f)),
            Data::I64(d) => d.set(t, d.get(f)),
            Data::U64(d) => d.set(t, d.get(f)),
            Data::I128(d) => d.set(t, d.get(f)),
            Data::F64(d) => d.set(t, d.get(f)),
            Data::Text(d) | Data::Bytes(d) => {
                let value = d.get(f).to_vec();
                d.set(t, &value);
            }
            Data::Nested(d) => {
                let value = d.values.get(f).to_vec();
                d.values.set(t, &value);
            }
        }
        self.valid.set(t);
    }
    /// Whether a slot holds the value of row `row`; two nulls are equal.
    #[expect(clippy::indexing_slicing, reason = "rows are below the batch's length")]
    pub fn equals(&self, slot: Slot, cells: &Cells, row: usize) -> bool {
        let i = slot.index();
        let valid = cells.is_valid(row);
        if self.valid.get(i) != valid || !valid {
            return self.valid.get(i) == valid;
        }
        match (&self.data, &cells.values) {
            (Data::Bool(d), Values::Bool(v)) => d.get(i) == v.value(row),
            (Data::I32(d), Values::I32(v)) => d.get(i) == v[row],
            (Data::I64(d), Values::I64(v)) => d.get(i) == v[row],
            (Data::U64(d), Values::U64(v)) => d.get(i) == v[row],
            (Data::I128(d), Values::I128(v)) => d.get(i) == v[row],
            // As `core::key` sees doubles: one zero, one not-a-number.
            (Data::F64(d), Values::F64(v)) => d.get(i) == v[row] || (d.get(i).is_nan() && v[row].is_nan()),
            (Data::Text(d), Values::Text(v)) => d.get(i) == v.value(row).as_bytes(),
            (Data::Bytes(d), Values::Bytes(v)) => d.get(i) == v.value(row),
            (Data::Nested(d), Values::Nested(v)) => d.values.get(i) == v.row(row).as_ref(),
            _ => false,
        }
    }
    /// The value of a slot, in a column of unsigned 64-bit numbers.
    #[inline]
    pub fn u64_at(&self, slot: Slot) -> Option<u64> {
        match &self.data {
            Data::U64(d) if self.valid.get(slot.index()) => Some(d.get(slot.index())),
            _ => None,
        }
    }
    /// Sets a slot, in a column of unsigned 64-bit numbers.
    #[inline]
    pub fn put_u64(&mut self, slot: Slot, value: u64) {
        if let Data::U64(d) = &mut self.data {
            d.set(slot.index(), value);
            self.valid.set(slot.index());
        }
    }
    /// The value of a slot, in a column of signed 64-bit numbers or timestamps.
    #[inline]
    pub fn i64_at(&self, slot: Slot) -> Option<i64> {
        match &self.data {
            Data::I64(d) if self.valid.get(slot.index()) => Some(d.get(slot.index())),
            _ => None,
        }
    }
    /// Sets a slot, in a column of signed 64-bit numbers or timestamps.
    #[inline]
    pub fn put_i64(&mut self, slot: Slot, value: i64) {
        if let Data::I64(d) = &mut self.data {
            d.set(slot.index(), value);
            self.valid.set(slot.index());
        }
    }
    /// Gives dead bytes of text back, where that is worth it; `slots` is how many slots there are.
    pub fn compact(&mut self, slots: usize) {
        match &mut self.data {
            Data::Text(d) | Data::Bytes(d) => d.compact(slots),
            Data::Nested(d) => d.values.compact(slots),
            _ => {}
        }
    }
    /// Bytes of memory.
    pub fn bytes(&self) -> usize {
        self.valid.bytes()
            + match &self.data {
                Data::Bool(d) => d.bytes(),
                Data::I32(d) => d.bytes(),
                Data::I64(d) => d.bytes(),
                Data::U64(d) => d.bytes(),
                Data::I128(d) => d.bytes(),
                Data::F64(d) => d.bytes(),
                Data::Text(d) | Data::Bytes(d) => d.bytes(),
                Data::Nested(d) => d.values.bytes(),
            }
    }
}
