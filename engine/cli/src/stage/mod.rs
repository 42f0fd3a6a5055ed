//! A stage on which a pipeline can be played: real operators, while every connector is replaced by one in memory.
//!
//! ```text
//! records pushed by a test, or a real source -> [the pipeline's own nodes] -> rows kept, by port
//!                                                    tables in memory, sinks that take everything
//! ```
//!
//! Invariants:
//! 1. Nothing outside is written, whatever the pipeline binds.
//! 2. A fault that was ordered at a binding is used up by exactly one call there.
//! 3. The stage outlives the processes that play on it: it is what is outside of them.

mod capture;
mod connector;
mod feed;
mod graph;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::RecordBatch;
use millstream_core::connector::Connector;
use millstream_core::time::EventTime;
use millstream_local::fault::{Fault, Faults, FaultyConnector};
use millstream_local::memory::MemoryTable;
use millstream_plan::{Bind, Bound};
use tokio::sync::Notify;

pub(crate) use feed::{csv_field, csv_header};
pub(crate) use graph::{Names, capture, prune};

use capture::Captures;
use connector::StageConnector;
use feed::Feed;

#[derive(Default)]
struct Contents {
    feeds: BTreeMap<String, Feed>,
    captures: Captures,
    tables: BTreeMap<String, Arc<MemoryTable>>,
    faults: BTreeMap<String, Faults>,
}

/// What happens on the stage; clones are the same stage.
#[derive(Clone, Default)]
pub(crate) struct Stage {
    contents: Arc<Mutex<Contents>>,
    changed: Arc<Notify>,
    /// Whether captures show what checkpoints cover, or whatever was written.
    stages_captures: bool,
}

impl std::fmt::Debug for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Stage")
    }
}

impl Stage {
    /// A stage for runs with checkpoints, on which captured rows appear with the checkpoint that covers them, once.
    pub(crate) fn of_test() -> Self {
        Self { stages_captures: true, ..Self::default() }
    }
    fn lock(&self) -> MutexGuard<'_, Contents> {
        // Whole at every step, also where a panic left the lock.
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// Gives a source a record.
    pub(crate) fn push(&self, source: &str, record: Vec<u8>, arrived_at: EventTime) {
        let mut contents = self.lock();
        let feed = contents.feeds.entry(source.to_owned()).or_default();
        feed.records.push((record, arrived_at));
        feed.open = feed.records.len();
        drop(contents);
        self.changed.notify_waiters();
    }
    /// Keeps all records back, for a process that goes on from a checkpoint.
    pub(crate) fn hold_back(&self) {
        self.lock().feeds.values_mut().for_each(|feed| feed.open = 0);
    }
    /// Gives a source its first `records` records, where they were kept back.
    pub(crate) fn give_again(&self, source: &str, records: u64) {
        if let Some(feed) = self.lock().feeds.get_mut(source) {
            feed.open = feed.open.max(records as usize);
        }
        self.changed.notify_waiters();
    }
    /// Ends all sources.
    pub(crate) fn end(&self, sources: impl Iterator<Item = String>) {
        let mut contents = self.lock();
        sources.for_each(|s| contents.feeds.entry(s).or_default().ended = true);
        drop(contents);
        self.changed.notify_waiters();
    }
    /// The next calls at a binding fail.
    pub(crate) fn fail(&self, binding: &str, fault: Fault, times: u32) {
        self.faults(binding).add(fault, times as usize);
    }
    fn faults(&self, binding: &str) -> Faults {
        self.lock().faults.entry(binding.to_owned()).or_default().clone()
    }
    /// The rows a capture has taken so far, in order.
    pub(crate) fn captured(&self, id: &str) -> Vec<RecordBatch> {
        self.lock().captures.captured.get(id).cloned().unwrap_or_default()
    }
    /// How many those are.
    pub(crate) fn rows_captured(&self, id: &str) -> usize {
        self.lock().captures.captured.get(id).map_or(0, |batches| batches.iter().map(RecordBatch::num_rows).sum())
    }
    /// A table of the pipeline that was opened.
    pub(crate) fn table(&self, id: &str) -> Option<Arc<MemoryTable>> {
        self.lock().tables.get(id).cloned()
    }
    /// The connector of captures.
    pub(crate) fn capturing(&self) -> Arc<dyn Connector> {
        Arc::new(StageConnector { stage: self.clone(), real: None, reads: false })
    }
}

/// Binds every name to the stage.
pub(crate) struct OnStage<'a> {
    /// What the file says.
    pub(crate) profile: &'a dyn Bind,
    /// Where it leads instead.
    pub(crate) stage: &'a Stage,
    /// Whether sources read what the file says.
    pub(crate) real_sources: bool,
}

impl Bind for OnStage<'_> {
    fn bind(&self, name: &str) -> Option<Bound> {
        let bound = self.profile.bind(name)?;
        if self.real_sources && bound.connector.is_none() {
            return Some(bound);
        }
        let connector = StageConnector { stage: self.stage.clone(), real: bound.connector, reads: self.real_sources };
        let faulty = FaultyConnector::new(Arc::new(connector), self.stage.faults(name));
        Some(Bound { connector: Some(Arc::new(faulty)), kind: bound.kind })
    }
}
