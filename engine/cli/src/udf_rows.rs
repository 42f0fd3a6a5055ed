//! Rows for a UDF from JSON arrays.

use std::sync::Arc;

use arrow::array::{
    Array as _, ArrayRef, BinaryArray, Float32Array, Float64Array, Int32Array, Int64Array, StringArray, UInt32Array,
    UInt64Array,
};
use arrow::row::{RowConverter, SortField};
use millstream_udf::{Type, Udf};
use serde_json::Value;

use crate::exit::Failure;

/// Arguments of a UDF, one column each.
pub(crate) struct Rows {
    /// By argument.
    pub(crate) columns: Vec<ArrayRef>,
    /// How many rows.
    pub(crate) len: usize,
}

/// Reads rows, one JSON array each.
pub(crate) fn parse(udf: &Udf, texts: &[String]) -> Result<Rows, Failure> {
    let args = &udf.signature().args;
    let wrong = |row: usize, what: String| {
        Failure::new(Failure::FILE, format!("row {}: {what}", row + 1)).help(format!(
            "the function is {}{}: a row is a JSON array of its arguments",
            udf.name(),
            udf.signature()
        ))
    };
    let mut values: Vec<Vec<Value>> = vec![Vec::new(); args.len()];
    for (row, text) in texts.iter().enumerate() {
        let found: Value = serde_json::from_str(text).map_err(|e| wrong(row, format!("not JSON: {e}")))?;
        let Value::Array(items) = found else { return Err(wrong(row, format!("`{text}` is not an array"))) };
        if items.len() != args.len() {
            return Err(wrong(row, format!("{} values for {} arguments", items.len(), args.len())));
        }
        values.iter_mut().zip(items).for_each(|(column, value)| column.push(value));
    }
    let mut columns = Vec::with_capacity(args.len());
    for ((values, arg), number) in values.iter().zip(args).zip(1..) {
        let column = column(arg.data_type, values)
            .map_err(|row| wrong(row, format!("argument {number} is not of type {}", arg.data_type)))?;
        columns.push(column);
    }
    Ok(Rows { columns, len: texts.len() })
}

/// Values as a column; the first row whose value does not fit.
fn column(data_type: Type, values: &[Value]) -> Result<ArrayRef, usize> {
    fn each<T>(values: &[Value], read: impl Fn(&Value) -> Option<T>) -> Result<Vec<Option<T>>, usize> {
        let one = |(row, value): (usize, &Value)| match value {
            Value::Null => Ok(None),
            value => read(value).map(Some).ok_or(row),
        };
        values.iter().enumerate().map(one).collect()
    }
    let text = |v: &Value| v.as_str().map(str::to_owned);
    Ok(match data_type {
        Type::Int => Arc::new(Int32Array::from(each(values, |v| v.as_i64()?.try_into().ok())?)),
        Type::Bigint => Arc::new(Int64Array::from(each(values, Value::as_i64)?)),
        Type::Uint => Arc::new(UInt32Array::from(each(values, |v| v.as_u64()?.try_into().ok())?)),
        Type::Ubigint => Arc::new(UInt64Array::from(each(values, Value::as_u64)?)),
        #[expect(clippy::cast_possible_truncation, reason = "what a real is")]
        Type::Real => Arc::new(Float32Array::from(each(values, |v| Some(v.as_f64()? as f32))?)),
        Type::Double => Arc::new(Float64Array::from(each(values, Value::as_f64)?)),
        Type::String => Arc::new(StringArray::from(each(values, text)?)),
        Type::Bytes => {
            let bytes = each(values, text)?;
            Arc::new(bytes.iter().map(|b| b.as_ref().map(String::as_bytes)).collect::<BinaryArray>())
        }
    })
}

impl Rows {
    /// In the order an aggregate gets them.
    pub(crate) fn sorted(&self) -> Result<Vec<ArrayRef>, Failure> {
        let failed =
            |e: arrow::error::ArrowError| Failure::new(Failure::RUNNING, format!("rows cannot be sorted: {e}"));
        let fields = self.columns.iter().map(|c| SortField::new(c.data_type().clone())).collect();
        let converter = RowConverter::new(fields).map_err(failed)?;
        let rows = converter.convert_columns(&self.columns).map_err(failed)?;
        let mut order: Vec<_> = rows.iter().zip(0_u32..).collect();
        order.sort_unstable();
        let order = UInt32Array::from_iter_values(order.into_iter().map(|(_, i)| i));
        let take = |c: &ArrayRef| arrow::compute::take(c, &order, None).map_err(failed);
        self.columns.iter().map(take).collect()
    }
}
