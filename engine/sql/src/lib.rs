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

mod batch;
mod bounded;
mod call;
mod calling;
mod catalog;
mod chain;
mod checked;
mod checks;
mod cut;
mod error;
mod explain;
mod fallible;
mod fates;
mod findings;
mod functions;
mod hidden;
mod logical;
mod lookup;
mod monotone;
mod normal;
mod output;
mod parse;
mod planning;
mod predicate;
mod query;
mod refuse;
mod relation;
mod session;
mod stateless;
mod streams;
mod text;
mod types;
mod udf;
mod window;

pub use batch::{run_batch, run_batch_with};
pub use catalog::{Catalog, Emit, Port};
pub use error::{SqlError, SqlErrorKind};
pub use functions::{Functions, is_built_in};
pub use lookup::{Keyed, lookups};
pub use planning::plan_query;
pub use predicate::{PlannedPredicate, plan_predicate, plan_predicate_with};
pub use query::{MakeCaller, PlannedQuery, QueryKind, Routing, Stage, StageContext, port};
pub use streams::streams;
