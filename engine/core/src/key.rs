//! Keys: stable hashes over columns, and the key groups that spread them over workers.
//!
//! The hash is part of what a checkpoint promises, so it is our own definition over values, not DataFusion's
//! or Arrow's: the low half of the 128-bit `xxh3` (which is also an id's 128 bits) over, per column, a tag byte (0 null, 1 value), then the value: 8 bytes little-endian
//! for whole numbers, times and decimals' low half (16 for decimals), the bits of doubles (-0.0 as 0.0, one
//! NaN), and for text and bytes a 4-byte length and the bytes.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float64Type, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType,
    UInt64Type,
};
use xxhash_rust::xxh3::xxh3_128;

use crate::error::{Error, Result};

/// How many key groups there are. Never changes: state is stored by key group.
pub const KEY_GROUPS: u64 = 1024;

/// The key group of a key's hash.
pub fn key_group(hash: u64) -> u64 {
    hash % KEY_GROUPS
}

/// The worker that owns a key group.
pub fn worker_of(hash: u64, workers: usize) -> usize {
    (key_group(hash) as usize * workers) / KEY_GROUPS as usize
}

/// Appends the canonical bytes of row `row` of `array` to `out`.
fn append_value(array: &dyn Array, row: usize, out: &mut Vec<u8>) -> Result<()> {
    if array.is_null(row) {
        out.push(0);
        return Ok(());
    }
    out.push(1);
    let text = |bytes: &[u8], out: &mut Vec<u8>| {
        out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        out.extend_from_slice(bytes);
    };
    match array.data_type() {
        DataType::Utf8 => text(array.as_string::<i32>().value(row).as_bytes(), out),
        DataType::LargeUtf8 => text(array.as_string::<i64>().value(row).as_bytes(), out),
        DataType::Utf8View => text(array.as_string_view().value(row).as_bytes(), out),
        DataType::Binary => text(array.as_binary::<i32>().value(row), out),
        DataType::Int32 => {
            out.extend_from_slice(&i64::from(array.as_primitive::<Int32Type>().value(row)).to_le_bytes());
        }
        DataType::Int64 => out.extend_from_slice(&array.as_primitive::<Int64Type>().value(row).to_le_bytes()),
        DataType::UInt64 => out.extend_from_slice(&array.as_primitive::<UInt64Type>().value(row).to_le_bytes()),
        DataType::Date32 => {
            out.extend_from_slice(&i64::from(array.as_primitive::<Date32Type>().value(row)).to_le_bytes());
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            out.extend_from_slice(&array.as_primitive::<TimestampMicrosecondType>().value(row).to_le_bytes());
        }
        DataType::Decimal128(..) => {
            out.extend_from_slice(&array.as_primitive::<Decimal128Type>().value(row).to_le_bytes());
        }
        DataType::Boolean => out.push(u8::from(array.as_boolean().value(row))),
        DataType::Float64 => {
            let v = array.as_primitive::<Float64Type>().value(row);
            let v = if v == 0.0 {
                0.0
            } else if v.is_nan() {
                f64::NAN
            } else {
                v
            };
            out.extend_from_slice(&v.to_bits().to_le_bytes());
        }
        DataType::Struct(_) => {
            for field in array.as_struct().columns() {
                append_value(field.as_ref(), row, out)?;
            }
        }
        DataType::List(_) => {
            let items = array.as_list::<i32>().value(row);
            out.extend_from_slice(&(items.len() as u32).to_le_bytes());
            for i in 0..items.len() {
                append_value(items.as_ref(), i, out)?;
            }
        }
        other => {
            return match arrow::compute::cast(&array.slice(row, 1), &DataType::Utf8) {
                Ok(cast) => append_value(cast.as_ref(), 0, out),
                Err(e) => Err(Error::bug(format!("a column of type {other} cannot be hashed")).caused_by(e)),
            };
        }
    }
    Ok(())
}

/// The canonical bytes of `columns` at `row`, appended to `out`: equal bytes mean equal keys.
///
/// # Errors
/// `Bug` where a type has no canonical form.
pub fn key_bytes(rows: &RecordBatch, columns: &[usize], row: usize, out: &mut Vec<u8>) -> Result<()> {
    for &c in columns {
        append_value(rows.column(c).as_ref(), row, out)?;
    }
    Ok(())
}

/// Per row, the 64-bit hash of `columns`: the low half of [`identify_rows`].
///
/// # Errors
/// As [`key_bytes`].
pub fn hash_rows(rows: &RecordBatch, columns: &[usize]) -> Result<Vec<u64>> {
    map_keys(rows, columns, |bytes| xxh3_128(bytes) as u64)
}

/// Per row, the 128-bit hash of `columns`: equal hashes are taken for equal keys.
///
/// # Errors
/// As [`key_bytes`].
pub fn identify_rows(rows: &RecordBatch, columns: &[usize]) -> Result<Vec<u128>> {
    map_keys(rows, columns, xxh3_128)
}

fn map_keys<T>(rows: &RecordBatch, columns: &[usize], hash: impl Fn(&[u8]) -> T) -> Result<Vec<T>> {
    let mut buffer = Vec::with_capacity(64);
    let mut out = Vec::with_capacity(rows.num_rows());
    for row in 0..rows.num_rows() {
        buffer.clear();
        key_bytes(rows, columns, row, &mut buffer)?;
        out.push(hash(&buffer));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_group_has_one_worker_and_workers_share_evenly() {
        for workers in [1, 2, 3, 4, 7] {
            let mut owned = vec![0; workers];
            for group in 0..KEY_GROUPS {
                owned[worker_of(group, workers)] += 1;
            }
            let (min, max) = (owned.iter().min().unwrap(), owned.iter().max().unwrap());
            assert!(max - min <= 1, "{owned:?}");
        }
    }
}
