//! A stable 64-bit hash of what a row says: equal content gives equal hashes, on every machine and version.
//!
//! It decides between unequal events of one key and goes into what stores keep, so its definition is ours: over
//! the columns in order, `h = fold((h ^ v ^ K1) * K2)`, where `fold` is the exclusive or of both halves of the 128-bit
//! product and `v` is the value: whole numbers, dates and times as 64 bits, decimals as two halves, booleans as 0 or
//! 1, doubles by their bits (one zero, one not-a-number), text and bytes by their `xxh3`, everything else by the `xxh3`
//! of its canonical bytes ([`millstream_core::key`]). A null is `fold((h ^ K3) * K2)`.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float64Type, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType,
    UInt64Type,
};
use millstream_core::{Result, key};
use xxhash_rust::xxh3::xxh3_64;

const K1: u64 = 0x2D35_8DCC_AA6C_78A5;
const K2: u64 = 0x8BB8_4B93_962E_ACC9;
const K3: u64 = 0x4B33_A62E_D433_D4A3;

fn fold(v: u64) -> u64 {
    let product = u128::from(v) * u128::from(K2);
    (product as u64) ^ ((product >> 64) as u64)
}

/// A seed from text, so that the same values in other columns hash otherwise.
pub fn seed<'a>(names: impl IntoIterator<Item = &'a str>) -> u64 {
    names.into_iter().fold(0, |h, name| fold(h ^ xxh3_64(name.as_bytes()) ^ K1))
}

/// Per row, the hash of `columns` in that order, starting from `seed`.
///
/// # Errors
/// `Bug` where a type has no canonical form.
pub fn hash_rows(rows: &RecordBatch, columns: &[usize], seed: u64) -> Result<Vec<u64>> {
    hash_arrays(columns.iter().map(|c| rows.column(*c)), rows.num_rows(), seed)
}

/// Per row of these columns, each `rows` long, their hash in that order, starting from `seed`.
///
/// # Errors
/// As [`hash_rows`].
pub fn hash_arrays<'a>(columns: impl IntoIterator<Item = &'a ArrayRef>, rows: usize, seed: u64) -> Result<Vec<u64>> {
    let mut hashes = vec![seed; rows];
    for column in columns {
        add(column, &mut hashes)?;
    }
    Ok(hashes)
}

fn each(hashes: &mut [u64], nulls: Option<&NullBuffer>, value: impl Fn(usize) -> u64) {
    match nulls.filter(|n| n.null_count() > 0) {
        None => {
            for (row, h) in hashes.iter_mut().enumerate() {
                *h = fold(*h ^ value(row) ^ K1);
            }
        }
        Some(nulls) => {
            for (row, h) in hashes.iter_mut().enumerate() {
                *h = fold(if nulls.is_valid(row) { *h ^ value(row) ^ K1 } else { *h ^ K3 });
            }
        }
    }
}

fn bits(v: f64) -> u64 {
    if v == 0.0 {
        0
    } else if v.is_nan() {
        f64::NAN.to_bits()
    } else {
        v.to_bits()
    }
}

fn add(column: &ArrayRef, hashes: &mut [u64]) -> Result<()> {
    let nulls = column.nulls();
    match column.data_type() {
        DataType::Boolean => {
            let v = column.as_boolean();
            each(hashes, nulls, |i| u64::from(v.value(i)));
        }
        DataType::Int32 => {
            let v = column.as_primitive::<Int32Type>();
            each(hashes, nulls, |i| i64::from(v.value(i)) as u64);
        }
        DataType::Date32 => {
            let v = column.as_primitive::<Date32Type>();
            each(hashes, nulls, |i| i64::from(v.value(i)) as u64);
        }
        DataType::Int64 => {
            let v = column.as_primitive::<Int64Type>();
            each(hashes, nulls, |i| v.value(i) as u64);
        }
        DataType::UInt64 => {
            let v = column.as_primitive::<UInt64Type>();
            each(hashes, nulls, |i| v.value(i));
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            let v = column.as_primitive::<TimestampMicrosecondType>();
            each(hashes, nulls, |i| v.value(i) as u64);
        }
        DataType::Decimal128(..) => {
            let v = column.as_primitive::<Decimal128Type>();
            each(hashes, nulls, |i| {
                let v = v.value(i);
                fold(v as u64 ^ K1) ^ ((v >> 64) as u64)
            });
        }
        DataType::Float64 => {
            let v = column.as_primitive::<Float64Type>();
            each(hashes, nulls, |i| bits(v.value(i)));
        }
        DataType::Utf8 => {
            let v = column.as_string::<i32>();
            each(hashes, nulls, |i| xxh3_64(v.value(i).as_bytes()));
        }
        DataType::Utf8View => {
            let v = column.as_string_view();
            each(hashes, nulls, |i| xxh3_64(v.value(i).as_bytes()));
        }
        DataType::Binary => {
            let v = column.as_binary::<i32>();
            each(hashes, nulls, |i| xxh3_64(v.value(i)));
        }
        _ => {
            let schema = arrow::datatypes::Schema::new(vec![arrow::datatypes::Field::new(
                "v",
                column.data_type().clone(),
                true,
            )]);
            let rows = RecordBatch::try_new(schema.into(), vec![column.clone()])?;
            let values = key::hash_rows(&rows, &[0])?;
            each(hashes, nulls, |i| values.get(i).copied().unwrap_or_default());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Decimal128Array, Float64Array, Int32Array, Int64Array, StringArray};

    use super::*;

    fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, c)| (n, c, true))).unwrap()
    }

    #[test]
    fn values_nulls_columns_and_seeds_tell_rows_apart() {
        let a: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(0), Some(2)]));
        let b: ArrayRef = Arc::new(StringArray::from(vec![Some("x"), Some("x"), Some("x"), None]));
        let rows = batch(vec![("a", a), ("b", b)]);
        let mut all = hash_rows(&rows, &[0, 1], 0).unwrap();
        all.extend(hash_rows(&rows, &[1, 0], 0).unwrap());
        all.extend(hash_rows(&rows, &[0, 1], seed(["a", "b"])).unwrap());
        let distinct: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
    }

    #[test]
    fn the_definition_does_not_change() {
        let rows = batch(vec![
            ("i", Arc::new(Int32Array::from(vec![-7])) as ArrayRef),
            ("d", Arc::new(Decimal128Array::from(vec![-4010]).with_precision_and_scale(10, 2).unwrap())),
            ("f", Arc::new(Float64Array::from(vec![-0.0]))),
            ("s", Arc::new(StringArray::from(vec!["trip"]))),
        ]);
        assert_eq!(hash_rows(&rows, &[0, 1, 2, 3], seed(["a"])).unwrap(), [PINNED]);
    }
    const PINNED: u64 = 18_176_184_333_329_831_783;
}
