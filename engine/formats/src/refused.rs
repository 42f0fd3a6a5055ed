//! A row of a batch as a refusal.

use arrow::array::Array as _;
use millstream_core::batch::Batch;
use millstream_core::format::Reason;
use millstream_core::refusal::Refusal;
use millstream_core::{EventTime, Result};

use crate::value::row_json;

/// Why and where node `component` refused row `row` of a batch, with the row itself, where there is one.
///
/// # Errors
/// `Bug` where the batch lacks its hidden columns.
pub fn refusal(
    component: &str,
    port: &'static str,
    batch: &Batch,
    row: usize,
    reasons: Vec<Reason>,
) -> Result<Refusal> {
    let (arrived, event_times) = (batch.arrived_at()?, batch.event_time()?);
    let is_there = row < batch.num_rows();
    let arrived_at = EventTime(if is_there { arrived.value(row) } else { 0 });
    Ok(Refusal {
        row: is_there.then(|| row_json(&batch.rows, row)),
        source: batch.origin.as_ref().map(|o| o.source.clone()),
        split: batch.origin.as_ref().map(|o| o.split.clone()),
        position: batch.position(row),
        event_time: (is_there && event_times.is_valid(row)).then(|| EventTime(event_times.value(row))),
        ..Refusal::new(component, port, reasons, arrived_at)
    })
}
