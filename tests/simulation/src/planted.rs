//! Deliberate bugs, and the seed that finds each: whether the simulation finds what it is there to find.
//!
//! Bugs of services are written here, around the real ones. Bugs of the engine are compiled in with the feature
//! `planted-bugs` (see `millstream_core::planted`).

use std::ops::{ControlFlow, Range};

#[cfg(feature = "planted-bugs")]
use millstream_core::planted::{Bug, plant};

use crate::driver::{Outcome, simulate_with};
use crate::seeds::simulate_all;

/// A deliberate bug around a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ServiceBug {
    ResumeAt,
    PositionTooFar,
    AckBeforeWrite,
    RefusedIsWritten,
    NewIds,
    TheirsIsOurs,
    ForgetFiles,
    ChildrenEarly,
}

#[derive(Debug, Clone, Copy)]
enum How {
    Service(ServiceBug),
    #[cfg(feature = "planted-bugs")]
    Engine(Bug),
}

/// A deliberate bug.
#[derive(Debug, Clone, Copy)]
pub struct Planted {
    /// Its name.
    pub name: &'static str,
    /// What it does.
    pub what: &'static str,
    how: How,
}

/// All that this build can plant.
pub fn bugs() -> Vec<Planted> {
    let service = |(name, what, bug)| Planted { name, what, how: How::Service(bug) };
    let services = [
        ("resume_at", "a split is resumed at its last covered record, not behind it", ServiceBug::ResumeAt),
        ("position_too_far", "a position is one record too far", ServiceBug::PositionTooFar),
        ("ack_before_write", "a table acknowledges rows before it has them", ServiceBug::AckBeforeWrite),
        ("refused_is_written", "a refused write is taken for success", ServiceBug::RefusedIsWritten),
        ("new_ids", "an outbox is sent again under other ids", ServiceBug::NewIds),
        ("theirs_is_ours", "a claim that another process has is taken for one's own", ServiceBug::TheirsIsOurs),
        ("forget_files", "the rows of overwritten files are not taken back", ServiceBug::ForgetFiles),
        (
            "children_early",
            "the children of a split are listed before it is read to its end",
            ServiceBug::ChildrenEarly,
        ),
    ];
    #[cfg_attr(not(feature = "planted-bugs"), expect(unused_mut, reason = "the engine's come with the feature"))]
    let mut all: Vec<Planted> = services.into_iter().map(service).collect();
    #[cfg(feature = "planted-bugs")]
    all.extend(engine());
    all
}

#[cfg(feature = "planted-bugs")]
fn engine() -> impl Iterator<Item = Planted> {
    let bugs = [
        ("skip_stash", "rows beyond a boundary are taken before it has passed", Bug::SkipStash),
        ("forget_finished_split", "a finished split is not in the checkpoint", Bug::ForgetFinishedSplit),
        ("forget_seen", "what was seen in a split before a restart does not count for what is late", Bug::ForgetSeen),
        ("commit_before_claim", "sinks make visible before the claim", Bug::CommitBeforeClaim),
        (
            "leave_unfinished",
            "what is claimed and not committed is not finished by the next process",
            Bug::LeaveUnfinished,
        ),
        ("claim_blindly", "a process that slept does not look for later claims", Bug::ClaimBlindly),
        ("forget_counters", "the ledger begins anew with each process", Bug::ForgetCounters),
        ("deal_to_one", "state goes to one worker after a restart", Bug::DealToOne),
        ("forget_outbox", "what waits in an outbox is not in the checkpoint", Bug::ForgetOutbox),
        (
            "forget_unwritten",
            "keys that the table has not acknowledged are not in the checkpoint",
            Bug::ForgetUnwritten,
        ),
        ("lose_changed_row", "a changed row is missing in the checkpoint", Bug::LoseChangedRow),
        ("forget_ids", "a dedup is not taken back", Bug::ForgetIds),
        ("forget_ids_early", "a dedup remembers for too short a time", Bug::ForgetIdsEarly),
    ];
    bugs.into_iter().map(|(name, what, bug)| Planted { name, what, how: How::Engine(bug) })
}

impl Planted {
    /// Simulates a seed with the bug, which [`Planted::found`] or the caller has planted where it is one of the engine.
    fn simulate(&self, seed: u64, traced: bool) -> Outcome {
        match self.how {
            How::Service(bug) => simulate_with(seed, traced, Some(bug)),
            #[cfg(feature = "planted-bugs")]
            How::Engine(_) => simulate_with(seed, traced, None),
        }
    }

    /// The first of these seeds that finds it. Bugs of the engine are planted in the whole process: one at a time.
    pub fn found(&self, seeds: Range<u64>, traced: bool) -> Option<Outcome> {
        #[cfg(feature = "planted-bugs")]
        if let How::Engine(bug) = self.how {
            plant(Some(bug));
        }
        let mut found = None;
        simulate_all(
            seeds,
            |seed| self.simulate(seed, traced),
            |outcome| {
                if outcome.broken.is_empty() {
                    return ControlFlow::Continue(());
                }
                found = Some(outcome);
                ControlFlow::Break(())
            },
        );
        #[cfg(feature = "planted-bugs")]
        plant(None);
        found
    }
}
