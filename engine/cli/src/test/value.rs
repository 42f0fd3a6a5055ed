//! Whether a value in the file is a value in the engine: by the column's type, never by its text alone.

use arrow::array::{Array as _, ArrayRef, AsArray as _};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float64Type, Int8Type, Int32Type, Int64Type, TimestampMicrosecondType,
    UInt64Type,
};
use chrono::{DateTime, NaiveDate, NaiveDateTime};
use millstream_spec::model::Pipeline;
use serde_json::Value;

use crate::rows;

/// The ways in which the file writes times.
#[derive(Debug, Default)]
pub(super) struct Formats(Vec<String>);

impl Formats {
    /// Every format the sources of a pipeline list.
    pub(super) fn of(pipeline: &Pipeline) -> Self {
        let columns = pipeline.sources.iter().flat_map(|(_, source)| &source.schema.columns);
        Self(columns.flat_map(|c| c.formats.iter().cloned()).collect())
    }
    /// Microseconds since the epoch.
    fn instant(&self, text: &str) -> Option<i64> {
        if let Some(time) = millstream_spec::instant(text) {
            return Some(time.0);
        }
        self.0.iter().find_map(|format| {
            if let Ok(time) = DateTime::parse_from_str(text, format) {
                return Some(time.timestamp_micros());
            }
            let time = NaiveDateTime::parse_from_str(text, format).ok();
            let time = time.or_else(|| NaiveDate::parse_from_str(text, format).ok()?.and_hms_opt(0, 0, 0));
            time.map(|t| t.and_utc().timestamp_micros())
        })
    }
}

/// A number's or a text's characters.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        _ => None,
    }
}

/// Digits and scale of a decimal, without zeros behind.
fn decimal(text: &str) -> Option<(i128, u32)> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let fraction = fraction.trim_end_matches('0');
    let digits = |t: &str| t.chars().all(|c| c.is_ascii_digit());
    let unsigned = whole.strip_prefix(['-', '+']).unwrap_or(whole);
    if !digits(unsigned) || !digits(fraction) || unsigned.is_empty() && fraction.is_empty() {
        return None;
    }
    let number: i128 = format!("{unsigned}{fraction}").parse().ok()?;
    let number = if whole.starts_with('-') { -number } else { number };
    Some((number, u32::try_from(fraction.len()).ok()?))
}

fn same_decimal(a: &str, b: &str) -> bool {
    match (decimal(a), decimal(b)) {
        (Some(a), Some(b)) => a == b,
        _ => same_float(a, b),
    }
}

fn same_float(a: &str, b: &str) -> bool {
    match (a.parse::<f64>(), b.parse::<f64>()) {
        (Ok(a), Ok(b)) => a == b || (a - b).abs() <= 1e-9 * a.abs().max(b.abs()),
        _ => false,
    }
}

