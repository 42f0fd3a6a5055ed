//! Items as rows: attribute values as the Arrow values of a table's columns.
//!
//! Items may be another program's. What can be read as a column's type is: numbers and texts of numbers, decimals with
//! more digits than the column has (rounded half to even), sets as lists, times with a space for the `T`. What cannot is
//! a [`Misfit`], never a null.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array, ListArray,
    RecordBatch, StringArray, StructArray, TimestampMicrosecondArray, UInt64Array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, SchemaRef, TimeUnit};
use aws_sdk_dynamodb::types::AttributeValue;
use chrono::NaiveDate;
use millstream_core::schema::{ExcessDigits, type_name};
use millstream_formats::number::{parse_decimal, parse_double, parse_integer};
use millstream_formats::temporal::parse_instant;

use super::client::Item;
use super::json::json_text;

/// An item that is no row of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Misfit {
    /// Which of the items.
    pub(crate) row: usize,
    /// Why, naming the attribute.
    pub(crate) reason: String,
}

/// Items as rows of `schema`; attributes it does not name are left out.
pub(crate) fn rows(schema: &SchemaRef, items: &[Item]) -> Result<RecordBatch, Misfit> {
    let column = |field: &Arc<Field>| {
        let values: Vec<_> = items.iter().map(|item| item.get(field.name())).collect();
        column(field, &values)
    };
    let columns = schema.fields().iter().map(column).collect::<Result<_, _>>()?;
    RecordBatch::try_new(schema.clone(), columns).map_err(|e| Misfit { row: 0, reason: e.to_string() })
}

/// The attributes of one column.
fn column(field: &Field, values: &[Option<&AttributeValue>]) -> Result<ArrayRef, Misfit> {
    let present: Vec<Option<&AttributeValue>> =
        values.iter().map(|v| v.filter(|v| !matches!(v, AttributeValue::Null(_)))).collect();
    if !field.is_nullable()
        && let Some(row) = present.iter().position(Option::is_none)
    {
        return Err(Misfit { row, reason: format!("it has no `{}`", field.name()) });
    }
    let values = &present;
    use DataType as D;
    let read: ArrayRef = match field.data_type() {
        D::Boolean => Arc::new(all(field, values, bool_of)?.into_iter().collect::<BooleanArray>()),
        D::Int8 | D::Int16 | D::Int32 | D::Int64 => {
            let read = all(field, values, |v| parse_integer(number_text(v)?))?;
            narrowed(field, Arc::new(Int64Array::from(read)), values)?
        }
        D::UInt8 | D::UInt16 | D::UInt32 | D::UInt64 => {
            let read = all(field, values, |v| {
                u64::try_from(parse_decimal(number_text(v)?, 20, 0, ExcessDigits::Reject)?).ok()
            })?;
            narrowed(field, Arc::new(UInt64Array::from(read)), values)?
        }
        D::Float16 | D::Float32 | D::Float64 => {
            let read = all(field, values, |v| parse_double(number_text(v)?))?;
            narrowed(field, Arc::new(Float64Array::from(read)), values)?
        }
        D::Decimal128(precision, scale) => {
            let read =
                |v: &AttributeValue| parse_decimal(number_text(v)?, *precision, *scale, ExcessDigits::RoundHalfEven);
            let read = Decimal128Array::from(all(field, values, read)?).with_precision_and_scale(*precision, *scale);
            Arc::new(read.map_err(|e| Misfit { row: 0, reason: e.to_string() })?)
        }
        D::Timestamp(unit, zone) => {
            let micros = TimestampMicrosecondArray::from(all(field, values, |v| parse_instant(v.as_s().ok()?))?);
            match (unit, zone) {
                (TimeUnit::Microsecond, None) => Arc::new(micros),
                _ => narrowed(field, Arc::new(micros), values)?,
            }
        }
        D::Date32 => Arc::new(Date32Array::from(all(field, values, day_of)?)),
        D::Binary | D::LargeBinary | D::BinaryView | D::FixedSizeBinary(_) => {
            let read = all(field, values, bytes_of)?;
            narrowed(field, Arc::new(read.into_iter().collect::<BinaryArray>()), values)?
        }
        D::Struct(fields) => {
            let maps = all(field, values, |v| v.as_m().ok())?;
            let child = |child: &Arc<Field>| {
                let of_child: Vec<_> = maps.iter().map(|m| m.and_then(|m| m.get(child.name()))).collect();
                // Where there is no map there is no value of its fields, whatever they require.
                column(&child.as_ref().clone().with_nullable(true), &of_child)
            };
            let columns = fields.iter().map(child).collect::<Result<Vec<_>, _>>()?;
            let nulls = NullBuffer::from(maps.iter().map(Option::is_some).collect::<Vec<bool>>());
            let read = StructArray::try_new(fields.clone(), columns, Some(nulls));
            Arc::new(read.map_err(|e| misfit(field, values, 0, &e.to_string()))?)
        }
        D::List(item) => Arc::new(list(field, item, values)?),
        _ => {
            let texts = all(field, values, text_of)?;
            narrowed(field, Arc::new(texts.into_iter().collect::<StringArray>()), values)?
        }
    };
    Ok(read)
}

