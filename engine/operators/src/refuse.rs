//! A row of a batch as a refusal.

use arrow::array::Array as _;
use millstream_core::batch::Batch;
use millstream_core::format::Reason;
use millstream_core::refusal::Refusal;
use millstream_core::{EventTime, Result};
use millstream_formats::value::row_json;

/// Why and where node `component` refused row `row`, with the row itself.
pub(crate) fn refusal(
    component: &str,
    port: &'static str,
    batch: &Batch,
    row: usize,
    reasons: Vec<Reason>,
) -> Result<Refusal> {
    let event_time = batch.event_time()?;
    Ok(Refusal {
        component: component.to_owned(),
        port,
        reasons,
        row: Some(row_json(&batch.rows, row)),
        raw: None,
        version: None,
        stamps: None,
        attempts: None,
        source: batch.origin.as_ref().map(|o| o.source.clone()),
        split: batch.origin.as_ref().map(|o| o.split.clone()),
        position: batch.position(row),
        arrived_at: EventTime(batch.arrived_at()?.value(row)),
        event_time: event_time.is_valid(row).then(|| EventTime(event_time.value(row))),
    })
}
