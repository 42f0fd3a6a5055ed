//! The relational part of Millstream: plans the SQL of a pipeline over its ports and cuts plans into streaming
//! operators.
//!
//! ```text
//! text -> parse -> plan (DataFusion) -> checks -> cut -> PlannedQuery -> stages of operators
//!                                                   \-> run_batch: the same SQL over all rows at once (the oracle)
//! ```
//!
//! DataFusion's types stay inside: everything public speaks Arrow and `millstream-core`.
//!
//! Invariants:
//! 1. What a query says of a bounded input is what [`run_batch`] says of its accepted rows, however the input is
//!    cut into batches, interleaved, or spread over workers.
//! 2. Every error carries the bytes of the SQL text it is about, where there are such.

mod catalog;
mod error;
mod query;

pub use catalog::{Catalog, Emit, Port};
pub use error::{SqlError, SqlErrorKind};
pub use query::{QueryKind, Routing, Stage, StageContext, port};
