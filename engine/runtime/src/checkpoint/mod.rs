//! Checkpoints of a running dataflow: the state of every place at one boundary, made to count, and taken back.
//!
//! ```text
//! committer --Boundary--> clock --at a tick--> hosts: stash what is beyond, freeze at the boundary
//!     ^                                          | report: state, positions, what sinks have staged
//!     |                                          v
//!     +------- mail, by worker 0 <------- upload the part (tokio)
//!     |
//!     +-- manifest, claim --Claimed--> sinks make it visible --mail--> committed, garbage
//! ```
//!
//! 1. One checkpoint at a time. The tick of a boundary lasts until every worker has heard of it: so no host meets data
//!    beyond a boundary that it does not know.
//! 2. A host passes a boundary when its frontier does: after all data up to it, and before any beyond it.
//! 3. Nothing that waits for a commit holds a capability: staging and outboxes do not hold the probe back.

mod committer;
mod fit;
mod mail;
mod opening;
mod options;
mod recovery;
mod upload;

pub(crate) use committer::{Committer, Request, Requests};
pub use fit::{Fate, Fit, fit};
pub(crate) use fit::{digest_name, place_layout, sink_layout, stage_name};
pub(crate) use mail::{Finalised, Mail, Report};
pub(crate) use opening::{Opened, open};
pub use options::{Begin, CHECKPOINT_POINTS, Checkpoints, CrashPoints, RECOVERY_POINTS};
pub use recovery::Recovered;
pub(crate) use recovery::{Found, Restored, deal_places, find};
pub(crate) use upload::upload;
