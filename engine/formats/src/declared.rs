//! Arrow schemas as declared schemas, so that rows which were written as text can be read back.

use std::sync::Arc;

use crate::decoder;
use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, SchemaRef};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use millstream_core::batch::is_hidden;
use millstream_core::format::RecordFormat;
use millstream_core::schema::{Column, ColumnType, ExcessDigits, ExtraFields, SourceSchema, Zone, is_json};
use millstream_core::source::{Position, RawRecord, RawRecords};
use millstream_core::{Error, EventTime, Result};

/// The declared type whose text is that of `field`; where there is none of the same range, the next larger one.
fn column_type(field: &Field) -> Result<ColumnType> {
    use DataType as D;
    Ok(match field.data_type() {
        D::Utf8 | D::LargeUtf8 | D::Utf8View if is_json(field) => ColumnType::Json,
        D::Utf8 | D::LargeUtf8 | D::Utf8View => ColumnType::String,
        D::Boolean => ColumnType::Bool,
        D::Int8 | D::Int16 | D::Int32 => ColumnType::Int,
        D::UInt8 | D::UInt16 | D::UInt32 | D::Int64 => ColumnType::Bigint,
        D::UInt64 => ColumnType::Decimal(20, 0),
        D::Float16 | D::Float32 | D::Float64 => ColumnType::Double,
        D::Decimal32(p, s) | D::Decimal64(p, s) | D::Decimal128(p, s) => ColumnType::Decimal(*p, *s),
        D::Timestamp(..) => ColumnType::Timestamp,
        D::Date32 | D::Date64 => ColumnType::Date,
        D::Binary | D::LargeBinary | D::BinaryView => ColumnType::Bytes,
        D::Struct(fields) => ColumnType::Struct(
            fields.iter().map(|f| Ok((f.name().clone(), column_type(f)?, f.is_nullable()))).collect::<Result<_>>()?,
        ),
        D::List(item) | D::LargeList(item) => ColumnType::List(Box::new(column_type(item)?), item.is_nullable()),
        other => {
            return Err(Error::config(format!("the column `{}` of type {other} cannot be read back", field.name())));
        }
    })
}

/// The declared schema of the user columns of `schema`.
///
/// # Errors
/// `Config` where a column has a type that text does not give back.
pub fn source_schema(schema: &SchemaRef) -> Result<SourceSchema> {
    let columns = schema.fields().iter().filter(|f| !is_hidden(f.name())).map(|field| {
        Ok(Column {
            name: field.name().clone(),
            column_type: column_type(field)?,
            optional: field.is_nullable(),
            path: vec![field.name().clone()],
            formats: Vec::new(),
            zone: Zone::Utc,
            excess_digits: ExcessDigits::Reject,
        })
    });
    Ok(SourceSchema { columns: columns.collect::<Result<_>>()?, extra: ExtraFields::Ignore })
}

/// Decodes records into rows of exactly `schema` (its user columns).
///
/// # Errors
/// `Environment` with the first reason where a record does not fit.
pub fn decode(format: RecordFormat, schema: &SchemaRef, raw: &RawRecords) -> Result<RecordBatch> {
    let mut declared = source_schema(schema)?;
    for column in
        declared.columns.iter_mut().filter(|c| format != RecordFormat::Csv && c.column_type == ColumnType::Bytes)
    {
        // JSON has bytes as text where they are text.
        column.column_type = ColumnType::Json;
    }
    let decoded = decoder(format, Arc::new(declared))?.decode(raw)?;
    if let Some((record, reasons)) = decoded.rejected.first() {
        let why = reasons.first().map_or("", |r| r.text.as_str());
        return Err(Error::environment(format!("record {record} does not fit its schema: {why}")));
    }
    conform(&decoded.rows, schema)
}

/// The same rows with the types and fields of the user columns of `schema`.
///
/// # Errors
/// `Environment` where they do not have them.
pub fn conform(rows: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let wanted: Vec<_> = schema.fields().iter().filter(|f| !is_hidden(f.name())).cloned().collect();
    let columns = wanted
        .iter()
        .map(|field| {
            let column = rows
                .column_by_name(field.name())
                .ok_or_else(|| Error::environment(format!("what is read back has no column `{}`", field.name())))?;
            let binary = matches!(field.data_type(), DataType::Binary | DataType::LargeBinary | DataType::BinaryView);
            if let (true, Some(texts)) = (binary, column.as_string_opt::<i32>()) {
                let bytes: BinaryArray = texts.iter().map(|text| text.and_then(bytes_of_json)).collect();
                return Ok(cast(&bytes, field.data_type())?);
            }
            cast(column, field.data_type()).map_err(|e| {
                Error::environment(format!("the column `{}` cannot be read back", field.name())).caused_by(e)
            })
        })
        .collect::<Result<Vec<_>>>()?;
    let schema = Arc::new(arrow::datatypes::Schema::new(wanted));
    RecordBatch::try_new(schema, columns)
        .map_err(|e| Error::environment("what is read back lacks required values").caused_by(e))
}

/// Bytes as JSON has them: a string, or `{"base64": ".."}` where they are no text.
fn bytes_of_json(text: &str) -> Option<Vec<u8>> {
    match serde_json::from_str(text).ok()? {
        serde_json::Value::String(text) => Some(text.into_bytes()),
        serde_json::Value::Object(object) => STANDARD.decode(object.get("base64")?.as_str()?).ok(),
        _ => None,
    }
}

/// A column of nested values from their JSON texts.
///
/// # Errors
/// As [`decode`].
pub fn nested_from_json(field: &Field, texts: &StringArray) -> Result<ArrayRef> {
    let field = Field::new("value", field.data_type().clone(), true);
    let mut buffer = Vec::new();
    let mut records = Vec::with_capacity(texts.len());
    for (row, text) in texts.iter().enumerate() {
        let start = buffer.len();
        buffer.extend_from_slice(b"{\"value\":");
        buffer.extend_from_slice(text.unwrap_or("null").as_bytes());
        buffer.push(b'}');
        records.push(RawRecord {
            start: start as u32,
            len: (buffer.len() - start) as u32,
            position: Position::Offset(row as u64),
            arrived_at: EventTime(0),
        });
    }
    let raw = RawRecords { buffer: Bytes::from(buffer), records, header: None };
    let schema = Arc::new(arrow::datatypes::Schema::new(vec![field]));
    Ok(decode(RecordFormat::Json, &schema, &raw)?.column(0).clone())
}
