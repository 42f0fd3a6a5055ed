//! The shards of a stream.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use millstream_core::Result;
use millstream_core::clock::Clock;
use millstream_core::format::RecordFormat;
use millstream_core::source::{Position, Split, SplitId, SplitReader, SplitSource};
use tokio::sync::OnceCell;

use super::budget::Budget;
use super::client::{Filter, Stream};
use super::config::{From, KinesisConfig, ReadMode};
use super::fan_out::{Consumer, FanOut};
use super::polling::Polling;
use super::position::Place;
use super::reader::{Reading, Standing};
use super::run::{Counters, Unpacking};
use super::shards::{KeyRange, Lineage, Shard};

/// What is known of the shards.
#[derive(Debug, Default)]
struct Known {
    /// Shards that were named or opened, by this process or before it.
    begun: BTreeSet<SplitId>,
    ranges: BTreeMap<SplitId, KeyRange>,
    /// Children that the last answers of their parents have named and no listing has had yet.
    children: BTreeMap<SplitId, Shard>,
    /// Shards that begin at a time, in milliseconds.
    begin_at: BTreeMap<SplitId, i64>,
    /// The last alarm: it is given once.
    holes: Vec<KeyRange>,
}

/// All shards of a stream.
pub(crate) struct KinesisSource {
    reading: Reading,
    known: Arc<Mutex<Known>>,
    consumer: Arc<OnceCell<Consumer>>,
}

fn lock(known: &Mutex<Known>) -> MutexGuard<'_, Known> {
    // Whoever panicked while holding it has ended the run; it is whole at every step.
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

impl KinesisSource {
    pub(crate) fn new(stream: Arc<Stream>, config: KinesisConfig, clock: Arc<dyn Clock>) -> Self {
        let known = Arc::new(Mutex::new(Known::default()));
        let told = known.clone();
        let children = move |shards: Vec<Shard>| {
            lock(&told).children.extend(shards.into_iter().map(|s| (s.id.clone(), s)));
        };
        let reading = Reading {
            stream,
            clock,
            budget: Budget::new(config.buffer.0),
            counters: Arc::default(),
            children: Arc::new(children),
            config: Arc::new(config),
        };
        Self { reading, known, consumer: Arc::default() }
    }

    /// The listing, with what was heard of besides.
    async fn list(&self, filter: Filter) -> Result<Vec<Shard>> {
        let mut listed = self.reading.stream.shards(filter).await?;
        let mut known = lock(&self.known);
        for shard in &listed {
            known.children.remove(&shard.id);
        }
        listed.extend(known.children.values().cloned());
        for shard in &listed {
            known.ranges.extend(shard.range.map(|r| (shard.id.clone(), r)));
        }
        Ok(listed)
    }

    /// What a run that begins with nothing reads first.
    async fn first(&self) -> Result<Vec<Shard>> {
        let begin = match self.reading.config.from {
            From::TrimHorizon => return self.list(Filter::All).await,
            // The end of the stream is a time from here on, and that time is kept: what arrives before the first
            // checkpoint is read after it, whatever happens in between.
            From::Latest => self.reading.clock.now().millis(),
            From::Timestamp(time) => time.millis(),
        };
        let latest = self.reading.config.from == From::Latest;
        let mut listed = self.list(if latest { Filter::Open } else { Filter::Since(begin) }).await?;
        if latest {
            // Not every server knows the filter.
            listed.retain(|s| !s.closed);
        }
        let names: BTreeSet<_> = listed.iter().map(|s| s.id.clone()).collect();
        let roots = listed.iter().filter(|s| latest || !s.parents.iter().any(|p| names.contains(p)));
        lock(&self.known).begin_at = roots.map(|s| (s.id.clone(), begin)).collect();
        Ok(listed)
    }

    /// An alarm where keys are covered by no shard: their rows would be missed without a word.
    fn audit(&self, lineage: &Lineage<'_>, before: &mut Vec<KeyRange>) {
        let holes = lineage.holes();
        if holes == *before {
            return;
        }
        for KeyRange { first, last } in &holes {
            tracing::error!("no shard of {} covers the hash keys {first} to {last}", self.reading.stream.on);
        }
        Counters::add(&self.reading.counters.holes, holes.len() as u64);
        *before = holes;
    }
}

#[async_trait]
impl SplitSource for KinesisSource {
    fn resume(&self, begun: &BTreeSet<SplitId>) {
        lock(&self.known).begun.extend(begun.iter().cloned());
    }

    async fn discover(&self, finished: &BTreeSet<SplitId>) -> Result<Vec<Split>> {
        let fresh = finished.is_empty() && lock(&self.known).begun.is_empty();
        let listed = if fresh { self.first().await? } else { self.list(Filter::All).await? };
        let mut known = lock(&self.known);
        let begun = std::mem::take(&mut known.begun);
        let lineage = Lineage::new(&listed, &begun, finished);
        self.audit(&lineage, &mut known.holes);
        let ready = lineage.ready();
        let splits = ready.iter().map(|s| Split { id: s.id.clone(), parents: s.parents.clone(), size: None }).collect();
        known.begun = begun.iter().chain(ready.iter().map(|s| &s.id)).cloned().collect();
        Ok(splits)
    }

    fn begins_at(&self, split: &SplitId) -> Option<Position> {
        let millis = *lock(&self.known).begin_at.get(split)?;
        Place::Time(millis).position()
    }

    /// A shard ends only because others take its place.
    fn has_children(&self, _finished: &SplitId) -> bool {
        true
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        self.reading.counters.all(self.reading.config.kpl.out_of_range)
    }

    async fn open(&self, split: &Split, after: Option<Position>) -> Result<Box<dyn SplitReader>> {
        let unpacking = Unpacking {
            range: lock(&self.known).ranges.get(&split.id).copied(),
            out_of_range: self.reading.config.kpl.out_of_range,
            counters: self.reading.counters.clone(),
        };
        let standing = Standing::new(split.id.clone(), Place::parse(after.as_ref())?, unpacking);
        Ok(match self.reading.config.read {
            ReadMode::Polling => Box::new(Polling::new(self.reading.clone(), standing)),
            ReadMode::FanOut => Box::new(FanOut::new(self.reading.clone(), standing, self.consumer.clone())),
        })
    }

    fn bounded(&self) -> bool {
        false
    }
    fn ordered(&self) -> bool {
        true
    }
    fn format(&self) -> RecordFormat {
        self.reading.config.format
    }
}
