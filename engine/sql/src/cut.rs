//! Cutting a logical plan into chains: the walk from the root of a plan down to its streams.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, SchemaRef};
use datafusion::common::{DFSchema, Result as DfResult, exec_datafusion_err};
use datafusion::logical_expr::{Expr, LogicalPlan, Projection, TableScan, Unnest};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column as PhysicalColumn;
use datafusion::physical_plan::unnest::ListUnnest;

use crate::call::CallNode;
use crate::chain::{Chain, Scan, Step, tail_fields, visible, with_tail};
use crate::hidden::View;
use crate::session;
use crate::window::assign::AssignWindow;
use crate::window::length::Length;

/// Where the windowed rows of a branch have their window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WindowColumns {
    /// How long windows are.
    pub(crate) length: Length,
    /// Column of `window_start`, where it is kept.
    pub(crate) start: Option<usize>,
    /// Column of `window_end`, where it is kept.
    pub(crate) end: Option<usize>,
    /// The time column's name.
    pub(crate) time: String,
}

/// A chain over one stream.
#[derive(Debug, Clone)]
pub(crate) struct Branch {
    /// The stream.
    pub(crate) stream: String,
    /// Its compiled steps.
    pub(crate) chain: Chain,
    /// Its steps in words.
    pub(crate) words: Vec<String>,
    /// Its window, once one is assigned.
    pub(crate) window: Option<WindowColumns>,
    /// For each visible column, the column of the stream it is, unchanged.
    pub(crate) origin: Vec<Option<String>>,
}

impl Branch {
    /// The rows behind its last step.
    pub(crate) fn schema(&self) -> &SchemaRef {
        let schemas = self.chain.steps.iter().rev().find_map(|s| match s {
            Step::Project { schema, .. }
            | Step::Unnest { schema, .. }
            | Step::Call { schema, .. }
            | Step::Window { schema, .. } => Some(schema),
            Step::Filter(_) => None,
        });
        schemas.unwrap_or(&self.chain.scan.schema)
    }

    fn position(&self) -> DataType {
        let schema = self.schema();
        let field = schema.fields().get(visible(schema) + crate::chain::tail::POSITION);
        field.map_or(DataType::Utf8, |f| f.data_type().clone())
    }
}

/// Why a plan is not a set of chains.
#[derive(Debug)]
pub(crate) enum NotChains {
    /// A node that needs more than one row at a time, in words.
    Node(&'static str),
    /// It cannot be compiled.
    Failed(datafusion::common::DataFusionError),
}

impl From<datafusion::common::DataFusionError> for NotChains {
    fn from(e: datafusion::common::DataFusionError) -> Self {
        Self::Failed(e)
    }
}

/// The streams a plan may read: schema and view by name.
pub(crate) struct Streams<'a> {
    pub(crate) schemas: &'a BTreeMap<&'a str, SchemaRef>,
    pub(crate) views: &'a BTreeMap<String, View>,
}

/// The branches of a plan that takes each row by itself.
pub(crate) fn branches(plan: &LogicalPlan, streams: &Streams<'_>) -> Result<Vec<Branch>, NotChains> {
    let over = |input: &LogicalPlan, step: &dyn Fn(&mut Branch) -> DfResult<()>| {
        let mut all = branches(input, streams)?;
        all.iter_mut().try_for_each(step)?;
        Ok(all)
    };
    if !matches!(plan, LogicalPlan::Union(_)) && plan.expressions().iter().any(has_subquery) {
        return Err(NotChains::Node("a subquery"));
    }
    match plan {
        LogicalPlan::TableScan(scan) => Ok(vec![scan_branch(scan, streams)?]),
        LogicalPlan::SubqueryAlias(alias) => branches(&alias.input, streams),
        LogicalPlan::Projection(p) => over(&p.input, &|b| push_projection(b, p)),
        LogicalPlan::Filter(f) => over(&f.input, &|b| {
            b.chain.steps.push(Step::Filter(session::compile(&f.predicate, f.input.schema())?));
            b.words.push(format!("filter: {}", words(&f.predicate)));
            Ok(())
        }),
        LogicalPlan::Unnest(u) => over(&u.input, &|b| push_unnest(b, u)),
        LogicalPlan::Union(u) => {
            let all: Result<Vec<_>, _> = u.inputs.iter().map(|i| branches(i, streams)).collect();
            Ok(all?.into_iter().flatten().collect())
        }
        LogicalPlan::Extension(e) => match e.node.as_any().downcast_ref::<AssignWindow>() {
            Some(node) => over(node.input(), &|b| push_window(b, node)),
            None => match e.node.as_any().downcast_ref::<CallNode>() {
                Some(node) => over(node.input(), &|b| push_call(b, node)),
                None => Err(NotChains::Node("an extension")),
            },
        },
        other => Err(NotChains::Node(name_of(other))),
    }
}

