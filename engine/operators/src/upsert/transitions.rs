//! Transitions: which statuses a batch's events entered, and the rows that say so.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, StringArray, TimestampMicrosecondArray, new_null_array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use millstream_core::operator::{OutPort, Output};
use millstream_core::{Batch, Result};
use millstream_state::Slot;

use super::events::Fate;
use super::layout::Layout;
use super::merge::Applied;
use super::{Upsert, port_of};
use crate::isolate::{Answers, evaluate};

/// Null columns to stand in for those a predicate does not read.
pub(super) struct Blanks {
    /// The table's columns, all of them nullable.
    schema: SchemaRef,
    columns: Vec<ArrayRef>,
    rows: usize,
}

impl Blanks {
    pub(super) fn new(layout: &Layout) -> Self {
        let fields: Vec<Field> = layout.table.fields().iter().map(|f| f.as_ref().clone().with_nullable(true)).collect();
        Self { schema: Arc::new(Schema::new(fields)), columns: Vec::new(), rows: 0 }
    }
    /// `rows` rows of the table's columns, of which only `values` have values.
    fn around(&mut self, rows: usize, values: &[(usize, ArrayRef)]) -> Result<RecordBatch> {
        if rows > self.rows || self.columns.is_empty() {
            self.rows = rows.next_power_of_two().max(256);
            self.columns = self.schema.fields().iter().map(|f| new_null_array(f.data_type(), self.rows)).collect();
        }
        let columns = self.columns.iter().enumerate().map(|(c, blank)| {
            values.iter().find(|(at, _)| *at == c).map_or_else(|| blank.slice(0, rows), |(_, v)| v.clone())
        });
        Ok(RecordBatch::try_new(self.schema.clone(), columns.collect())?)
    }
}

impl Upsert {
    /// Gives the transitions of a batch, in the order of its rows per status.
    pub(super) fn fire(&mut self, applied: &Applied, out: &mut Output) -> Result<()> {
        if self.all_fired == 0 {
            return Ok(());
        }
        let candidates: Vec<usize> = (0..applied.slots.len())
            .filter(|row| applied.fates.get(*row) == Some(&Fate::Changed))
            .filter(|row| applied.slots.get(*row).is_some_and(|s| self.own.table.meta(*s).fired != self.all_fired))
            .collect();
        if candidates.is_empty() {
            return Ok(());
        }
        let at = |places: &[Slot]| -> Vec<Slot> { candidates.iter().filter_map(|r| places.get(*r).copied()).collect() };
        let (slots, after) = (at(&applied.slots), at(&applied.after));
        let answers = self.ask(&slots, &after)?;
        for (status, answers) in answers.iter().enumerate() {
            let Some(answers) = answers else { continue };
            let bit = 1 << status;
            let mut fired = Vec::new();
            for (i, (slot, place)) in slots.iter().zip(&after).enumerate() {
                if answers.is_true(i) {
                    let meta = self.own.table.meta_mut(*slot);
                    if meta.fired & bit == 0 {
                        meta.fired |= bit;
                        self.own.table.mark_changed(*slot);
                        fired.push(*place);
                    }
                }
            }
            self.give(status, &fired, out)?;
        }
        Ok(())
    }
    /// What each status' predicate says of the rows at `after`; none where all of `slots` have fired it.
    fn ask(&mut self, slots: &[Slot], after: &[Slot]) -> Result<Vec<Option<Answers>>> {
        let spec = self.spec.clone();
        let fired = slots.iter().fold(u32::MAX, |bits, s| bits & self.own.table.meta(*s).fired);
        let open = |status: usize| fired & (1 << status) == 0;
        let mut reads: Vec<usize> = spec
            .statuses
            .iter()
            .enumerate()
            .filter(|(i, _)| open(*i))
            .flat_map(|(_, s)| s.reads.iter().copied())
            .collect();
        reads.sort_unstable();
        reads.dedup();
        let mut values = Vec::with_capacity(reads.len());
        for column in reads {
            values.push((column, self.own.table.column(column)?.gather(after)?));
        }
        let rows = self.blanks.around(after.len(), &values)?;
        let ask = |(i, s): (usize, &super::StatusSpec)| match open(i) {
            true => evaluate(s.predicate.as_ref(), &rows).map(Some),
            false => Ok(None),
        };
        spec.statuses.iter().enumerate().map(ask).collect()
    }
    /// Gives the transitions into a status of the rows at `places`.
    fn give(&self, status: usize, places: &[Slot], out: &mut Output) -> Result<()> {
        out.counts.produced += places.len() as u64;
        let Some(spec) = self.spec.statuses.get(status).filter(|s| s.wanted && !places.is_empty()) else {
            return Ok(());
        };
        let shown = spec.columns.iter().filter(|c| Some(**c) != self.spec.status_column);
        let mut columns: Vec<ArrayRef> =
            shown.map(|c| self.own.table.column(*c)?.gather(places)).collect::<Result<_>>()?;
        columns.push(Arc::new(StringArray::from_iter_values(std::iter::repeat_n(&spec.name, places.len()))));
        columns.push(Arc::new(self.arrived_at(status, places)?));
        columns.push(Arc::new(self.greatest(places, self.shown_inputs(status).map(|i| i.event_time))?));
        columns.push(new_null_array(&DataType::Utf8, places.len()));
        let rows = RecordBatch::try_new(self.spec.transition_schema(status), columns)?;
        out.give(port_of(&self.spec, status).unwrap_or(OutPort(status)), Batch::new(rows));
        Ok(())
    }
    /// The inputs whose columns the transition into a status shows; all where it shows none.
    fn shown_inputs(&self, status: usize) -> impl Iterator<Item = &super::layout::Input> {
        let columns = self.spec.statuses.get(status).map(|s| s.columns.as_slice()).unwrap_or_default();
        let shows = move |i: &&super::layout::Input| i.columns.iter().any(|(c, _)| columns.contains(c));
        let any = self.layout.inputs.iter().any(|i| shows(&i));
        self.layout.inputs.iter().filter(move |i| !any || shows(i))
    }
    fn arrived_at(&self, status: usize, places: &[Slot]) -> Result<TimestampMicrosecondArray> {
        let shown = self.greatest(places, self.shown_inputs(status).map(|i| i.arrived_at))?;
        if shown.null_count() == 0 {
            return Ok(shown);
        }
        // A predicate may hold before any of the inputs it shows has spoken.
        let any = self.greatest(places, self.layout.inputs.iter().map(|i| i.arrived_at))?;
        Ok(shown.iter().zip(&any).map(|(shown, any)| shown.or(any).or(Some(0))).collect())
    }
    /// Per place, the greatest of these columns of times.
    pub(super) fn greatest(
        &self,
        places: &[Slot],
        columns: impl Iterator<Item = usize>,
    ) -> Result<TimestampMicrosecondArray> {
        let mut times: Vec<Option<i64>> = vec![None; places.len()];
        for column in columns {
            let column = self.own.table.column(column)?;
            for (time, place) in times.iter_mut().zip(places) {
                *time = (*time).max(column.i64_at(*place));
            }
        }
        Ok(times.into())
    }
}
