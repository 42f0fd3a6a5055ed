//! Rows that are larger than an item may be: columns that the pipeline file names are cut.
//!
//! The cut is a function of the row, and such a row is always stamped: an echo of it is known as one although the
//! stored texts are shorter than ours.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, RecordBatch, StringArray};
use arrow::datatypes::DataType;
use millstream_core::item::{LIMIT, oversized};
use millstream_core::table::TableRows;
use millstream_core::{Error, Result};
use millstream_state::Slot;

use super::Upsert;

/// By column, the lengths to which rows are cut.
type Cuts = BTreeMap<usize, Vec<(usize, usize)>>;

impl Upsert {
    /// Cuts what is too large, as far as the pipeline file allows, and says so in the rows. What is too large still is
    /// for the store's host to refuse.
    pub(super) fn fit(&self, slots: &[Slot], rows: &mut TableRows) -> Result<()> {
        if self.spec.truncate.is_empty() {
            return Ok(());
        }
        let mut cuts = Cuts::new();
        for (row, _) in oversized(rows)? {
            let Some(slot) = slots.get(row) else { continue };
            set(&mut rows.stamps, row, Some(self.all_stamps(*slot)?));
            // As if all of them were cut: naming them takes room, too.
            set(&mut rows.truncated, row, Some(self.layout.names(&self.spec.truncate).join(",")));
            let size = oversized(&rows.take(&[row])?)?.first().map_or(0, |(_, size)| *size);
            let cut = self.cut(&rows.rows, row, size.saturating_sub(LIMIT), &mut cuts);
            set(&mut rows.truncated, row, Some(self.layout.names(&cut).join(",")).filter(|names| !names.is_empty()));
        }
        if !cuts.is_empty() {
            rows.rows = shortened(&rows.rows, &cuts)?;
        }
        Ok(())
    }

    /// Plans to take `excess` bytes out of a row; gives the columns that are cut.
    fn cut(&self, rows: &RecordBatch, row: usize, mut excess: usize, cuts: &mut Cuts) -> Vec<usize> {
        let mut cut = Vec::new();
        for column in &self.spec.truncate {
            let Some(array) = rows.columns().get(*column).filter(|a| a.is_valid(row) && excess > 0) else { continue };
            let (len, keep) = match array.data_type() {
                DataType::Utf8 => {
                    let text = array.as_string::<i32>().value(row);
                    (text.len(), text.floor_char_boundary(text.len().saturating_sub(excess)))
                }
                DataType::Binary => {
                    let len = array.as_binary::<i32>().value(row).len();
                    (len, len.saturating_sub(excess))
                }
                _ => continue,
            };
            if keep < len {
                excess = excess.saturating_sub(len - keep);
                cuts.entry(*column).or_default().push((row, keep));
                cut.push(*column);
            }
        }
        cut
    }
}

fn set<T>(values: &mut [T], row: usize, value: T) {
    if let Some(place) = values.get_mut(row) {
        *place = value;
    }
}

/// The rows with these values cut; rows are in ascending order within a column.
fn shortened(rows: &RecordBatch, cuts: &Cuts) -> Result<RecordBatch> {
    let mut columns = rows.columns().to_vec();
    for (column, cuts) in cuts {
        let Some(array) = columns.get_mut(*column) else { continue };
        let to: BTreeMap<usize, usize> = cuts.iter().copied().collect();
        let keep = |row: usize, len: usize| to.get(&row).copied().unwrap_or(len);
        let cut: ArrayRef = match array.data_type() {
            DataType::Utf8 => {
                let texts = array.as_string::<i32>().iter().enumerate();
                Arc::new(texts.map(|(row, t)| t.and_then(|t| t.get(..keep(row, t.len())))).collect::<StringArray>())
            }
            DataType::Binary => {
                let values = array.as_binary::<i32>().iter().enumerate();
                Arc::new(values.map(|(row, v)| v.and_then(|v| v.get(..keep(row, v.len())))).collect::<BinaryArray>())
            }
            other => return Err(Error::bug(format!("a column of type {other} cannot be cut"))),
        };
        *array = cut;
    }
    Ok(RecordBatch::try_new(rows.schema(), columns)?)
}
