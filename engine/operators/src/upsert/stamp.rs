//! Stamps: which of two events about the same column wins.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float64Type, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType,
};
use millstream_core::{Error, Result};

/// Of two events, the one with the greater stamp wins; equal stamps mean equal events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(super) struct Stamp {
    /// The value of `latest_by`; 0 where there is none.
    pub(super) order: i64,
    /// The hash of what the event sets.
    pub(super) hash: u64,
}

/// The `latest_by` values of a column as ordered numbers; null is the least.
pub(super) fn orders(column: &ArrayRef) -> Result<Vec<i64>> {
    fn all(column: &dyn Array, value: impl Fn(usize) -> i64) -> Vec<i64> {
        (0..column.len()).map(|i| if column.is_valid(i) { value(i) } else { i64::MIN }).collect()
    }
    Ok(match column.data_type() {
        DataType::Int32 => all(column, |i| i64::from(column.as_primitive::<Int32Type>().value(i))),
        DataType::Date32 => all(column, |i| i64::from(column.as_primitive::<Date32Type>().value(i))),
        DataType::Int64 => all(column, |i| column.as_primitive::<Int64Type>().value(i)),
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            all(column, |i| column.as_primitive::<TimestampMicrosecondType>().value(i))
        }
        DataType::Float64 => all(column, |i| ordered_bits(column.as_primitive::<Float64Type>().value(i))),
        DataType::Decimal128(precision, _) if *precision <= 18 => {
            all(column, |i| i64::try_from(column.as_primitive::<Decimal128Type>().value(i)).unwrap_or(i64::MAX))
        }
        other => {
            let message = format!("`latest_by` cannot be a column of type {other}: take a number, date or timestamp");
            return Err(Error::config(message));
        }
    })
}

/// The bits of a double as a number of the same order (IEEE 754 totalOrder, with one zero).
fn ordered_bits(v: f64) -> i64 {
    let bits = if v == 0.0 { 0 } else { v.to_bits() as i64 };
    bits ^ (((bits >> 63) as u64) >> 1) as i64
}

/// Stamps of a row's columns as the store keeps them: `[[order, "hash in hex", "column", ..], ..]`.
pub(super) fn to_json<'a>(stamps: impl Iterator<Item = (&'a str, Stamp)>) -> String {
    let mut groups: Vec<(Stamp, Vec<serde_json::Value>)> = Vec::new();
    for (column, stamp) in stamps {
        match groups.iter_mut().find(|(s, _)| *s == stamp) {
            Some((_, list)) => list.push(column.into()),
            None => {
                groups.push((stamp, vec![stamp.order.into(), format!("{:016x}", stamp.hash).into(), column.into()]))
            }
        }
    }
    serde_json::Value::Array(groups.into_iter().map(|(_, list)| list.into()).collect()).to_string()
}

/// Reads what [`to_json`] wrote; text of anything else gives no stamps.
pub(super) fn from_json(text: &str) -> Vec<(String, Stamp)> {
    let groups: Vec<Vec<serde_json::Value>> = serde_json::from_str(text).unwrap_or_default();
    let mut stamps = Vec::new();
    for group in groups {
        let mut items = group.iter();
        let order = items.next().and_then(serde_json::Value::as_i64);
        let hash = items.next().and_then(serde_json::Value::as_str).and_then(|h| u64::from_str_radix(h, 16).ok());
        let (Some(order), Some(hash)) = (order, hash) else { continue };
        stamps.extend(items.filter_map(|c| c.as_str()).map(|c| (c.to_owned(), Stamp { order, hash })));
    }
    stamps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_keep_their_order() {
        let values = [f64::NEG_INFINITY, -2.5, -0.0, 1e-300, 3.0, f64::INFINITY];
        assert!(values.windows(2).all(|w| ordered_bits(w[0]) < ordered_bits(w[1])));
        assert_eq!(ordered_bits(0.0), ordered_bits(-0.0));
    }

    #[test]
    fn stamps_survive_the_store() {
        let (a, b) = (Stamp { order: -5, hash: u64::MAX }, Stamp { order: 7, hash: 1 });
        let text = to_json([("x", a), ("y", b), ("z", a)].into_iter());
        assert_eq!(text, r#"[[-5,"ffffffffffffffff","x","z"],[7,"0000000000000001","y"]]"#);
        assert_eq!(from_json(&text), [("x".into(), a), ("z".into(), a), ("y".into(), b)]);
        assert_eq!(from_json("{\"other\": 1}"), []);
    }
}