/// Whether `expected` is the value of `column` at `row`.
pub(super) fn same(expected: &Value, column: &ArrayRef, row: usize, formats: &Formats) -> bool {
    if column.is_null(row) || expected.is_null() {
        return column.is_null(row) && expected.is_null();
    }
    let scalar = text(expected);
    let is = |found: &dyn Fn(&str) -> bool| scalar.as_deref().is_some_and(found);
    match column.data_type() {
        DataType::Utf8 => {
            let found = column.as_string::<i32>().value(row);
            match expected {
                Value::Object(_) | Value::Array(_) => {
                    serde_json::from_str::<Value>(found).is_ok_and(|found| same_json(expected, &found, formats))
                }
                _ => is(&|text| text == found),
            }
        }
        DataType::Boolean => is(&|text| text == column.as_boolean().value(row).to_string()),
        DataType::Int8 => is(&|text| same_decimal(text, &column.as_primitive::<Int8Type>().value(row).to_string())),
        DataType::Int32 => is(&|text| same_decimal(text, &column.as_primitive::<Int32Type>().value(row).to_string())),
        DataType::Int64 => is(&|text| same_decimal(text, &column.as_primitive::<Int64Type>().value(row).to_string())),
        DataType::UInt64 => is(&|text| same_decimal(text, &column.as_primitive::<UInt64Type>().value(row).to_string())),
        DataType::Float64 => is(&|text| same_float(text, &column.as_primitive::<Float64Type>().value(row).to_string())),
        DataType::Decimal128(..) => {
            is(&|text| same_decimal(text, &column.as_primitive::<Decimal128Type>().value_as_string(row)))
        }
        DataType::Timestamp(..) => {
            let found = column.as_primitive::<TimestampMicrosecondType>().value(row);
            is(&|text| formats.instant(text) == Some(found))
        }
        DataType::Date32 => {
            let days = column.as_primitive::<Date32Type>().value(row);
            let found = i64::from(days) * 86_400_000_000;
            is(&|text| formats.instant(text) == Some(found))
        }
        DataType::List(_) => {
            let items = column.as_list::<i32>().value(row);
            expected.as_array().is_some_and(|all| {
                all.len() == items.len() && all.iter().enumerate().all(|(i, one)| same(one, &items, i, formats))
            })
        }
        DataType::Struct(_) => {
            let fields = column.as_struct();
            let field = |(name, one): (&String, &Value)| {
                fields.column_by_name(name).is_some_and(|column| same(one, column, row, formats))
            };
            expected.as_object().is_some_and(|all| all.iter().all(field))
        }
        _ => is(&|text| text == rows::value(column, row)),
    }
}

/// Whether a value in the file is one in a JSON text.
pub(super) fn same_json(expected: &Value, found: &Value, formats: &Formats) -> bool {
    match (expected, found) {
        (Value::Object(all), Value::Object(found)) => {
            all.iter().all(|(name, one)| found.get(name).is_some_and(|found| same_json(one, found, formats)))
        }
        (Value::Array(all), Value::Array(found)) => {
            all.len() == found.len() && all.iter().zip(found).all(|(a, b)| same_json(a, b, formats))
        }
        _ => match (text(expected), text(found)) {
            (Some(a), Some(b)) => {
                a == b
                    || found.is_number() && same_decimal(&a, &b)
                    || found.is_string() && formats.instant(&a).is_some_and(|t| formats.instant(&b) == Some(t))
            }
            _ => expected == found,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Decimal128Array, TimestampMicrosecondArray};
    use serde_json::json;

    use super::*;

    #[test]
    fn decimals_are_numbers() {
        let column: ArrayRef = Arc::new(Decimal128Array::from(vec![4010]).with_precision_and_scale(10, 2).unwrap());
        let formats = Formats::default();
        for (value, expected) in [
            (json!("40.10"), true),
            (json!(40.1), true),
            (json!("40.1000"), true),
            (json!("40.11"), false),
            (json!(null), false),
            (json!("forty"), false),
        ] {
            assert_eq!(same(&value, &column, 0, &formats), expected, "{value}");
        }
    }

    #[test]
    fn times_have_many_forms() {
        let column: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![1_716_643_140_000_000]));
        let formats = Formats(vec!["%d-%m-%Y %H:%M".to_owned()]);
        for text in ["2024-05-25 13:19:00", "2024-05-25T13:19:00Z", "2024-05-25T15:19:00+02:00", "25-05-2024 13:19"] {
            assert!(same(&json!(text), &column, 0, &formats), "{text}");
        }
        assert!(!same(&json!("2024-05-25 13:20:00"), &column, 0, &formats));
    }

    #[test]
    fn json_is_compared_by_what_the_test_lists() {
        let found = json!({ "a": 1.50, "b": "x", "c": [1, 2] });
        let formats = Formats::default();
        assert!(same_json(&json!({ "a": "1.5", "c": [1, 2] }), &found, &formats));
        assert!(!same_json(&json!({ "a": "1.5", "c": [1] }), &found, &formats));
    }
}
