//! A source whose service throttles, is slow, or is away; lists the children of a reshard late; and lets readers expire, which
//! then begin again behind what they have read.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use millstream_core::format::RecordFormat;
use millstream_core::source::{Position, Read, Split, SplitId, SplitReader, SplitSource};
use millstream_core::{Error, Result};

use crate::planted::ServiceBug;
use crate::world::{Fault, World};

pub(super) struct SimulatedSource {
    pub(super) inner: Arc<dyn SplitSource>,
    pub(super) service: &'static str,
    pub(super) world: Arc<World>,
}

/// The one way in which reading fails.
async fn reach(world: &World, service: &'static str) -> Result<()> {
    match world.call(service, &[Fault::Throttled, Fault::Unavailable]).await {
        None => Ok(()),
        Some(_) => Err(Error::unavailable("cannot be read on purpose")),
    }
}

#[async_trait]
impl SplitSource for SimulatedSource {
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
        reach(&self.world, self.service).await?;
        let mut found = self.inner.discover(finished).await?;
        if self.world.has(ServiceBug::ChildrenEarly) {
            let parents = found.iter().map(|s| s.id.clone()).chain(finished.iter().cloned()).collect();
            found.extend(self.inner.discover(&parents).await?);
            found.sort_by(|a, b| a.id.0.cmp(&b.id.0));
            found.dedup_by(|a, b| a.id == b.id);
        }
        if found.iter().any(|s| !s.parents.is_empty()) {
            self.world.count("children listed");
            if self.world.below(4) == 0 {
                self.world.count("children not listed yet");
                found.retain(|s| s.parents.is_empty());
            }
        }
        let named: Vec<String> = found.iter().map(named).collect();
        self.world.note(&format!("{} has {}", self.service, named.join(", ")));
        Ok(found)
    }
    async fn open(&self, split: &Split, after: Option<Position>) -> Result<Box<dyn SplitReader>> {
        reach(&self.world, self.service).await?;
        let from = after.as_ref().map_or("its beginning".to_owned(), ToString::to_string);
        self.world.note(&format!("{} opens {} behind {from}", self.service, split.id));
        let after = match after {
            Some(Position::Offset(n)) if self.world.has(ServiceBug::ResumeAt) => Some(Position::Offset(n - 1)),
            after => after,
        };
        let inner = self.inner.open(split, after.clone()).await?;
        Ok(Box::new(SimulatedReader {
            inner,
            source: self.inner.clone(),
            split: split.clone(),
            upto: after,
            service: self.service,
            world: self.world.clone(),
        }))
    }
    fn bounded(&self) -> bool {
        self.inner.bounded()
    }
    fn ordered(&self) -> bool {
        self.inner.ordered()
    }
    fn format(&self) -> RecordFormat {
        self.inner.format()
    }
}

/// `s4 of s0+s3`
fn named(split: &Split) -> String {
    let parents: Vec<&str> = split.parents.iter().map(|p| p.0.as_str()).collect();
    if parents.is_empty() { split.id.to_string() } else { format!("{} of {}", split.id, parents.join("+")) }
}

struct SimulatedReader {
    inner: Box<dyn SplitReader>,
    source: Arc<dyn SplitSource>,
    split: Split,
    /// What it has read.
    upto: Option<Position>,
    service: &'static str,
    world: Arc<World>,
}

#[async_trait]
impl SplitReader for SimulatedReader {
    async fn next(&mut self) -> Result<Read> {
        reach(&self.world, self.service).await?;
        if self.world.expires(self.service) {
            self.inner = self.source.open(&self.split, self.upto.clone()).await?;
        }
        let mut read = self.inner.next().await?;
        if let Read::Records { upto, .. } = &read {
            self.upto = Some(upto.clone());
        }
        if let Read::Records { upto: Position::Offset(upto), .. } = &mut read
            && self.world.has(ServiceBug::PositionTooFar)
        {
            *upto += 1;
        }
        if !matches!(read, Read::Idle | Read::Behind(_)) {
            self.world.read();
        }
        match &read {
            Read::Records { records, upto, .. } => {
                let count = records.records.len();
                self.world.note(&format!("{} reads {count} of {} up to {upto}", self.service, self.split.id));
            }
            Read::Finished => self.world.note(&format!("{} has read {}", self.service, self.split.id)),
            Read::Idle | Read::Behind(_) => {}
        }
        Ok(read)
    }
}
