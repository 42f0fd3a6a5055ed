//! `tumble(stream, time, INTERVAL ..)` and `hop(stream, time, slide, size)`: relations that add `window_start` and
//! `window_end` to the rows of another relation.
//!
//! For streams they become an [`AssignWindow`] node, which the cutter recognises; for batches plain projections
//! over `date_bin` (a union of one per overlapping window for `hop`).

use std::fmt;
use std::sync::Arc;

use datafusion::common::{DFSchema, DataFusionError, Diagnostic, Result as DfResult, ScalarValue, Span};
use datafusion::functions::datetime::expr_fn::date_bin;
use datafusion::logical_expr::planner::{PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, LogicalPlanBuilder, cast, lit};
use datafusion::sql::sqlparser::ast::{
    Expr as SqlExpr, FunctionArg, FunctionArgExpr, ObjectName, Spanned, TableFactor,
};
use millstream_core::batch::TIMESTAMP;

use crate::window::assign::AssignWindow;
use crate::window::length::Length;
use millstream_core::schema::type_name;

/// The relations' names.
pub(crate) const NAMES: [&str; 3] = ["tumble", "hop", "session"];

/// How a window is written, for those who wrote it otherwise.
pub(crate) const FORM: &str = "FROM tumble(stream, column, INTERVAL '1 hour') .. GROUP BY window_start, window_end";

/// The first column a windowed relation adds: when the window begins.
pub(crate) const WINDOW_START: &str = "window_start";
/// The second: when it ends; rows at that instant are in the next one.
pub(crate) const WINDOW_END: &str = "window_end";

/// Plans our relations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WindowRelations {
    /// As nodes for the cutter.
    Stream,
    /// As plans that DataFusion runs.
    Batch,
}

/// What is wrong with the arguments of a window: a kind of its own among DataFusion's errors.
#[derive(Debug)]
pub(crate) struct BadWindow(String);

impl fmt::Display for BadWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadWindow {}

fn at(message: String, help: &str, place: Option<Span>) -> DataFusionError {
    let diagnostic = Diagnostic::new_error(message.clone(), place).with_help(help, None);
    DataFusionError::External(Box::new(BadWindow(message))).with_diagnostic(diagnostic)
}

fn not_built_in(message: &str, help: &str, place: Option<Span>) -> DataFusionError {
    let diagnostic = Diagnostic::new_error(message, place).with_help(help, None);
    DataFusionError::NotImplemented(message.to_owned()).with_diagnostic(diagnostic)
}

fn place(expr: &impl Spanned) -> Option<Span> {
    Span::try_from_sqlparser_span(expr.span())
}

impl RelationPlanner for WindowRelations {
    fn plan_relation(
        &self,
        relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> DfResult<RelationPlanning> {
        let TableFactor::Table { name, alias, args: Some(args), .. } = &relation else {
            return Ok(RelationPlanning::Original(Box::new(relation)));
        };
        let function = name.to_string().to_lowercase();
        let exprs: Vec<SqlExpr> = (args.args.iter())
            .filter_map(|a| match a {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(e)) => Some(e.clone()),
                _ => None,
            })
            .collect();
        let plan = match (function.as_str(), exprs.as_slice()) {
            ("tumble", [stream, time, size]) => {
                let (input, time) = self.rows(&relation, stream, time, context)?;
                let size = self.length(size, context)?;
                self.tumble(input, time, size)?
            }
            ("hop", [stream, time, slide, size]) => {
                let (input, time) = self.rows(&relation, stream, time, context)?;
                let (slide, size) = (self.length(slide, context)?, self.length(size, context)?);
                self.hop(input, time, slide, size, place(name))?
            }
            ("tumble", _) => {
                let message = "tumble takes a stream, a timestamp column and an INTERVAL";
                return Err(at(message.into(), "write tumble(stream, its_timestamp, INTERVAL '1 hour')", place(name)));
            }
            ("hop", _) => {
                let message =
                    "hop takes a stream, a timestamp column, the INTERVAL between two windows and their length";
                let help = "write hop(stream, its_timestamp, INTERVAL '10 minutes', INTERVAL '1 hour')";
                return Err(at(message.into(), help, place(name)));
            }
            ("session", _) => {
                return Err(not_built_in("session windows are not built in", "use tumble(..)", place(name)));
            }
            _ => return Ok(RelationPlanning::Original(Box::new(relation))),
        };
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, alias.clone()))))
    }
}

