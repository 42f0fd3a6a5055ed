//! Finds the splits of a source: at its start, on a timer, and as soon as a split has ended that children follow.
//!
//! ```text
//! discovery (tokio, by worker 0) --splits--> clock --at a tick--> source hosts
//!      ^                                                              |
//!      +------------- ended, by mail (see coordinator) --------------+
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use millstream_core::error::{Error, Result};
use millstream_core::source::{Position, Split, SplitId, SplitSource};
use millstream_core::time::EventTime;
use millstream_state::checkpoint::SplitState;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};

use crate::control::Ended;
use crate::delivery::passing;
use crate::metrics::Metrics;
use crate::reader::Pause;

/// How often an unbounded source is asked for new splits.
const EVERY: Duration = Duration::from_secs(10);
/// How soon again where a split has ended and its children were not named yet.
const SOON: Duration = Duration::from_secs(2);

/// All splits of a source that were not named before.
#[derive(Debug)]
pub(crate) struct Discovered {
    pub(crate) source: usize,
    pub(crate) splits: Result<Vec<Found>, Error>,
    /// There will be no others.
    pub(crate) all: bool,
}

/// A split and where it begins.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) split: Split,
    /// How far it was read before.
    pub(crate) resume: Option<SplitState>,
    pub(crate) start: Option<Position>,
    /// The greatest final watermark of its parents.
    pub(crate) floor: Option<EventTime>,
}

/// Asks one source for its splits.
pub(crate) struct Discovery {
    pub(crate) source: usize,
    pub(crate) name: String,
    pub(crate) splits: Arc<dyn SplitSource>,
    pub(crate) metrics: Arc<Metrics>,
    /// How far event times may be out of order, in microseconds: what final watermarks are behind.
    pub(crate) max_delay: i64,
    /// Splits of the checkpoint that is gone on from.
    pub(crate) known: BTreeMap<SplitId, SplitState>,
    pub(crate) ended: UnboundedReceiver<Ended>,
    pub(crate) to: UnboundedSender<Discovered>,
}

/// What is known while it asks.
struct Progress {
    finished: BTreeSet<SplitId>,
    /// The last watermarks of finished splits.
    finals: BTreeMap<SplitId, EventTime>,
    named: BTreeSet<SplitId>,
    /// Finished, and no child of theirs was named.
    childless: BTreeSet<SplitId>,
}

impl Discovery {
    /// Asks until the source is known, the run ends, or it cannot be asked: once if it is bounded, else again and again.
    pub(crate) async fn run(mut self) {
        let all = self.splits.bounded();
        let mut progress = self.restored();
        let mut pause = Pause::new(&self.name);
        let mut first = true;
        loop {
            let splits = match self.splits.discover(&progress.finished).await {
                Err(e) if passing(&e) => {
                    self.metrics.retried(self.source);
                    pause.wait("the splits cannot be listed", &e).await;
                    continue;
                }
                Err(e) => Err(e),
                Ok(found) => Ok(self.found(found, &mut progress, first)),
            };
            pause.reset();
            let end = splits.is_err() || all;
            let news = first || splits.as_ref().map_or(true, |s| !s.is_empty());
            if news && self.to.send(Discovered { source: self.source, splits, all }).is_err() || end {
                return;
            }
            first = false;
            let again = if progress.childless.is_empty() { EVERY } else { SOON };
            tokio::select! {
                ended = self.ended.recv() => match ended {
                    None => return,
                    Some(ended) => progress.ended(ended),
                },
                () = tokio::time::sleep(again) => {}
            }
            while let Ok(ended) = self.ended.try_recv() {
                progress.ended(ended);
            }
        }
    }

    fn restored(&self) -> Progress {
        let ids = |finished: bool| {
            let of = self.known.iter().filter(move |(_, s)| s.finished == finished);
            of.map(|(id, _)| id.clone()).collect::<BTreeSet<_>>()
        };
        if !self.known.is_empty() {
            self.splits.resume(&ids(false));
        }
        let finished = ids(true);
        let last = |id: &SplitId| {
            let state = self.known.get(id)?;
            let seen = state.seen.map_or(i64::MIN, |t| t.0.saturating_sub(self.max_delay));
            Some((id.clone(), EventTime(seen.max(state.floor.map_or(i64::MIN, |t| t.0)))))
        };
        Progress {
            finals: finished.iter().filter_map(last).collect(),
            childless: finished.iter().filter(|id| self.splits.has_children(id)).cloned().collect(),
            finished,
            named: BTreeSet::new(),
        }
    }

    /// Those of the splits the source names that are new. At first also those that are to be gone on with, even where the
    /// source does not name them any more (whoever opens one says what has become of it), and those whose children are
    /// not there yet.
    fn found(&mut self, named: Vec<Split>, progress: &mut Progress, first: bool) -> Vec<Found> {
        let mut splits = named;
        if first {
            let old = self.known.iter().filter(|(id, s)| !s.finished || progress.childless.contains(*id));
            splits.extend(old.map(|(id, s)| Split { id: id.clone(), parents: s.parents.clone(), size: s.size }));
        }
        splits.retain(|s| progress.named.insert(s.id.clone()));
        let mut found = Vec::with_capacity(splits.len());
        for split in splits {
            progress.childless.retain(|id| !split.parents.contains(id));
            let resume = self.known.remove(&split.id);
            let start = if resume.is_none() { self.splits.begins_at(&split.id) } else { None };
            let floor = split.parents.iter().filter_map(|p| progress.finals.get(p)).max().copied();
            found.push(Found { split, resume, start, floor });
        }
        found
    }
}

impl Progress {
    fn ended(&mut self, Ended { split, watermark, .. }: Ended) {
        self.childless.insert(split.clone());
        self.finals.insert(split.clone(), watermark);
        self.finished.insert(split);
    }
}
