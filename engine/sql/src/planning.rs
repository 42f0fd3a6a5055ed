//! From text to a query that runs: which kind it is, its inputs, its output, its stages.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{DataType, Field, FieldRef, SchemaRef};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::logical_expr::{Distinct, Expr, LogicalPlan};

use crate::bounded::BoundedPlan;
use crate::call;
use crate::catalog::{Catalog, Emit};
use crate::chain::{Step, tail, visible};
use crate::checks::{decimal_overflows, first_aggregate, order_dependence};
use crate::cut::{Branch, NotChains, Streams, branches, column_index, unaliased};
use crate::error::{SqlError, SqlErrorKind};
use crate::findings::findings;
use crate::logical::{self, Logical, sorted};
use crate::normal::normalised;
use crate::output::Finish;
use crate::query::{PlannedQuery, Runs};
use crate::relation::WindowRelations;
use crate::session;
use crate::window::plan::{NotWindowed, WindowPlan, aggregate_of, windowed};

type Found<T> = Result<T, Vec<SqlError>>;

/// Plans the SQL of a node.
///
/// `horizon`: the greatest `late_after` of the sources upstream, by which accepted rows may be behind the watermark.
///
/// # Errors
/// Everything that is wrong with it, each with its place in the text.
pub fn plan_query(text: &str, catalog: &Catalog, emit: &Emit, horizon: Duration) -> Found<PlannedQuery> {
    let schemas: BTreeMap<&str, SchemaRef> = catalog.ports().map(|(n, p)| (n, p.schema.clone())).collect();
    let streaming = match logical::plan(text, &schemas, catalog.functions(), WindowRelations::Stream, true) {
        Ok(logical) => logical,
        // What only bounded inputs can do is no mistake if these are.
        Err(errors) if errors.iter().all(|e| e.kind == SqlErrorKind::Unsupported) => {
            return match bounded(text, catalog, &schemas) {
                Ok(Some(query)) => Ok(query),
                _ => Err(errors),
            };
        }
        Err(errors) => return Err(errors),
    };
    let overflows = decimal_overflows(&streaming);
    if !overflows.is_empty() {
        return Err(sorted(overflows));
    }
    let plan = prepared(&streaming)?;
    let calls = call::calls_of(&plan);
    let plan = call::cut_calls(plan).map_err(|e| findings(&e, &streaming.text, &streaming.names))?;
    let planner = Planner { logical: &streaming, catalog, schemas: &schemas };
    let streams = Streams { schemas: &schemas, views: &streaming.views };
    let stateless = match branches(&plan, &streams) {
        Ok(branches) => return planner.stateless(&plan, branches),
        Err(NotChains::Failed(e)) => return Err(findings(&e, &streaming.text, &streaming.names)),
        Err(NotChains::Node(name)) => name,
    };
    if let Some(name) = calls.first().and_then(call::async_udf).map(|u| u.name().to_owned()) {
        return Err(vec![misplaced_call(&name, &streaming)]);
    }
    let not = match windowed(&plan, &streams, *emit, horizon) {
        Ok(windows) => return planner.windowed(&plan, windows),
        Err(not) => not,
    };
    match bounded(text, catalog, &schemas)? {
        Some(query) => Ok(query),
        None => Err(planner.needs_window(&plan, stateless, not)),
    }
}

/// Where nothing can wait.
fn misplaced_call(name: &str, logical: &Logical<'_>) -> SqlError {
    let message = format!("`{name}` is async, and a window, an aggregate, a join or a sorted query cannot wait for it");
    SqlError::new(SqlErrorKind::UdfArguments, message)
        .at(logical.names.call_at(&name.to_lowercase(), None))
        .help("call it in an sql node of its own, and let this one read that".to_owned())
}

/// Types of the language, coerced and simplified.
fn prepared(logical: &Logical<'_>) -> Found<LogicalPlan> {
    let plan = normalised(logical.plan.clone(), false).map_err(|e| vec![e])?;
    session::prepare(plan).map_err(|e| findings(&e, &logical.text, &logical.names))
}

