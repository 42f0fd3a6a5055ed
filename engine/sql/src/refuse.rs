//! Rows that leave by `.late` and `.failed`, in the one schema of refused rows.

use millstream_core::format::Reason;
use millstream_core::refusal::{self, Refusal};
use millstream_core::{Batch, Result};
use millstream_formats::refused;

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
        refusals.push(refused::refusal(component, port, batch, w.row as usize, vec![reason])?);
    }
    let mut refused = refusal::batch(&refusals)?;
    refused.origin.clone_from(&batch.origin);
    Ok(refused)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use arrow::array::{ArrayRef, AsArray, Decimal128Array, RecordBatch, TimestampMicrosecondArray};
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
