//! Whether an expression can fail on some row: a query of which none can has no `.failed` port.
//!
//! The answer errs on the side of yes.

use std::sync::Arc;

use arrow::datatypes::{DataType, Schema};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{
    BinaryExpr, CaseExpr, CastExpr, Column, InListExpr, IsNotNullExpr, IsNullExpr, LikeExpr, Literal, NotExpr,
    TryCastExpr,
};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};

use crate::chain::Step;

/// Functions that have a result for every argument of their types.
const TOTAL: [&str; 31] = [
    "btrim",
    "character_length",
    "coalesce",
    "concat",
    "concat_ws",
    "date_part",
    "date_trunc",
    "ends_with",
    "floor",
    "ceil",
    "get_field",
    "greatest",
    "least",
    "length",
    "lower",
    "ltrim",
    "md5",
    "named_struct",
    "nullif",
    "nvl",
    "nvl2",
    "octet_length",
    "reverse",
    "rtrim",
    "sha256",
    "starts_with",
    "strpos",
    "struct",
    "trim",
    "upper",
    "make_array",
];

/// Operators that have a result for all values.
const COMPARES: [Operator; 9] = [
    Operator::Eq,
    Operator::NotEq,
    Operator::Lt,
    Operator::LtEq,
    Operator::Gt,
    Operator::GtEq,
    Operator::IsDistinctFrom,
    Operator::IsNotDistinctFrom,
    Operator::StringConcat,
];

/// Whether `expr` can fail on rows of `schema`.
pub(crate) fn can_fail(expr: &Arc<dyn PhysicalExpr>, schema: &Schema) -> bool {
    let below = || expr.children().iter().any(|c| can_fail(c, schema));
    let is_float = |e: &Arc<dyn PhysicalExpr>| matches!(e.data_type(schema), Ok(DataType::Float32 | DataType::Float64));
    if let Some(binary) = expr.downcast_ref::<BinaryExpr>() {
        let total = match binary.op() {
            Operator::Plus | Operator::Minus | Operator::Multiply | Operator::Divide | Operator::Modulo => {
                is_float(binary.left()) && is_float(binary.right())
            }
            op => op.is_logic_operator() || COMPARES.contains(op),
        };
        return !total || below();
    }
    if let Some(cast) = expr.downcast_ref::<CastExpr>() {
        let total = cast.expr().data_type(schema).is_ok_and(|from| is_widening(&from, cast.cast_type()));
        return !total || below();
    }
    if let Some(call) = expr.downcast_ref::<ScalarFunctionExpr>() {
        return !TOTAL.contains(&call.name()) || below();
    }
    let total = expr.is::<Column>()
        || expr.is::<Literal>()
        || expr.is::<IsNullExpr>()
        || expr.is::<IsNotNullExpr>()
        || expr.is::<NotExpr>()
        || expr.is::<InListExpr>()
        || expr.is::<LikeExpr>()
        || expr.is::<CaseExpr>()
        || expr.is::<TryCastExpr>();
    !total || below()
}

/// Whether every value of one type is one of the other.
fn is_widening(from: &DataType, to: &DataType) -> bool {
    use DataType::{
        Boolean, Date32, Decimal128, Float32, Float64, Int8, Int16, Int32, Int64, LargeUtf8, Null, Utf8, Utf8View,
    };
    let whole = |t: &DataType| match t {
        Int8 => Some(3_i16),
        Int16 => Some(5),
        Int32 => Some(10),
        Int64 => Some(19),
        _ => None,
    };
    match (from, to) {
        (from, to) if from == to => true,
        (Null, _) | (_, Utf8 | LargeUtf8 | Utf8View) => true,
        (Boolean | Int8 | Int16 | Int32, Int64) | (Boolean | Int8 | Int16, Int32) => true,
        (Decimal128(p, s), Decimal128(q, t)) => {
            t >= s && i16::from(*q) - i16::from(*t) >= i16::from(*p) - i16::from(*s)
        }
        (from, Decimal128(q, t)) if whole(from).is_some() => {
            whole(from).is_some_and(|digits| i16::from(*q) - i16::from(*t) >= digits)
        }
        (from, Float32 | Float64) => from.is_numeric(),
        (DataType::Timestamp(..), Date32) => true,
        (DataType::Timestamp(from, _), DataType::Timestamp(to, _)) => to <= from,
        _ => false,
    }
}

/// Whether a step can fail on rows of `schema`.
pub(crate) fn step_can_fail(step: &Step, schema: &Schema) -> bool {
    match step {
        Step::Project { exprs, .. } => exprs.iter().any(|e| can_fail(e, schema)),
        Step::Filter(predicate) => can_fail(predicate, schema),
        Step::Call { .. } => true,
        Step::Unnest { .. } | Step::Window { .. } => false,
    }
}

/// Whether a step of a chain can fail, given the rows its first step takes.
pub(crate) fn steps_can_fail(steps: &[Step], first: &Schema) -> bool {
    let mut schema = first;
    steps.iter().any(|step| {
        let fails = step_can_fail(step, schema);
        if let Step::Project { schema: next, .. }
        | Step::Unnest { schema: next, .. }
        | Step::Call { schema: next, .. }
        | Step::Window { schema: next, .. } = step
        {
            schema = next;
        }
        fails
    })
}