/// Reads every value, or says which cannot be.
fn all<'v, T>(
    field: &Field,
    values: &[Option<&'v AttributeValue>],
    read: impl Fn(&'v AttributeValue) -> Option<T>,
) -> Result<Vec<Option<T>>, Misfit> {
    let one = |(row, value): (usize, &Option<&'v AttributeValue>)| match value {
        None => Ok(None),
        Some(value) => match read(value) {
            Some(value) => Ok(Some(value)),
            None => Err(misfit(field, values, row, "")),
        },
    };
    values.iter().enumerate().map(one).collect()
}

fn misfit(field: &Field, values: &[Option<&AttributeValue>], row: usize, why: &str) -> Misfit {
    let mut text = values.get(row).copied().flatten().map(json_text).unwrap_or_default();
    text.truncate(text.floor_char_boundary(100));
    let why = if why.is_empty() { String::new() } else { format!(" ({why})") };
    let reason = format!("its `{}` is {text}, which is no {}{why}", field.name(), type_name(field.data_type()));
    Misfit { row, reason }
}

/// The array as the field's type.
fn narrowed(field: &Field, array: ArrayRef, values: &[Option<&AttributeValue>]) -> Result<ArrayRef, Misfit> {
    if array.data_type() == field.data_type() {
        return Ok(array);
    }
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(&array, field.data_type(), &strict).map_err(|e| {
        // Which one it was: the first that does not fit alone.
        let wrong = |row: &usize| cast_with_options(&array.slice(*row, 1), field.data_type(), &strict).is_err();
        let row = (0..values.len()).find(wrong).unwrap_or_default();
        misfit(field, values, row, &e.to_string())
    })
}

fn list(field: &Field, item: &Arc<Field>, values: &[Option<&AttributeValue>]) -> Result<ListArray, Misfit> {
    let lists = all(field, values, items_of)?;
    let mut owner = Vec::new();
    for (row, list) in lists.iter().enumerate() {
        owner.extend(std::iter::repeat_n(row, list.as_ref().map_or(0, Vec::len)));
    }
    let flat: Vec<Option<&AttributeValue>> = lists.iter().flatten().flatten().map(Some).collect();
    let items = column(item, &flat)
        .map_err(|e| misfit(field, values, owner.get(e.row).copied().unwrap_or_default(), &e.reason))?;
    let offsets = OffsetBuffer::from_lengths(lists.iter().map(|l| l.as_ref().map_or(0, Vec::len)));
    let nulls = NullBuffer::from(lists.iter().map(Option::is_some).collect::<Vec<bool>>());
    ListArray::try_new(item.clone(), offsets, items, Some(nulls)).map_err(|e| misfit(field, values, 0, &e.to_string()))
}

fn items_of(value: &AttributeValue) -> Option<Vec<AttributeValue>> {
    Some(match value {
        AttributeValue::L(items) => items.clone(),
        AttributeValue::Ss(texts) => texts.iter().cloned().map(AttributeValue::S).collect(),
        AttributeValue::Ns(numbers) => numbers.iter().cloned().map(AttributeValue::N).collect(),
        AttributeValue::Bs(bytes) => bytes.iter().cloned().map(AttributeValue::B).collect(),
        _ => return None,
    })
}

fn bool_of(value: &AttributeValue) -> Option<bool> {
    match value {
        AttributeValue::Bool(value) => Some(*value),
        AttributeValue::S(text) => text.parse().ok(),
        _ => None,
    }
}

/// The text of a number, or a text that may be one.
fn number_text(value: &AttributeValue) -> Option<&str> {
    match value {
        AttributeValue::N(text) | AttributeValue::S(text) => Some(text),
        _ => None,
    }
}

fn text_of(value: &AttributeValue) -> Option<String> {
    match value {
        AttributeValue::S(text) | AttributeValue::N(text) => Some(text.clone()),
        AttributeValue::B(bytes) => String::from_utf8(bytes.as_ref().to_vec()).ok(),
        other => Some(json_text(other)),
    }
}

fn bytes_of(value: &AttributeValue) -> Option<Vec<u8>> {
    match value {
        AttributeValue::B(bytes) => Some(bytes.as_ref().to_vec()),
        AttributeValue::S(text) => Some(text.as_bytes().to_vec()),
        _ => None,
    }
}

fn day_of(value: &AttributeValue) -> Option<i32> {
    let day: NaiveDate = value.as_s().ok()?.parse().ok()?;
    i32::try_from(day.signed_duration_since(NaiveDate::default()).num_days()).ok()
}

/// When an item expires, in epoch seconds, if it does.
pub(crate) fn expires_at(item: &Item, attribute: &str) -> Option<i64> {
    parse_integer(item.get(attribute)?.as_n().ok()?)
}

/// Whether an item is there for readers: DynamoDB removes what has expired within days, not at once.
pub(crate) fn is_alive(item: &Item, attribute: &str, now: i64) -> bool {
    expires_at(item, attribute).is_none_or(|at| at > now)
}
