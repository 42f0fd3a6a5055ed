//! What places tell the committer, on their own worker and across workers.

use std::collections::BTreeMap;

use crate::control::Ended;
use millstream_core::snapshot::{Snapshot, StateLayout};
use millstream_core::source::SplitId;
use millstream_state::checkpoint::{NodeCounters, PartRef, SplitState};
use serde::{Deserialize, Serialize};

/// What a place has at a boundary, before its state is stored.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// The node, or one of its stages.
    pub(crate) place: String,
    /// The node.
    pub(crate) node: String,
    pub(crate) counters: NodeCounters,
    /// By source: its watermark as the place knows it at the boundary.
    pub(crate) watermarks: Vec<(String, i64)>,
    /// State and what it looks like.
    pub(crate) state: Option<(StateLayout, Snapshot)>,
    /// Of a source: how far its splits have been read.
    pub(crate) splits: BTreeMap<SplitId, SplitState>,
    /// Of a sink: what it has staged.
    pub(crate) staged: Option<serde_json::Value>,
}

/// The same with its state stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Part {
    pub(crate) checkpoint: u64,
    pub(crate) worker: usize,
    pub(crate) place: String,
    pub(crate) node: String,
    pub(crate) counters: NodeCounters,
    pub(crate) watermarks: Vec<(String, i64)>,
    pub(crate) layout: Option<StateLayout>,
    pub(crate) part: Option<PartRef>,
    pub(crate) splits: BTreeMap<SplitId, SplitState>,
    pub(crate) staged: Option<serde_json::Value>,
}

/// A sink has made visible what a checkpoint covers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Finalised {
    pub(crate) checkpoint: u64,
    /// Rows that were refused only now: they leave by the sink's `failed` port, for the next checkpoint to cover.
    pub(crate) refused: u64,
}

/// A message to the committer. Parts travel as JSON: what is in them is not made for timely's own encoding.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Mail {
    /// A worker has heard of the boundary.
    Seen,
    /// A [`Part`].
    Part(String),
    /// See there.
    Finalised(Finalised),
    /// Its children may begin; for who discovers splits, not for the committer.
    Ended(Ended),
}