/// The query over all rows, where all its inputs end.
fn bounded(text: &str, catalog: &Catalog, schemas: &BTreeMap<&str, SchemaRef>) -> Found<Option<PlannedQuery>> {
    let logical = logical::plan(text, schemas, catalog.functions(), WindowRelations::Batch, true)?;
    let planner = Planner { logical: &logical, catalog, schemas };
    let inputs = planner.inputs(&logical.plan);
    if inputs.is_empty() || !inputs.iter().all(|i| catalog.port(i).is_some_and(|p| p.bounded)) {
        return Ok(None);
    }
    let overflows = decimal_overflows(&logical);
    if !overflows.is_empty() {
        return Err(sorted(overflows));
    }
    let plan = normalised(logical.plan.clone(), false).map_err(|e| vec![e])?;
    // Planned once now, so that what DataFusion cannot run is found before anything runs.
    let optimised = session::state().optimize(&plan).map_err(|e| findings(&e, &logical.text, &logical.names))?;
    let fields: Vec<FieldRef> = plan.schema().fields().iter().map(|f| nullable(f)).collect();
    unique(&fields)?;
    let viewed = inputs.iter().filter_map(|i| Some((i.clone(), logical.views.get(i)?.clone())));
    let runs = Arc::new(BoundedPlan { inputs: viewed.collect(), finish: Finish::new(fields, DataType::Utf8), plan });
    let words = optimised.display_indent().to_string();
    Ok(Some(PlannedQuery {
        inputs,
        schema: runs.finish.schema().clone(),
        key: group_key(&runs.plan),
        warnings: Vec::new(),
        counts: Vec::new(),
        runs: Runs::Bounded { plan: runs, words },
    }))
}

/// The output columns that are the group of the outermost aggregate (or all, of a DISTINCT): they identify a row.
fn group_key(plan: &LogicalPlan) -> Vec<String> {
    let Some((groups, columns)) = group_columns(plan) else { return Vec::new() };
    if groups == 0 || !(0..groups).all(|g| columns.contains(&Some(g))) {
        return Vec::new();
    }
    let named = plan.schema().fields().iter().zip(&columns);
    named.filter(|(_, group)| group.is_some()).map(|(f, _)| f.name().clone()).collect()
}

/// How many group columns there are, and which of them each output column is.
fn group_columns(plan: &LogicalPlan) -> Option<(usize, Vec<Option<usize>>)> {
    match plan {
        LogicalPlan::Aggregate(a) if a.group_expr.iter().all(|e| !matches!(e, Expr::GroupingSet(_))) => {
            let groups = a.group_expr.len();
            Some((groups, (0..a.schema.fields().len()).map(|i| (i < groups).then_some(i)).collect()))
        }
        LogicalPlan::Distinct(Distinct::All(input)) => {
            let columns = input.schema().fields().len();
            Some((columns, (0..columns).map(Some).collect()))
        }
        LogicalPlan::Projection(p) => {
            let (groups, below) = group_columns(&p.input)?;
            let group = |e| column_index(e, p.input.schema()).and_then(|i| below.get(i).copied().flatten());
            Some((groups, p.expr.iter().map(group).collect()))
        }
        LogicalPlan::Filter(f) => group_columns(&f.input),
        LogicalPlan::Sort(s) => group_columns(&s.input),
        LogicalPlan::Limit(l) => group_columns(&l.input),
        LogicalPlan::SubqueryAlias(a) => group_columns(&a.input),
        _ => None,
    }
}

/// The output columns that are `COUNT(*)` of the outermost aggregate.
fn row_counts(plan: &LogicalPlan) -> Vec<String> {
    fn counts(plan: &LogicalPlan) -> Vec<bool> {
        match plan {
            LogicalPlan::Aggregate(a) => {
                let groups = a.schema.fields().len().saturating_sub(a.aggr_expr.len());
                std::iter::repeat_n(false, groups).chain(a.aggr_expr.iter().map(counts_rows)).collect()
            }
            LogicalPlan::Projection(p) => {
                let below = counts(&p.input);
                let is_count = |e| column_index(e, p.input.schema()).is_some_and(|i| below.get(i) == Some(&true));
                p.expr.iter().map(is_count).collect()
            }
            LogicalPlan::Filter(f) => counts(&f.input),
            LogicalPlan::SubqueryAlias(a) => counts(&a.input),
            other => vec![false; other.schema().fields().len()],
        }
    }
    let named = plan.schema().fields().iter().zip(counts(plan));
    named.filter(|(_, is_count)| *is_count).map(|(f, _)| f.name().clone()).collect()
}

