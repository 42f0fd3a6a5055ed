//! Rows as items: Arrow values as the attribute values of DynamoDB.

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Float64Array, ListArray, StringArray, StructArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Float64Type, SchemaRef};
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::{AttributeValue, ScalarAttributeType};
use millstream_core::Result;
use millstream_formats::value::Cells;

use super::client::Item;

/// Why a value can never be put, in words for the user.
pub(crate) type Refusal = String;

/// A column ready to be read value by value.
#[derive(Debug)]
pub(crate) struct Column {
    name: String,
    values: Values,
}

#[derive(Debug)]
enum Values {
    Bool(BooleanArray),
    Double(Float64Array),
    /// Exact numbers, by their text.
    Number(Cells),
    Text(StringArray),
    /// Times and everything without a type of its own, by its text.
    Other(Cells),
    Bytes(BinaryArray),
    Struct(StructArray, Vec<Column>),
    List(ListArray, Box<Column>),
}

impl Column {
    pub(crate) fn new(field: &Field, array: &ArrayRef) -> Result<Self> {
        use DataType as D;
        let values = match array.data_type() {
            D::Boolean => Values::Bool(array.as_boolean().clone()),
            D::Float16 | D::Float32 | D::Float64 => {
                // By its own shortest text, not by that of the double it is widened to.
                let exact = Cells::new(field, array)?;
                match array.data_type() {
                    D::Float64 => Values::Double(array.as_primitive::<Float64Type>().clone()),
                    _ if finite(&cast(array, &D::Float64)?) => Values::Number(exact),
                    _ => Values::Double(cast(array, &D::Float64)?.as_primitive::<Float64Type>().clone()),
                }
            }
            numeric if numeric.is_numeric() => Values::Number(Cells::new(field, array)?),
            D::Utf8 | D::LargeUtf8 | D::Utf8View => Values::Text(cast(array, &D::Utf8)?.as_string().clone()),
            D::Binary | D::LargeBinary | D::BinaryView | D::FixedSizeBinary(_) => {
                Values::Bytes(cast(array, &D::Binary)?.as_binary().clone())
            }
            D::Struct(fields) => {
                let columns = array.as_struct();
                let of_field = fields.iter().zip(columns.columns()).map(|(f, a)| Self::new(f, a));
                Values::Struct(columns.clone(), of_field.collect::<Result<_>>()?)
            }
            D::List(item) => {
                let list: &ListArray = array.as_list();
                Values::List(list.clone(), Box::new(Self::new(item, list.values())?))
            }
            D::LargeList(item) | D::FixedSizeList(item, _) => {
                return Self::new(field, &cast(array, &D::List(item.clone()))?);
            }
            _ => Values::Other(Cells::new(field, array)?),
        };
        Ok(Self { name: field.name().clone(), values })
    }

