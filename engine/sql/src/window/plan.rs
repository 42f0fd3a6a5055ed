//! A windowed query cut to pieces: chains below, one aggregate over windows, steps above.

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::common::{Column, DFSchema, Result as DfResult};
use datafusion::logical_expr::{Aggregate as AggregateNode, Expr, LogicalPlan};
use datafusion::physical_expr::PhysicalExpr;
use millstream_core::Watermark;
use millstream_core::batch::{TIMESTAMP, hidden};

use super::aggregate::Aggregate;
use super::length::Length;
use super::meaning::{Meaning, is_injective, meaning};
use crate::catalog::Emit;
use crate::chain::{Step, with_tail};
use crate::cut::{Branch, NotChains, Streams, WindowColumns, branches, column_index, name_of, project_step};
use crate::relation::{WINDOW_END, WINDOW_START};
use crate::session;

/// A column of the group as the aggregate gives it.
#[derive(Debug, Clone)]
pub(crate) enum GroupColumn {
    /// When the window begins.
    Start,
    /// When it ends.
    End,
    /// The i-th key beside the window.
    Key(usize),
    /// Computed from start and end.
    Derived(Arc<dyn PhysicalExpr>),
}

/// Everything both stages need to know.
#[derive(Debug)]
pub(crate) struct WindowPlan {
    /// The chains; the last step of each computes [`WindowPlan::inputs`].
    pub(crate) branches: Vec<Branch>,
    /// How long windows are.
    pub(crate) length: Length,
    /// The time column's name, for reasons and plans.
    pub(crate) time: String,
    /// Whether the first input column is the window's start; else its end.
    pub(crate) by_start: bool,
    /// Whether a row may be without a window.
    pub(crate) time_may_be_null: bool,
    /// Keys beside the window.
    pub(crate) keys: Vec<FieldRef>,
    /// The aggregates.
    pub(crate) aggregates: Vec<Aggregate>,
    /// The group's columns as results have them.
    pub(crate) groups: Vec<GroupColumn>,
    /// Start and end, the rows [`GroupColumn::Derived`] is computed over.
    pub(crate) window_schema: SchemaRef,
    /// What stage 0 gives to stage 1: `window_start`, keys, states, hidden columns.
    pub(crate) partial: SchemaRef,
    /// What the aggregate gives, with a tail.
    pub(crate) results: SchemaRef,
    /// Its columns as the user knows them: by their names in the query's result, else as they are written.
    pub(crate) names: Vec<String>,
    /// Steps from there to the query's result.
    pub(crate) above: Vec<Step>,
    /// Whether results are filtered: they are then given once, when they cannot change any more, because a
    /// result that stops meeting the filter could not be taken back.
    pub(crate) having: bool,
    /// When results are given.
    pub(crate) emit: Emit,
    /// How far behind the watermark accepted rows may be.
    pub(crate) horizon: Duration,
    /// In words.
    pub(crate) words: Words,
    /// For each output column of the query, what it says of the group.
    pub(crate) output: Vec<Meaning>,
}

/// The plan in words.
#[derive(Debug, Default)]
pub(crate) struct Words {
    /// The group.
    pub(crate) groups: Vec<String>,
    /// The aggregates.
    pub(crate) aggregates: Vec<String>,
    /// The steps above.
    pub(crate) above: Vec<String>,
}

