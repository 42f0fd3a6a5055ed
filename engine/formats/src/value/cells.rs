//! One column whose values are written as text: its type is looked at once, not once per value.

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BinaryArray, BooleanArray, ListArray, MapArray, PrimitiveArray,
    StringArray,
};
use arrow::buffer::NullBuffer;
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Decimal256Type, Field, Float32Type, Float64Type, Int32Type, Int64Type,
    TimeUnit, TimestampMicrosecondType, UInt64Type,
};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use millstream_core::Result;
use millstream_core::batch::TIMESTAMP;
use millstream_core::schema::is_json;

use super::text::{write_decimal, write_float, write_integer, write_json_string, write_scaled};
use super::{JsonOptions, key};
use crate::temporal::{write_date, write_timestamp};

/// The values of a column, to be written as text. Types that are narrower or laid out otherwise are widened first.
#[derive(Debug)]
pub struct Cells {
    nulls: Option<NullBuffer>,
    values: Values,
}

#[derive(Debug)]
enum Values {
    Null,
    Bool(BooleanArray),
    Small(PrimitiveArray<Int32Type>),
    Int(PrimitiveArray<Int64Type>),
    Uint(PrimitiveArray<UInt64Type>),
    Single(PrimitiveArray<Float32Type>),
    Double(PrimitiveArray<Float64Type>),
    Decimal(PrimitiveArray<Decimal128Type>, i8),
    WideDecimal(PrimitiveArray<Decimal256Type>, i8),
    Text(StringArray),
    Json(StringArray),
    Bytes(BinaryArray),
    Timestamp(PrimitiveArray<TimestampMicrosecondType>),
    Date(PrimitiveArray<Date32Type>),
    Struct(Vec<(Vec<u8>, Cells)>),
    List(ListArray, Box<Cells>),
    Map(MapArray, Box<Cells>, Box<Cells>),
}

fn typed<T: ArrowPrimitiveType>(array: &ArrayRef) -> PrimitiveArray<T> {
    array.as_primitive::<T>().clone()
}

impl Cells {
    /// The values of `array`, a column of `field`.
    ///
    /// # Errors
    /// `Bug` where the array is not of its type.
    pub fn new(field: &Field, array: &ArrayRef) -> Result<Self> {
        let widened = match array.data_type() {
            DataType::Int8 | DataType::Int16 => Some(DataType::Int32),
            DataType::UInt8 | DataType::UInt16 | DataType::UInt32 => Some(DataType::UInt64),
            DataType::Float16 => Some(DataType::Float32),
            DataType::LargeUtf8 | DataType::Utf8View => Some(DataType::Utf8),
            DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => Some(DataType::Binary),
            DataType::Date64 => Some(DataType::Date32),
            DataType::Decimal32(_, scale) => Some(DataType::Decimal128(9, *scale)),
            DataType::Decimal64(_, scale) => Some(DataType::Decimal128(18, *scale)),
            DataType::Timestamp(TimeUnit::Microsecond, None) => None,
            DataType::Timestamp(_, zone) => Some(DataType::Timestamp(TimeUnit::Microsecond, zone.clone())),
            DataType::Dictionary(_, values) => Some(values.as_ref().clone()),
            DataType::RunEndEncoded(_, values) => Some(values.data_type().clone()),
            DataType::LargeList(item) | DataType::FixedSizeList(item, _) => Some(DataType::List(item.clone())),
            DataType::ListView(item) | DataType::LargeListView(item) => Some(DataType::List(item.clone())),
            _ => None,
        };
        match widened {
            Some(DataType::Timestamp(_, zone)) => {
                // The instant is kept, its zone dropped: casting straight would shift it to the zone's local time.
                let micros = cast(array, &DataType::Timestamp(TimeUnit::Microsecond, zone))?;
                let values: PrimitiveArray<TimestampMicrosecondType> = typed(&micros);
                let nulls = values.nulls().cloned();
                Ok(Self { nulls, values: Values::Timestamp(values) })
            }
            Some(wider) => Self::new(field, &cast(array, &wider)?),
            None => Self::of_basic(field, array),
        }
    }

