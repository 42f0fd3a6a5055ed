//! Deliberate bugs, one line each, that show whether a test finds them.
//!
//! They are compiled in with the feature `planted-bugs` only, and even then do nothing before one is planted. Nothing but
//! the simulation (`tests/simulation`, by a feature of its own that is off by default) turns the feature on, and the
//! binary refuses to be compiled with it: no build of it can have them, whatever features are unified.

/// A deliberate bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Bug {
    /// Rows beyond a boundary are taken before it has passed.
    SkipStash = 1,
    /// A split that was read to its end is not in the checkpoint.
    ForgetFinishedSplit,
    /// What is late in a split is judged without what was seen in it before the restart.
    ForgetSeen,
    /// Sinks make visible before the claim.
    CommitBeforeClaim,
    /// What a claimed checkpoint has staged is not made visible by the next process.
    LeaveUnfinished,
    /// A process that slept while others went on does not look for later claims.
    ClaimBlindly,
    /// The ledger begins anew with each process.
    ForgetCounters,
    /// After a restart, rows of state go to one worker, whatever their key.
    DealToOne,
    /// Rows that wait in an outbox are not in the checkpoint.
    ForgetOutbox,
    /// Keys that the table's store has not acknowledged are not in the checkpoint.
    ForgetUnwritten,
    /// A row of a table that changed is missing in the checkpoint.
    LoseChangedRow,
    /// Ids seen before the restart are seen for the first time.
    ForgetIds,
    /// Ids are remembered for a shorter time than duplicates may take.
    ForgetIdsEarly,
}

/// Whether bugs can be planted at all.
pub const COMPILED_IN: bool = cfg!(feature = "planted-bugs");

#[cfg(feature = "planted-bugs")]
mod switch {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::Bug;

    static PLANTED: AtomicU32 = AtomicU32::new(0);

    /// Plants one bug in this process, in the place of the one before.
    pub fn plant(bug: Option<Bug>) {
        PLANTED.store(bug.map_or(0, |b| b as u32), Ordering::SeqCst);
    }

    /// Whether this bug is planted.
    pub fn is_planted(bug: Bug) -> bool {
        PLANTED.load(Ordering::Relaxed) == bug as u32
    }
}

#[cfg(feature = "planted-bugs")]
pub use switch::{is_planted, plant};

/// Whether this bug is planted: it cannot be.
#[cfg(not(feature = "planted-bugs"))]
pub const fn is_planted(_: Bug) -> bool {
    false
}
