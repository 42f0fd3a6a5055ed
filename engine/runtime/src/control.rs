//! What travels beside the rows: ticks, splits, stop, and watermark updates.

use std::collections::{BTreeMap, BTreeSet};

use millstream_core::source::{Position, Split, SplitId};
use millstream_core::time::{EventTime, Watermark};
use millstream_state::checkpoint::SplitState;
use serde::{Deserialize, Serialize};

/// A message to every worker, as data at a tick.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Control {
    /// A tick began. Also what makes every operator see it.
    Tick,
    /// Splits of a source, each with the worker that reads it. `all` says that there will be no others.
    Splits { source: usize, splits: Vec<Assignment>, all: bool },
    /// Sources stop reading. Watermarks stay where they are.
    Stop,
    /// Sources' watermarks move at least here, whatever their rows said (inline tests).
    Advance(EventTime),
    /// What one worker has of one source.
    Watermark(WatermarkUpdate),
    /// The checkpoint with this boundary covers everything up to this tick.
    Boundary(Boundary),
    /// This checkpoint counts: sinks make visible what it covers.
    Claimed(u64),
}

/// A split, who reads it, and where it begins.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Assignment {
    pub(crate) split: Split,
    pub(crate) worker: usize,
    /// How far it was read before.
    pub(crate) resume: Option<SplitState>,
    /// See [`millstream_core::source::SplitSource::begins_at`].
    pub(crate) start: Option<Position>,
    /// The greatest final watermark of its parents.
    pub(crate) floor: Option<EventTime>,
}

/// A split that children follow was read to its end.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Ended {
    pub(crate) source: usize,
    pub(crate) split: SplitId,
    /// Its last watermark.
    pub(crate) watermark: EventTime,
}

/// A checkpoint, announced at its tick.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Boundary {
    pub(crate) checkpoint: u64,
    /// Whether state is kept; else sinks alone act on it.
    pub(crate) state: bool,
    /// Places whose snapshot is to be whole.
    pub(crate) whole: Vec<String>,
    /// Sources have stopped or ended: what waits for the next start must not.
    pub(crate) last: bool,
}

/// The least watermark of a source over the splits of one worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WatermarkUpdate {
    pub(crate) source: usize,
    pub(crate) worker: usize,
    /// `None` while all its splits are idle: it then holds nothing back.
    pub(crate) watermark: Option<Watermark>,
}

/// The pure, monotone fold of watermark updates: the same on every worker.
#[derive(Debug, Clone)]
pub(crate) struct WatermarkFold {
    workers: usize,
    /// Per source, per worker that has spoken, the last update.
    latest: BTreeMap<usize, BTreeMap<usize, Option<Watermark>>>,
    /// Per source, the greatest watermark so far: an idle split that wakes up does not take it back.
    reached: BTreeMap<usize, Watermark>,
}

impl WatermarkFold {
    /// A fold that begins where a checkpoint has left off.
    pub(crate) fn new(workers: usize, reached: BTreeMap<usize, Watermark>) -> Self {
        Self { workers, latest: BTreeMap::new(), reached }
    }

    /// Applies all updates of one tick, at once: a split that passes from one worker to another in it, as a parent does
    /// to its child, never leaves the minimum.
    pub(crate) fn apply(&mut self, tick: impl IntoIterator<Item = WatermarkUpdate>) {
        let mut touched = BTreeSet::new();
        for update in tick {
            touched.insert(update.source);
            self.latest.entry(update.source).or_default().insert(update.worker, update.watermark);
        }
        for source in touched {
            let Some(of_source) = self.latest.get(&source).filter(|of| of.len() >= self.workers) else { continue };
            // All idle: the watermark holds.
            if let Some(least) = of_source.values().flatten().min() {
                let reached = self.reached.entry(source).or_insert(Watermark::START);
                *reached = (*reached).max(*least);
            }
        }
    }

    /// The watermark of a source.
    pub(crate) fn of(&self, source: usize) -> Watermark {
        self.reached.get(&source).copied().unwrap_or(Watermark::START)
    }

    /// Where operators over these sources stood at the checkpoint; the beginning, where there is none.
    pub(crate) fn least_restored(&self, sources: &[usize]) -> Watermark {
        sources.iter().map(|s| self.of(*s)).min().unwrap_or(Watermark::START)
    }

    /// The least watermark of several sources; of none, complete.
    pub(crate) fn least(&self, sources: &[usize]) -> Watermark {
        sources.iter().map(|s| self.of(*s)).min().unwrap_or(Watermark::COMPLETE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(worker: usize, at: Option<i64>) -> WatermarkUpdate {
        WatermarkUpdate { source: 0, worker, watermark: at.map(|t| Watermark(EventTime(t))) }
    }

    #[test]
    fn a_watermark_is_the_least_of_all_workers_and_never_goes_back() {
        let mut fold = WatermarkFold::new(2, BTreeMap::new());
        fold.apply([update(0, Some(10))]);
        assert_eq!(fold.of(0), Watermark::START, "worker 1 has not spoken");
        fold.apply([update(1, Some(5))]);
        assert_eq!(fold.of(0), Watermark(EventTime(5)));
        fold.apply([update(1, None)]);
        assert_eq!(fold.of(0), Watermark(EventTime(10)), "an idle worker holds nothing back");
        fold.apply([update(0, None)]);
        fold.apply([update(1, Some(7))]);
        assert_eq!(fold.of(0), Watermark(EventTime(10)), "waking up takes nothing back");
    }

    #[test]
    fn a_split_that_passes_to_another_worker_never_leaves_the_minimum() {
        let mut fold = WatermarkFold::new(2, BTreeMap::new());
        fold.apply([update(0, Some(5)), update(1, Some(20))]);
        // Worker 0 has read the parent to its end, and worker 1 gets its child at the same tick.
        fold.apply([update(0, Some(30)), update(1, Some(5))]);
        assert_eq!(fold.of(0), Watermark(EventTime(5)), "in either order");
    }
}
