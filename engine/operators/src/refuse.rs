//! A row of a batch as a refusal.

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, UInt64Type};
use millstream_core::batch::{Batch, hidden};
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
        position: position(batch, row),
        arrived_at: EventTime(batch.arrived_at()?.value(row)),
        event_time: event_time.is_valid(row).then(|| EventTime(event_time.value(row))),
    })
}

fn position(batch: &Batch, row: usize) -> Option<String> {
    let column = batch.column(hidden::POSITION).filter(|c| c.is_valid(row))?;
    match column.data_type() {
        DataType::Utf8 => Some(column.as_string::<i32>().value(row).to_owned()),
        DataType::UInt64 => Some(column.as_primitive::<UInt64Type>().value(row).to_string()),
        _ => arrow::util::display::array_value_to_string(column, row).ok(),
    }
}
