//! A planned query as the runtime sees it: inputs, output, and the stages to run.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use millstream_core::caller::{Caller, Wake};
use millstream_core::operator::{Operator, OutPort};
use millstream_core::{Error, Result};

use crate::bounded::{Bounded, BoundedPlan};
use crate::calling::{Calling, Path};
use crate::chain::{Chain, Step};
use crate::cut::Branch;
use crate::error::SqlError;
use crate::fallible::steps_can_fail;
use crate::output::Finish;
use crate::stateless::Stateless;
use crate::window::aggregate::Aggregate;
use crate::window::merge::MergeWindow;
use crate::window::partial::PartialWindow;
use crate::window::plan::WindowPlan;

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

/// Makes the caller of one worker, which wakes its host when there are answers.
pub type MakeCaller = dyn Fn(&StageContext, Wake) -> Result<Box<dyn Caller>> + Send + Sync;

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

/// What runs.
pub(crate) enum Runs {
    /// Chains that end in the query's columns.
    Stateless { branches: Vec<Branch>, finish: Finish },
    /// The same, with a pause in each for an async function's answer.
    Calling { branches: Vec<Branch>, finish: Finish },
    /// An aggregate over windows.
    Windowed { plan: Arc<WindowPlan>, finish: Finish },
    /// DataFusion, at the end; `words` is its plan.
    Bounded { plan: Arc<BoundedPlan>, words: String },
}

/// A query that was planned and compiled.
pub struct PlannedQuery {
    pub(crate) inputs: Vec<String>,
    pub(crate) schema: SchemaRef,
    pub(crate) key: Vec<String>,
    pub(crate) warnings: Vec<SqlError>,
    /// Output columns that count the rows of a group.
    pub(crate) counts: Vec<String>,
    pub(crate) runs: Runs,
}

impl fmt::Debug for PlannedQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlannedQuery").field("kind", &self.kind()).field("inputs", &self.inputs).finish_non_exhaustive()
    }
}

