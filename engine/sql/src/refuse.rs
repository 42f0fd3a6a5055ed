//! Rows that leave by `.late` and `.failed`, in the one schema of refused rows.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::TimestampMicrosecondType;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use millstream_core::batch::hidden;
use millstream_core::format::Reason;
use millstream_core::refusal::{self, Refusal};
use millstream_core::{Batch, EventTime, Result};
use millstream_formats::value::row_json;

/// Why one row of a batch is refused.
#[derive(Debug, Clone)]
pub(crate) struct Why {
    /// The row.
    pub(crate) row: u32,
    /// Short and stable.
    pub(crate) rule: &'static str,
    /// For people.
    pub(crate) text: String,
}

/// Rows of `batch` as refusals of `component` by `port`; several reasons for one row become one refusal.
pub(crate) fn refuse(component: &str, port: &'static str, batch: &Batch, mut why: Vec<Why>) -> Result<Batch> {
    why.sort_by_key(|w| w.row);
    let mut refusals: Vec<Refusal> = Vec::with_capacity(why.len());
    let mut last = None;
    let arrived = batch.arrived_at()?;
    let event_times = batch.column(hidden::EVENT_TIME).and_then(|c| c.as_primitive_opt::<TimestampMicrosecondType>());
    for w in why {
        let reason = Reason { rule: w.rule.to_owned(), text: w.text };
        match refusals.last_mut() {
            Some(refusal) if last == Some(w.row) => {
                if !refusal.reasons.contains(&reason) {
                    refusal.reasons.push(reason);
                }
                continue;
            }
            _ => last = Some(w.row),
        }
        let row = w.row as usize;
        refusals.push(Refusal {
            component: component.to_owned(),
            port,
            reasons: vec![reason],
            row: (row < batch.num_rows()).then(|| row_json(&batch.rows, row)),
            raw: None,
            version: None,
            stamps: None,
            attempts: None,
            source: batch.origin.as_ref().map(|o| o.source.clone()),
            split: batch.origin.as_ref().map(|o| o.split.clone()),
            position: batch.column(hidden::POSITION).and_then(|c| display(c, row)),
            arrived_at: EventTime(if row < arrived.len() { arrived.value(row) } else { 0 }),
            event_time: event_times.filter(|t| row < t.len() && t.is_valid(row)).map(|t| EventTime(t.value(row))),
        });
    }
    let mut refused = refusal::batch(&refusals)?;
    refused.origin.clone_from(&batch.origin);
    Ok(refused)
}

fn display(column: &ArrayRef, row: usize) -> Option<String> {
    if row >= column.len() || column.is_null(row) {
        return None;
    }
    let formatter = ArrayFormatter::try_new(column.as_ref(), &FormatOptions::new()).ok()?;
    formatter.value(row).try_to_string().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use arrow::array::{Decimal128Array, RecordBatch, TimestampMicrosecondArray};
    use arrow::datatypes::{DataType, Field, Schema};
    use millstream_core::batch::{TIMESTAMP, hidden_fields};

    #[test]
    fn a_refused_row_keeps_its_digits_its_zone_and_every_reason() {
        let mut fields = vec![Field::new("fare", DataType::Decimal128(10, 2), true), Field::new("at", TIMESTAMP, true)];
        fields.extend(hidden_fields(DataType::UInt64));
        let time = || Arc::new(TimestampMicrosecondArray::from(vec![0, 1_000_000])) as ArrayRef;
        let fare = Decimal128Array::from(vec![1, 4010]).with_precision_and_scale(10, 2).unwrap();
        let position: ArrayRef = Arc::new(arrow::array::UInt64Array::from(vec![7, 8]));
        let columns = vec![Arc::new(fare) as ArrayRef, time(), time(), time(), position];
        let batch = Batch::new(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap());
        let why = |rule, text: &str| Why { row: 1, rule, text: text.into() };
        let refused = refuse("kpis", "failed", &batch, vec![why("a", "x"), why("b", "y")]).unwrap();
        assert_eq!(refused.num_rows(), 1);
        let text = |name| refused.column(name).unwrap().as_string::<i32>().value(0).to_owned();
        assert_eq!(text("row"), r#"{"fare":40.10,"at":"1970-01-01T00:00:01Z"}"#);
        assert_eq!(text("position"), "8");
    }
}
