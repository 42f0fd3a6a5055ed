//! Checkpoints in a store: what is written, in which order, and what makes it count.
//!
//! ```text
//! parts/<n>-<generation>/<place>.<worker>   state of one operator on one worker   [part]
//! manifests/<n>-<generation>                what belongs to the checkpoint        [manifest]
//! epochs/<n>                                the claim: whose manifest counts      [epochs]
//! committed/<n>                             sinks have made visible what it covers
//! ```
//! 1. Objects are written in that order and never changed. A checkpoint exists from its claim on, and only then.
//! 2. Claims are consecutive, and a claim can be created once: of several processes, one gets it, and the others stop.
//! 3. `n + 1` is claimed only after everything `n` covers is visible.
//!
//! The formats are described in `docs/checkpoints.md`.

mod epochs;
mod garbage;
mod manifest;
mod part;

pub use epochs::{Claim, Claimed, Epochs, Listed};
pub use manifest::{Manifest, NodeCounters, PartRef, PlaceState, SourceState, SplitState, Staged};
pub use part::{decode, encode};