/// Whether an aggregate counts all rows of its group.
fn counts_rows(expr: &Expr) -> bool {
    let Expr::AggregateFunction(call) = unaliased(expr) else { return false };
    let all = call.params.args.iter().all(|a| matches!(a, Expr::Literal(value, _) if !value.is_null()));
    call.func.name() == "count" && all && !call.params.distinct && call.params.filter.is_none()
}

fn nullable(field: &Field) -> FieldRef {
    Arc::new(field.clone().with_nullable(true))
}

/// Every column has a name of its own.
fn unique(fields: &[FieldRef]) -> Found<()> {
    let mut seen = BTreeSet::new();
    match fields.iter().find(|f| !seen.insert(f.name().as_str())) {
        Some(twice) => Err(vec![
            SqlError::new(SqlErrorKind::Planning, format!("two columns are named `{}`", twice.name()))
                .help("give one of them another name with AS".to_owned()),
        ]),
        None => Ok(()),
    }
}

struct Planner<'a> {
    logical: &'a Logical<'a>,
    catalog: &'a Catalog,
    schemas: &'a BTreeMap<&'a str, SchemaRef>,
}

impl Planner<'_> {
    /// The streams a plan reads, in the order of the text.
    fn inputs(&self, plan: &LogicalPlan) -> Vec<String> {
        let mut read = BTreeSet::new();
        let _ = plan.apply_with_subqueries(|node| {
            if let LogicalPlan::TableScan(scan) = node {
                read.insert(scan.table_name.to_string());
            }
            Ok(TreeNodeRecursion::Continue)
        });
        let named = self.logical.names.streams.iter().map(|(n, _)| n);
        named.filter(|n| read.contains(*n) && self.schemas.contains_key(n.as_str())).cloned().collect()
    }

    fn finish(plan: &LogicalPlan, rows: &[&SchemaRef], position: DataType) -> Found<Finish> {
        let field = |(i, named): (usize, &FieldRef)| -> FieldRef {
            let found: Vec<&FieldRef> = rows.iter().filter_map(|r| r.fields().get(i)).collect();
            let data_type = found.first().map_or(named.data_type(), |f| f.data_type());
            let nullable = named.is_nullable() || found.iter().any(|f| f.is_nullable());
            Arc::new(Field::new(named.name(), data_type.clone(), nullable).with_metadata(named.metadata().clone()))
        };
        let fields: Vec<FieldRef> = plan.schema().fields().iter().enumerate().map(field).collect();
        unique(&fields)?;
        Ok(Finish::new(fields, position))
    }

    fn stateless(&self, plan: &LogicalPlan, branches: Vec<Branch>) -> Found<PlannedQuery> {
        let schemas: Vec<&SchemaRef> = branches.iter().map(Branch::schema).collect();
        let positions: Vec<&DataType> = (schemas.iter())
            .filter_map(|s| s.fields().get(visible(s) + tail::POSITION).map(|f| f.data_type()))
            .collect();
        let one = positions.first().filter(|first| positions.iter().all(|p| p == *first));
        let finish = Self::finish(plan, &schemas, one.map_or(DataType::Utf8, |p| (*p).clone()))?;
        Ok(PlannedQuery {
            inputs: self.inputs(plan),
            schema: finish.schema().clone(),
            key: self.kept_key(plan, &branches),
            warnings: Vec::new(),
            counts: Vec::new(),
            runs: if branches.iter().any(|b| b.chain.steps.iter().any(|s| matches!(s, Step::Call { .. }))) {
                Runs::Calling { branches, finish }
            } else {
                Runs::Stateless { branches, finish }
            },
        })
    }

    /// The key of the one stream, where all its columns go through unchanged; under their new names.
    fn kept_key(&self, plan: &LogicalPlan, branches: &[Branch]) -> Vec<String> {
        let [branch] = branches else { return Vec::new() };
        let Some(port) = self.catalog.port(&branch.stream) else { return Vec::new() };
        let unnests = branch.chain.steps.iter().any(|s| matches!(s, crate::chain::Step::Unnest { .. }));
        let renamed = |key: &String| {
            let at = branch.origin.iter().position(|o| o.as_ref() == Some(key))?;
            plan.schema().fields().get(at).map(|f| f.name().clone())
        };
        let key: Option<Vec<String>> = port.key.iter().map(renamed).collect();
        key.filter(|_| !unnests).unwrap_or_default()
    }

    fn windowed(&self, plan: &LogicalPlan, windows: WindowPlan) -> Found<PlannedQuery> {
        let dependences = aggregate_of(plan).map(|a| order_dependence(a, self.logical)).unwrap_or_default();
        let (mut warnings, errors): (Vec<_>, Vec<_>) = dependences.into_iter().partition(|e| e.warning);
        if !errors.is_empty() {
            return Err(sorted(errors));
        }
        if windows.having && windows.emit.early.is_some() {
            let message = "no early results: what HAVING says of a result is known when it cannot change any more";
            let help = "remove `early`: results are given at the end of their windows";
            warnings.push(
                SqlError::new(SqlErrorKind::NoEarlyResults, message)
                    .at(self.logical.text.word("HAVING"))
                    .help(help.to_owned())
                    .warning(),
            );
        }
        let last = windows.above.iter().rev().find_map(|s| match s {
            crate::chain::Step::Project { schema, .. } => Some(schema),
            _ => None,
        });
        let finish = Self::finish(plan, &[last.unwrap_or(&windows.results)], DataType::Utf8)?;
        Ok(PlannedQuery {
            inputs: self.inputs(plan),
            key: windows.key(finish.schema().fields()),
            schema: finish.schema().clone(),
            warnings: sorted(warnings),
            counts: row_counts(plan),
            runs: Runs::Windowed { plan: Arc::new(windows), finish },
        })
    }

    /// What a query over streams that never end cannot have.
    fn needs_window(&self, plan: &LogicalPlan, stateless: &str, not: NotWindowed) -> Vec<SqlError> {
        let unbounded = (self.inputs(plan).into_iter()).find(|i| self.catalog.port(i).is_some_and(|p| !p.bounded));
        let stream = unbounded.unwrap_or_else(|| "stream".to_owned());
        let windows =
            format!("FROM tumble({stream}, its_timestamp, INTERVAL '1 hour') .. GROUP BY window_start, window_end");
        let error = match not {
            NotWindowed::Failed(e) => return findings(&e, &self.logical.text, &self.logical.names),
            NotWindowed::NoWindow if self.logical.names.relations.is_empty() => {
                let message = format!("an aggregate over `{stream}`, which never ends, needs a window");
                SqlError::new(SqlErrorKind::NeedsWindow, message).help(windows)
            }
            NotWindowed::NoWindow => SqlError::new(SqlErrorKind::NeedsWindow, "the groups do not name their window")
                .help("add window_start, window_end to GROUP BY".to_owned()),
            NotWindowed::Node("an aggregate") => {
                SqlError::new(SqlErrorKind::Unsupported, "an aggregate over an aggregate")
                    .help("put the inner one into a node of its own and window its results".to_owned())
            }
            NotWindowed::Node(_) if self.inputs(plan).is_empty() => {
                return vec![
                    SqlError::new(SqlErrorKind::Planning, "the query reads no stream")
                        .help("name a stream in FROM".to_owned()),
                ];
            }
            NotWindowed::Node(name) => {
                // The walk down to the aggregate ends at nodes that are no mistake in a query without one.
                let name = if crate::window::plan::has_aggregate(plan) { name } else { stateless };
                let help = match name {
                    "a join" => "join by key with an upsert, whose inputs set columns of one table".to_owned(),
                    "a subquery" => "join by key with an upsert, or filter in a node of its own".to_owned(),
                    "ORDER BY" | "LIMIT" => format!("remove {name}: rows go on as they come"),
                    "DISTINCT" => format!("use a dedup node, or {windows}"),
                    "a window function (OVER)" => format!("aggregate instead: {windows}"),
                    _ => windows,
                };
                SqlError::new(SqlErrorKind::NeedsWindow, format!("{name} over `{stream}`, which never ends")).help(help)
            }
        };
        let place = first_aggregate(plan, self.logical)
            .or_else(|| self.logical.names.streams.iter().find(|(n, _)| *n == stream).and_then(|(_, r)| r.clone()));
        vec![error.at(place)]
    }
}
