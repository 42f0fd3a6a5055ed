//! The logical node that adds `window_start` and `window_end` to rows: the mark by which the cutter knows a window.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::Field;
use datafusion::common::{DFSchema, DFSchemaRef, Result as DfResult, plan_datafusion_err};
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, UserDefinedLogicalNodeCore};
use millstream_core::batch::TIMESTAMP;

use super::length::Length;
use crate::relation::{WINDOW_END, WINDOW_START};

/// All columns of `input`, then the window of each row.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct AssignWindow {
    input: LogicalPlan,
    /// A timestamp column of `input`.
    time: Expr,
    length: Length,
    schema: DFSchemaRef,
}

impl AssignWindow {
    pub(crate) fn new(input: LogicalPlan, time: Expr, length: Length) -> DfResult<Self> {
        let nullable = time.nullable(input.schema())?;
        let fields = input.schema().iter().map(|(q, f)| (q.cloned(), Arc::clone(f)));
        let added = [WINDOW_START, WINDOW_END].map(|n| (None, Arc::new(Field::new(n, TIMESTAMP, nullable))));
        let schema = DFSchema::new_with_metadata(fields.chain(added).collect(), input.schema().metadata().clone())?;
        Ok(Self { input, time, length, schema: Arc::new(schema) })
    }

    pub(crate) fn input(&self) -> &LogicalPlan {
        &self.input
    }

    pub(crate) fn length(&self) -> Length {
        self.length
    }

    /// The index of the time column in the input.
    pub(crate) fn time(&self) -> DfResult<usize> {
        match &self.time {
            Expr::Column(column) => self.input.schema().index_of_column(column),
            other => Err(plan_datafusion_err!("`{other}` is not a column")),
        }
    }

    /// The name of the time column.
    pub(crate) fn time_name(&self) -> String {
        match &self.time {
            Expr::Column(column) => column.name.clone(),
            other => other.to_string(),
        }
    }
}

impl PartialOrd for AssignWindow {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match (&self.time, self.length).partial_cmp(&(&other.time, other.length)) {
            Some(Ordering::Equal) => self.input.partial_cmp(&other.input),
            order => order,
        }
    }
}

impl UserDefinedLogicalNodeCore for AssignWindow {
    fn name(&self) -> &str {
        "AssignWindow"
    }
    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }
    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }
    fn expressions(&self) -> Vec<Expr> {
        vec![self.time.clone()]
    }
    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AssignWindow: {} over {}", self.length, self.time)
    }
    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> DfResult<Self> {
        match (exprs.into_iter().next(), inputs.into_iter().next()) {
            (Some(time), Some(input)) => Self::new(input, time, self.length),
            _ => Err(plan_datafusion_err!("a window needs its input and its time column")),
        }
    }
    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let input = self.input.schema().fields().len();
        let mut columns: Vec<usize> = output_columns.iter().copied().filter(|&c| c < input).collect();
        columns.push(self.time().ok()?);
        columns.sort_unstable();
        columns.dedup();
        Some(vec![columns])
    }
}