/// What a node is, for people.
pub(crate) fn name_of(plan: &LogicalPlan) -> &'static str {
    match plan {
        LogicalPlan::Aggregate(_) => "an aggregate",
        LogicalPlan::Distinct(_) => "DISTINCT",
        LogicalPlan::Join(_) => "a join",
        LogicalPlan::Sort(_) => "ORDER BY",
        LogicalPlan::Limit(_) => "LIMIT",
        LogicalPlan::Window(_) => "a window function (OVER)",
        LogicalPlan::RecursiveQuery(_) => "a recursive query",
        LogicalPlan::EmptyRelation(_) | LogicalPlan::Values(_) => "a query without a stream",
        _ => "this kind of query",
    }
}

fn has_subquery(expr: &Expr) -> bool {
    use datafusion::common::tree_node::TreeNode;
    let subquery = |e: &Expr| {
        Ok(matches!(e, Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_) | Expr::SetComparison(_)))
    };
    expr.exists(subquery).unwrap_or(true)
}

fn scan_branch(scan: &TableScan, streams: &Streams<'_>) -> DfResult<Branch> {
    let stream = scan.table_name.to_string();
    let missing = || exec_datafusion_err!("no stream named `{stream}`");
    let view = streams.views.get(&stream).ok_or_else(missing)?;
    let schema = streams.schemas.get(stream.as_str()).ok_or_else(missing)?;
    let used = scan.projection.clone().unwrap_or_else(|| (0..view.columns.len()).collect());
    let origin = used.iter().map(|&i| view.schema.fields().get(i).map(|f| f.name().clone())).collect();
    let chain = Chain { scan: Scan::new(view.clone(), used, schema)?, steps: Vec::new() };
    Ok(Branch { stream, chain, words: Vec::new(), window: None, origin })
}

/// The expression without its names.
pub(crate) fn unaliased(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(alias) => unaliased(&alias.expr),
        other => other,
    }
}

/// The input column that an expression is, unchanged.
pub(crate) fn column_index(expr: &Expr, input: &DFSchema) -> Option<usize> {
    match unaliased(expr) {
        Expr::Column(column) => input.maybe_index_of_column(column),
        _ => None,
    }
}

/// An expression for people: literals without their types.
pub(crate) fn words(expr: &Expr) -> String {
    const TYPES: [&str; 6] = ["Int32(", "Int64(", "Float64(", "Utf8(", "Boolean(", "Decimal128("];
    const CASTS: [(&str, &str); 7] = [
        ("count(Int64(1))", "count(*)"),
        ("AS Decimal128(", "AS DECIMAL("),
        ("AS Utf8", "AS VARCHAR"),
        ("AS Int64)", "AS BIGINT)"),
        ("AS Int32)", "AS INT)"),
        ("AS Float64)", "AS DOUBLE)"),
        ("AS Boolean)", "AS BOOLEAN)"),
    ];
    let text = expr.clone().unalias_nested().data.to_string();
    let mut text = CASTS.iter().fold(text, |text, (theirs, ours)| text.replace(theirs, ours));
    for literal in TYPES {
        while let Some((head, rest)) = text.split_once(literal) {
            let Some((value, tail)) = rest.split_once(')') else { break };
            let value = if literal == "Decimal128(" { value.split(',').next().unwrap_or(value) } else { value };
            let value = value.replace('"', "'");
            text = format!("{head}{value}{tail}");
        }
    }
    text
}

fn push_projection(branch: &mut Branch, projection: &Projection) -> DfResult<()> {
    let input = projection.input.schema();
    let (step, words) =
        project_step(&projection.expr, input, projection.schema.as_ref(), branch.schema(), &branch.position())?;
    let moved =
        |from: Option<usize>| projection.expr.iter().position(|e| from.is_some() && column_index(e, input) == from);
    if let Some(window) = &mut branch.window {
        (window.start, window.end) = (moved(window.start), moved(window.end));
    }
    let origin = |e| column_index(e, input).and_then(|i| branch.origin.get(i).cloned().flatten());
    branch.origin = projection.expr.iter().map(origin).collect();
    branch.chain.steps.push(step);
    branch.words.extend(words);
    Ok(())
}

