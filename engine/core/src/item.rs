//! How large a row is as an item of a keyed store: the same limit everywhere, so that a row which a laptop takes is
//! one that production takes.
//!
//! The limit and the way of counting are DynamoDB's
//! (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html>): an item is the
//! names and values of its attributes in bytes of UTF-8; a number is a byte for every two significant digits and one
//! more, and one more where it is negative; a boolean or null is one byte; a list or map is 3 bytes, and one more for
//! each of its items. A null column is an absent attribute. Timestamps, dates and JSON are texts.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Date32Type, Decimal128Type, Float64Type, TimestampMicrosecondType};
use arrow::util::display::{ArrayFormatter, FormatOptions};

use crate::error::Result;
use crate::table::{EXPIRES_AT, STAMPS, TRUNCATED, TableRows, VERSION};
use crate::time::EventTime;

/// The most bytes of a row: DynamoDB's 400 KB, less 4 KB of room for what an update says beside its values.
pub const LIMIT: usize = 396 * 1024;

/// What a list or map takes beside its items.
const CONTAINER: usize = 3;
/// What a timestamp takes at most: `-262144-01-01T00:00:00.000000Z`.
const INSTANT: usize = 32;
/// The most that the technical columns but stamps take.
const TECHNICAL: usize = VERSION.len() + 12 + EXPIRES_AT.len() + 12;

/// The rows that are larger than [`LIMIT`]: index and size in bytes.
///
/// # Errors
/// `Bug` where a column cannot be read as its type.
pub fn oversized(rows: &TableRows) -> Result<Vec<(usize, usize)>> {
    let count = rows.rows.num_rows();
    let schema = rows.rows.schema_ref();
    let names: usize = schema.fields().iter().map(|f| f.name().len()).sum();
    let mut bounds = vec![names + TECHNICAL; count];
    for array in rows.rows.columns() {
        add_bounds(array, &mut bounds);
    }
    let mut found = Vec::new();
    for (row, bound) in bounds.into_iter().enumerate() {
        let extra = extra(rows, row);
        if bound + extra > LIMIT {
            let size = attributes(&rows.rows, row)? + TECHNICAL + extra;
            if size > LIMIT {
                found.push((row, size));
            }
        }
    }
    Ok(found)
}

/// The technical texts of a row.
fn extra(rows: &TableRows, row: usize) -> usize {
    let text = |texts: &[Option<String>], name: &str| {
        texts.get(row).and_then(Option::as_ref).map_or(0, |text| name.len() + text.len())
    };
    text(&rows.stamps, STAMPS) + text(&rows.truncated, TRUNCATED)
}

/// Adds to each row what its value in a column takes at most.
fn add_bounds(array: &ArrayRef, bounds: &mut [usize]) {
    let mut lengths = |length: &dyn Fn(usize) -> usize| {
        bounds.iter_mut().enumerate().for_each(|(row, bound)| *bound += length(row));
    };
    match array.data_type() {
        DataType::Utf8 => {
            let texts = array.as_string::<i32>();
            lengths(&|row| texts.value_length(row) as usize);
        }
        DataType::Binary => {
            let bytes = array.as_binary::<i32>();
            lengths(&|row| bytes.value_length(row) as usize);
        }
        DataType::Timestamp(..) | DataType::Date32 => lengths(&|_| INSTANT),
        t if t.is_primitive() || *t == DataType::Boolean => lengths(&|_| 22),
        // Nested: worth a real look.
        _ => lengths(&|row| value(array, row).unwrap_or(LIMIT)),
    }
}

/// The bytes of a row's own columns, names included.
fn attributes(rows: &RecordBatch, row: usize) -> Result<usize> {
    let mut size = 0;
    for (field, array) in rows.schema_ref().fields().iter().zip(rows.columns()) {
        if array.is_valid(row) {
            size += field.name().len() + value(array, row)?;
        }
    }
    Ok(size)
}

