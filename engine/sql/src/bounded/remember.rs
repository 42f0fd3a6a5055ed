//! What a query at the end gives to a snapshot, and how it is taken back: the rows that came, by stream, and the
//! greatest of their times. All of it lives on worker 0, so no row has a hash.
//!
//! Rows are only ever added, so a snapshot of changes is the batches that came since the last one, and restoring puts
//! all layers one behind the other. Their order says nothing: the query sorts them.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{Field, Schema, TimestampMicrosecondType};
use millstream_core::batch::{TIMESTAMP, hidden};
use millstream_core::snapshot::{Layer, Snapshot, StateLayout, StateTable};
use millstream_core::{Error, Result, Watermark};

use super::{Bounded, BoundedPlan};

/// The table of the greatest times; those of rows are named [`table`].
const TIMES: &str = "times";

/// The name of a stream's table.
fn table(stream: &str) -> String {
    format!("rows of {stream}")
}

/// The layout of the rows: any SQL may be run over them, but it must see the same columns.
pub(super) fn layout(plan: &BoundedPlan) -> StateLayout {
    let input = |layout: StateLayout, (stream, view): &(String, crate::hidden::View)| {
        let columns = view.schema.fields().iter().map(|f| format!("{} {}", f.name(), f.data_type()));
        layout.fixed(format!("input {stream}"), columns.collect::<Vec<_>>().join(", "))
    };
    plan.inputs.iter().fold(StateLayout::new("bounded"), input)
}

impl Bounded {
    /// All rows, or those that came since the last snapshot.
    pub(super) fn remembered(&mut self, whole: bool) -> Result<Snapshot> {
        let mut tables = Vec::new();
        for (((stream, _), rows), saved) in self.plan.inputs.iter().zip(&self.rows).zip(&mut self.saved) {
            let from = if whole { 0 } else { *saved };
            *saved = rows.len();
            let rows = rows.get(from..).unwrap_or_default();
            if !rows.is_empty() {
                tables.push(StateTable { name: table(stream), rows: rows.to_vec() });
            }
        }
        if !tables.is_empty() {
            tables.push(StateTable::new(TIMES, self.times()?));
        }
        Ok(Snapshot { layer: if whole { Layer::Whole } else { Layer::Changes }, tables })
    }

    /// Takes back the rows of all layers. Where the inputs had ended, the query has run.
    pub(super) fn take_back(&mut self, tables: Vec<StateTable>, watermark: Watermark) -> Result<()> {
        if watermark.is_complete() {
            return Ok(());
        }
        for StateTable { name, rows } in tables {
            if name == TIMES {
                rows.iter().for_each(|r| self.see_times(|column| r.column_by_name(column)));
                continue;
            }
            let input = self.plan.inputs.iter().position(|(stream, _)| table(stream) == name);
            let own =
                input.and_then(|i| Some((self.plan.inputs.get(i)?, self.rows.get_mut(i)?, self.saved.get_mut(i)?)));
            let Some(((_, view), kept, saved)) = own else {
                return Err(Error::bug(format!("{}: no input has a table `{name}`", self.component)));
            };
            for rows in rows {
                // As the query knows them: what was stored says the same of a column in other words.
                let own = RecordBatch::try_new(view.schema.clone(), rows.columns().to_vec());
                kept.push(
                    own.map_err(|e| Error::bug(format!("{}: `{name}` does not fit", self.component)).caused_by(e))?,
                );
            }
            *saved = kept.len();
        }
        Ok(())
    }

    fn times(&self) -> Result<RecordBatch> {
        let field = |name: &str| Field::new(name, TIMESTAMP, true);
        let schema = Schema::new(vec![field(hidden::ARRIVED_AT), field(hidden::EVENT_TIME)]);
        let time = |t: Option<i64>| -> ArrayRef { Arc::new(TimestampMicrosecondArray::from(vec![t])) };
        Ok(RecordBatch::try_new(Arc::new(schema), vec![time(self.arrived_at), time(self.event_time)])?)
    }

    /// Keeps the greatest times of some rows.
    pub(super) fn see_times<'a>(&mut self, column: impl Fn(&str) -> Option<&'a ArrayRef>) {
        let greatest = |name: &str| {
            let times = column(name)?.as_primitive_opt::<TimestampMicrosecondType>()?;
            arrow::compute::max(times)
        };
        self.arrived_at = self.arrived_at.max(greatest(hidden::ARRIVED_AT));
        self.event_time = self.event_time.max(greatest(hidden::EVENT_TIME));
    }
}
