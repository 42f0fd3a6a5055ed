//! The groups of a digest that is being gathered, as rows of a snapshot and back.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Int64Array, ListBuilder, RecordBatch, StringArray, StringBuilder,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, TimestampMicrosecondType};
use millstream_core::batch::TIMESTAMP;
use millstream_core::snapshot::{Snapshot, StateTable};
use millstream_core::{Error, Result};

use super::{Digest, Group, sample_field};

/// The one table: `since, count, arrived_at, event_time, samples`, then the text of each column of `by`.
const GROUPS: &str = "groups";

impl Digest {
    /// All groups, where there are any or were at the last snapshot: a digest is small, and gone when it was given.
    pub(super) fn remember(&mut self, whole: bool) -> Result<Snapshot> {
        let held = std::mem::replace(&mut self.remembered, !self.groups.is_empty());
        if self.groups.is_empty() {
            return Ok(if whole || held { Snapshot::whole(Vec::new()) } else { Snapshot::default() });
        }
        let groups = || self.groups.values();
        let times = |name: &str, nullable| Field::new(name, TIMESTAMP, nullable);
        let mut fields = vec![
            times("since", true),
            Field::new("count", DataType::Int64, false),
            times("arrived_at", false),
            times("event_time", true),
            Field::new("samples", DataType::List(Arc::new(sample_field())), false),
        ];
        let mut samples = ListBuilder::new(StringBuilder::new()).with_field(sample_field());
        groups().for_each(|g| samples.append_value(g.samples.iter().map(Some)));
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(TimestampMicrosecondArray::from(vec![self.since; self.groups.len()])),
            Arc::new(groups().map(|g| g.count).collect::<Int64Array>()),
            Arc::new(groups().map(|g| Some(g.arrived_at)).collect::<TimestampMicrosecondArray>()),
            Arc::new(groups().map(|g| g.event_time).collect::<TimestampMicrosecondArray>()),
            Arc::new(samples.finish()),
        ];
        for (i, name) in self.by.iter().enumerate() {
            fields.push(Field::new(format!("by {name}"), DataType::Utf8, true));
            columns.push(Arc::new(self.groups.keys().map(|k| k.get(i).cloned().flatten()).collect::<StringArray>()));
        }
        let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?;
        Ok(Snapshot::whole(vec![StateTable::new(GROUPS, rows)]))
    }
    /// Takes the groups of a snapshot back.
    pub(super) fn take_back(&mut self, tables: &[StateTable]) -> Result<()> {
        for rows in tables.iter().filter(|t| t.name == GROUPS).flat_map(|t| &t.rows) {
            let column = |i: usize, data_type: &DataType| {
                let column = rows.columns().get(i).filter(|c| c.data_type() == data_type);
                column.ok_or_else(|| Error::bug("the state of a digest is not its groups"))
            };
            let times = |i| Ok::<_, Error>(column(i, &TIMESTAMP)?.as_primitive::<TimestampMicrosecondType>());
            let (since, arrived, event_times) = (times(0)?, times(2)?, times(3)?);
            let counts = column(1, &DataType::Int64)?.as_primitive::<Int64Type>();
            let samples = column(4, &DataType::List(Arc::new(sample_field())))?.as_list::<i32>();
            let by: Vec<&StringArray> = (0..self.by.len())
                .map(|i| Ok(column(5 + i, &DataType::Utf8)?.as_string::<i32>()))
                .collect::<Result<_>>()?;
            for row in 0..rows.num_rows() {
                let key = by.iter().map(|c| c.is_valid(row).then(|| c.value(row).to_owned())).collect();
                let texts = samples.value(row);
                let group = Group {
                    count: counts.value(row),
                    samples: texts.as_string::<i32>().iter().flatten().map(str::to_owned).collect(),
                    arrived_at: arrived.value(row),
                    event_time: event_times.is_valid(row).then(|| event_times.value(row)),
                };
                self.since = since.is_valid(row).then(|| since.value(row));
                self.groups.insert(key, group);
            }
        }
        self.remembered = !self.groups.is_empty();
        Ok(())
    }
}
