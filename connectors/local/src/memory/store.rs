//! What a `memory` connector holds: scripted splits to read, captured rows, tables. Reached by tests through its
//! name.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use millstream_core::sink::BatchId;
use millstream_core::source::SplitId;
use millstream_core::stager::Stager;
use millstream_core::{Batch, ErrorKind, EventTime};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::table::MemoryTable;

/// One thing a scripted split does when it is read.
#[derive(Debug, Clone)]
pub enum Step {
    /// Gives a run of records, each with the time of its arrival.
    Records(Vec<(Vec<u8>, EventTime)>),
    /// Fails once.
    Fail(ErrorKind, String),
}

#[derive(Debug, Default)]
pub(crate) struct Script {
    pub(crate) parents: Vec<SplitId>,
    pub(crate) steps: Vec<Step>,
    pub(crate) ended: bool,
}

/// Rows that an instance of a sink has staged for a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Stage {
    pub(crate) sink: String,
    pub(crate) stager: Stager,
    pub(crate) checkpoint: u64,
    pub(crate) instance: usize,
}

#[derive(Debug, Default)]
pub(crate) struct Contents {
    pub(crate) splits: BTreeMap<SplitId, Script>,
    /// Whether no splits come any more.
    pub(crate) closed: bool,
    /// Splits without parents begin where they end when they are found.
    pub(crate) latest: bool,
    /// Visible rows by sink.
    pub(crate) written: HashMap<String, Vec<Batch>>,
    /// Rows that no checkpoint has made visible yet.
    pub(crate) staged: BTreeMap<Stage, Vec<Batch>>,
    /// What has been made visible.
    pub(crate) committed: BTreeSet<Stage>,
    /// Rows of outboxes by sink, batch and number.
    pub(crate) sent: HashSet<(String, BatchId, u32)>,
    pub(crate) commits: HashMap<String, usize>,
    pub(crate) tables: HashMap<String, Arc<MemoryTable>>,
}

/// The contents of one `memory` connector; clones are the same contents.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    contents: Arc<Mutex<Contents>>,
    pub(crate) changed: Arc<Notify>,
}

/// The contents that everything named `name` in this process shares.
pub fn handle(name: &str) -> Memory {
    static NAMED: LazyLock<Mutex<HashMap<String, Memory>>> = LazyLock::new(Mutex::default);
    NAMED.lock().unwrap_or_else(PoisonError::into_inner).entry(name.to_owned()).or_default().clone()
}

impl Memory {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Contents> {
        // Whoever panicked while holding it has failed its own test; the contents are whole at every step.
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }
    /// Adds a split whose `parents` are read before it.
    pub fn split(&self, split: &str, parents: &[&str]) {
        let parents = parents.iter().map(|p| SplitId((*p).to_owned())).collect();
        self.lock().splits.entry(SplitId(split.to_owned())).or_default().parents = parents;
        self.changed.notify_waiters();
    }
    /// Appends a step to a split, which is added where it is not there.
    pub fn push(&self, split: &str, step: Step) {
        self.lock().splits.entry(SplitId(split.to_owned())).or_default().steps.push(step);
        self.changed.notify_waiters();
    }
    /// Appends a run of records that arrive at `arrived_at`.
    pub fn push_records<'a>(&self, split: &str, records: impl IntoIterator<Item = &'a str>, arrived_at: EventTime) {
        let records = records.into_iter().map(|r| (r.as_bytes().to_vec(), arrived_at)).collect();
        self.push(split, Step::Records(records));
    }
    /// Says that a split has no more steps.
    pub fn finish(&self, split: &str) {
        self.lock().splits.entry(SplitId(split.to_owned())).or_default().ended = true;
        self.changed.notify_waiters();
    }
    /// Splits without parents are read from where they end when a source first finds them.
    pub fn from_latest(&self) {
        self.lock().latest = true;
    }
    /// Ends a split and adds `children` that follow it, as a stream does that is given more or fewer parts.
    pub fn reshard(&self, parents: &[&str], children: &[&str]) {
        children.iter().for_each(|child| self.split(child, parents));
        parents.iter().for_each(|parent| self.finish(parent));
    }
    /// Says that there will be no more splits: a source opened from now on is bounded.
    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_waiters();
    }
    /// The batches that the sink `sink` has made visible, in the order they came to be.
    pub fn written(&self, sink: &str) -> Vec<Batch> {
        self.lock().written.get(sink).cloned().unwrap_or_default()
    }
    /// How many rows the sink `sink` has made visible.
    pub fn rows_written(&self, sink: &str) -> usize {
        self.lock().written.get(sink).map_or(0, |batches| batches.iter().map(Batch::num_rows).sum())
    }
    /// How often the sink `sink` was told to commit.
    pub fn commits(&self, sink: &str) -> usize {
        self.lock().commits.get(sink).copied().unwrap_or_default()
    }
    /// How many rows the sink `sink` has staged and not made visible.
    pub fn rows_staged(&self, sink: &str) -> usize {
        let contents = self.lock();
        let staged = contents.staged.iter().filter(|(stage, _)| stage.sink == sink);
        staged.flat_map(|(_, batches)| batches).map(Batch::num_rows).sum()
    }
    /// The table `table`, if a pipeline has opened it.
    pub fn table(&self, table: &str) -> Option<Arc<MemoryTable>> {
        self.lock().tables.get(table).cloned()
    }
    /// Forgets everything.
    pub fn clear(&self) {
        *self.lock() = Contents::default();
    }
}
