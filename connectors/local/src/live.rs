//! Splits of streams that cannot be read twice: pipes and sockets.
//!
//! Whatever brings the bytes cuts them into runs and sends them over a bounded channel; while that is full, it does
//! not read on. Positions are the numbers of the records, counted here.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use millstream_core::format::RecordFormat;
use millstream_core::source::{Position, RawRecords, Read, SplitReader};
use millstream_core::{EventTime, Result};
use tokio::sync::mpsc::Receiver;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::lines::{Ends, LineCutter};

/// How long a reader waits before it says that there is nothing.
const PATIENCE: Duration = Duration::from_millis(200);
/// Runs that wait to be read; beyond them, nothing more is taken in.
pub(crate) const WAITING: usize = 4;

/// Ends a task with its reader.
#[derive(Debug)]
pub(crate) struct EndsWithReader(pub(crate) AbortHandle);

impl Drop for EndsWithReader {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Reads runs from a channel.
pub(crate) struct Live {
    runs: Receiver<Result<RawRecords>>,
    /// Records so far.
    number: u64,
    /// What feeds the channel.
    _task: Option<EndsWithReader>,
}

impl Live {
    pub(crate) fn new(
        runs: Receiver<Result<RawRecords>>,
        after: Option<&Position>,
        task: Option<EndsWithReader>,
    ) -> Self {
        let number = match after {
            Some(Position::Offset(number)) => *number,
            _ => 0,
        };
        Self { runs, number, _task: task }
    }
}

#[async_trait]
impl SplitReader for Live {
    async fn next(&mut self) -> Result<Read> {
        let mut records = match timeout(PATIENCE, self.runs.recv()).await {
            Err(_) => return Ok(Read::Idle),
            Ok(None) => return Ok(Read::Finished),
            Ok(Some(run)) => run?,
        };
        for record in &mut records.records {
            self.number += 1;
            record.position = Position::Offset(self.number);
        }
        Ok(Read::Records { records, upto: Position::Offset(self.number), behind: None })
    }
}

/// Cuts the bytes of one pipe or connection into runs; knows its header.
pub(crate) struct RunCutter {
    pub(crate) cutter: LineCutter,
    has_header: bool,
    header: Option<Bytes>,
}

impl RunCutter {
    pub(crate) fn new(format: RecordFormat) -> Self {
        Self { cutter: LineCutter::new(Ends::Line, 0), has_header: format == RecordFormat::Csv, header: None }
    }
    /// The next run of what was read; `None` where there is no whole record.
    pub(crate) fn run(&mut self, now: EventTime) -> Result<Option<RawRecords>> {
        if self.has_header && self.header.is_none() {
            self.header = self.cutter.take_first();
            if self.header.is_none() {
                return Ok(None);
            }
        }
        let mut records = self.cutter.cut(now)?.records;
        records.header.clone_from(&self.header);
        Ok(Some(records).filter(|r| !r.records.is_empty()))
    }
}

/// Says what is wrong with a format for a stream of lines.
pub(crate) fn line_format_problem(kind: &str, format: RecordFormat) -> Option<String> {
    (format == RecordFormat::Parquet)
        .then(|| format!("parquet is a format of files: `{kind}` carries lines of json, csv or raw text"))
}
