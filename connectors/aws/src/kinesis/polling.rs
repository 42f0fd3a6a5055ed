//! Reads a shard by asking again and again.

use std::time::Duration;

use async_trait::async_trait;
use millstream_core::Result;
use millstream_core::source::{Read, SplitReader};
use tokio::time::{Instant, sleep_until};

use super::client::{self, Answer, Begun};
use super::config::ANSWER_BYTES;
use super::reader::{Reading, Standing};
use super::run::Counters;

/// What is set aside for an answer of a shard that is caught up: what arrives between two calls is little.
const CAUGHT_UP_BYTES: u64 = 1 << 20;
/// How far behind a shard is taken to be of which the service has never said it.
const UNKNOWN: Duration = Duration::from_secs(1);
/// How often a reader that is far behind makes sure that nothing was deleted before it.
const RECHECK: Duration = Duration::from_secs(60);

/// Invariants: `iterator` stands where `standing` does, or is `None`; both move only behind the last wait of a call, so a
/// call that is dropped is made again.
pub(crate) struct Polling {
    reading: Reading,
    standing: Standing,
    iterator: Option<String>,
    /// Not before then: a shard allows five calls a second.
    next_call: Instant,
    /// When the iterator was begun.
    begun: Instant,
}

impl Polling {
    pub(crate) fn new(reading: Reading, standing: Standing) -> Self {
        let now = Instant::now();
        Self { reading, standing, iterator: None, next_call: now, begun: now }
    }

    /// An iterator where reading stands; `None` where the shard is gone.
    async fn iterator(&mut self) -> Result<Option<String>> {
        loop {
            let due = self.begun.elapsed() >= RECHECK && self.standing.may_fall_behind_retention(&self.reading);
            if let Some(iterator) = self.iterator.as_ref().filter(|_| !due) {
                return Ok(Some(iterator.clone()));
            }
            self.begun = Instant::now();
            self.standing.check_retention(&self.reading).await?;
            match self.reading.stream.iterator(&self.standing.shard, &self.standing.place).await? {
                Begun::At(iterator) => self.iterator = Some(iterator),
                Begun::NoSuchPlace(why) => self.standing.hole(&self.reading, None, &why)?,
                Begun::NoSuchShard => {
                    self.standing.gone(&self.reading)?;
                    return Ok(None);
                }
            }
        }
    }
}

#[async_trait]
impl SplitReader for Polling {
    async fn next(&mut self) -> Result<Read> {
        loop {
            if self.standing.ended {
                return Ok(Read::Finished);
            }
            sleep_until(self.next_call).await;
            let caught_up = self.standing.behind.is_some_and(|b| b.is_zero());
            let share = self.reading.budget.take(if caught_up { CAUGHT_UP_BYTES } else { ANSWER_BYTES }).await?;
            let Some(iterator) = self.iterator().await? else { continue };
            let answer = self.reading.stream.records(&iterator).await?;
            self.next_call = Instant::now() + self.reading.config.poll_interval.0;
            let output = match answer {
                Answer::Records(output) => output,
                // Long back-pressure does this; the position is what counts.
                Answer::IteratorExpired => {
                    Counters::add(&self.reading.counters.iterators, 1);
                    self.iterator = None;
                    continue;
                }
            };
            // Not every service says it; what is not said is not the end.
            let said = output.millis_behind_latest().and_then(|millis| u64::try_from(millis).ok());
            let behind = said.map_or(self.standing.behind.unwrap_or(UNKNOWN), Duration::from_millis);
            let children: Vec<_> = output.child_shards().iter().map(client::child).collect();
            self.iterator = output.next_shard_iterator;
            self.standing.ended = self.iterator.is_none();
            if !children.is_empty() {
                (self.reading.children)(children);
            }
            if let Some(read) = self.standing.take(&self.reading, output.records, behind, share) {
                return Ok(read);
            }
        }
    }
}
