//! The logical node that stands for the call of an async function: what the cutter makes a pause of.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::Field;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, DFSchemaRef, Result as DfResult, plan_datafusion_err};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, LogicalPlanBuilder, UserDefinedLogicalNodeCore};
use millstream_udf::{Kind, Udf};

use crate::udf::misuse;

/// All columns of `input`, then the result of a call.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct CallNode {
    input: LogicalPlan,
    call: Expr,
    /// Name of the column that the call adds.
    result: String,
    schema: DFSchemaRef,
}

impl CallNode {
    fn new(input: LogicalPlan, call: Expr, result: String) -> DfResult<Self> {
        let udf = async_udf(&call).ok_or_else(|| plan_datafusion_err!("`{call}` is no call of an async function"))?;
        let field = Arc::new(Field::new(&result, udf.signature().returns.arrow(), true));
        let fields = input.schema().iter().map(|(q, f)| (q.cloned(), Arc::clone(f))).chain([(None, field)]);
        let schema = DFSchema::new_with_metadata(fields.collect(), input.schema().metadata().clone())?;
        Ok(Self { input, call, result, schema: Arc::new(schema) })
    }

    pub(crate) fn input(&self) -> &LogicalPlan {
        &self.input
    }

    /// The function and its arguments.
    pub(crate) fn call(&self) -> Option<(&Udf, &[Expr])> {
        misuse::call(&self.call)
    }
}

impl PartialOrd for CallNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match self.call.partial_cmp(&other.call) {
            Some(Ordering::Equal) => self.input.partial_cmp(&other.input),
            order => order,
        }
    }
}

impl UserDefinedLogicalNodeCore for CallNode {
    fn name(&self) -> &str {
        "Call"
    }
    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }
    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }
    fn expressions(&self) -> Vec<Expr> {
        vec![self.call.clone()]
    }
    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Call: {}", self.call)
    }
    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> DfResult<Self> {
        match (exprs.into_iter().next(), inputs.into_iter().next()) {
            (Some(call), Some(input)) => Self::new(input, call, self.result.clone()),
            _ => Err(plan_datafusion_err!("a call needs its input and its arguments")),
        }
    }
}

/// The async function an expression calls.
pub(crate) fn async_udf(expr: &Expr) -> Option<&Udf> {
    misuse::call(expr).map(|(udf, _)| udf).filter(|udf| udf.signature().kind == Kind::Async)
}

/// The calls of async functions in an expression, each once; a call stands behind those in its arguments.
pub(crate) fn calls_in(expr: &Expr, found: &mut Vec<Expr>) {
    let _ = expr.apply_children(|e| {
        calls_in(e, found);
        Ok(TreeNodeRecursion::Continue)
    });
    if async_udf(expr).is_some() && !found.contains(expr) {
        found.push(expr.clone());
    }
}

/// The calls of async functions in a plan, each once.
pub(crate) fn calls_of(plan: &LogicalPlan) -> Vec<Expr> {
    let mut found = Vec::new();
    let _ = plan.apply_with_subqueries(|node| {
        node.expressions().iter().for_each(|e| calls_in(e, &mut found));
        Ok(TreeNodeRecursion::Continue)
    });
    found
}

/// The column of each call that was cut out.
type Results = Vec<(Expr, Expr)>;

/// The same expression over the results of calls.
fn over_results(expr: Expr, results: &Results) -> DfResult<Transformed<Expr>> {
    expr.transform_down(|e| {
        let result = results.iter().find(|(call, _)| *call == e);
        Ok(result.map_or_else(|| Transformed::no(e), |(_, column)| Transformed::yes(column.clone())))
    })
}

/// Below `input`'s reader, a node per call, those in arguments of others first.
fn with_calls(mut input: LogicalPlan, calls: Vec<Expr>) -> DfResult<(LogicalPlan, Results)> {
    let mut results = Results::new();
    for (call, number) in calls.into_iter().zip(1..) {
        let over = call.clone().map_children(|argument| over_results(argument, &results))?.data;
        let name = format!("__call{number}");
        let node = Arc::new(CallNode::new(input, over, name.clone())?);
        input = LogicalPlan::Extension(Extension { node });
        results.push((call, Expr::Column(Column::new_unqualified(name))));
    }
    Ok((input, results))
}

/// The same plan with the calls of async functions in nodes of their own, below the projection or filter that needs them.
pub(crate) fn cut_calls(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    let cut = plan.transform_up(|node| {
        let (input, exprs) = match &node {
            LogicalPlan::Projection(p) => (p.input.as_ref().clone(), p.expr.clone()),
            LogicalPlan::Filter(f) => (f.input.as_ref().clone(), vec![f.predicate.clone()]),
            _ => return Ok(Transformed::no(node)),
        };
        let mut calls = Vec::new();
        exprs.iter().for_each(|e| calls_in(e, &mut calls));
        if calls.is_empty() {
            return Ok(Transformed::no(node));
        }
        let (called, results) = with_calls(input, calls)?;
        let replaced = exprs.into_iter().map(|e| {
            let name = e.qualified_name();
            let is_column = matches!(node, LogicalPlan::Projection(_));
            let e = over_results(e, &results)?;
            // A projection's columns keep their names.
            Ok(if is_column && e.transformed { e.data.alias_qualified(name.0, name.1) } else { e.data })
        });
        let replaced = replaced.collect::<DfResult<Vec<_>>>()?;
        let kept: Vec<Expr> =
            node.schema().iter().map(|(q, f)| Expr::Column(Column::new(q.cloned(), f.name()))).collect();
        let is_filter = matches!(node, LogicalPlan::Filter(_));
        let node = node.with_new_exprs(replaced, vec![called])?;
        // A filter gives what it takes: without the results.
        let node = if is_filter { LogicalPlanBuilder::from(node).project(kept)?.build()? } else { node };
        Ok(Transformed::yes(node))
    })?;
    Ok(cut.data)
}
