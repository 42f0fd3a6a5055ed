//! Records in the order of their event time.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{Array as _, AsArray as _};
use arrow::datatypes::TimestampMicrosecondType;
use bytes::{Bytes, BytesMut};
use millstream_core::format::RecordFormat;
use millstream_core::producer::NewRecord;
use millstream_core::schema::SourceSchema;
use millstream_core::source::{Position, RawRecord, RawRecords};
use millstream_core::{Error, EventTime, Result};

/// Records read at once.
const SOME: usize = 10_000;

/// Sorts records by the timestamp in column `column` of their rows; equal ones keep their order. A record that is no row
/// of the schema stays behind the one it stood behind.
pub(crate) fn by_event_time(
    records: Vec<NewRecord>,
    schema: Arc<SourceSchema>,
    column: usize,
) -> Result<VecDeque<NewRecord>> {
    let mut decoder = millstream_formats::decoder(RecordFormat::Json, schema)?;
    let mut times = Vec::with_capacity(records.len());
    let mut last = i64::MIN;
    for some in records.chunks(SOME) {
        let decoded = decoder.decode(&raw(some)?)?;
        let time = decoded.rows.columns().get(column);
        let time = time.and_then(|c| c.as_primitive_opt::<TimestampMicrosecondType>());
        let time = time.ok_or_else(|| Error::bug("rows lost their event time"))?;
        let mut rows = decoded.accepted.iter().zip(0..).peekable();
        for index in 0..some.len() {
            if let Some((_, row)) = rows.next_if(|(record, _)| **record as usize == index)
                && !time.is_null(row)
            {
                last = time.value(row);
            }
            times.push(last);
        }
    }
    let mut sorted: Vec<(i64, NewRecord)> = times.into_iter().zip(records).collect();
    sorted.sort_by_key(|(time, _)| *time);
    Ok(sorted.into_iter().map(|(_, record)| record).collect())
}

/// Records as a reader gives them.
fn raw(records: &[NewRecord]) -> Result<RawRecords> {
    let mut buffer = BytesMut::new();
    let mut all = Vec::with_capacity(records.len());
    for record in records {
        let place = |n: usize| u32::try_from(n).map_err(|e| Error::bug("records of more than 4 GiB").caused_by(e));
        let position = Position::Offset(record.number);
        let (start, len) = (place(buffer.len())?, place(record.data.len())?);
        all.push(RawRecord { start, len, position, arrived_at: EventTime(0) });
        buffer.extend_from_slice(&record.data);
    }
    Ok(RawRecords { buffer: Bytes::from(buffer), records: all, header: None })
}
