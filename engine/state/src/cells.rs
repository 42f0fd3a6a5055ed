//! A column of a batch on its way into a table, in the shape of the table's column.

use arrow::array::{Array, BinaryArray, StringArray};
use arrow::buffer::{BooleanBuffer, NullBuffer, ScalarBuffer};
use arrow::row::Rows;

/// Values of one column of a batch; made by [`crate::Column::cells`].
#[derive(Debug)]
pub struct Cells {
    pub(crate) values: Values,
    pub(crate) nulls: Option<NullBuffer>,
}

/// Values by physical type.
#[derive(Debug)]
pub(crate) enum Values {
    Bool(BooleanBuffer),
    I32(ScalarBuffer<i32>),
    I64(ScalarBuffer<i64>),
    U64(ScalarBuffer<u64>),
    I128(ScalarBuffer<i128>),
    F64(ScalarBuffer<f64>),
    Text(StringArray),
    Bytes(BinaryArray),
    Nested(Rows),
}

impl Cells {
    /// Whether row `row` has a value.
    #[inline]
    pub fn is_valid(&self, row: usize) -> bool {
        self.nulls.as_ref().is_none_or(|n| n.is_valid(row))
    }
    /// How many rows.
    pub fn len(&self) -> usize {
        match &self.values {
            Values::Bool(v) => v.len(),
            Values::I32(v) => v.len(),
            Values::I64(v) => v.len(),
            Values::U64(v) => v.len(),
            Values::I128(v) => v.len(),
            Values::F64(v) => v.len(),
            Values::Text(v) => v.len(),
            Values::Bytes(v) => v.len(),
            Values::Nested(v) => v.num_rows(),
        }
    }
    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