/// Why a plan is not a windowed query.
#[derive(Debug)]
pub(crate) enum NotWindowed {
    /// A node that cannot stand over or under the aggregate, in words.
    Node(&'static str),
    /// There is an aggregate, but its groups do not name a window.
    NoWindow,
    /// It cannot be compiled.
    Failed(datafusion::common::DataFusionError),
}

impl From<datafusion::common::DataFusionError> for NotWindowed {
    fn from(e: datafusion::common::DataFusionError) -> Self {
        Self::Failed(e)
    }
}

impl From<NotChains> for NotWindowed {
    fn from(e: NotChains) -> Self {
        match e {
            NotChains::Node(name) => Self::Node(name),
            NotChains::Failed(e) => Self::Failed(e),
        }
    }
}

/// The nodes from the root down to the one aggregate, root first.
fn split(plan: &LogicalPlan) -> Result<(Vec<&LogicalPlan>, &AggregateNode), NotWindowed> {
    let mut above = Vec::new();
    let mut node = plan;
    loop {
        above.push(node);
        node = match node {
            LogicalPlan::Projection(p) => &p.input,
            LogicalPlan::Filter(f) => &f.input,
            LogicalPlan::SubqueryAlias(a) => &a.input,
            LogicalPlan::Aggregate(aggregate) => {
                above.pop();
                return Ok((above, aggregate));
            }
            other => return Err(NotWindowed::Node(name_of(other))),
        };
    }
}

/// The aggregate of a plan that has one where a windowed query has it.
pub(crate) fn aggregate_of(plan: &LogicalPlan) -> Option<&AggregateNode> {
    split(plan).ok().map(|(_, aggregate)| aggregate)
}

/// Whether there is an aggregate anywhere in a plan.
pub(crate) fn has_aggregate(plan: &LogicalPlan) -> bool {
    use datafusion::common::tree_node::TreeNode;
    plan.exists(|node| Ok(matches!(node, LogicalPlan::Aggregate(_)))).unwrap_or(false)
}

/// A plan as a windowed query.
pub(crate) fn windowed(
    plan: &LogicalPlan,
    streams: &Streams<'_>,
    emit: Emit,
    horizon: Duration,
) -> Result<WindowPlan, NotWindowed> {
    let (above, aggregate) = split(plan)?;
    let mut chains = branches(&aggregate.input, streams)?;
    let window = common_window(&chains).ok_or(NotWindowed::NoWindow)?;
    let input = aggregate.input.schema();
    let grouped = groups(aggregate, &window)?;
    if !grouped.meanings.contains(&Meaning::Window) {
        return Err(NotWindowed::NoWindow);
    }
    let aggregates: Vec<Aggregate> =
        aggregate.aggr_expr.iter().map(|e| Aggregate::new(e, input)).collect::<DfResult<_>>()?;
    let by_start = window.start.is_some();
    let column = window.start.or(window.end).ok_or(NotWindowed::NoWindow)?;
    let time_may_be_null = chains.iter().any(|b| b.schema().fields().get(column).is_none_or(|f| f.is_nullable()));
    for branch in &mut chains {
        push_inputs(branch, column, &grouped.keys, &aggregates)?;
    }
    let keys: Vec<FieldRef> = chains
        .first()
        .map(|b| b.schema().fields().iter().skip(1).take(grouped.keys.len()).cloned().collect())
        .unwrap_or_default();
    let mut results: Vec<FieldRef> = Vec::new();
    for ((_, field), i) in aggregate.schema.iter().zip(0_usize..) {
        let own = i.checked_sub(grouped.columns.len()).and_then(|a| aggregates.get(a)).map(Aggregate::field);
        let data_type = own.map_or_else(|| field.data_type().clone(), |f| f.data_type().clone());
        results.push(Arc::new(Field::new(field.name(), data_type, true).with_metadata(field.metadata().clone())));
    }
    let results = with_tail(results, &DataType::Utf8);
    let mut words = Words {
        groups: aggregate.group_expr.iter().map(crate::cut::words).collect(),
        aggregates: aggregate.aggr_expr.iter().map(crate::cut::words).collect(),
        above: Vec::new(),
    };
    let (steps, output, having) = steps_above(&above, aggregate, &grouped, window.length, &results, &mut words)?;
    Ok(WindowPlan {
        partial: partial_schema(&keys, &aggregates),
        branches: chains,
        length: window.length,
        time: window.time,
        by_start,
        time_may_be_null,
        keys,
        aggregates,
        groups: grouped.columns,
        window_schema: grouped.window_schema,
        results,
        names: names(plan, &above, aggregate),
        above: steps,
        having,
        emit,
        horizon,
        words,
        output,
    })
}

/// What the user calls the columns of the aggregate.
fn names(plan: &LogicalPlan, above: &[&LogicalPlan], aggregate: &AggregateNode) -> Vec<String> {
    let mut names: Vec<String> =
        aggregate.group_expr.iter().chain(&aggregate.aggr_expr).map(crate::cut::words).collect();
    // Which column of the aggregate each column of a step is.
    let mut origin: Vec<Option<usize>> = (0..names.len()).map(Some).collect();
    for node in above.iter().rev() {
        if let LogicalPlan::Projection(p) = node {
            let from = |e| column_index(e, p.input.schema()).and_then(|i| origin.get(i).copied().flatten());
            origin = p.expr.iter().map(from).collect();
        }
    }
    for (field, from) in plan.schema().fields().iter().zip(origin) {
        if let Some(name) = from.and_then(|i| names.get_mut(i)) {
            field.name().clone_into(name);
        }
    }
    names
}

/// The window that all branches have, at the same columns.
fn common_window(chains: &[Branch]) -> Option<WindowColumns> {
    let first = chains.first()?.window.clone()?;
    let same = |w: &WindowColumns| (w.length, w.start, w.end) == (first.length, first.start, first.end);
    let all = chains.iter().all(|b| b.window.as_ref().is_some_and(same));
    (all && (first.start.is_some() || first.end.is_some())).then_some(first)
}

struct Grouped {
    columns: Vec<GroupColumn>,
    meanings: Vec<Meaning>,
    keys: Vec<Arc<dyn PhysicalExpr>>,
    window_schema: SchemaRef,
}

/// Sorts the group's expressions into window, computed from the window, and keys.
fn groups(aggregate: &AggregateNode, window: &WindowColumns) -> Result<Grouped, NotWindowed> {
    let input = aggregate.input.schema();
    let window_df = window_fields(input, window)?;
    let mut grouped = Grouped {
        columns: Vec::new(),
        meanings: Vec::new(),
        keys: Vec::new(),
        window_schema: Arc::new(Schema::new(window_df.fields().clone())),
    };
    for expr in &aggregate.group_expr {
        let index = column_index(expr, input);
        let (column, meaning) = if matches!(expr, Expr::GroupingSet(_)) {
            return Err(NotWindowed::Node("GROUPING SETS"));
        } else if index.is_some() && index == window.start {
            (GroupColumn::Start, Meaning::Window)
        } else if index.is_some() && index == window.end {
            (GroupColumn::End, Meaning::Window)
        } else if only_of(expr, &window_df) {
            let meaning = if is_injective(expr, window.length) { Meaning::Window } else { Meaning::Other };
            (GroupColumn::Derived(session::compile(expr, &window_df)?), meaning)
        } else {
            grouped.keys.push(session::compile(expr, input)?);
            let key = grouped.keys.len() - 1;
            (GroupColumn::Key(key), Meaning::Key(key))
        };
        grouped.columns.push(column);
        grouped.meanings.push(meaning);
    }
    Ok(grouped)
}

/// `window_start` and `window_end` under the names the aggregate's input has for them.
fn window_fields(input: &DFSchema, window: &WindowColumns) -> DfResult<DFSchema> {
    let field = |index: Option<usize>, name: &str| match index {
        Some(i) => {
            let (qualifier, field) = input.qualified_field(i);
            (qualifier.cloned(), Arc::clone(field))
        }
        None => (None, Arc::new(Field::new(format!("__{name}"), TIMESTAMP, true))),
    };
    let fields = vec![field(window.start, WINDOW_START), field(window.end, WINDOW_END)];
    DFSchema::new_with_metadata(fields, std::collections::HashMap::new())
}

/// Whether an expression uses columns of this schema only, and at least one.
fn only_of(expr: &Expr, schema: &DFSchema) -> bool {
    let columns = expr.column_refs();
    !columns.is_empty() && columns.iter().all(|c: &&Column| schema.maybe_index_of_column(c).is_some())
}

/// The last step of a chain: window, keys, then each aggregate's arguments and filter.
fn push_inputs(
    branch: &mut Branch,
    window: usize,
    keys: &[Arc<dyn PhysicalExpr>],
    aggregates: &[Aggregate],
) -> DfResult<()> {
    let rows = branch.schema().clone();
    let column = datafusion::physical_expr::expressions::Column::new(WINDOW_START, window);
    let mut exprs: Vec<Arc<dyn PhysicalExpr>> = vec![Arc::new(column)];
    exprs.extend(keys.iter().cloned());
    for aggregate in aggregates {
        exprs.extend(aggregate.args.iter().cloned());
        exprs.extend(aggregate.filter.iter().cloned());
    }
    let field = |(i, e): (usize, &Arc<dyn PhysicalExpr>)| -> DfResult<FieldRef> {
        let found = e.return_field(&rows)?;
        Ok(Arc::new(Field::new(format!("input{i}"), found.data_type().clone(), true)))
    };
    let fields = exprs.iter().enumerate().map(field).collect::<DfResult<Vec<_>>>()?;
    let position = rows.field_with_name(hidden::POSITION).map_or(DataType::Utf8, |f| f.data_type().clone());
    branch.chain.steps.push(Step::Project { exprs, schema: with_tail(fields, &position) });
    Ok(())
}

fn partial_schema(keys: &[FieldRef], aggregates: &[Aggregate]) -> SchemaRef {
    let mut fields = vec![Field::new(WINDOW_START, TIMESTAMP, false)];
    fields.extend(keys.iter().enumerate().map(|(i, f)| Field::new(format!("key{i}"), f.data_type().clone(), true)));
    for (i, aggregate) in aggregates.iter().enumerate() {
        let states = aggregate.state.iter().enumerate();
        fields.extend(states.map(|(s, f)| Field::new(format!("state{i}_{s}"), f.data_type().clone(), true)));
    }
    fields.extend(millstream_core::batch::hidden_fields(DataType::Utf8));
    Arc::new(Schema::new(fields))
}

type Above = (Vec<Step>, Vec<Meaning>, bool);

/// The steps over the aggregate, what each output column means, and whether results are filtered.
fn steps_above(
    above: &[&LogicalPlan],
    aggregate: &AggregateNode,
    grouped: &Grouped,
    length: Length,
    results: &SchemaRef,
    words: &mut Words,
) -> Result<Above, NotWindowed> {
    let mut meanings = grouped.meanings.clone();
    meanings.resize(aggregate.schema.fields().len(), Meaning::Other);
    let (mut steps, mut having, mut rows) = (Vec::new(), false, results.clone());
    for node in above.iter().rev() {
        match node {
            LogicalPlan::Projection(p) => {
                let input = p.input.schema();
                let (step, text) = project_step(&p.expr, input, &p.schema, &rows, &DataType::Utf8)?;
                let meaning = |e: &Expr| meaning(e, input, &meanings, length);
                meanings = p.expr.iter().map(meaning).collect();
                if let Step::Project { schema, .. } = &step {
                    rows = schema.clone();
                }
                words.above.extend(text);
                steps.push(step);
            }
            LogicalPlan::Filter(f) => {
                having = true;
                words.above.push(format!("filter: {}", crate::cut::words(&f.predicate)));
                steps.push(Step::Filter(session::compile(&f.predicate, f.input.schema())?));
            }
            _ => {}
        }
    }
    Ok((steps, meanings, having))
}

impl WindowPlan {
    /// How many columns at the front of partial batches are the group: the window's start and the keys.
    pub(crate) fn group_columns(&self) -> usize {
        1 + self.keys.len()
    }

