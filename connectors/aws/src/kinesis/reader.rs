//! What the readers of a stream's shards share: the source they belong to, where they stand, and holes in what they read.

use std::sync::Arc;
use std::time::Duration;

use millstream_core::clock::Clock;
use millstream_core::source::{RawRecords, Read, SplitId};
use millstream_core::{Error, Result};

use super::budget::{Budget, Share};
use super::client::Stream;
use super::config::{Expired, From, KinesisConfig};
use super::position::Place;
use super::run::{Counters, Run, Unpacking};
use super::shards::Shard;

/// No stream keeps records for less, in milliseconds.
const SHORTEST_RETENTION: i64 = 24 * 3_600_000;
/// How often a silent shard's position says that it is still caught up, in milliseconds.
const STILL_THERE: i64 = 60_000;

/// Tells the source of shards that follow one that has ended.
pub(crate) type TellChildren = Arc<dyn Fn(Vec<Shard>) + Send + Sync>;

/// What a reader has of its source.
#[derive(Clone)]
pub(crate) struct Reading {
    pub(crate) stream: Arc<Stream>,
    pub(crate) config: Arc<KinesisConfig>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) budget: Budget,
    pub(crate) counters: Arc<Counters>,
    pub(crate) children: TellChildren,
}

/// Where a reader stands in its shard.
pub(crate) struct Standing {
    pub(crate) shard: SplitId,
    pub(crate) place: Place,
    unpacking: Unpacking,
    /// The shard has no more records than were given.
    pub(crate) ended: bool,
    /// The last that was said of how far behind it is.
    pub(crate) behind: Option<Duration>,
}

impl Standing {
    pub(crate) fn new(shard: SplitId, place: Place, unpacking: Unpacking) -> Self {
        Self { shard, place, unpacking, ended: false, behind: None }
    }

    /// Takes an answer in: its records, or what their absence means. `behind` is what the service says of its end.
    pub(crate) fn take(
        &mut self,
        reading: &Reading,
        answer: Vec<aws_sdk_kinesis::types::Record>,
        behind: Duration,
        share: Share,
    ) -> Option<Read> {
        let now = reading.clock.now();
        self.behind = Some(behind);
        if let Some(Run { records, place }) = self.unpacking.run(answer, &self.place, now, &reading.budget, share) {
            self.place = place;
            return self.give(records, now.millis());
        }
        if self.ended {
            return None;
        }
        if !behind.is_zero() {
            return Some(Read::Behind(behind));
        }
        let due = match &self.place {
            Place::Behind { until, .. } => until.is_none_or(|until| now.millis() - until >= STILL_THERE),
            _ => false,
        };
        if due { self.give(RawRecords::default(), now.millis()) } else { Some(Read::Idle) }
    }

    /// The place has moved on without records.
    pub(crate) fn moved_on(&mut self, reading: &Reading, behind: Duration) -> Option<Read> {
        self.behind = Some(behind);
        self.give(RawRecords::default(), reading.clock.now().millis())
    }

    /// Whether a reader here is so far behind that records may be deleted before they are read, also under an iterator.
    pub(crate) fn may_fall_behind_retention(&self, reading: &Reading) -> bool {
        let now = reading.clock.now().millis();
        matches!(self.place, Place::Behind { until: Some(until), .. } if now - until >= SHORTEST_RETENTION)
    }

    fn give(&mut self, records: RawRecords, now: i64) -> Option<Read> {
        // Whoever is caught up has all that had arrived by now.
        if let Place::Behind { until, .. } = &mut self.place
            && self.behind.is_some_and(|b| b.is_zero())
        {
            *until = (*until).max(Some(now));
        }
        let upto = self.place.position()?;
        Some(Read::Records { records, upto, behind: self.behind })
    }

    /// Before reading begins at a place: whether records behind it may have been deleted unread.
    ///
    /// # Errors
    /// `Environment` where that ends the pipeline.
    pub(crate) async fn check_retention(&mut self, reading: &Reading) -> Result<()> {
        let until = match &self.place {
            Place::Behind { until: Some(until), .. } => *until,
            // Everything since the start was wanted. (A time that a person has named may be before the oldest record.)
            Place::Time(start) if reading.config.from == From::Latest => *start,
            _ => return Ok(()),
        };
        let now = reading.clock.now().millis();
        if now - until < SHORTEST_RETENTION {
            return Ok(());
        }
        let kept_since = now - reading.stream.retention().await?;
        if until < kept_since {
            self.hole(reading, Some(kept_since - until), "they have outlived the stream's retention")?;
        }
        Ok(())
    }

    /// Records from the place on are gone: stops, or goes on where there are records again.
    ///
    /// # Errors
    /// `Environment` where `expired` says so.
    pub(crate) fn hole(&mut self, reading: &Reading, millis: Option<i64>, why: &str) -> Result<()> {
        let (shard, on) = (&self.shard, &reading.stream.on);
        let behind = self.place.position().map(|p| p.to_string()).unwrap_or_default();
        let since = match &self.place {
            Place::Behind { until: Some(until), .. } => {
                format!(" that arrived after {}", millstream_core::EventTime(until.saturating_mul(1000)))
            }
            _ => String::new(),
        };
        let what = format!("records of the shard {shard} of {on} behind {behind}{since} may be gone unread: {why}");
        if reading.config.expired == Expired::Fail {
            return Err(Error::environment(format!(
                "{what}. `expired: skip` goes on with what is left and counts the hole; \
                 `--reset-state` reads everything that is left into empty state"
            )));
        }
        tracing::error!("{what}; `expired: skip` goes on with what is left");
        Counters::add(&reading.counters.expired_shards, 1);
        let millis = u64::try_from(millis.unwrap_or(0)).unwrap_or(0);
        reading.counters.expired_millis.fetch_max(millis, std::sync::atomic::Ordering::Relaxed);
        self.place = Place::Beginning;
        Ok(())
    }

    /// The shard is not there any more: nothing of it can be read, and its children begin.
    ///
    /// # Errors
    /// `Environment` where `expired` says so.
    pub(crate) fn gone(&mut self, reading: &Reading) -> Result<()> {
        if self.place != Place::Beginning {
            self.hole(reading, None, "the shard is not there any more")?;
        }
        self.ended = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
