//! Records of tests: their bytes, and when they happened.

use std::sync::Arc;

use arrow::array::AsArray as _;
use arrow::datatypes::TimestampMicrosecondType;
use millstream_core::format::RecordFormat;
use millstream_core::schema::SourceSchema;
use millstream_core::source::{Position, RawRecord, RawRecords};
use millstream_core::time::EventTime;
use millstream_formats::decoder;
use serde_json::Value;

use crate::stage::{csv_field, csv_header};

/// The event time of a record, where it can be decoded.
pub(super) fn event_time(bytes: &[u8], format: RecordFormat, schema: &SourceSchema, column: &str) -> Option<EventTime> {
    let record =
        RawRecord { start: 0, len: bytes.len() as u32, position: Position::Offset(0), arrived_at: EventTime(0) };
    let header = (format == RecordFormat::Csv).then(|| csv_header(schema));
    let raw = RawRecords { buffer: bytes.to_vec().into(), records: vec![record], header };
    let decoded = decoder(format, Arc::new(schema.clone())).ok()?.decode(&raw).ok()?;
    let times = decoded.rows.column_by_name(column)?.as_primitive_opt::<TimestampMicrosecondType>()?.clone();
    times.iter().next().flatten().map(EventTime)
}

/// The bytes of a record: a text as it is, a map in the source's format.
pub(super) fn encode(record: &Value, format: RecordFormat, schema: &SourceSchema) -> Vec<u8> {
    match (record, format) {
        (Value::String(text), _) => text.clone().into_bytes(),
        (Value::Object(_), RecordFormat::Csv) => {
            let field = |path: &Vec<String>| {
                let pointer: String =
                    path.iter().map(|p| format!("/{}", p.replace('~', "~0").replace('/', "~1"))).collect();
                // A record may be written with its path as one key, as the header has it.
                let value = record.pointer(&pointer).or_else(|| record.get(path.join(".")));
                match value {
                    None | Some(Value::Null) => String::new(),
                    Some(Value::String(text)) => csv_field(text),
                    Some(other) => csv_field(&other.to_string()),
                }
            };
            schema.columns.iter().map(|c| field(&c.path)).collect::<Vec<_>>().join(",").into_bytes()
        }
        (other, _) => other.to_string().into_bytes(),
    }
}
