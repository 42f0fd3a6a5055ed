//! Text to DataFusion's logical plan over a set of streams, with all findings at once.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::{DataFusionError, Result as DfResult, Span};
use datafusion::logical_expr::{LogicalPlan, TableSource};
use datafusion::sql::planner::SqlToRel;
use datafusion::sql::sqlparser::ast::{Expr, Spanned, Statement, Value, VisitMut, visit_expressions_mut};

use crate::error::{SqlError, SqlErrorKind};
use crate::findings::findings;
use crate::functions::Functions;
use crate::hidden::{View, leave_out_of_wildcards};
use crate::parse::{self, Names};
use crate::relation::WindowRelations;
use crate::session::{self, Provider};
use crate::text::Text;
use crate::udf::misuse;

/// What the planner sees of a stream.
#[derive(Debug)]
pub(crate) struct StreamSource {
    schema: SchemaRef,
}

impl TableSource for StreamSource {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }
}

/// A planned text.
pub(crate) struct Logical<'a> {
    pub(crate) text: Text<'a>,
    pub(crate) names: Names,
    pub(crate) plan: LogicalPlan,
    /// What the query sees of each stream it names.
    pub(crate) views: BTreeMap<String, View>,
}

/// Plans a text over streams.
///
/// `repeatable`: whether functions that change from run to run are findings.
pub(crate) fn plan<'a>(
    sql: &'a str,
    streams: &BTreeMap<&str, SchemaRef>,
    functions: &Functions,
    windows: WindowRelations,
    repeatable: bool,
) -> Result<Logical<'a>, Vec<SqlError>> {
    let text = Text::new(sql);
    let mut statement = parse::query(&text, sql).map_err(|e| vec![e])?;
    let names = Names::of(&text, &statement);
    if names.calls_unusable(functions) {
        // Why is told where the function is declared.
        return Err(Vec::new());
    }
    let known: Vec<&str> = streams.keys().copied().collect();
    let mut found = names.unknown_streams(&known);
    let blind = !found.is_empty();
    found.extend(names.unknown_functions(functions));
    if repeatable {
        found.extend(names.volatile());
    }
    if blind {
        return Err(sorted(found));
    }
    let named: BTreeSet<_> = names.hidden.clone();
    let views: BTreeMap<String, View> = (names.streams.iter())
        .filter_map(|(n, _)| Some((n.clone(), View::of(streams.get(n.as_str())?, &named))))
        .collect();
    let exposed = |stream: &str| views.get(stream).map(|v| v.hidden.clone()).unwrap_or_default();
    if !named.is_empty() {
        leave_out_of_wildcards(&mut statement, &exposed);
    }
    let result = plan_statement(statement, &text, &names, &views, (functions, windows), &mut found);
    match result {
        Some(plan) if found.is_empty() => Ok(Logical { text, names, plan, views }),
        _ => Err(sorted(found)),
    }
}

/// Findings in the order of the text, each once.
pub(crate) fn sorted(mut found: Vec<SqlError>) -> Vec<SqlError> {
    found.sort_by_key(|e| e.range.as_ref().map(|r| (r.start, r.end)));
    found.dedup();
    found
}

/// Plans a statement. Whatever cannot be resolved is put down as a finding, taken for NULL, and the statement
/// planned again, so that one mistake does not hide the others.
fn plan_statement(
    mut statement: Statement,
    text: &Text<'_>,
    names: &Names,
    views: &BTreeMap<String, View>,
    (functions, windows): (&Functions, WindowRelations),
    found: &mut Vec<SqlError>,
) -> Option<LogicalPlan> {
    const AT_MOST: usize = 32;
    let tables = |name: &str| -> Option<Arc<dyn TableSource>> {
        views.get(name).map(|v| Arc::new(StreamSource { schema: v.schema.clone() }) as _)
    };
    let provider = Provider::new(&tables, functions, windows);
    if found.iter().any(|f| f.kind == SqlErrorKind::UnknownFunction) {
        forget_unknown_calls(&mut statement, functions);
    }
    for _ in 0..AT_MOST {
        let planned: DfResult<LogicalPlan> = SqlToRel::new(&provider).sql_statement_to_plan(statement.clone());
        if let Ok(plan) = &planned {
            let misused = misuse::in_plan(plan, text, names);
            if !misused.is_empty() {
                found.extend(misused);
                return None;
            }
        }
        let error = match planned.and_then(session::analyze) {
            Ok(plan) => return Some(plan),
            Err(error) => error,
        };
        let first = found.is_empty();
        let mut forgotten = false;
        for finding in findings(&error, text, names) {
            let unresolved = finding.kind == SqlErrorKind::UnknownColumn;
            if unresolved || first {
                found.push(finding);
            }
        }
        for span in error.iter().filter_map(unresolved_place) {
            forgotten |= forget_at(&mut statement, span);
        }
        if !forgotten {
            return None;
        }
    }
    None
}

/// The place of an unresolved column.
pub(crate) fn unresolved_place(error: &DataFusionError) -> Option<Span> {
    let unresolved = matches!(error.find_root(), DataFusionError::SchemaError(..));
    error.diagnostic().filter(|_| unresolved).and_then(|d| d.span)
}

fn null() -> Expr {
    Expr::Value(Value::Null.into())
}

/// Takes the identifier at a place for NULL; whether there was one.
pub(crate) fn forget_at(tree: &mut impl VisitMut, place: Span) -> bool {
    let mut forgotten = false;
    let _: ControlFlow<()> = visit_expressions_mut(tree, |expr| {
        let named = matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_));
        let here = Span::try_from_sqlparser_span(expr.span());
        if named && here.is_some_and(|s| s.start == place.start || s.end == place.end) {
            *expr = null();
            forgotten = true;
        }
        ControlFlow::Continue(())
    });
    forgotten
}

/// Takes calls of functions there are not for NULL.
pub(crate) fn forget_unknown_calls(tree: &mut impl VisitMut, functions: &Functions) {
    let _: ControlFlow<()> = visit_expressions_mut(tree, |expr| {
        if let Expr::Function(call) = expr
            && !functions.contains(&call.name.to_string().to_lowercase())
        {
            *expr = null();
        }
        ControlFlow::Continue(())
    });
}