    /// The output columns that identify a result, none where they do not.
    pub(crate) fn key(&self, output: &[FieldRef]) -> Vec<String> {
        let has = |m: Meaning| self.output.contains(&m);
        if !has(Meaning::Window) || !(0..self.keys.len()).all(|k| has(Meaning::Key(k))) {
            return Vec::new();
        }
        let named = self.output.iter().zip(output).filter(|(m, _)| **m != Meaning::Other);
        named.map(|(_, f)| f.name().clone()).collect()
    }

    /// Until when rows are accepted into the window that ends at `end`, by their own event time.
    pub(crate) fn accepted_until(&self, end: i64) -> i64 {
        end.saturating_add(millstream_core::time::micros(self.emit.allowed_lateness))
    }

    /// The watermark behind which no accepted row can reach the window that ends at `end`.
    pub(crate) fn settled_behind(&self, end: i64) -> i64 {
        self.accepted_until(end).saturating_add(millstream_core::time::micros(self.horizon))
    }

    /// Whether no accepted row can reach the window that begins at `start` any more: it is forgotten.
    pub(crate) fn is_settled(&self, start: i64, watermark: Watermark) -> bool {
        watermark.is_complete() || watermark.0.0 > self.settled_behind(self.length.end_of(start))
    }

    /// Whether the final results of the window that begins at `start` are to be given.
    pub(crate) fn is_due(&self, start: i64, watermark: Watermark) -> bool {
        if self.having {
            return self.is_settled(start, watermark);
        }
        watermark.is_complete() || watermark.0.0 >= self.length.end_of(start)
    }
}
