//! The operators: pure state machines over batches and watermarks.
//!
//! Each module is one node kind of the pipeline file. None of them knows SQL (predicates come compiled, behind
//! [`millstream_core::operator::Predicate`]), timely, or I/O; whoever has a batch can drive one.

pub mod dedup;
pub mod digest;
mod isolate;
pub mod route;
#[cfg(test)]
mod testing;
pub mod upsert;
pub mod validate;

pub use dedup::Dedup;
pub use digest::Digest;
pub use route::Route;
pub use upsert::Upsert;
pub use validate::Validate;
