//! Arrow values as SQLite's, and back.

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BinaryBuilder, Float64Array, Int64Array, RecordBatch, StringArray,
    StringBuilder,
};
use arrow::compute::{CastOptions, cast, cast_with_options};
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type, SchemaRef};
use millstream_core::{Error, Result};
use millstream_formats::declared;
use millstream_formats::value::Cells;
use rusqlite::Statement;
use rusqlite::types::{ToSqlOutput, ValueRef};

/// A name as SQL writes it.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The type a column is declared with. Not NUMERIC for decimals: SQLite would turn them into floating point.
pub(crate) fn sql_type(data_type: &DataType) -> &'static str {
    use DataType::{Boolean, Float16, Float32, Float64, Int8, Int16, Int32, Int64, UInt8, UInt16, UInt32};
    match data_type {
        Boolean | Int8 | Int16 | Int32 | Int64 | UInt8 | UInt16 | UInt32 => "INTEGER",
        Float16 | Float32 | Float64 => "REAL",
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => "BLOB",
        _ => "TEXT",
    }
}

/// A column ready to be bound to statements row by row.
#[derive(Debug)]
pub(crate) enum SqlColumn {
    Integer(Int64Array),
    Real(Float64Array),
    Blob(BinaryArray),
    Text(StringArray),
    /// Anything else, by its text.
    Other(Cells),
}

impl SqlColumn {
    pub(crate) fn new(field: &Field, array: &ArrayRef) -> Result<Self> {
        Ok(match sql_type(array.data_type()) {
            "INTEGER" => Self::Integer(cast(array, &DataType::Int64)?.as_primitive::<Int64Type>().clone()),
            "REAL" => Self::Real(cast(array, &DataType::Float64)?.as_primitive::<Float64Type>().clone()),
            "BLOB" => Self::Blob(cast(array, &DataType::Binary)?.as_binary().clone()),
            _ if matches!(array.data_type(), DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8) => {
                Self::Text(cast(array, &DataType::Utf8)?.as_string().clone())
            }
            _ => Self::Other(Cells::new(field, array)?),
        })
    }

    /// All columns of a batch.
    pub(crate) fn all(rows: &RecordBatch) -> Result<Vec<Self>> {
        rows.schema_ref().fields().iter().zip(rows.columns()).map(|(f, a)| Self::new(f, a)).collect()
    }

    /// Binds the value of `row` to parameter `index`; `text` is scratch space.
    pub(crate) fn bind(
        &self,
        statement: &mut Statement<'_>,
        index: usize,
        row: usize,
        text: &mut Vec<u8>,
    ) -> rusqlite::Result<()> {
        let value = match self {
            Self::Integer(values) if values.is_valid(row) => ValueRef::Integer(values.value(row)),
            // SQLite has no NaN, it would store null.
            Self::Real(values) if values.is_valid(row) && values.value(row).is_nan() => ValueRef::Text(b"NaN"),
            Self::Real(values) if values.is_valid(row) => ValueRef::Real(values.value(row)),
            Self::Blob(values) if values.is_valid(row) => ValueRef::Blob(values.value(row)),
            Self::Text(values) if values.is_valid(row) => ValueRef::Text(values.value(row).as_bytes()),
            Self::Other(cells) if !cells.is_null(row) => {
                text.clear();
                cells.write_text(row, text);
                ValueRef::Text(text)
            }
            _ => ValueRef::Null,
        };
        statement.raw_bind_parameter(index, ToSqlOutput::Borrowed(value))
    }
}

/// Collects values of one column and makes an array of its declared type of them.
pub(crate) struct Collected {
    field: Field,
    values: Values,
}

enum Values {
    Text(StringBuilder),
    Blob(BinaryBuilder),
}

impl Collected {
    pub(crate) fn new(field: &Field) -> Self {
        let values = match sql_type(field.data_type()) {
            "BLOB" => Values::Blob(BinaryBuilder::new()),
            _ => Values::Text(StringBuilder::new()),
        };
        Self { field: field.clone(), values }
    }

    /// One builder per column of `schema`.
    pub(crate) fn all(schema: &SchemaRef) -> Vec<Self> {
        schema.fields().iter().map(|f| Self::new(f)).collect()
    }

    pub(crate) fn push(&mut self, value: ValueRef<'_>) {
        match (&mut self.values, value) {
            (Values::Text(out), ValueRef::Null) => out.append_null(),
            (Values::Text(out), ValueRef::Integer(i)) => out.append_value(i.to_string()),
            (Values::Text(out), ValueRef::Real(r)) => out.append_value(r.to_string()),
            (Values::Text(out), ValueRef::Text(t) | ValueRef::Blob(t)) => out.append_value(String::from_utf8_lossy(t)),
            (Values::Blob(out), ValueRef::Null) => out.append_null(),
            (Values::Blob(out), ValueRef::Text(t) | ValueRef::Blob(t)) => out.append_value(t),
            (Values::Blob(out), ValueRef::Integer(i)) => out.append_value(i.to_string()),
            (Values::Blob(out), ValueRef::Real(r)) => out.append_value(r.to_string()),
        }
    }

    /// The array of all values.
    ///
    /// # Errors
    /// `Environment` where another program has written a value that is not of the column's type.
    pub(crate) fn finish(mut self) -> Result<ArrayRef> {
        let collected: ArrayRef = match &mut self.values {
            Values::Text(text) => std::sync::Arc::new(text.finish()),
            Values::Blob(blob) => std::sync::Arc::new(blob.finish()),
        };
        let strict = CastOptions { safe: false, ..CastOptions::default() };
        match self.field.data_type() {
            DataType::Struct(_) | DataType::List(_) | DataType::LargeList(_) | DataType::Map(..) => {
                declared::nested_from_json(&self.field, collected.as_string())
            }
            wanted => cast_with_options(&collected, wanted, &strict).map_err(|e| {
                let name = self.field.name();
                Error::environment(format!("the stored column `{name}` holds what is not its type {wanted}"))
                    .caused_by(e)
            }),
        }
    }
}
