//! Conditions over one row: the rules of `validate`, the statuses of `upsert`.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef};
use datafusion::common::{DFSchema, DataFusionError, Result as DfResult};
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{Expr, ExprSchemable, cast};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::sql::planner::{PlannerContext, SqlToRel};
use datafusion::sql::sqlparser::ast::Expr as SqlExpr;
use millstream_core::batch::{hidden, is_hidden, user_columns};
use millstream_core::operator::Predicate;
use millstream_core::{Error, ErrorKind, Result};

use crate::chain::boolean;
use crate::error::{SqlError, SqlErrorKind};
use crate::findings::{findings, reason};
use crate::functions::Functions;
use crate::logical::{forget_at, sorted, unresolved_place};
use crate::monotone::{asks_presence_only, required_columns, stays_true};
use crate::parse::{self, Names};
use crate::relation::WindowRelations;
use crate::session::{self, Provider};
use crate::text::Text;
use crate::udf::misuse;
use millstream_core::schema::type_name;

/// A condition, compiled for the rows of one schema.
#[derive(Clone)]
pub struct PlannedPredicate {
    compiled: Arc<Compiled>,
    columns: Vec<String>,
    required: Vec<String>,
    monotone: bool,
    presence_only: bool,
}

struct Compiled {
    expr: Arc<dyn PhysicalExpr>,
    text: String,
}

/// Plans a boolean expression over the rows of `schema` (user columns, then hidden ones). `arrived_at` and
/// `position` are the hidden columns where the schema has them and no user column of that name.
///
/// # Errors
/// Everything that is wrong with it, each with its place in the text.
pub fn plan_predicate(text: &str, schema: &SchemaRef) -> Result<PlannedPredicate, Vec<SqlError>> {
    plan_predicate_with(text, schema, &Functions::new())
}

/// The same, with functions of the user's.
///
/// # Errors
/// As [`plan_predicate`].
pub fn plan_predicate_with(
    text: &str,
    schema: &SchemaRef,
    functions: &Functions,
) -> Result<PlannedPredicate, Vec<SqlError>> {
    let places = Text::new(text);
    let tree = parse::expression(&places, text).map_err(|e| vec![e])?;
    let names = Names::of(&places, &tree);
    if names.calls_unusable(functions) {
        return Err(Vec::new());
    }
    let mut found = names.unknown_functions(functions);
    found.extend(names.volatile());
    found.extend(names.subqueries.iter().map(|range| {
        SqlError::new(SqlErrorKind::Unsupported, "a condition over one row has no subqueries")
            .at(range.clone())
            .help("filter in an sql node instead".to_owned())
    }));
    if !names.subqueries.is_empty() {
        return Err(sorted(found));
    }
    let visible = visible_schema(schema, &names);
    let planned = DFSchema::try_from(visible.as_ref().clone())
        .map_err(|e| findings(&e, &places, &names))
        .map(|df| plan_expr(tree, &df, (&places, &names), functions, &mut found).map(|e| (e, df)))?;
    let Some((expr, df)) = planned.filter(|_| found.is_empty()) else { return Err(sorted(found)) };
    let planning = |e: DataFusionError| findings(&e, &places, &names);
    let expr = boolean_only(expr, &df, text).map_err(|e| vec![e])?;
    let simple = simplified(&expr, &df).map_err(planning)?;
    let compiled = Compiled { expr: session::compile(&simple, &df).map_err(planning)?, text: text.to_owned() };
    let columns: BTreeSet<&str> = expr.column_refs().into_iter().map(|c| c.name.as_str()).collect();
    let index = |name: &str| visible.index_of(name).unwrap_or(usize::MAX);
    let mut columns: Vec<&str> = columns.into_iter().collect();
    columns.sort_by_key(|c| index(c));
    Ok(PlannedPredicate {
        columns: columns.into_iter().map(str::to_owned).collect(),
        required: required_columns(&expr).into_iter().collect(),
        monotone: stays_true(&expr),
        presence_only: asks_presence_only(&expr),
        compiled: Arc::new(compiled),
    })
}

/// The schema's fields at their places, hidden ones under the names SQL has for them.
fn visible_schema(schema: &SchemaRef, names: &Names) -> Arc<Schema> {
    let users = user_columns(schema);
    let own = |name: &str| schema.fields().iter().take(users).any(|f| f.name() == name);
    let field = |f: &FieldRef| -> FieldRef {
        let named = names.hidden.iter().find(|h| hidden::column_of(h.name()) == Some(f.name()) && !own(h.name()));
        match named {
            Some(h) => Arc::new(f.as_ref().clone().with_name(h.name())),
            // At its place, but under a name that no identifier can have.
            None if is_hidden(f.name()) => Arc::new(f.as_ref().clone().with_name(format!("{}\u{0}", f.name()))),
            None => f.clone(),
        }
    };
    Arc::new(Schema::new(schema.fields().iter().map(field).collect::<Vec<_>>()))
}