impl PlannedQuery {
    /// The ports it reads, by name: `inputs()[i]` arrives at the first stage's `InPort(i)`.
    pub fn inputs(&self) -> &[String] {
        &self.inputs
    }
    /// Its result: user columns, then hidden ones.
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }
    /// Output columns that identify a result row: a later row of the same key replaces it. Empty if none do.
    pub fn key(&self) -> &[String] {
        &self.key
    }
    /// How it runs.
    pub fn kind(&self) -> QueryKind {
        match self.runs {
            Runs::Stateless { .. } | Runs::Calling { .. } => QueryKind::Stateless,
            Runs::Windowed { .. } => QueryKind::Windowed,
            Runs::Bounded { .. } => QueryKind::Bounded,
        }
    }
    /// Whether rows can leave by [`port::LATE`].
    pub fn late_port(&self) -> bool {
        matches!(self.runs, Runs::Windowed { .. })
    }
    /// Whether rows can leave by [`port::FAILED`]: an expression can fail on them, or a window's time can be null.
    pub fn failed_port(&self) -> bool {
        let chains =
            |branches: &[Branch]| branches.iter().any(|b| steps_can_fail(&b.chain.steps, &b.chain.scan.schema));
        match &self.runs {
            Runs::Stateless { branches, .. } | Runs::Calling { branches, .. } => chains(branches),
            Runs::Windowed { plan, .. } => {
                plan.time_may_be_null
                    || plan.aggregates.iter().any(Aggregate::can_fail)
                    || chains(&plan.branches)
                    || steps_can_fail(&plan.above, &plan.results)
            }
            Runs::Bounded { .. } => false,
        }
    }
    /// Whether every row gives exactly one row, whatever it holds: only then is a later row of a key passed on as such.
    pub fn keeps_every_row(&self) -> bool {
        match &self.runs {
            Runs::Stateless { branches, .. } => {
                let projects = |step: &Step| matches!(step, Step::Project { .. });
                branches.iter().all(|b| b.chain.steps.iter().all(projects))
            }
            _ => false,
        }
    }
    /// Whether a result may be given again with other values: early results, rows within the allowed lateness. Only
    /// keyed sinks can take those.
    pub fn revises(&self) -> bool {
        match &self.runs {
            Runs::Windowed { plan, .. } => {
                !plan.having
                    && (plan.emit.early.is_some() || !plan.emit.allowed_lateness.is_zero() || !plan.horizon.is_zero())
            }
            _ => false,
        }
    }
    /// Columns that are greater in a later revision of a result: each revision has more rows in it, and these count them.
    pub fn revisions(&self) -> &[String] {
        &self.counts
    }
    /// What is worth saying although it runs.
    pub fn warnings(&self) -> &[SqlError] {
        &self.warnings
    }
    /// Its operators, to be run in sequence.
    pub fn stages(&self) -> Vec<Stage> {
        match &self.runs {
            Runs::Stateless { branches, finish } => vec![self.stateless(branches, finish)],
            // See `caller`.
            Runs::Calling { .. } => Vec::new(),
            Runs::Windowed { plan, finish } => vec![self.partial(plan), merge(plan, finish)],
            Runs::Bounded { plan, .. } => {
                let plan = Arc::clone(plan);
                vec![Stage {
                    routing: Routing::Single,
                    make: Box::new(move |c| Ok(Box::new(Bounded::new(Arc::clone(&plan), c.component.clone())))),
                    ports: vec![port::RESULTS],
                    name: "query at the end",
                }]
            }
        }
    }

    /// The caller of a query that calls an async function, which has no stages; none of other queries.
    pub fn caller(&self) -> Option<Box<MakeCaller>> {
        let Runs::Calling { branches, finish } = &self.runs else { return None };
        let paths: Vec<Vec<Path>> =
            (self.chains(branches).into_iter()).map(|chains| chains.into_iter().map(Path::of).collect()).collect();
        let finish = finish.clone();
        Some(Box::new(move |c, wake| {
            let made = Calling::new(paths.clone(), finish.clone(), c.component.clone(), &wake)?;
            Ok(Box::new(made))
        }))
    }

    /// The async functions whose answers may be others when they are asked again.
    pub fn undecided(&self) -> Vec<&str> {
        let Runs::Calling { branches, .. } = &self.runs else { return Vec::new() };
        let steps = branches.iter().flat_map(|b| &b.chain.steps);
        let udfs = steps.filter_map(|s| if let Step::Call { udf, .. } = s { Some(udf) } else { None });
        udfs.filter(|udf| !udf.calling().deterministic).map(millstream_udf::Udf::name).collect()
    }

    /// Per input, the chains over it.
    fn chains(&self, branches: &[Branch]) -> Vec<Vec<Chain>> {
        let of = |input: &String| branches.iter().filter(|b| b.stream == *input).map(|b| b.chain.clone()).collect();
        self.inputs.iter().map(of).collect()
    }

    fn stateless(&self, branches: &[Branch], finish: &Finish) -> Stage {
        let (chains, finish) = (self.chains(branches), finish.clone());
        Stage {
            routing: Routing::Local,
            make: Box::new(move |c| {
                let (chains, finish, component) = (chains.clone(), finish.clone(), c.component.clone());
                Ok(Box::new(Stateless { chains, finish, component }))
            }),
            ports: vec![port::RESULTS, port::FAILED],
            name: "rows",
        }
    }

    fn partial(&self, plan: &Arc<WindowPlan>) -> Stage {
        let (plan, chains) = (Arc::clone(plan), Arc::new(self.chains(&plan.branches)));
        Stage {
            routing: Routing::Local,
            make: Box::new(move |c| {
                let made = PartialWindow::new(Arc::clone(&plan), Arc::clone(&chains), c.component.clone());
                Ok(Box::new(made.map_err(cannot_make)?))
            }),
            ports: vec![port::RESULTS, port::LATE, port::FAILED],
            name: "window partial",
        }
    }
}

fn merge(plan: &Arc<WindowPlan>, finish: &Finish) -> Stage {
    let (plan, finish) = (Arc::clone(plan), finish.clone());
    Stage {
        routing: Routing::Keys((0..plan.group_columns()).collect()),
        make: Box::new(move |c| {
            let made = MergeWindow::new(Arc::clone(&plan), finish.clone(), c.component.clone(), c.tick);
            Ok(Box::new(made.map_err(cannot_make)?))
        }),
        ports: vec![port::RESULTS, port::FAILED],
        name: "window merge",
    }
}

fn cannot_make(e: datafusion::common::DataFusionError) -> Error {
    Error::bug("a planned query cannot be compiled again").caused_by(e)
}