    /// The values of an array of a type that needs no widening.
    fn of_basic(field: &Field, array: &ArrayRef) -> Result<Self> {
        let values = match array.data_type() {
            DataType::Null => Values::Null,
            DataType::Boolean => Values::Bool(array.as_boolean().clone()),
            DataType::Int32 => Values::Small(typed(array)),
            DataType::Int64 => Values::Int(typed(array)),
            DataType::UInt64 => Values::Uint(typed(array)),
            DataType::Float32 => Values::Single(typed(array)),
            DataType::Float64 => Values::Double(typed(array)),
            DataType::Decimal128(_, scale) => Values::Decimal(typed(array), *scale),
            DataType::Decimal256(_, scale) => Values::WideDecimal(typed(array), *scale),
            DataType::Utf8 if is_json(field) => Values::Json(array.as_string().clone()),
            DataType::Utf8 => Values::Text(array.as_string().clone()),
            DataType::Binary => Values::Bytes(array.as_binary().clone()),
            t if *t == TIMESTAMP => Values::Timestamp(typed(array)),
            DataType::Date32 => Values::Date(typed(array)),
            DataType::Struct(fields) => {
                let columns = fields.iter().zip(array.as_struct().columns());
                Values::Struct(columns.map(|(f, a)| Ok((key(f.name()), Self::new(f, a)?))).collect::<Result<_>>()?)
            }
            DataType::List(item) => {
                let list: &ListArray = array.as_list();
                Values::List(list.clone(), Box::new(Self::new(item, list.values())?))
            }
            DataType::Map(_, _) => {
                let map = array.as_map();
                let (keys, values) = map.entries_fields();
                let keys = Box::new(Self::new(keys, map.keys())?);
                Values::Map(map.clone(), keys, Box::new(Self::new(values, map.values())?))
            }
            _ => Values::Text(formatted(array)?),
        };
        // A null array has no null buffer, though all its values are.
        Ok(Self { nulls: array.nulls().cloned(), values })
    }

    /// Whether the value is null.
    pub fn is_null(&self, row: usize) -> bool {
        matches!(self.values, Values::Null) || self.nulls.as_ref().is_some_and(|n| n.is_null(row))
    }

    /// Appends a value as JSON.
    pub fn write_json(&self, row: usize, options: JsonOptions, out: &mut Vec<u8>) {
        if self.is_null(row) {
            out.extend_from_slice(b"null");
            return;
        }
        match &self.values {
            Values::Text(values) => write_json_string(values.value(row), out),
            Values::Bytes(values) => write_bytes_json(values.value(row), out),
            Values::Timestamp(_) | Values::Date(_) => {
                out.push(b'"');
                self.write_scalar(row, out);
                out.push(b'"');
            }
            Values::Decimal(..) | Values::WideDecimal(..) if options.decimals_as_strings => {
                out.push(b'"');
                self.write_scalar(row, out);
                out.push(b'"');
            }
            Values::Single(values) if !values.value(row).is_finite() => out.extend_from_slice(b"null"),
            Values::Double(values) if !values.value(row).is_finite() => out.extend_from_slice(b"null"),
            Values::Json(values) => {
                // Line breaks can only stand between the tokens of JSON.
                out.extend(values.value(row).bytes().map(|b| if b < b' ' { b' ' } else { b }));
            }
            Values::Struct(fields) => {
                for (i, (key, cells)) in fields.iter().enumerate() {
                    out.push(if i == 0 { b'{' } else { b',' });
                    out.extend_from_slice(key);
                    cells.write_json(row, options, out);
                }
                out.extend_from_slice(if fields.is_empty() { b"{}" } else { b"}" });
            }
            Values::List(list, items) => {
                out.push(b'[');
                for (i, item) in range(list.value_offsets(), row).enumerate() {
                    if i > 0 {
                        out.push(b',');
                    }
                    items.write_json(item, options, out);
                }
                out.push(b']');
            }
            Values::Map(map, keys, values) => {
                out.push(b'{');
                for (i, entry) in range(map.value_offsets(), row).enumerate() {
                    if i > 0 {
                        out.push(b',');
                    }
                    let mut name = Vec::new();
                    keys.write_text(entry, &mut name);
                    write_json_string(&String::from_utf8_lossy(&name), out);
                    out.push(b':');
                    values.write_json(entry, options, out);
                }
                out.push(b'}');
            }
            _ => self.write_scalar(row, out),
        }
    }

