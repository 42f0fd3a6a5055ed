//! What Millstream promises, through the real runtime: results equal the fold and the batch query, whatever the
//! order, cuts, repetitions, workers and faults; no row is lost.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod faults;
mod flagship;
mod oracle;
mod permutation;
mod queries;
mod rerun;
mod trips;
mod world;
