//! Rows for the suites.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array, Int64Array, ListArray,
    RecordBatch, StringArray, StructArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Fields, Int32Type, Schema};
use millstream_core::EventTime;
use millstream_core::format::RecordFormat;
use millstream_core::schema::ColumnType;
use millstream_core::sink::SinkOptions;
use millstream_core::source::{Position, RawRecord, RawRecords};
use millstream_formats::value::row_json;

use millstream_formats::declared::decode;

/// Rows with a column of every type of the language, `count` of them, about every third value null; `id` is unique
/// and starts at `from`.
pub fn every_type(from: usize, count: usize) -> RecordBatch {
    let ids = from..from + count;
    let some = |i: usize, salt: usize| !(i + salt).is_multiple_of(3);
    let inner = Fields::from(vec![ColumnType::Double.field("lat", true), ColumnType::String.field("name", true)]);
    let lat: ArrayRef = Arc::new(ids.clone().map(|i| some(i, 1).then_some(i as f64 / 4.0)).collect::<Float64Array>());
    let name: ArrayRef = Arc::new(ids.clone().map(|i| Some(format!("n\"{i}"))).collect::<StringArray>());
    let structs = StructArray::new(inner.clone(), vec![lat, name], None);
    let lists = ListArray::from_iter_primitive::<Int32Type, _, _>(
        ids.clone().map(|i| some(i, 2).then(|| (0..i % 4).map(|n| Some(n as i32)).collect::<Vec<_>>())),
    );
    let columns: Vec<(Field, ArrayRef)> = vec![
        (
            ColumnType::String.field("id", false),
            Arc::new(ids.clone().map(|i| Some(format!("id-{i:06}"))).collect::<StringArray>()),
        ),
        (
            ColumnType::Int.field("int", true),
            Arc::new(ids.clone().map(|i| some(i, 0).then_some(i as i32 - 5)).collect::<Int32Array>()),
        ),
        (
            ColumnType::Bigint.field("bigint", true),
            Arc::new(ids.clone().map(|i| some(i, 1).then_some(i64::MAX - i as i64)).collect::<Int64Array>()),
        ),
        (
            ColumnType::Double.field("double", true),
            Arc::new(ids.clone().map(|i| some(i, 2).then_some(i as f64 + 0.1)).collect::<Float64Array>()),
        ),
        (
            ColumnType::Bool.field("bool", true),
            Arc::new(ids.clone().map(|i| some(i, 0).then_some(i % 2 == 0)).collect::<BooleanArray>()),
        ),
        (
            ColumnType::Decimal(38, 2).field("decimal", true),
            Arc::new(
                ids.clone()
                    .map(|i| some(i, 1).then_some(i as i128 * 10_i128.pow(30) - 7))
                    .collect::<Decimal128Array>()
                    .with_precision_and_scale(38, 2)
                    .expect("38 digits fit"),
            ),
        ),
        (
            ColumnType::Timestamp.field("timestamp", true),
            Arc::new(
                ids.clone()
                    .map(|i| some(i, 2).then_some(1_716_650_000_000_000 + i as i64 * 400_001))
                    .collect::<TimestampMicrosecondArray>(),
            ),
        ),
        (
            ColumnType::Date.field("date", true),
            Arc::new(ids.clone().map(|i| some(i, 0).then_some(19_000 + i as i32)).collect::<Date32Array>()),
        ),
        (
            ColumnType::Bytes.field("bytes", true),
            Arc::new(ids.clone().map(|i| some(i, 1).then(|| vec![0, 0xff, i as u8])).collect::<BinaryArray>()),
        ),
        (
            ColumnType::Json.field("json", true),
            Arc::new(ids.clone().map(|i| some(i, 2).then(|| format!("{{\"a\":[{i}]}}"))).collect::<StringArray>()),
        ),
        (Field::new("struct", DataType::Struct(inner), true), Arc::new(structs)),
        (ColumnType::List(Box::new(ColumnType::Int), true).field("list", true), Arc::new(lists)),
    ];
    let (fields, arrays): (Vec<Field>, Vec<ArrayRef>) = columns.into_iter().unzip();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).expect("the columns fit")
}

/// The user columns of rows as JSON objects, sorted.
pub fn json_lines(rows: &[RecordBatch]) -> Vec<String> {
    let mut lines: Vec<String> =
        rows.iter().flat_map(|batch| (0..batch.num_rows()).map(move |row| row_json(batch, row))).collect();
    lines.sort();
    lines
}

/// JSON records as rows of a sink's user columns, for sinks whose rows are read back as text.
pub fn decode_lines(options: &SinkOptions, lines: &[String]) -> RecordBatch {
    let mut records = RawRecords::default();
    let mut buffer = Vec::new();
    for line in lines {
        records.records.push(RawRecord {
            start: buffer.len() as u32,
            len: line.len() as u32,
            position: Position::Offset(0),
            arrived_at: EventTime(0),
        });
        buffer.extend_from_slice(line.as_bytes());
    }
    records.buffer = buffer.into();
    decode(RecordFormat::Json, &options.schema, &records).expect("what was written can be read")
}
