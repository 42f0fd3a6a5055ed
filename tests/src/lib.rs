//! What the product-level tests share: pipeline files checked and run as the binary does it, in this process.
//!
//! ```text
//! text -> check (spec, plan, the binary's connectors) -> findings
//!                                                     \-> graph -> run (the real runtime) -> ledger, rows, files
//! ```
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

pub mod binary;
pub mod bind;
pub mod check;
pub mod random;
#[path = "../../engine/cli/src/registry.rs"]
mod registry;
pub mod rows;
pub mod run;
pub mod shell;
pub mod trip;

use millstream_core::connector::Registry;

/// The connectors the binary knows: its own list, not a copy.
pub fn registry() -> Registry {
    registry::registry()
}
