//! A planned query as the runtime sees it: inputs, output, and the stages to run.

use std::fmt;
use std::time::Duration;

use millstream_core::operator::{Operator, OutPort};
use millstream_core::Result;

/// The output ports of every stage.
pub mod port {
    use millstream_core::operator::OutPort;

    /// Results; of a stage that is not the last one, the batches for the next stage's `InPort(0)`.
    pub const RESULTS: OutPort = OutPort(0);
    /// Rows refused because their window has ended, in the schema of `millstream_core::refusal`.
    pub const LATE: OutPort = OutPort(1);
    /// Rows an expression failed on, in the schema of `millstream_core::refusal`.
    pub const FAILED: OutPort = OutPort(2);
}

/// How a query runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum QueryKind {
    /// Each row by itself: projections, filters, unnesting, unions.
    Stateless,
    /// One aggregate over windows of event time.
    Windowed,
    /// Any SQL, evaluated at the end of bounded inputs.
    Bounded,
}

/// Where the input of a stage must go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Routing {
    /// It stays on the worker where it is.
    Local,
    /// To the worker that owns the key group of these columns of the stage's input batches.
    Keys(Vec<usize>),
    /// All of it to worker 0.
    Single,
}

/// What an operator is told when it is made.
#[derive(Debug, Clone)]
pub struct StageContext {
    /// Id of the node, for refusals.
    pub component: String,
    /// Wall-clock length of a tick: `Tick(n)` is `n * tick` after the epoch.
    pub tick: Duration,
}

impl Default for StageContext {
    fn default() -> Self {
        Self { component: "sql".to_owned(), tick: Duration::from_millis(10) }
    }
}

type Make = dyn Fn(&StageContext) -> Result<Box<dyn Operator>> + Send + Sync;

/// One operator of a query. Stages run in sequence: the first takes the query's inputs by `InPort(i)`, each later
/// one the `OutPort(0)` of the one before; every other port of any stage leaves the node.
///
/// The node's ledger is the sum of the stages' counts, with the host adding `input` for the *first stage only*:
/// later stages count nothing but what they produce and what fails in it.
pub struct Stage {
    /// Where its input must go.
    pub routing: Routing,
    /// Makes the operator, once per worker.
    pub make: Box<Make>,
    /// The ports it gives on.
    pub ports: Vec<OutPort>,
    /// What it is, for plans and metrics: `filter`, `window partial`, `window merge`, ..
    pub name: &'static str,
}

impl Stage {
    /// Makes the operator of one worker.
    ///
    /// # Errors
    /// `Bug` where the plan cannot be compiled: planning has compiled it once before.
    pub fn operator(&self, context: &StageContext) -> Result<Box<dyn Operator>> {
        (self.make)(context)
    }
}

impl fmt::Debug for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stage").field("name", &self.name).field("routing", &self.routing).finish_non_exhaustive()
    }
}
