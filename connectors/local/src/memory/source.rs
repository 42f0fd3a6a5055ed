//! Reading scripted records.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use millstream_core::format::RecordFormat;
use millstream_core::source::{self, Position, RawRecord, RawRecords, Read, Split, SplitId, SplitReader, SplitSource};
use millstream_core::{Error, EventTime, Result};
use tokio::time::timeout;

use super::store::{Memory, Step};

/// How long a reader waits for a step before it says that there is none.
const PATIENCE: Duration = Duration::from_millis(100);

/// The scripted splits of a [`Memory`].
#[derive(Debug)]
pub(crate) struct MemorySource {
    pub(crate) memory: Memory,
    pub(crate) format: RecordFormat,
    pub(crate) ordered: bool,
    /// Splits that were named, or begun before: their ancestors have ended.
    pub(crate) begun: Mutex<BTreeSet<SplitId>>,
}

impl MemorySource {
    pub(crate) fn new(memory: Memory, format: RecordFormat, ordered: bool) -> Self {
        Self { memory, format, ordered, begun: Mutex::default() }
    }
    fn begun(&self) -> MutexGuard<'_, BTreeSet<SplitId>> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl SplitSource for MemorySource {
    fn resume(&self, begun: &BTreeSet<SplitId>) {
        self.begun().extend(begun.iter().cloned());
    }

    async fn discover(&self, finished: &BTreeSet<SplitId>) -> Result<Vec<Split>> {
        let contents = self.memory.lock();
        let mut begun = self.begun();
        let ended = source::ended(&begun, finished, |id| contents.splits.get(id).into_iter().flat_map(|s| &s.parents));
        let ready = contents
            .splits
            .iter()
            .filter(|(id, script)| !ended.contains(id) && script.parents.iter().all(|p| ended.contains(p)));
        let ready: Vec<Split> =
            ready.map(|(id, s)| Split { id: id.clone(), parents: s.parents.clone(), size: None }).collect();
        begun.extend(ready.iter().map(|s| s.id.clone()));
        Ok(ready)
    }

    fn begins_at(&self, split: &SplitId) -> Option<Position> {
        let contents = self.memory.lock();
        let script = contents.splits.get(split).filter(|s| contents.latest && s.parents.is_empty())?;
        let records = |step: &Step| if let Step::Records(records) = step { records.len() as u64 } else { 0 };
        Some(Position::Offset(script.steps.iter().map(records).sum()))
    }

    fn has_children(&self, finished: &SplitId) -> bool {
        self.memory.lock().splits.values().any(|s| s.parents.contains(finished))
    }

    async fn open(&self, split: &Split, after: Option<Position>) -> Result<Box<dyn SplitReader>> {
        if !self.memory.lock().splits.contains_key(&split.id) {
            return Err(Error::environment(format!("there is no split `{}` in memory", split.id)));
        }
        let done = match after {
            None => 0,
            Some(Position::Offset(done)) => done,
            Some(Position::Text(t)) => return Err(Error::environment(format!("`{t}` is not a position in memory"))),
        };
        Ok(Box::new(Reader { memory: self.memory.clone(), split: split.id.clone(), step: 0, seen: 0, done }))
    }

    fn bounded(&self) -> bool {
        let contents = self.memory.lock();
        contents.closed && contents.splits.values().all(|s| s.ended && s.parents.is_empty())
    }

    fn ordered(&self) -> bool {
        self.ordered
    }

    fn format(&self) -> RecordFormat {
        self.format
    }
}

struct Reader {
    memory: Memory,
    split: SplitId,
    /// Steps taken.
    step: usize,
    /// Records in the steps taken.
    seen: u64,
    /// Records that are not given (again).
    done: u64,
}

impl Reader {
    fn take(&mut self) -> Option<Result<Read>> {
        let contents = self.memory.lock();
        let script = contents.splits.get(&self.split)?;
        match script.steps.get(self.step) {
            None if script.ended => Some(Ok(Read::Finished)),
            None => None,
            Some(Step::Fail(kind, message)) => {
                self.step += 1;
                Some(Err(Error::new(*kind, message.clone())))
            }
            Some(Step::Records(step)) => {
                let skipped = self.done.saturating_sub(self.seen);
                let records = run(step, self.seen, skipped);
                self.step += 1;
                self.seen += step.len() as u64;
                self.done = self.done.max(self.seen);
                Some(Ok(Read::Records { records, upto: Position::Offset(self.done), behind: None }))
            }
        }
    }
}

fn run(step: &[(Vec<u8>, EventTime)], seen: u64, skipped: u64) -> RawRecords {
    let mut buffer = Vec::new();
    let mut records = Vec::new();
    for (i, (bytes, arrived_at)) in step.iter().enumerate().skip(usize::try_from(skipped).unwrap_or(usize::MAX)) {
        records.push(RawRecord {
            start: buffer.len() as u32,
            len: bytes.len() as u32,
            position: Position::Offset(seen + i as u64 + 1),
            arrived_at: *arrived_at,
        });
        buffer.extend_from_slice(bytes);
        buffer.push(b'\n');
    }
    RawRecords { buffer: Bytes::from(buffer), records, header: None }
}

#[async_trait]
impl SplitReader for Reader {
    async fn next(&mut self) -> Result<Read> {
        let changed = self.memory.changed.clone();
        loop {
            let notified = changed.notified();
            if let Some(read) = self.take() {
                return read;
            }
            if timeout(PATIENCE, notified).await.is_err() {
                return Ok(Read::Idle);
            }
        }
    }
}
