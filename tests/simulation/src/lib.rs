//! The whole pipeline, simulated: the real engine, one thread at a time, under a seed.
//!
//! ```text
//! seed -> workload, services' faults, fates of processes
//!      -> process: engine over services that fail -- crash, stop, pause --> next process ... -> end
//!      -> what was left = the model's fold? the ledger adds up? the same trace again?
//! ```
//! A seed draws what is read, how services behave, which process dies where, how many workers the next one has, and
//! every choice of what runs next: a worker's step, a task, or time. So it replays exactly.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a simulation fails by panicking where it is itself wrong"
)]

mod baton;
mod driver;
mod invariants;
mod model;
mod plan;
mod planted;
mod process;
mod seeds;
mod services;
mod trips;
mod world;

pub use driver::{Outcome, simulate};
pub use planted::{Planted, bugs};
pub use seeds::simulate_all;
pub use world::Tally;