    /// Appends a value as plain text: strings without quotes, null as `null`, nested values as JSON.
    pub fn write_text(&self, row: usize, out: &mut Vec<u8>) {
        if self.is_null(row) {
            out.extend_from_slice(b"null");
            return;
        }
        match &self.values {
            Values::Text(values) => out.extend_from_slice(values.value(row).as_bytes()),
            Values::Bytes(values) => match std::str::from_utf8(values.value(row)) {
                Ok(text) => out.extend_from_slice(text.as_bytes()),
                Err(_) => out.extend_from_slice(STANDARD.encode(values.value(row)).as_bytes()),
            },
            Values::Json(_) | Values::Struct(_) | Values::List(..) | Values::Map(..) => {
                self.write_json(row, JsonOptions::default(), out);
            }
            _ => self.write_scalar(row, out),
        }
    }

    /// Appends a value's own bytes: of bytes and strings as they are, of all else the text.
    pub fn write_bytes(&self, row: usize, out: &mut Vec<u8>) {
        match &self.values {
            Values::Bytes(values) if !self.is_null(row) => out.extend_from_slice(values.value(row)),
            _ if self.is_null(row) => {}
            _ => self.write_text(row, out),
        }
    }

    /// Appends a value as base64, if these are bytes.
    pub(crate) fn write_base64(&self, row: usize, out: &mut Vec<u8>) -> bool {
        let Values::Bytes(values) = &self.values else {
            return false;
        };
        out.extend_from_slice(STANDARD.encode(values.value(row)).as_bytes());
        true
    }

    /// The instant of a timestamp or the first of a date, in microseconds.
    pub(crate) fn micros(&self, row: usize) -> Option<i64> {
        match &self.values {
            _ if self.is_null(row) => None,
            Values::Timestamp(values) => Some(values.value(row)),
            Values::Date(values) => Some(crate::temporal::midnight(values.value(row))),
            _ => None,
        }
    }

    /// Appends a value that is not null, of a type that is written the same everywhere.
    fn write_scalar(&self, row: usize, out: &mut Vec<u8>) {
        match &self.values {
            Values::Bool(values) => out.extend_from_slice(if values.value(row) { b"true" } else { b"false" }),
            Values::Small(values) => write_integer(values.value(row), out),
            Values::Int(values) => write_integer(values.value(row), out),
            Values::Uint(values) => write_integer(values.value(row), out),
            Values::Single(values) => write_float(values.value(row), out),
            Values::Double(values) => write_float(values.value(row), out),
            Values::Decimal(values, scale) => write_decimal(values.value(row), *scale, out),
            Values::WideDecimal(values, scale) => {
                let text = values.value(row).to_string();
                if text.starts_with('-') {
                    out.push(b'-');
                }
                write_scaled(text.trim_start_matches('-').as_bytes(), *scale, out);
            }
            Values::Timestamp(values) => write_timestamp(values.value(row), out),
            Values::Date(values) => write_date(values.value(row), out),
            _ => {}
        }
    }
}

/// The rows of a list's values that are its value at `row`.
fn range(offsets: &[i32], row: usize) -> std::ops::Range<usize> {
    let at = |i: usize| offsets.get(i).map_or(0, |o| *o as usize);
    at(row)..at(row + 1)
}

fn write_bytes_json(bytes: &[u8], out: &mut Vec<u8>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => write_json_string(text, out),
        Err(_) => {
            out.extend_from_slice(b"{\"base64\":\"");
            out.extend_from_slice(STANDARD.encode(bytes).as_bytes());
            out.extend_from_slice(b"\"}");
        }
    }
}

/// Values of a type that has no text of its own here (times of day, intervals), as Arrow displays them.
fn formatted(array: &ArrayRef) -> Result<StringArray> {
    let options = FormatOptions::default();
    let formatter = ArrayFormatter::try_new(array.as_ref(), &options)?;
    Ok((0..array.len()).map(|row| array.is_valid(row).then(|| formatter.value(row).to_string())).collect())
}