/// A projection as a step, and in words unless it only picks columns.
pub(crate) fn project_step(
    exprs: &[Expr],
    input: &DFSchema,
    output: &DFSchema,
    rows: &SchemaRef,
    position: &DataType,
) -> DfResult<(Step, Option<String>)> {
    let compiled = exprs.iter().map(|e| session::compile(e, input)).collect::<DfResult<Vec<_>>>()?;
    let mut fields: Vec<FieldRef> = Vec::with_capacity(exprs.len());
    let mut text = String::new();
    for ((compiled, expr), (_, named)) in compiled.iter().zip(exprs).zip(output.iter()) {
        let found = compiled.return_field(rows)?;
        let field = Field::new(named.name(), found.data_type().clone(), found.is_nullable());
        fields.push(Arc::new(field.with_metadata(named.metadata().clone())));
        let separator = if text.is_empty() { "" } else { ", " };
        let source = unaliased(expr);
        let _ = match source {
            Expr::Column(c) if c.name == *named.name() => write!(text, "{separator}{}", c.name),
            other => write!(text, "{separator}{} := {}", named.name(), words(other)),
        };
    }
    let plain = exprs.iter().zip(output.iter()).all(|(e, (_, f))| matches!(e, Expr::Column(c) if c.name == *f.name()));
    let step = Step::Project { exprs: compiled, schema: with_tail(fields, position) };
    Ok((step, (!plain).then(|| format!("project: {text}"))))
}

/// All columns, then the arguments; then the pause.
fn push_call(branch: &mut Branch, node: &CallNode) -> DfResult<()> {
    let (udf, args) = node.call().ok_or_else(|| exec_datafusion_err!("a call of no function"))?;
    let rows = branch.schema().clone();
    let position = branch.position();
    let columns: Vec<FieldRef> = rows.fields().iter().take(visible(&rows)).cloned().collect();
    let mut exprs: Vec<Arc<dyn PhysicalExpr>> = Vec::with_capacity(columns.len() + args.len());
    for (index, field) in columns.iter().enumerate() {
        exprs.push(Arc::new(PhysicalColumn::new(field.name(), index)));
    }
    let mut fields = columns.clone();
    for (number, arg) in args.iter().enumerate() {
        let compiled = session::compile(arg, node.input().schema())?;
        fields.push(Arc::new(Field::new(format!("__argument{number}"), compiled.data_type(&rows)?, true)));
        exprs.push(compiled);
    }
    branch.chain.steps.push(Step::Project { exprs, schema: with_tail(fields, &position) });
    let result = datafusion::logical_expr::UserDefinedLogicalNodeCore::schema(node).fields().last().cloned();
    let schema = with_tail(columns.into_iter().chain(result), &position);
    branch.chain.steps.push(Step::Call { udf: udf.clone(), args: args.len(), schema });
    let given: Vec<String> = args.iter().map(words).collect();
    branch.words.push(format!("call: {}({})", udf.name(), given.join(", ")));
    branch.origin.push(None);
    Ok(())
}

fn push_unnest(branch: &mut Branch, unnest: &Unnest) -> DfResult<()> {
    let fields = unnest.schema.fields().iter().cloned();
    let schema = with_tail(fields, &branch.position());
    let list = |(index, list): &(usize, datafusion::logical_expr::logical_plan::ColumnUnnestList)| ListUnnest {
        index_in_input_schema: *index,
        depth: list.depth,
    };
    let names: Vec<String> = unnest.exec_columns.iter().map(|c| c.name.clone()).collect();
    branch.words.push(format!("unnest: {}", names.join(", ")));
    branch.chain.steps.push(Step::Unnest {
        lists: unnest.list_type_columns.iter().map(list).collect(),
        structs: unnest.struct_type_columns.clone(),
        options: unnest.options.clone(),
        schema,
    });
    let moved = |from: Option<usize>| unnest.dependency_indices.iter().position(|&d| Some(d) == from);
    if let Some(window) = &mut branch.window {
        (window.start, window.end) = (moved(window.start), moved(window.end));
    }
    branch.origin = vec![None; unnest.schema.fields().len()];
    Ok(())
}

fn push_window(branch: &mut Branch, node: &AssignWindow) -> DfResult<()> {
    let rows = branch.schema();
    let columns = visible(rows);
    let mut fields: Vec<FieldRef> = rows.fields().iter().take(columns).cloned().collect();
    let added = datafusion::logical_expr::UserDefinedLogicalNodeCore::schema(node).fields();
    fields.extend(added.iter().rev().take(2).rev().cloned());
    let schema = with_tail(fields, &branch.position());
    let time = node.time()?;
    debug_assert_eq!(schema.fields().len(), columns + 2 + tail_fields(&DataType::Utf8).len());
    branch.words.push(format!("window: {} over {}", node.length(), node.time_name()));
    branch.chain.steps.push(Step::Window { time, length: node.length(), schema });
    branch.window = Some(WindowColumns {
        length: node.length(),
        start: Some(columns),
        end: Some(columns + 1),
        time: node.time_name(),
    });
    branch.origin.extend([None, None]);
    Ok(())
}
