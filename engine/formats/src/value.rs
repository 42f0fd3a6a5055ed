//! Values of Arrow columns as text: JSON for files and refusals, plain text for CSV and templates.
//!
//! 1. Decimals have exactly their digits; doubles are the shortest text that reads back as the same double.
//! 2. Timestamps are RFC 3339 in UTC, without a fraction where it is zero; dates `YYYY-MM-DD`.
//! 3. Bytes are a JSON string where they are UTF-8, else `{"base64": ".."}`.
//! 4. NaN and the infinities are null in JSON: it has no words for them.
//! 5. Output is one line, whatever the values.

use arrow::array::RecordBatch;
use millstream_core::Result;
use millstream_core::batch::is_hidden;

mod cells;
mod text;

pub use cells::Cells;
pub(crate) use text::write_json_string;

/// How JSON is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct JsonOptions {
    /// Decimals as strings instead of numbers.
    pub decimals_as_strings: bool,
}

/// The user columns of a batch, ready to be written as JSON objects.
#[derive(Debug)]
pub struct JsonRows {
    /// Per column, `"name":` and its values.
    columns: Vec<(Vec<u8>, Cells)>,
    options: JsonOptions,
}

impl JsonRows {
    /// The user columns of `rows`.
    ///
    /// # Errors
    /// `Bug` where a column cannot be read as its type.
    pub fn new(rows: &RecordBatch, options: JsonOptions) -> Result<Self> {
        let columns = rows.schema_ref().fields().iter().zip(rows.columns());
        let columns = columns
            .filter(|(field, _)| !is_hidden(field.name()))
            .map(|(field, array)| Ok((key(field.name()), Cells::new(field, array)?)))
            .collect::<Result<_>>()?;
        Ok(Self { columns, options })
    }

    /// Appends a row as a JSON object on one line.
    pub fn write(&self, row: usize, out: &mut Vec<u8>) {
        out.push(b'{');
        for (i, (key, cells)) in self.columns.iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            out.extend_from_slice(key);
            cells.write_json(row, self.options, out);
        }
        out.push(b'}');
    }
}

/// `"name":`
fn key(name: &str) -> Vec<u8> {
    let mut key = Vec::new();
    write_json_string(name, &mut key);
    key.push(b':');
    key
}

/// A row as a JSON object: its user columns. For many rows of a batch, [`JsonRows`] prepares the columns once.
pub fn row_json(rows: &RecordBatch, row: usize) -> String {
    let mut out = Vec::new();
    if row >= rows.num_rows() {
        return "{}".into();
    }
    // One row only, so that a column of another layout is not widened whole.
    match JsonRows::new(&rows.slice(row, 1), JsonOptions::default()) {
        Ok(columns) => columns.write(0, &mut out),
        Err(_) => out.extend_from_slice(b"{}"),
    }
    String::from_utf8(out).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use arrow::array::{
        ArrayRef, BinaryArray, Date32Array, Decimal128Array, Decimal256Array, DictionaryArray, Float32Array,
        Float64Array, Int8Array, Int32Array, Int32Builder, LargeStringArray, MapBuilder, NullArray, StringArray,
        StringBuilder, Time64MicrosecondArray, TimestampMicrosecondArray, TimestampNanosecondArray, UInt64Array,
    };
    use arrow::datatypes::{Field, Int8Type, Schema, i256};
    use millstream_core::batch::hidden;
    use millstream_core::schema::JSON_METADATA;

    fn json(array: impl arrow::array::Array + 'static) -> String {
        let rows = RecordBatch::try_from_iter_with_nullable([("v", Arc::new(array) as ArrayRef, true)]).unwrap();
        let text = row_json(&rows, rows.num_rows() - 1);
        text["{\"v\":".len()..text.len() - 1].to_owned()
    }

    #[test]
    fn every_type_has_its_json() {
        assert_eq!(json(Int8Array::from(vec![-1])), "-1");
        assert_eq!(json(UInt64Array::from(vec![u64::MAX])), "18446744073709551615");
        assert_eq!(json(Float32Array::from(vec![0.1])), "0.1");
        assert_eq!(json(Float64Array::from(vec![f64::NAN])), "null");
        assert_eq!(json(Float32Array::from(vec![f32::INFINITY])), "null");
        assert_eq!(json(Float64Array::from(vec![1e300])), "1e300");
        assert_eq!(json(LargeStringArray::from(vec!["a\"\u{1}"])), r#""a\"\u0001""#);
        assert_eq!(json(Date32Array::from(vec![19_868])), "\"2024-05-25\"");
        assert_eq!(json(Date32Array::from(vec![i32::MAX])), "\"+5881580-07-11\"");
        assert_eq!(json(NullArray::new(1)), "null");
        assert_eq!(json(Time64MicrosecondArray::from(vec![1_500_000])), "\"00:00:01.500\"");
        let wide = Decimal256Array::from(vec![i256::from_i128(-5)]).with_precision_and_scale(50, 3).unwrap();
        assert_eq!(json(wide), "-0.005");
        assert_eq!(json(vec!["x", "y"].into_iter().collect::<DictionaryArray<Int8Type>>()), "\"y\"");
        let zoned = TimestampNanosecondArray::from(vec![1_716_643_147_250_000_999]).with_timezone("America/New_York");
        assert_eq!(json(zoned), "\"2024-05-25T13:19:07.25Z\"");
        assert_eq!(json(TimestampMicrosecondArray::from(vec![i64::MAX])), "\"9223372036854775807\"");
        assert_eq!(json(BinaryArray::from(vec![&b"\xff"[..]])), r#"{"base64":"/w=="}"#);
        assert_eq!(json(BinaryArray::from(vec![&b"ok"[..]])), "\"ok\"");
        let mut map = MapBuilder::new(None, StringBuilder::new(), Int32Builder::new());
        map.keys().append_value("k");
        map.values().append_value(7);
        map.append(true).unwrap();
        assert_eq!(json(map.finish()), r#"{"k":7}"#);
    }

    #[test]
    fn decimals_can_be_strings_and_json_is_json() {
        let fields = vec![
            Field::new("d", arrow::datatypes::DataType::Decimal128(10, 2), true),
            Field::new("j", arrow::datatypes::DataType::Utf8, true)
                .with_metadata([(JSON_METADATA.0.into(), JSON_METADATA.1.into())].into()),
            Field::new(hidden::POSITION, arrow::datatypes::DataType::Int32, true),
        ];
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Decimal128Array::from(vec![4010]).with_precision_and_scale(10, 2).unwrap()),
            Arc::new(StringArray::from(vec!["{\n\"a\": 1}"])),
            Arc::new(Int32Array::from(vec![1])),
        ];
        let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
        let mut out = Vec::new();
        JsonRows::new(&rows, JsonOptions { decimals_as_strings: true }).unwrap().write(0, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), r#"{"d":"40.10","j":{ "a": 1}}"#);
        assert_eq!(row_json(&rows, 0), r#"{"d":40.10,"j":{ "a": 1}}"#);
        assert_eq!(row_json(&rows, 1), "{}");
    }
}