    /// The columns of rows.
    pub(crate) fn all(schema: &SchemaRef, arrays: &[ArrayRef]) -> Result<Vec<Self>> {
        schema.fields().iter().zip(arrays).map(|(f, a)| Self::new(f, a)).collect()
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    fn is_null(&self, row: usize) -> bool {
        match &self.values {
            Values::Bool(values) => values.is_null(row),
            Values::Double(values) => values.is_null(row),
            Values::Number(cells) | Values::Other(cells) => cells.is_null(row),
            Values::Text(values) => values.is_null(row),
            Values::Bytes(values) => values.is_null(row),
            Values::Struct(values, _) => values.is_null(row),
            Values::List(values, _) => values.is_null(row),
        }
    }

    /// The value of a row; `None` for null: the attribute is then absent.
    pub(crate) fn value(&self, row: usize) -> Result<Option<AttributeValue>, Refusal> {
        if self.is_null(row) {
            return Ok(None);
        }
        Ok(Some(match &self.values {
            Values::Bool(values) => AttributeValue::Bool(values.value(row)),
            Values::Double(values) => AttributeValue::N(double(&self.name, values.value(row))?),
            Values::Number(cells) => AttributeValue::N(number(&self.name, text(cells, row))?),
            Values::Text(values) => AttributeValue::S(values.value(row).to_owned()),
            Values::Other(cells) => AttributeValue::S(text(cells, row)),
            Values::Bytes(values) => AttributeValue::B(Blob::new(values.value(row))),
            Values::Struct(_, columns) => {
                let mut map = Item::with_capacity(columns.len());
                for column in columns {
                    if let Some(value) = column.value(row)? {
                        map.insert(column.name.clone(), value);
                    }
                }
                AttributeValue::M(map)
            }
            Values::List(list, items) => {
                let at = |i: usize| list.value_offsets().get(i).map_or(0, |o| *o as usize);
                let items =
                    (at(row)..at(row + 1)).map(|item| Ok(items.value(item)?.unwrap_or(AttributeValue::Null(true))));
                AttributeValue::L(items.collect::<Result<_, Refusal>>()?)
            }
        }))
    }
}

fn text(cells: &Cells, row: usize) -> String {
    let mut out = Vec::new();
    cells.write_text(row, &mut out);
    String::from_utf8(out).unwrap_or_default()
}

fn finite(array: &ArrayRef) -> bool {
    array.as_primitive::<Float64Type>().iter().flatten().all(f64::is_finite)
}

/// A double as the shortest decimal text that reads back as the same one.
fn double(name: &str, value: f64) -> Result<String, Refusal> {
    if !value.is_finite() {
        return Err(format!("`{name}` is {value}: DynamoDB's numbers are finite"));
    }
    let size = value.abs();
    if size != 0.0 && !(1e-130..1e126).contains(&size) {
        return Err(format!("`{name}` is {value:e}: DynamoDB's numbers lie between 1E-130 and 9.99E+125"));
    }
    Ok(format!("{value:?}"))
}

/// An exact number: DynamoDB keeps 38 digits.
fn number(name: &str, text: String) -> Result<String, Refusal> {
    let digits = text.bytes().filter(u8::is_ascii_digit).skip_while(|d| *d == b'0').count();
    if digits > 38 {
        let significant = text.trim_start_matches(['-', '0', '.']).trim_end_matches(['0', '.']);
        if significant.bytes().filter(u8::is_ascii_digit).count() > 38 {
            return Err(format!("`{name}` is {text}: DynamoDB's numbers have at most 38 digits"));
        }
    }
    Ok(text)
}

/// The type that a key column has in a table; `None` where it cannot be one.
pub(crate) fn key_type(data_type: &DataType) -> Option<ScalarAttributeType> {
    use DataType as D;
    match data_type {
        D::Utf8 | D::LargeUtf8 | D::Utf8View | D::Timestamp(..) | D::Date32 | D::Date64 => Some(ScalarAttributeType::S),
        D::Float16 | D::Float32 | D::Float64 => None,
        numeric if numeric.is_numeric() => Some(ScalarAttributeType::N),
        D::Binary | D::LargeBinary | D::BinaryView | D::FixedSizeBinary(_) => Some(ScalarAttributeType::B),
        _ => None,
    }
}

/// The most bytes of a partition key and of a sort key.
const KEY_BYTES: [usize; 2] = [2048, 1024];

/// The key of a row: the columns at `key`, partition key first.
pub(crate) fn key_of(columns: &[Column], key: &[usize], row: usize) -> Result<Item, Refusal> {
    let mut item = Item::with_capacity(key.len());
    for (place, column) in key.iter().filter_map(|k| columns.get(*k)).enumerate() {
        let name = column.name();
        let value = column.value(row)?.ok_or_else(|| format!("the key `{name}` is null"))?;
        let size = match &value {
            AttributeValue::S(text) => Some(text.len()),
            AttributeValue::B(bytes) => Some(bytes.as_ref().len()),
            _ => None,
        };
        if size == Some(0) {
            return Err(format!("the key `{name}` is empty: DynamoDB has no empty keys"));
        }
        let most = KEY_BYTES.get(place).copied().unwrap_or_default();
        if let Some(size) = size.filter(|size| *size > most) {
            return Err(format!("the key `{name}` has {size} bytes: DynamoDB takes {most} of it"));
        }
        item.insert(name.to_owned(), value);
    }
    Ok(item)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Decimal128Array, Decimal256Array, Float32Array, UInt64Array};
    use arrow::datatypes::i256;

    use super::*;

    fn value(array: impl Array + 'static) -> Result<Option<AttributeValue>, Refusal> {
        let array: ArrayRef = Arc::new(array);
        Column::new(&Field::new("v", array.data_type().clone(), true), &array).unwrap().value(0)
    }
    fn n(text: &str) -> Result<Option<AttributeValue>, Refusal> {
        Ok(Some(AttributeValue::N(text.into())))
    }

    #[test]
    fn numbers_go_as_their_digits() {
        let decimal = |value| Decimal128Array::from(vec![value]).with_precision_and_scale(38, 2).unwrap();
        assert_eq!(value(decimal(27_310_056)), n("273100.56"));
        assert_eq!(value(decimal(-(10i128.pow(38) - 1))), n("-999999999999999999999999999999999999.99"));
        assert_eq!(value(UInt64Array::from(vec![u64::MAX])), n("18446744073709551615"), "any version fits");
        assert_eq!(value(Float64Array::from(vec![0.1])), n("0.1"));
        assert_eq!(value(Float32Array::from(vec![0.1])), n("0.1"), "not 0.10000000149011612");
    }

    #[test]
    fn what_dynamodb_cannot_hold_is_refused_with_a_reason() {
        for (wrong, why) in [(f64::NAN, "finite"), (f64::INFINITY, "finite"), (1e300, "9.99E+125"), (1e-200, "1E-130")]
        {
            let reason = value(Float64Array::from(vec![wrong])).unwrap_err();
            assert!(reason.contains("`v`") && reason.contains(why), "{reason}");
        }
        assert!(value(Float32Array::from(vec![f32::NAN])).unwrap_err().contains("finite"));
        let wide = Decimal256Array::from(vec![i256::from_i128(i128::MAX)]).with_precision_and_scale(50, 0).unwrap();
        assert!(value(wide).unwrap_err().contains("38 digits"));
    }

    #[test]
    fn keys_are_neither_empty_nor_too_long() {
        let key = |text: &str| {
            let array: ArrayRef = Arc::new(StringArray::from(vec![text]));
            let columns = [Column::new(&Field::new("k", DataType::Utf8, false), &array).unwrap()];
            key_of(&columns, &[0], 0)
        };
        assert!(key("").unwrap_err().contains("empty"));
        assert!(key(&"x".repeat(2049)).unwrap_err().contains("2049 bytes"));
        assert_eq!(key("a").unwrap()["k"], AttributeValue::S("a".into()));
    }
}