/// Plans and coerces; findings go to `found`.
fn plan_expr(
    mut tree: SqlExpr,
    schema: &DFSchema,
    (places, names): (&Text<'_>, &Names),
    functions: &Functions,
    found: &mut Vec<SqlError>,
) -> Option<Expr> {
    let provider = Provider::new(&|_| None, functions, WindowRelations::Batch);
    let planner = SqlToRel::new(&provider);
    let coerce = |e: Expr| ExprSimplifier::new(context(schema)).coerce(e, schema);
    if !found.is_empty() {
        crate::logical::forget_unknown_calls(&mut tree, functions);
    }
    for _ in 0..32 {
        let planned = planner.sql_to_expr(tree.clone(), schema, &mut PlannerContext::new());
        if let Ok(expr) = &planned {
            let before = found.len();
            misuse::in_expr(expr, schema, places, names, found);
            found.extend(misuse::waits(expr, names));
            if found.len() > before {
                return None;
            }
        }
        let error = match planned.and_then(coerce) {
            Ok(expr) => return check_rows(expr, names, found),
            Err(error) => error,
        };
        let first = found.is_empty();
        for mut finding in findings(&error, places, names) {
            if finding.kind == SqlErrorKind::UnknownColumn {
                finding = without_hidden(finding);
            } else if !first {
                continue;
            }
            found.push(finding);
        }
        let places: Vec<_> = error.iter().filter_map(unresolved_place).collect();
        if places.into_iter().filter(|p| forget_at(&mut tree, *p)).count() == 0 {
            return None;
        }
    }
    None
}

/// Aggregates and window functions are not for one row.
fn check_rows(expr: Expr, names: &Names, found: &mut Vec<SqlError>) -> Option<Expr> {
    use datafusion::common::tree_node::TreeNode;
    let several = |e: &Expr| Ok(matches!(e, Expr::AggregateFunction(_) | Expr::WindowFunction(_) | Expr::Unnest(_)));
    if expr.exists(several).unwrap_or(true) {
        let place = names.calls.first().and_then(|c| c.range.clone());
        found.push(
            SqlError::new(SqlErrorKind::Planning, "a condition over one row has no aggregates")
                .at(place)
                .help("aggregate in an sql node".to_owned()),
        );
        return None;
    }
    Some(expr)
}

/// Hidden names are no help to a user.
fn without_hidden(mut finding: SqlError) -> SqlError {
    if let Some(help) = finding.help.as_mut()
        && let Some((head, list)) = help.split_once("columns: ")
    {
        let shown: Vec<&str> = list.split(", ").filter(|c| !is_hidden(c)).collect();
        *help = format!("{head}columns: {}", shown.join(", "));
    }
    finding
}

fn context(schema: &DFSchema) -> SimplifyContext {
    SimplifyContext::builder()
        .with_schema(Arc::new(schema.clone()))
        .with_config_options(Arc::clone(session::state().config_options()))
        .build()
}

fn simplified(expr: &Expr, schema: &DFSchema) -> DfResult<Expr> {
    ExprSimplifier::new(context(schema)).simplify(expr.clone())
}

fn boolean_only(expr: Expr, schema: &DFSchema, text: &str) -> Result<Expr, SqlError> {
    match expr.get_type(schema) {
        Ok(DataType::Boolean) => Ok(expr),
        Ok(DataType::Null) => Ok(cast(expr, DataType::Boolean)),
        Ok(other) => {
            let trimmed = text.trim();
            let start = text.len() - text.trim_start().len();
            Err(SqlError::new(
                SqlErrorKind::NotBoolean,
                format!("the condition is not true or false but {}", type_name(&other)),
            )
            .at(start..start + trimmed.len())
            .help("compare it with something, or ask IS NOT NULL".to_owned()))
        }
        Err(e) => Err(SqlError::new(SqlErrorKind::Planning, e.strip_backtrace())),
    }
}

impl PlannedPredicate {
    /// The compiled condition.
    pub fn predicate(&self) -> Arc<dyn Predicate> {
        self.compiled.clone()
    }
    /// The columns it uses, in the order of the schema.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }
    /// Columns that are not null wherever it is true: those `c` for which `c IS NOT NULL` is implied. Sorted.
    pub fn required_columns(&self) -> &[String] {
        &self.required
    }
    /// Whether, once true, it stays true as null columns get values, as long as values that are there stay the
    /// same.
    pub fn null_to_value_monotone(&self) -> bool {
        self.monotone
    }
    /// Whether it asks only which columns have values (`IS NOT NULL` under `AND` and `OR`): once true it then stays
    /// true even when values change to others.
    pub fn presence_only(&self) -> bool {
        self.presence_only
    }
}

impl fmt::Debug for PlannedPredicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlannedPredicate").field("text", &self.compiled.text).finish_non_exhaustive()
    }
}

