//! From slots back to Arrow arrays.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array, Int64Array,
    StringArray, TimestampMicrosecondArray, UInt64Array,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::DataType;
use millstream_core::{Error, Result};

use crate::arena::Arena;
use crate::bits::Bits;
use crate::column::{Column, Data};
use crate::lane::Lane;
use crate::slots::Slot;

impl Column {
    /// The cells of these slots, in this order.
    ///
    /// # Errors
    /// `Bug` only (more than 2 GiB of text in one batch).
    pub fn gather(&self, slots: &[Slot]) -> Result<ArrayRef> {
        let nulls = nulls(&self.valid, slots);
        Ok(match (&self.data, &self.data_type) {
            (Data::Bool(d), _) => {
                let values =
                    BooleanBuffer::collect_bool(slots.len(), |i| slots.get(i).is_some_and(|s| d.get(s.index())));
                Arc::new(BooleanArray::new(values, nulls))
            }
            (Data::I32(d), DataType::Date32) => Arc::new(Date32Array::new(values(d, slots), nulls)),
            (Data::I32(d), _) => Arc::new(Int32Array::new(values(d, slots), nulls)),
            (Data::I64(d), DataType::Timestamp(_, zone)) => {
                Arc::new(TimestampMicrosecondArray::new(values(d, slots), nulls).with_timezone_opt(zone.clone()))
            }
            (Data::I64(d), _) => Arc::new(Int64Array::new(values(d, slots), nulls)),
            (Data::U64(d), _) => Arc::new(UInt64Array::new(values(d, slots), nulls)),
            (Data::I128(d), t) => Arc::new(Decimal128Array::new(values(d, slots), nulls).with_data_type(t.clone())),
            (Data::F64(d), _) => Arc::new(Float64Array::new(values(d, slots), nulls)),
            (Data::Text(d), _) => {
                let (offsets, bytes) = bytes(d, &self.valid, slots)?;
                Arc::new(StringArray::try_new(offsets, bytes, nulls)?)
            }
            (Data::Bytes(d), _) => {
                let (offsets, bytes) = bytes(d, &self.valid, slots)?;
                Arc::new(BinaryArray::try_new(offsets, bytes, nulls)?)
            }
            (Data::Nested(d), _) => d.gather(slots, &self.valid)?,
        })
    }
}

fn values<T: Copy + Default + arrow::datatypes::ArrowNativeType>(lane: &Lane<T>, slots: &[Slot]) -> ScalarBuffer<T> {
    lane.gather(slots).into()
}

fn nulls(valid: &Bits, slots: &[Slot]) -> Option<NullBuffer> {
    if valid.all(slots) {
        return None;
    }
    let bits = BooleanBuffer::collect_bool(slots.len(), |i| slots.get(i).is_some_and(|s| valid.get(s.index())));
    Some(NullBuffer::new(bits))
}

fn bytes(arena: &Arena, valid: &Bits, slots: &[Slot]) -> Result<(OffsetBuffer<i32>, Buffer)> {
    let mut offsets = Vec::with_capacity(slots.len() + 1);
    let mut bytes = Vec::with_capacity(slots.len() * 16);
    offsets.push(0_i32);
    for slot in slots {
        if valid.get(slot.index()) {
            bytes.extend_from_slice(arena.get(slot.index()));
        }
        let end =
            i32::try_from(bytes.len()).map_err(|_| Error::bug("more than 2 GiB of text in one batch of state"))?;
        offsets.push(end);
    }
    Ok((OffsetBuffer::new(offsets.into()), Buffer::from_vec(bytes)))
}
