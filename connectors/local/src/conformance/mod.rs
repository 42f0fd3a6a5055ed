//! One suite per trait of connectors, run by every implementation: what the traits' docs promise, as tests.
//!
//! A suite takes closures that open the implementation, so that it never knows what it tests. Failures are panics
//! with the promise that was broken.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "these are tests"
)]

mod checkpoints;
mod rows;
mod sink;
mod source;
mod table;

pub use checkpoints::checkpoints;
pub use rows::{decode_lines, every_type, json_lines};
pub use sink::{SinkUnderTest, batch, sink, sink_options};
pub use source::{lineage, source};
pub use table::table_store;
