//! From the rows of a chain to batches of a stream.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use millstream_core::batch::hidden_fields;
use millstream_core::{Error, Result};

use crate::chain::{tail, visible};

/// The schema that a query's batches have, and how rows get it.
#[derive(Debug, Clone)]
pub(crate) struct Finish {
    schema: SchemaRef,
}

impl Finish {
    /// User columns, then the hidden ones with positions of this type.
    pub(crate) fn new(users: impl IntoIterator<Item = FieldRef>, position: arrow::datatypes::DataType) -> Self {
        let hidden = hidden_fields(position).into_iter().map(Arc::new);
        Self { schema: Arc::new(Schema::new(users.into_iter().chain(hidden).collect::<Vec<_>>())) }
    }

    /// The schema.
    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Rows behind the last step of a chain as rows of the schema.
    pub(crate) fn rows(&self, rows: RecordBatch) -> Result<RecordBatch> {
        let kept = visible(rows.schema_ref()) + tail::ROW;
        let columns =
            rows.columns().iter().take(kept).zip(self.schema.fields()).map(fit).collect::<Result<Vec<_>>>()?;
        RecordBatch::try_new(self.schema.clone(), columns)
            .map_err(|e| Error::bug("rows do not fit the schema of their query").caused_by(e))
    }
}

/// A column as a field's type: nested fields may differ in whether they are nullable.
pub(crate) fn fit((column, field): (&ArrayRef, &FieldRef)) -> Result<ArrayRef> {
    if column.data_type() == field.data_type() { Ok(column.clone()) } else { Ok(cast(column, field.data_type())?) }
}
