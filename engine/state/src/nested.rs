//! Values of types that have no lane of their own (structs, lists, rare scalars), as Arrow's row encoding.
//!
//! The encoding never leaves memory: what is read back, and what a snapshot would write, are Arrow arrays.

use std::fmt;

use arrow::array::{ArrayRef, new_null_array};
use arrow::datatypes::DataType;
use arrow::row::{OwnedRow, RowConverter, Rows, SortField};
use millstream_core::{Error, Result};

use crate::arena::Arena;
use crate::bits::Bits;
use crate::slots::Slot;

/// Row-encoded values by slot.
pub(crate) struct Nested {
    converter: RowConverter,
    null: OwnedRow,
    pub(crate) values: Arena,
}

impl Nested {
    pub(crate) fn new(data_type: &DataType) -> Result<Self> {
        let unsupported = |e| Error::config(format!("a table cannot hold a column of type {data_type}")).caused_by(e);
        let converter = RowConverter::new(vec![SortField::new(data_type.clone())]).map_err(unsupported)?;
        let null = converter.convert_columns(&[new_null_array(data_type, 1)])?.row(0).owned();
        Ok(Self { converter, null, values: Arena::default() })
    }
    pub(crate) fn encode(&self, array: &ArrayRef) -> Result<Rows> {
        Ok(self.converter.convert_columns(std::slice::from_ref(array))?)
    }
    pub(crate) fn gather(&self, slots: &[Slot], valid: &Bits) -> Result<ArrayRef> {
        let parser = self.converter.parser();
        let rows = slots.iter().map(|s| match valid.get(s.index()) {
            true => parser.parse(self.values.get(s.index())),
            false => self.null.row(),
        });
        let mut columns = self.converter.convert_rows(rows)?;
        columns.pop().ok_or_else(|| Error::bug("a row encoding gave no column"))
    }
}

impl fmt::Debug for Nested {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nested").finish_non_exhaustive()
    }
}
