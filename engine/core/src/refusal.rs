//! The one schema of refused rows, whatever port they come from: so that `"*.rejected"` is one stream.

use std::sync::{Arc, LazyLock};

use arrow::array::{
    ArrayRef, BinaryBuilder, Int64Builder, ListBuilder, RecordBatch, StringBuilder, TimestampMicrosecondBuilder,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use crate::batch::{Batch, TIMESTAMP, hidden, is_hidden};
use crate::error::Result;
use crate::format::Reason;
use crate::schema::JSON_METADATA;
use crate::time::EventTime;

/// Why and where a row was refused, and the row.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    /// The node that refused it.
    pub component: String,
    /// The port it leaves by: `rejected`, `late` or `failed`.
    pub port: &'static str,
    /// Every reason; at least one.
    pub reasons: Vec<Reason>,
    /// The row as a JSON object, where it could be decoded.
    pub row: Option<String>,
    /// The record's bytes, where it could not.
    pub raw: Option<Vec<u8>>,
    /// The version of the row, where a table refused it.
    pub version: Option<u64>,
    /// What merges the row with another of its key, where a table refused it and cannot tell from the row alone.
    pub stamps: Option<String>,
    /// How often it was tried to write the row, where that was tried.
    pub attempts: Option<u64>,
    /// Source, split and position of the record, where the row comes from one.
    pub source: Option<String>,
    /// See `source`.
    pub split: Option<String>,
    /// See `source`.
    pub position: Option<String>,
    /// When the record reached the stream.
    pub arrived_at: EventTime,
    /// The greatest event time that went into the row.
    pub event_time: Option<EventTime>,
}

impl Refusal {
    /// One of which nothing else is known.
    pub fn new(component: impl Into<String>, port: &'static str, reasons: Vec<Reason>, arrived_at: EventTime) -> Self {
        Self {
            component: component.into(),
            port,
            reasons,
            row: None,
            raw: None,
            version: None,
            stamps: None,
            attempts: None,
            source: None,
            split: None,
            position: None,
            arrived_at,
            event_time: None,
        }
    }
}

/// Whether rows of this schema are refused ones.
pub fn is_of(rows: &Schema) -> bool {
    schema().fields().iter().filter(|f| !is_hidden(f.name())).all(|f| rows.index_of(f.name()).is_ok())
}

/// The columns of every refused port: `component, port, rules, reasons, row, raw, version, stamps, attempts, source,
/// split, position, arrived_at`, then the hidden ones. `rules[i]` and `reasons[i]` belong together.
pub fn schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        let text = |name, nullable| Field::new(name, DataType::Utf8, nullable);
        let list = |name| Field::new(name, DataType::List(Arc::new(Field::new("item", DataType::Utf8, true))), false);
        Arc::new(Schema::new(vec![
            text("component", false),
            text("port", false),
            list("rules"),
            list("reasons"),
            text("row", true).with_metadata([(JSON_METADATA.0.into(), JSON_METADATA.1.into())].into()),
            Field::new("raw", DataType::Binary, true),
            Field::new("version", DataType::Int64, true),
            text("stamps", true),
            Field::new("attempts", DataType::Int64, true),
            text("source", true),
            text("split", true),
            text("position", true),
            Field::new("arrived_at", TIMESTAMP, false),
            Field::new(hidden::ARRIVED_AT, TIMESTAMP, false),
            Field::new(hidden::EVENT_TIME, TIMESTAMP, true),
            Field::new(hidden::POSITION, DataType::Utf8, true),
        ]))
    });
    SCHEMA.clone()
}

/// Refusals as a batch of [`schema`].
///
/// # Errors
/// `Bug` only.
pub fn batch(refusals: &[Refusal]) -> Result<Batch> {
    let mut component = StringBuilder::new();
    let mut port = StringBuilder::new();
    let mut rules = ListBuilder::new(StringBuilder::new());
    let mut reasons = ListBuilder::new(StringBuilder::new());
    let mut row = StringBuilder::new();
    let mut raw = BinaryBuilder::new();
    let (mut version, mut attempts) = (Int64Builder::new(), Int64Builder::new());
    let mut stamps = StringBuilder::new();
    let (mut source, mut split, mut position) = (StringBuilder::new(), StringBuilder::new(), StringBuilder::new());
    let mut arrived_at = TimestampMicrosecondBuilder::new();
    let mut event_time = TimestampMicrosecondBuilder::new();
    for r in refusals {
        component.append_value(&r.component);
        port.append_value(r.port);
        for reason in &r.reasons {
            rules.values().append_value(&reason.rule);
            reasons.values().append_value(&reason.text);
        }
        rules.append(true);
        reasons.append(true);
        row.append_option(r.row.as_deref());
        raw.append_option(r.raw.as_deref());
        version.append_option(r.version.and_then(|v| i64::try_from(v).ok()));
        stamps.append_option(r.stamps.as_deref());
        attempts.append_option(r.attempts.and_then(|a| i64::try_from(a).ok()));
        source.append_option(r.source.as_deref());
        split.append_option(r.split.as_deref());
        position.append_option(r.position.as_deref());
        arrived_at.append_value(r.arrived_at.0);
        event_time.append_option(r.event_time.map(|t| t.0));
    }
    let position: ArrayRef = Arc::new(position.finish());
    let arrived: ArrayRef = Arc::new(arrived_at.finish());
    let columns: Vec<ArrayRef> = vec![
        Arc::new(component.finish()),
        Arc::new(port.finish()),
        Arc::new(rules.finish()),
        Arc::new(reasons.finish()),
        Arc::new(row.finish()),
        Arc::new(raw.finish()),
        Arc::new(version.finish()),
        Arc::new(stamps.finish()),
        Arc::new(attempts.finish()),
        Arc::new(source.finish()),
        Arc::new(split.finish()),
        position.clone(),
        arrived.clone(),
        arrived,
        Arc::new(event_time.finish()),
        position,
    ];
    Ok(Batch::new(RecordBatch::try_new(schema(), columns)?))
}
