//! Checks of a planned query beyond types: decimals that must overflow, aggregates that depend on order.

use std::ops::Range;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, ScalarValue, Span};
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::{Aggregate as AggregateNode, Expr, ExprSchemable, LogicalPlan, Operator};

use crate::cut::unaliased;
use crate::error::{SqlError, SqlErrorKind};
use crate::logical::Logical;
use crate::parse::Names;
use crate::text::Text;
use millstream_core::schema::type_name;

/// The most digits of a decimal.
const DIGITS: i16 = 38;
/// Digits that a sum must have left beside those of what it adds up: a thousand rows of the greatest value.
const SPARE: i16 = 3;

/// The bytes of the columns an expression uses.
fn place(expr: &Expr, logical: &Logical<'_>) -> Option<Range<usize>> {
    place_of(expr, &logical.text, &logical.names)
}

/// The same, of a text that is not planned yet.
pub(crate) fn place_of(expr: &Expr, text: &Text<'_>, names: &Names) -> Option<Range<usize>> {
    let mut spans = Vec::new();
    let _ = expr.apply(|e| {
        if let Expr::Column(column) = e {
            spans.extend(column.spans.first());
        }
        Ok(TreeNodeRecursion::Continue)
    });
    let own = Span::union_iter(spans).and_then(|s| text.range(&s));
    own.or_else(|| expr.column_refs().into_iter().find_map(|c| names.identifier_at(&c.name)))
}

/// Sums and products of decimals that do not fit 38 digits.
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
            let DataType::Decimal128(_, s) = arg.get_type(schema).ok()? else { return None };
            let digits = Digits::of(arg, schema)?.total();
            if digits + SPARE <= DIGITS {
                return None;
            }
            let range = logical.names.call_at(call.func.name(), place(arg, logical).as_ref());
            let fits = 28;
            let name = call.func.name();
            let message =
                format!("{name} over decimals of {digits} digits does not fit the {DIGITS} digits of a decimal");
            let help = format!("CAST(.. AS DECIMAL({fits}, {})) before it", s.min(fits));
            let error = SqlError::new(SqlErrorKind::DecimalOverflow, message).help(help);
            Some(error.at(range.or_else(|| place(arg, logical))))
        }
        Expr::BinaryExpr(b) if b.op == Operator::Multiply => {
            let digits = Digits::of(expr, schema)?.total();
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

/// How many digits a number can have. Types say more than that: a literal 2 beside a decimal is coerced to one of 20
/// digits, and a product has as many as both factors' types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Digits {
    /// Before the point.
    whole: i16,
    /// Behind it.
    scale: i16,
}

impl Digits {
    fn total(self) -> i16 {
        self.whole + self.scale.max(0)
    }

    fn of_type(data_type: &DataType) -> Option<Self> {
        let (whole, scale) = match data_type {
            DataType::Int8 | DataType::UInt8 => (3, 0),
            DataType::Int16 | DataType::UInt16 => (5, 0),
            DataType::Int32 | DataType::UInt32 => (10, 0),
            DataType::Int64 => (19, 0),
            DataType::UInt64 => (20, 0),
            DataType::Decimal128(p, s) | DataType::Decimal256(p, s) => (i16::from(*p) - i16::from(*s), i16::from(*s)),
            _ => return None,
        };
        Some(Self { whole, scale })
    }

    fn of(expr: &Expr, schema: &DFSchema) -> Option<Self> {
        match expr {
            Expr::Alias(alias) => Self::of(&alias.expr, schema),
            Expr::Negative(inner) => Self::of(inner, schema),
            Expr::Literal(value, _) => Self::of_literal(value),
            Expr::Cast(cast) => {
                let own = Self::of_type(cast.field.data_type())?;
                let under = Self::of(&cast.expr, schema).map_or(own.whole, |d| d.whole);
                Some(Self { whole: own.whole.min(under), scale: own.scale })
            }
            Expr::BinaryExpr(b) => {
                let both = || Some((Self::of(&b.left, schema)?, Self::of(&b.right, schema)?));
                match b.op {
                    Operator::Multiply => {
                        both().map(|(l, r)| Self { whole: l.whole + r.whole, scale: l.scale + r.scale })
                    }
                    Operator::Plus | Operator::Minus => {
                        both().map(|(l, r)| Self { whole: l.whole.max(r.whole) + 1, scale: l.scale.max(r.scale) })
                    }
                    _ => Self::of_type(&expr.get_type(schema).ok()?),
                }
            }
            other => Self::of_type(&other.get_type(schema).ok()?),
        }
    }

    fn of_literal(value: &ScalarValue) -> Option<Self> {
        let own = Self::of_type(&value.data_type())?;
        let whole = match value {
            ScalarValue::Decimal128(Some(v), _, s) => {
                let digits = i16::try_from(v.unsigned_abs().checked_ilog10().map_or(1, |d| d + 1)).ok()?;
                (digits - i16::from(*s)).max(0)
            }
            other => i16::try_from(other.to_string().trim_start_matches('-').len()).ok()?,
        };
        Some(Self { whole: own.whole.min(whole), scale: own.scale })
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
            format!("{name} over {} depends in its last digits on the order of rows", type_name(&DataType::Float64));
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