/// The bytes of a value; of null, those of an explicit one.
fn value(array: &ArrayRef, row: usize) -> Result<usize> {
    if array.is_null(row) {
        return Ok(1);
    }
    Ok(match array.data_type() {
        DataType::Boolean | DataType::Null => 1,
        DataType::Utf8 => array.as_string::<i32>().value(row).len(),
        DataType::Binary => array.as_binary::<i32>().value(row).len(),
        DataType::Float64 => number(&format!("{:?}", array.as_primitive::<Float64Type>().value(row))),
        DataType::Decimal128(..) => number(&array.as_primitive::<Decimal128Type>().value(row).to_string()),
        DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, None) => {
            EventTime(array.as_primitive::<TimestampMicrosecondType>().value(row)).to_string().len()
        }
        DataType::Date32 => array.as_primitive::<Date32Type>().value_as_date(row).map_or(10, |d| d.to_string().len()),
        DataType::Struct(fields) => {
            let columns = array.as_struct();
            let mut size = CONTAINER;
            for (field, column) in fields.iter().zip(columns.columns()) {
                if column.is_valid(row) {
                    size += 1 + field.name().len() + value(column, row)?;
                }
            }
            size
        }
        DataType::List(_) => {
            let items = array.as_list::<i32>().value(row);
            let mut size = CONTAINER;
            for item in 0..items.len() {
                size += 1 + value(&items, item)?;
            }
            size
        }
        numeric if numeric.is_numeric() => number(&display(array, row)?),
        _ => display(array, row)?.len(),
    })
}

fn display(array: &ArrayRef, row: usize) -> Result<String> {
    let options = FormatOptions::default();
    Ok(ArrayFormatter::try_new(array.as_ref(), &options)?.value(row).to_string())
}

/// The bytes of a number by its text: zeros at either end do not count.
fn number(text: &str) -> usize {
    let mantissa = text.split(['e', 'E']).next().unwrap_or_default();
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    let significant = digits.trim_start_matches('0').trim_end_matches('0').len();
    1 + significant.div_ceil(2) + usize::from(text.starts_with('-'))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{BooleanArray, Decimal128Array, Int32Array, Int64Array, ListArray, StringArray, StructArray};
    use arrow::datatypes::{Field, Int32Type, Schema};

    use super::*;

    fn rows(columns: Vec<(&str, ArrayRef)>) -> TableRows {
        let fields: Vec<Field> = columns.iter().map(|(n, a)| Field::new(*n, a.data_type().clone(), true)).collect();
        let arrays = columns.into_iter().map(|(_, a)| a).collect();
        let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap();
        let none = vec![None; rows.num_rows()];
        TableRows { versions: vec![1; rows.num_rows()], stamps: none.clone(), truncated: none, rows }
    }

    fn size(array: ArrayRef) -> usize {
        value(&array, 0).unwrap()
    }

    #[test]
    fn values_are_counted_as_dynamodb_counts_them() {
        assert_eq!(size(Arc::new(StringArray::from(vec!["€"]))), 3, "bytes of UTF-8");
        assert_eq!(size(Arc::new(BooleanArray::from(vec![true]))), 1);
        assert_eq!(size(Arc::new(Int64Array::from(vec![0]))), 1);
        assert_eq!(size(Arc::new(Int64Array::from(vec![1200]))), 2, "zeros at the end are free");
        assert_eq!(size(Arc::new(Int64Array::from(vec![-123]))), 4);
        let decimal = Decimal128Array::from(vec![123_450]).with_precision_and_scale(10, 3).unwrap();
        assert_eq!(size(Arc::new(decimal)), 4);
        let list = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), None])]);
        assert_eq!(size(Arc::new(list)), 3 + 1 + 2 + 1 + 1);
        let field = Arc::new(Field::new("lat", DataType::Int32, true));
        let of_struct = StructArray::from(vec![(field, Arc::new(Int32Array::from(vec![Some(5)])) as ArrayRef)]);
        assert_eq!(size(Arc::new(of_struct)), 3 + 1 + 3 + 2);
    }

    #[test]
    fn only_what_is_over_the_limit_is_found() {
        let large = "x".repeat(LIMIT);
        let fits = "x".repeat(LIMIT - 1 - TECHNICAL);
        let found = oversized(&rows(vec![("n", Arc::new(StringArray::from(vec!["a", &large, &fits])))])).unwrap();
        assert_eq!(found, [(1, LIMIT + 1 + TECHNICAL)]);
    }
}
