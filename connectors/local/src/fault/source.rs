//! A source whose reads fail on purpose.

use std::collections::BTreeSet;

use async_trait::async_trait;
use millstream_core::format::RecordFormat;
use millstream_core::source::{Applied, Position, Read, Split, SplitId, SplitReader, SplitSource};
use millstream_core::{Error, Result};

use super::Faults;

/// Decorates a source: its readers fail.
pub struct FaultySource {
    inner: Box<dyn SplitSource>,
    faults: Faults,
}

impl FaultySource {
    /// A source whose readers' next calls fail as `faults` says: whatever the fault is, a read has only one way to.
    pub fn new(inner: Box<dyn SplitSource>, faults: Faults) -> Self {
        Self { inner, faults }
    }
}

#[async_trait]
impl SplitSource for FaultySource {
    fn resume(&self, begun: &BTreeSet<SplitId>) {
        self.inner.resume(begun);
    }
    fn begins_at(&self, split: &SplitId) -> Option<Position> {
        self.inner.begins_at(split)
    }
    fn has_children(&self, finished: &SplitId) -> bool {
        self.inner.has_children(finished)
    }
    fn counters(&self) -> Vec<(&'static str, u64)> {
        self.inner.counters()
    }
    async fn discover(&self, finished: &BTreeSet<SplitId>) -> Result<Vec<Split>> {
        self.inner.discover(finished).await
    }
    async fn open(&self, split: &Split, after: Option<Position>) -> Result<Box<dyn SplitReader>> {
        Ok(Box::new(FaultyReader::new(self.inner.open(split, after).await?, self.faults.clone())))
    }
    fn bounded(&self) -> bool {
        self.inner.bounded()
    }
    fn ordered(&self) -> bool {
        self.inner.ordered()
    }
    fn acknowledges(&self) -> bool {
        self.inner.acknowledges()
    }
    fn late_by_arrival(&self) -> bool {
        self.inner.late_by_arrival()
    }
    fn format(&self) -> RecordFormat {
        self.inner.format()
    }
}

/// Decorates a reader.
pub struct FaultyReader {
    inner: Box<dyn SplitReader>,
    faults: Faults,
}

impl FaultyReader {
    /// A reader whose next calls fail as `faults` says.
    pub fn new(inner: Box<dyn SplitReader>, faults: Faults) -> Self {
        Self { inner, faults }
    }
}

#[async_trait]
impl SplitReader for FaultyReader {
    async fn next(&mut self) -> Result<Read> {
        match self.faults.take() {
            None => self.inner.next().await,
            Some(_) => Err(Error::unavailable("cannot be read on purpose")),
        }
    }
    fn applied(&mut self, records: &[Applied]) {
        self.inner.applied(records);
    }
    async fn acknowledge(&mut self, covered: &[Position]) -> Result<Vec<Position>> {
        self.inner.acknowledge(covered).await
    }
    async fn release(&mut self, records: &[Position]) {
        self.inner.release(records).await;
    }
}
