//! The declared type of a stream: what its records must contain.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use chrono::FixedOffset;

use crate::batch::TIMESTAMP;

/// Marks a `Utf8` field whose text is a JSON value: encoders write it as JSON, not as a quoted string.
pub const JSON_METADATA: (&str, &str) = ("millstream.type", "json");

/// The type of a column as the pipeline file writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ColumnType {
    /// `string`: UTF-8 text.
    String,
    /// `int`: 32-bit signed.
    Int,
    /// `bigint`: 64-bit signed.
    Bigint,
    /// `double`: 64-bit float.
    Double,
    /// `bool`.
    Bool,
    /// `decimal(precision, scale)`: exact, at most 38 digits.
    Decimal(u8, i8),
    /// `timestamp`: an instant, in microseconds UTC.
    Timestamp,
    /// `date`: a day.
    Date,
    /// `bytes`: base64 in JSON and CSV.
    Bytes,
    /// `json`: any JSON value, kept as its text.
    Json,
    /// `struct<name: type, ..>`.
    Struct(Vec<(String, ColumnType, bool)>),
    /// `list<type>`; the flag says whether items may be null.
    List(Box<ColumnType>, bool),
}

impl ColumnType {
    /// Its Arrow type.
    pub fn arrow(&self) -> DataType {
        match self {
            Self::String | Self::Json => DataType::Utf8,
            Self::Int => DataType::Int32,
            Self::Bigint => DataType::Int64,
            Self::Double => DataType::Float64,
            Self::Bool => DataType::Boolean,
            Self::Decimal(p, s) => DataType::Decimal128(*p, *s),
            Self::Timestamp => TIMESTAMP,
            Self::Date => DataType::Date32,
            Self::Bytes => DataType::Binary,
            Self::Struct(fields) => {
                DataType::Struct(fields.iter().map(|(n, t, optional)| t.field(n, *optional)).collect::<Fields>())
            }
            Self::List(item, optional) => DataType::List(Arc::new(item.field("item", *optional))),
        }
    }
    /// An Arrow field of this type; `json` is marked in its metadata.
    pub fn field(&self, name: &str, nullable: bool) -> Field {
        let field = Field::new(name, self.arrow(), nullable);
        match self {
            Self::Json => field.with_metadata([(JSON_METADATA.0.into(), JSON_METADATA.1.into())].into()),
            _ => field,
        }
    }
}

/// An Arrow type in the words of the pipeline language, for messages.
pub fn type_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "string".to_owned(),
        DataType::Boolean => "bool".to_owned(),
        DataType::Int32 => "int".to_owned(),
        DataType::Int64 => "bigint".to_owned(),
        DataType::Float64 => "double".to_owned(),
        DataType::Decimal128(p, s) => format!("decimal({p},{s})"),
        DataType::Date32 => "date".to_owned(),
        DataType::Timestamp(..) => "timestamp".to_owned(),
        DataType::Binary => "bytes".to_owned(),
        DataType::List(item) => format!("list<{}>", type_name(item.data_type())),
        DataType::Struct(fields) => {
            let fields: Vec<_> = fields.iter().map(|f| format!("{}: {}", f.name(), type_name(f.data_type()))).collect();
            format!("struct<{}>", fields.join(", "))
        }
        other => other.to_string(),
    }
}

/// Whether a field holds JSON text.
pub fn is_json(field: &Field) -> bool {
    field.metadata().get(JSON_METADATA.0).map(String::as_str) == Some(JSON_METADATA.1)
}

/// What to do with digits behind a decimal's scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ExcessDigits {
    /// The record is rejected: nobody said how to round money.
    #[default]
    Reject,
    /// Round half to even.
    RoundHalfEven,
    /// Drop them.
    Truncate,
}

/// The zone of timestamps whose text names none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Zone {
    /// Coordinated universal time.
    #[default]
    Utc,
    /// A fixed offset such as `+02:00`.
    Offset(FixedOffset),
    /// A name of the IANA database such as `America/New_York`.
    Named(String),
}

/// One declared column of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Name in the engine.
    pub name: String,
    /// Declared type.
    pub column_type: ColumnType,
    /// Whether null, "" and absence are allowed (the `?` behind a type).
    pub optional: bool,
    /// Keys from the record's root to the value; `[name]` unless `path:` says otherwise.
    pub path: Vec<String>,
    /// strftime formats tried in order, for timestamps and dates; empty means RFC 3339 (ISO for dates).
    pub formats: Vec<String>,
    /// The zone of timestamps that name none.
    pub zone: Zone,
    /// What to do with digits behind a decimal's scale.
    pub excess_digits: ExcessDigits,
}

/// What to do with fields of a record that are not declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ExtraFields {
    /// They are ignored.
    #[default]
    Ignore,
    /// The record is rejected.
    Reject,
}

/// The declared schema of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceSchema {
    /// In the order of the file.
    pub columns: Vec<Column>,
    /// Whether undeclared fields are refused.
    pub extra: ExtraFields,
}

impl SourceSchema {
    /// The Arrow schema of its user columns.
    pub fn arrow(&self) -> SchemaRef {
        Arc::new(Schema::new(self.columns.iter().map(|c| c.column_type.field(&c.name, c.optional)).collect::<Vec<_>>()))
    }
}
