//! Where checkpoints are kept, how often they are taken, and from which one a run begins.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use millstream_core::checkpoint::CheckpointStore;

/// Checkpoints of a run.
#[derive(Debug, Clone)]
pub struct Checkpoints {
    /// Where they are kept.
    pub store: Arc<dyn CheckpointStore>,
    /// Time between the beginnings of two; `None`: only when asked for, and at the end.
    pub every: Option<Duration>,
    /// How many are kept.
    pub keep: usize,
    /// What the run begins from.
    pub begin: Begin,
    /// Nodes whose stored state may be dropped where it does not fit the pipeline any more.
    pub allow_dropped: Vec<String>,
    /// Who runs, in words for people: what others are told that find the store held.
    pub holder: String,
}

impl Checkpoints {
    /// Checkpoints in `store`, taken when asked for and at the end.
    pub fn new(store: Arc<dyn CheckpointStore>) -> Self {
        Self { store, every: None, keep: 3, begin: Begin::Resume, allow_dropped: Vec::new(), holder: String::new() }
    }
}

/// What a run begins from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Begin {
    /// The newest checkpoint, or nothing where there is none.
    #[default]
    Resume,
    /// This checkpoint, which must still be kept. What later ones made visible is made visible again.
    From(u64),
    /// Nothing, after what the newest checkpoint covers has been made visible: the inputs are read again from their
    /// beginning.
    Fresh,
    /// Nothing, whatever the newest checkpoint covers and says, damaged or not.
    Reset,
}

/// Where a process can be made to die while it takes a checkpoint, in their order.
pub const CHECKPOINT_POINTS: [&str; 15] = [
    "freeze",
    "part.before",
    "part.after",
    "prepare.before",
    "prepare.after",
    "manifest.before",
    "claim.before",
    "claim.after",
    "commit.before",
    "commit.sent",
    "commit.after",
    "committed.before",
    "committed.after",
    "garbage.before",
    "garbage.after",
];
/// The same while it goes on from one.
pub const RECOVERY_POINTS: [&str; 2] = ["recovery.before", "recovery.after"];

/// Named places around every durable step ([`CHECKPOINT_POINTS`], [`RECOVERY_POINTS`]), where a process can be made to die: for tests.
pub trait CrashPoints: Send + Sync + fmt::Debug {
    /// Whether the process dies here. An implementation may also end the process itself.
    fn dies_at(&self, point: &str) -> bool;
}
