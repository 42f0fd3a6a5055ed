//! The rows of a run while they are decoded: what all formats share.

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use millstream_core::format::{Decoded, Reason};
use millstream_core::schema::SourceSchema;
use millstream_core::source::RawRecords;
use millstream_core::{Error, Result};

use crate::column::Column;
use crate::problem::reason;

/// Columns being filled, and which records filled them.
#[derive(Debug)]
pub(crate) struct Rows {
    pub(crate) columns: Vec<Column>,
    schema: SchemaRef,
    accepted: Vec<u32>,
    rejected: Vec<(u32, Vec<Reason>)>,
}

impl Rows {
    /// No rows of this schema.
    ///
    /// # Errors
    /// `Config` where a format or a zone is wrong.
    pub(crate) fn new(schema: &Arc<SourceSchema>) -> Result<Self> {
        Ok(Self {
            columns: schema.columns.iter().map(Column::new).collect::<Result<_>>()?,
            schema: schema.arrow(),
            accepted: Vec::new(),
            rejected: Vec::new(),
        })
    }

    /// Begins a run.
    pub(crate) fn begin(&mut self, records: usize) {
        self.accepted = Vec::with_capacity(records);
        self.rejected = Vec::new();
    }

    /// Ends record `i`: it is a row, unless there are reasons against it; these are taken.
    #[inline]
    pub(crate) fn end_record(&mut self, i: usize, reasons: &mut Vec<Reason>) {
        let rows = self.accepted.len();
        if reasons.is_empty() {
            // A batch of records has fewer than 2^32 of them: each takes a byte of a 2 GiB run.
            self.accepted.push(i as u32);
            debug_assert!(self.columns.iter().all(|c| c.nulls.len() == rows + 1), "invariant 1 of columns");
        } else {
            self.columns.iter_mut().for_each(|c| c.truncate(rows));
            self.rejected.push((i as u32, std::mem::take(reasons)));
        }
    }

    /// Ends the run.
    ///
    /// # Errors
    /// `Bug` where an invariant is broken.
    pub(crate) fn finish(&mut self) -> Result<Decoded> {
        let columns = self.columns.iter_mut().map(Column::finish).collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(self.accepted.len()));
        Ok(Decoded {
            rows: RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?,
            accepted: std::mem::take(&mut self.accepted),
            rejected: std::mem::take(&mut self.rejected),
        })
    }
}

/// Whether records are UTF-8, found once for a whole run where it is.
#[derive(Debug)]
pub(crate) struct Utf8Check {
    all_valid: bool,
}

impl Utf8Check {
    /// Checks a run.
    ///
    /// # Errors
    /// `Bug` where the run is larger than Arrow's offsets.
    pub(crate) fn of(raw: &RawRecords) -> Result<Self> {
        if raw.total_bytes() > i32::MAX as u64 {
            return Err(Error::bug("a run of records has more than 2 GiB"));
        }
        let start = raw.records.iter().map(|r| r.start).min().unwrap_or(0) as usize;
        let end = raw.records.iter().map(|r| r.start as usize + r.len as usize).max().unwrap_or(0);
        let all = raw.buffer.get(start..end).and_then(|b| simdutf8::basic::from_utf8(b).ok());
        // A valid whole has valid parts where it is cut between characters.
        let all_valid = all.is_some_and(|text| {
            raw.records.iter().all(|r| {
                let start = (r.start as usize).wrapping_sub(start);
                text.is_char_boundary(start) && text.is_char_boundary(start + r.len as usize)
            })
        });
        Ok(Self { all_valid })
    }

    /// The reason against a record that is not UTF-8.
    #[inline]
    pub(crate) fn error(&self, bytes: &[u8]) -> Option<Reason> {
        if self.all_valid { None } else { invalid_utf8(bytes) }
    }
}

fn invalid_utf8(bytes: &[u8]) -> Option<Reason> {
    let error = simdutf8::compat::from_utf8(bytes).err()?;
    Some(reason("invalid_utf8", format!("byte {} is not valid UTF-8", error.valid_up_to())))
}
