//! Rows on their way through the dataflow.

use std::sync::Arc;

use arrow::array::{
    Array as _, ArrayRef, AsArray as _, BooleanArray, RecordBatch, TimestampMicrosecondArray, UInt32Array,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit, UInt64Type};

use crate::error::{Error, Result};

/// Hidden columns: they travel behind the user's columns, under names no user column can have.
pub mod hidden {
    /// When the record reached the stream: `Timestamp(us)`, never null. In SQL and templates `arrived_at`.
    pub const ARRIVED_AT: &str = "__arrived_at";
    /// The greatest event time that went into the row: `Timestamp(us)`, null where the source has none.
    pub const EVENT_TIME: &str = "__event_time";
    /// Where in its split the record stood: `Utf8` or `UInt64`, null for merged rows. In SQL `position`.
    pub const POSITION: &str = "__position";
    /// +1 for a row, -1 for the retraction of one: `Int8`. Absent means all +1.
    pub const DIFF: &str = "__diff";
    /// All of them begin so.
    pub const PREFIX: &str = "__";

    /// The hidden column a user names in SQL or a template, if `name` is one that is kept per row.
    pub fn column_of(name: &str) -> Option<&'static str> {
        match name {
            "arrived_at" => Some(ARRIVED_AT),
            "position" => Some(POSITION),
            _ => None,
        }
    }
}

/// The Arrow type of every timestamp in the engine: an instant in UTC, without a zone in the type because
/// that is what SQL literals and DataFusion's date functions produce.
pub const TIMESTAMP: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

/// The split all rows of a batch were read from. Kept once per batch: routing and filtering split batches but
/// never mix two; rows merged from several splits have none.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    /// Id of the source node. In SQL and templates `source`.
    pub source: String,
    /// The split within it. In SQL and templates `split`.
    pub split: String,
}

/// An Arrow batch: user columns first, then hidden columns.
///
/// Batches with zero rows are never sent: timely's progress tracking counts rows.
#[derive(Debug, Clone)]
pub struct Batch {
    /// User columns, then hidden ones.
    pub rows: RecordBatch,
    /// Where all its rows came from, where that is one place.
    pub origin: Option<Arc<Origin>>,
}

impl Batch {
    /// A batch of rows with no single origin.
    pub fn new(rows: RecordBatch) -> Self {
        Self { rows, origin: None }
    }
    /// Other rows of the same origin.
    #[must_use]
    pub fn with_rows(&self, rows: RecordBatch) -> Self {
        Self { rows, origin: self.origin.clone() }
    }
    /// How many rows.
    pub fn num_rows(&self) -> usize {
        self.rows.num_rows()
    }
    /// Bytes of memory its columns refer to; shared buffers are counted by their used part.
    pub fn bytes(&self) -> usize {
        self.rows.columns().iter().map(|c| c.to_data().get_slice_memory_size().unwrap_or(0)).sum()
    }
    /// The column named `name`, user or hidden.
    pub fn column(&self, name: &str) -> Option<&ArrayRef> {
        self.rows.column_by_name(name)
    }
    /// The rows' arrival times.
    ///
    /// # Errors
    /// `Bug` where the column is missing: every source adds it and every operator keeps it.
    pub fn arrived_at(&self) -> Result<&TimestampMicrosecondArray> {
        self.timestamps(hidden::ARRIVED_AT)
    }
    /// The greatest event times that went into the rows.
    ///
    /// # Errors
    /// `Bug` where the column is missing: every source adds it and every operator keeps it.
    pub fn event_time(&self) -> Result<&TimestampMicrosecondArray> {
        self.timestamps(hidden::EVENT_TIME)
    }
    /// Where a row's record stood in its split, as text; of rows that are made of several records nothing.
    pub fn position(&self, row: usize) -> Option<String> {
        let column = self.column(hidden::POSITION).filter(|c| row < c.len() && c.is_valid(row))?;
        match column.data_type() {
            DataType::Utf8 => Some(column.as_string::<i32>().value(row).to_owned()),
            DataType::UInt64 => Some(column.as_primitive::<UInt64Type>().value(row).to_string()),
            _ => None,
        }
    }
    fn timestamps(&self, name: &str) -> Result<&TimestampMicrosecondArray> {
        self.column(name)
            .and_then(|c| c.as_any().downcast_ref())
            .ok_or_else(|| Error::bug(format!("a batch lacks its hidden column {name}")))
    }
    /// The rows where `mask` is true (null is false).
    ///
    /// # Errors
    /// `Bug` where the mask has another length.
    pub fn filter(&self, mask: &BooleanArray) -> Result<Self> {
        Ok(self.with_rows(arrow::compute::filter_record_batch(&self.rows, mask)?))
    }
    /// The rows at `indices`, in that order.
    ///
    /// # Errors
    /// `Bug` where an index is out of bounds.
    pub fn take(&self, indices: &UInt32Array) -> Result<Self> {
        Ok(self.with_rows(arrow::compute::take_record_batch(&self.rows, indices)?))
    }
}

/// Whether a column is hidden, by its name.
pub fn is_hidden(name: &str) -> bool {
    name.starts_with(hidden::PREFIX)
}

/// The user's columns of a schema.
pub fn user_schema(schema: &SchemaRef) -> SchemaRef {
    Arc::new(Schema::new(schema.fields().iter().filter(|f| !is_hidden(f.name())).cloned().collect::<Vec<_>>()))
}

/// How many leading columns of `schema` are the user's.
pub fn user_columns(schema: &SchemaRef) -> usize {
    schema.fields().iter().take_while(|f| !is_hidden(f.name())).count()
}

/// The hidden columns every stream carries, in order, for a source whose positions have `position` type.
pub fn hidden_fields(position: DataType) -> Vec<Field> {
    vec![
        Field::new(hidden::ARRIVED_AT, TIMESTAMP, false),
        Field::new(hidden::EVENT_TIME, TIMESTAMP, true),
        Field::new(hidden::POSITION, position, true),
    ]
}