impl Predicate for Compiled {
    fn evaluate(&self, rows: &RecordBatch) -> Result<BooleanArray> {
        let evaluated = self.expr.evaluate(rows).and_then(|v| v.into_array(rows.num_rows()));
        let array = evaluated.map_err(|e| {
            Error::new(ErrorKind::BadRow, format!("`{}` cannot be evaluated: {}", self.text.trim(), reason(&e)))
        })?;
        boolean(&array).cloned().map_err(|e| Error::bug("a condition gave no booleans").caused_by(e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Int32Array, StringArray};
    use arrow::datatypes::Field;

    fn schema() -> SchemaRef {
        let mut fields = vec![
            Field::new("a", DataType::Int32, true),
            Field::new("b", DataType::Utf8, true),
            Field::new("fare", DataType::Decimal128(10, 2), true),
        ];
        fields.extend(millstream_core::batch::hidden_fields(DataType::UInt64));
        Arc::new(Schema::new(fields))
    }

    fn plan(text: &str) -> PlannedPredicate {
        plan_predicate(text, &schema()).unwrap()
    }

    fn evaluate(text: &str) -> Vec<Option<bool>> {
        let schema = Arc::new(Schema::new(schema().fields().iter().take(2).cloned().collect::<Vec<_>>()));
        let a: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), None, Some(265)]));
        let b: ArrayRef = Arc::new(StringArray::from(vec![Some("x"), Some(""), None]));
        let rows = RecordBatch::try_new(schema, vec![a, b]).unwrap();
        plan(text).predicate().evaluate(&rows).unwrap().iter().collect()
    }

    #[test]
    fn conditions_are_true_false_or_null() {
        assert_eq!(evaluate("a BETWEEN 1 AND 264"), [Some(true), None, Some(false)]);
        assert_eq!(evaluate("b <> ''"), [Some(true), Some(false), None]);
        assert_eq!(evaluate("1 = 1"), [Some(true); 3]);
        assert_eq!(evaluate("NULL"), [None; 3]);
    }

    #[test]
    fn a_value_that_makes_it_fail_is_a_bad_row() {
        let schema = schema();
        let rows = RecordBatch::try_new(
            Arc::new(Schema::new(vec![schema.field(0).clone()])),
            vec![Arc::new(Int32Array::from(vec![0])) as ArrayRef],
        );
        let error = plan("10 / a > 1").predicate().evaluate(&rows.unwrap()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadRow);
    }

    #[test]
    fn every_mistake_is_found_at_its_place() {
        let text = "aa > 1 AND lowr(b) = 'x' AND now() > arrived_at AND bb = 2";
        let errors = plan_predicate(text, &schema()).unwrap_err();
        let places: Vec<&str> = errors.iter().map(|e| &text[e.range.clone().unwrap()]).collect();
        assert_eq!(places, ["aa", "lowr", "now()", "bb"]);
        assert_eq!(errors[0].help.as_deref(), Some("did you mean `a`?  columns: a, b, fare, arrived_at"));
    }

    #[test]
    fn what_is_no_condition_is_refused() {
        let kind = |text: &str| plan_predicate(text, &schema()).unwrap_err().remove(0).kind;
        assert_eq!(kind("a + 1"), SqlErrorKind::NotBoolean);
        assert_eq!(kind("sum(a) > 1"), SqlErrorKind::Planning);
        assert_eq!(kind("a IN (SELECT 1)"), SqlErrorKind::Unsupported);
        assert_eq!(kind("a >"), SqlErrorKind::Parse);
        assert_eq!(kind("a > 1 b"), SqlErrorKind::Parse);
        assert_eq!(kind("A > 1"), SqlErrorKind::UnknownColumn);
    }

    #[test]
    fn monotone_conditions_are_known_and_the_columns_they_need() {
        let both = plan("a IS NOT NULL AND b IS NOT NULL");
        assert!(both.null_to_value_monotone() && both.presence_only());
        assert_eq!(both.required_columns(), ["a", "b"]);
        let either = plan("(a IS NOT NULL AND b IS NOT NULL) OR NOT (b IS NULL)");
        assert!(either.null_to_value_monotone() && either.presence_only());
        assert_eq!(either.required_columns(), ["b"]);
        let value = plan("a > 1");
        assert!(value.null_to_value_monotone() && !value.presence_only());
        assert_eq!(value.required_columns(), ["a"]);
        for text in ["a IS NULL", "NOT (a IS NOT NULL)", "coalesce(a, 1) = 1", "a IS DISTINCT FROM 1"] {
            assert!(!plan(text).null_to_value_monotone(), "{text}");
        }
    }

    #[test]
    fn hidden_columns_have_their_names() {
        let planned = plan("arrived_at > TIMESTAMP '2024-01-01T00:00:00' AND position > 3");
        assert_eq!(planned.columns(), ["arrived_at", "position"]);
        assert!(plan_predicate("__position > 3", &schema()).is_err());
    }
}
