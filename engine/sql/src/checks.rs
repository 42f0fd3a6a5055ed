//! Checks of a planned query beyond types: decimals that must overflow, aggregates that depend on order.

use std::ops::Range;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Span};
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::{Aggregate as AggregateNode, Expr, ExprSchemable, LogicalPlan, Operator};

use crate::cut::unaliased;
use crate::error::{SqlError, SqlErrorKind};
use crate::logical::Logical;
use crate::types::describe;

/// The most digits of a decimal.
const DIGITS: u8 = 38;

/// The bytes of the columns an expression uses.
fn place(expr: &Expr, logical: &Logical<'_>) -> Option<Range<usize>> {
    let mut spans = Vec::new();
    let _ = expr.apply(|e| {
        if let Expr::Column(column) = e {
            spans.extend(column.spans.first());
        }
        Ok(TreeNodeRecursion::Continue)
    });
    let own = Span::union_iter(spans).and_then(|s| logical.text.range(&s));
    own.or_else(|| expr.column_refs().into_iter().find_map(|c| logical.names.identifier_at(&c.name)))
}

/// Sums and products of decimals that need more than 38 digits.
pub(crate) fn decimal_overflows(logical: &Logical<'_>) -> Vec<SqlError> {
    let mut found = Vec::new();
    let _ = logical.plan.apply_with_subqueries(|node| {
        let mut schema = DFSchema::empty();
        for input in node.inputs() {
            schema.merge(input.schema());
        }
        for expr in node.expressions() {
            let _ = expr.apply(|e| {
                found.extend(decimal_overflow(e, &schema, logical));
                Ok(TreeNodeRecursion::Continue)
            });
        }
        Ok(TreeNodeRecursion::Continue)
    });
    found
}

fn decimal_overflow(expr: &Expr, schema: &DFSchema, logical: &Logical<'_>) -> Option<SqlError> {
    match expr {
        Expr::AggregateFunction(call) if matches!(call.func.name(), "sum" | "avg") => {
            let arg = call.params.args.first()?;
            let DataType::Decimal128(p, s) = arg.get_type(schema).ok()? else { return None };
            let digits = p.saturating_add(10);
            if digits <= DIGITS {
                return None;
            }
            let range = logical.names.call_at(call.func.name(), place(arg, logical).as_ref());
            let fits = DIGITS - 10;
            let message = format!(
                "{} over decimal({p},{s}) needs {digits} digits, a decimal has at most {DIGITS}",
                call.func.name()
            );
            Some(
                SqlError::new(SqlErrorKind::DecimalOverflow, message)
                    .at(range.or_else(|| place(arg, logical)))
                    .help(format!("CAST(.. AS DECIMAL({fits}, {})) before it", s.min(fits.cast_signed()))),
            )
        }
        Expr::BinaryExpr(b) if b.op == Operator::Multiply => {
            let (left, right) = (digits(&b.left, schema)?, digits(&b.right, schema)?);
            let digits = left.saturating_add(right).saturating_add(1);
            let decimal = matches!(expr.get_type(schema), Ok(DataType::Decimal128(..) | DataType::Decimal256(..)));
            (decimal && digits > DIGITS).then(|| {
                let message = format!("this product of decimals needs {digits} digits, a decimal has at most {DIGITS}");
                SqlError::new(SqlErrorKind::DecimalOverflow, message)
                    .at(place(expr, logical))
                    .help("CAST its factors to decimals with fewer digits".to_owned())
            })
        }
        _ => None,
    }
}

/// How many digits a factor can have: what stands under a coercion, not what it was coerced to.
fn digits(expr: &Expr, schema: &DFSchema) -> Option<u8> {
    let of = |t: &DataType| match t {
        DataType::Int8 | DataType::UInt8 => Some(3),
        DataType::Int16 | DataType::UInt16 => Some(5),
        DataType::Int32 | DataType::UInt32 => Some(10),
        DataType::Int64 => Some(19),
        DataType::UInt64 => Some(20),
        DataType::Decimal128(p, _) | DataType::Decimal256(p, _) => Some(*p),
        _ => None,
    };
    match expr {
        Expr::Literal(value, _) => {
            let digits = value.to_string().chars().filter(char::is_ascii_digit).count();
            u8::try_from(digits).ok()
        }
        Expr::Cast(cast) => {
            let own = of(&expr.get_type(schema).ok()?)?;
            digits(&cast.expr, schema).map_or(Some(own), |under| Some(under.min(own)))
        }
        other => of(&other.get_type(schema).ok()?),
    }
}

/// Aggregates whose result depends on the order of rows; those that differ only in a last bit are warnings.
pub(crate) fn order_dependence(aggregate: &AggregateNode, logical: &Logical<'_>) -> Vec<SqlError> {
    let input = aggregate.input.schema();
    let calls = aggregate.aggr_expr.iter().filter_map(|e| match unaliased(e) {
        Expr::AggregateFunction(call) => Some(call),
        _ => None,
    });
    calls.filter_map(|call| dependence(call, input, logical)).collect()
}

/// Aggregates that keep or compare rows by their place.
const BY_ORDER: [&str; 6] = ["array_agg", "string_agg", "first_value", "last_value", "nth_value", "any_value"];
/// Aggregates that add doubles up, whatever they are given.
const DOUBLES: [&str; 9] =
    ["stddev", "stddev_pop", "var", "var_pop", "corr", "covar_samp", "covar_pop", "var_samp", "stddev_samp"];

fn dependence(call: &AggregateFunction, input: &DFSchema, logical: &Logical<'_>) -> Option<SqlError> {
    let name = call.func.name();
    let arg = call.params.args.first();
    let range = || {
        let inner = arg.and_then(|a| place(a, logical));
        logical.names.call_at(name, inner.as_ref()).or(inner)
    };
    if BY_ORDER.contains(&name) {
        return Some(
            SqlError::new(SqlErrorKind::OrderDependent, format!("{name} depends on the order in which rows arrive"))
                .at(range())
                .help("use min, max, count or sum, which do not".to_owned()),
        );
    }
    if name.starts_with("approx_percentile") || name == "approx_median" {
        return Some(
            SqlError::new(SqlErrorKind::OrderDependent, format!("{name} depends on the order in which rows arrive"))
                .at(range())
                .help("use median or percentile_cont, which are exact".to_owned()),
        );
    }
    let adds = matches!(name, "sum" | "avg") || DOUBLES.contains(&name) || name.starts_with("regr_");
    let doubles = |t: DataType| matches!(t, DataType::Float16 | DataType::Float32 | DataType::Float64);
    let type_of = arg.and_then(|a| a.get_type(input).ok());
    if adds && type_of.is_some_and(doubles) {
        let message =
            format!("{name} over {} depends in its last digits on the order of rows", describe(&DataType::Float64));
        return Some(
            SqlError::new(SqlErrorKind::OrderDependent, message)
                .at(range())
                .help("sum decimals or integers: CAST(.. AS DECIMAL(18, 4))".to_owned())
                .warning(),
        );
    }
    None
}

/// Where an aggregate is called, for a message about it.
pub(crate) fn first_aggregate(plan: &LogicalPlan, logical: &Logical<'_>) -> Option<Range<usize>> {
    let mut found = None;
    let _ = plan.apply(|node| {
        if let LogicalPlan::Aggregate(a) = node {
            found = a.aggr_expr.iter().find_map(|e| match unaliased(e) {
                Expr::AggregateFunction(call) => logical.names.call_at(call.func.name(), None),
                _ => None,
            });
            found = found.take().or_else(|| a.group_expr.first().and_then(|e| place(e, logical)));
        }
        Ok(if found.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    found
}
