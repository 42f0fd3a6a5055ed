//! Refused rows as rows of a queue of dead letters.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray, StringBuilder, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use millstream_core::batch::TIMESTAMP;
use millstream_core::{Batch, Result};

/// The columns of a queue of dead letters, behind its `id`.
pub(crate) fn queue_schema() -> SchemaRef {
    let text = |name| Field::new(name, DataType::Utf8, true);
    Arc::new(Schema::new(vec![
        text("pipeline"),
        text("component"),
        text("port"),
        text("reasons"),
        text("row"),
        Field::new("raw", DataType::Binary, true),
        Field::new("version", DataType::Int64, true),
        text("stamps"),
        Field::new("attempts", DataType::Int64, true),
        text("source"),
        text("split"),
        text("position"),
        Field::new("arrived_at", TIMESTAMP, true),
        Field::new("enqueued_at", TIMESTAMP, true),
    ]))
}

/// A batch of refused rows as rows of the queue.
pub(crate) fn letters(batch: &Batch, pipeline: &str, now: i64) -> Result<RecordBatch> {
    let rows = &batch.rows;
    let count = rows.num_rows();
    let mut reasons = StringBuilder::new();
    let lists = |name: &str| rows.column_by_name(name).and_then(|c| c.as_list_opt::<i32>().cloned());
    let (rules, texts) = (lists("rules"), lists("reasons"));
    for row in 0..count {
        let at = |lists: &Option<arrow::array::ListArray>| lists.as_ref().map(|l| l.value(row));
        let (rules, texts) = (at(&rules), at(&texts));
        let texts = texts.as_ref().and_then(|t| t.as_string_opt::<i32>());
        let named = rules
            .as_ref()
            .and_then(|r| r.as_string_opt::<i32>())
            .into_iter()
            .flatten()
            .zip(texts.into_iter().flatten());
        let json: Vec<_> = named.map(|(rule, text)| serde_json::json!({ "rule": rule, "text": text })).collect();
        reasons.append_value(serde_json::Value::Array(json).to_string());
    }
    let schema = queue_schema();
    let columns = schema.fields().iter().map(|field| -> Result<ArrayRef> {
        Ok(match field.name().as_str() {
            "pipeline" => Arc::new(StringArray::from_iter_values(std::iter::repeat_n(pipeline, count))),
            "reasons" => Arc::new(reasons.finish()),
            "enqueued_at" => Arc::new(TimestampMicrosecondArray::from_value(now, count)),
            name => match rows.column_by_name(name) {
                Some(column) => arrow::compute::cast(column, field.data_type())?,
                None => arrow::array::new_null_array(field.data_type(), count),
            },
        })
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    Ok(RecordBatch::try_new(schema.clone(), columns)?)
}
