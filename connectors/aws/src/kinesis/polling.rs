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

/// Invariants: `iterator` stands where `standing` does, or is `None`; both move only behind the last wait of a call, so a
/// call that is dropped is made again.
pub(crate) struct Polling {
    reading: Reading,
    standing: Standing,
    iterator: Option<String>,
    /// Not before then: a shard allows five calls a second.
    next_call: Instant,
}

impl Polling {
    pub(crate) fn new(reading: Reading, standing: Standing) -> Self {
        Self { reading, standing, iterator: None, next_call: Instant::now() }
    }

    /// An iterator where reading stands; `None` where the shard is gone.
    async fn iterator(&mut self) -> Result<Option<String>> {
        loop {
            if let Some(iterator) = &self.iterator {
                return Ok(Some(iterator.clone()));
            }
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
            let behind = Duration::from_millis(output.millis_behind_latest().unwrap_or(0).try_into().unwrap_or(0));
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