impl WindowRelations {
    /// The rows to be windowed, and their time column.
    fn rows(
        self,
        call: &TableFactor,
        stream: &SqlExpr,
        time: &SqlExpr,
        context: &mut dyn RelationPlannerContext,
    ) -> DfResult<(LogicalPlan, Expr)> {
        let factor = match stream {
            SqlExpr::Identifier(id) => named(call, vec![id.clone()].into()),
            SqlExpr::CompoundIdentifier(ids) => named(call, ids.clone().into()),
            SqlExpr::Subquery(query) => {
                TableFactor::Derived { lateral: false, subquery: query.clone(), alias: None, sample: None }
            }
            other => {
                return Err(at(
                    format!("`{other}` is not a stream"),
                    "name a stream, or write a subquery",
                    place(other),
                ));
            }
        };
        let input = context.plan(factor)?;
        let column = context.sql_to_expr(time.clone(), input.schema())?;
        if !matches!(column, Expr::Column(_)) {
            let message = format!("`{time}` is not a column");
            return Err(at(message, "compute it in a subquery and window its result", place(time)));
        }
        let data_type = datafusion::logical_expr::ExprSchemable::get_type(&column, input.schema())?;
        if data_type != TIMESTAMP {
            let message = format!("`{time}` is not a timestamp column but of type {}", type_name(&data_type));
            let help = "declare it with `type: timestamp` and its `formats`, or CAST it in a subquery";
            return Err(at(message, help, place(time)));
        }
        Ok((input, column))
    }

    fn length(self, expr: &SqlExpr, context: &mut dyn RelationPlannerContext) -> DfResult<Length> {
        let planned = context.sql_to_expr(expr.clone(), &DFSchema::empty())?;
        let length = match &planned {
            Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(i)), _) => Length::of(i.months, i.days, i.nanoseconds),
            _ => None,
        };
        length.ok_or_else(|| {
            let message = "a window's length is an INTERVAL of whole months or of a fixed time";
            at(message.into(), "write it as INTERVAL '1 hour'", place(expr))
        })
    }

    fn tumble(self, input: LogicalPlan, time: Expr, size: Length) -> DfResult<LogicalPlan> {
        if self == Self::Stream {
            let node = AssignWindow::new(input, time, size)?;
            return Ok(LogicalPlan::Extension(Extension { node: Arc::new(node) }));
        }
        let start = date_bin(lit(size.interval()), time, lit(ScalarValue::TimestampMicrosecond(Some(0), None)));
        windowed(input, start, size)
    }

    fn hop(
        self,
        input: LogicalPlan,
        time: Expr,
        slide: Length,
        size: Length,
        place: Option<Span>,
    ) -> DfResult<LogicalPlan> {
        if self == Self::Stream {
            let message = "hop(..) over a stream that never ends is not built in";
            return Err(not_built_in(message, "use tumble(..), or bounded inputs", place));
        }
        let (Length::Micros(step), Length::Micros(long)) = (slide, size) else {
            return Err(at("hop takes intervals of a fixed time, not months".into(), "write INTERVAL '1 hour'", place));
        };
        let bin = date_bin(lit(slide.interval()), time.clone(), lit(ScalarValue::TimestampMicrosecond(Some(0), None)));
        let mut plan: Option<LogicalPlan> = None;
        for back in 0..long.div_euclid(step) + i64::from(long.rem_euclid(step) != 0) {
            let start = bin.clone() - lit(Length::Micros(step * back).interval());
            let one = windowed(input.clone(), start, size)?;
            let inside = time.clone().lt(datafusion::logical_expr::col(WINDOW_END));
            let one = LogicalPlanBuilder::from(one).filter(inside)?.build()?;
            plan = Some(match plan {
                None => one,
                Some(others) => LogicalPlanBuilder::from(others).union(one)?.build()?,
            });
        }
        plan.ok_or_else(|| at("a window must be longer than nothing".into(), "write INTERVAL '1 hour'", place))
    }
}

/// The call's relation as a plain table.
fn named(call: &TableFactor, table: ObjectName) -> TableFactor {
    let mut factor = call.clone();
    if let TableFactor::Table { name, alias, args, .. } = &mut factor {
        *name = table;
        *alias = None;
        *args = None;
    }
    factor
}

/// All columns of `input`, then the window that begins at `start`.
fn windowed(input: LogicalPlan, start: Expr, size: Length) -> DfResult<LogicalPlan> {
    let start = cast(start, TIMESTAMP);
    let end = cast(start.clone() + lit(size.interval()), TIMESTAMP);
    let columns: Vec<Expr> = input.schema().columns().into_iter().map(Expr::Column).collect();
    let added = [start.alias(WINDOW_START), end.alias(WINDOW_END)];
    LogicalPlanBuilder::from(input).project(columns.into_iter().chain(added))?.build()
}
