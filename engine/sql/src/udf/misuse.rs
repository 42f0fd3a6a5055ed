//! Calls of the user's functions with arguments they do not take, found before DataFusion casts what it can.

use arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan};
use millstream_core::schema::type_name;
use millstream_udf::{Kind, Type, Udf};

use super::aggregate::AggregateFunction;
use super::scalar::ScalarFunction;
use crate::checks::place_of;
use crate::error::{SqlError, SqlErrorKind};
use crate::parse::Names;
use crate::text::Text;

/// The UDF that an expression calls, with the arguments.
pub(crate) fn call(expr: &Expr) -> Option<(&Udf, &[Expr])> {
    match expr {
        Expr::ScalarFunction(f) => Some((f.func.inner().downcast_ref::<ScalarFunction>()?.udf(), &f.args)),
        Expr::AggregateFunction(f) => Some((f.func.inner().downcast_ref::<AggregateFunction>()?.udf(), &f.params.args)),
        _ => None,
    }
}

/// Everything wrong with the calls of a plan that was not analysed yet.
pub(crate) fn in_plan(plan: &LogicalPlan, text: &Text<'_>, names: &Names) -> Vec<SqlError> {
    let mut found = Vec::new();
    let _ = plan.apply_with_subqueries(|node| {
        let mut schema = DFSchema::empty();
        for input in node.inputs() {
            schema.merge(input.schema());
        }
        for expr in node.expressions() {
            in_expr(&expr, &schema, text, names, &mut found);
        }
        Ok(TreeNodeRecursion::Continue)
    });
    found
}

/// Everything wrong with the calls of an expression over rows of a schema.
pub(crate) fn in_expr(expr: &Expr, schema: &DFSchema, text: &Text<'_>, names: &Names, found: &mut Vec<SqlError>) {
    let _ = expr.apply(|e| {
        if let Some((udf, args)) = call(e) {
            found.extend(judge(udf, args, schema, text, names));
        }
        Ok(TreeNodeRecursion::Continue)
    });
}

/// Calls of async functions in a condition over one row, which does not wait.
pub(crate) fn waits(expr: &Expr, names: &Names) -> Vec<SqlError> {
    let mut calls = Vec::new();
    crate::call::calls_in(expr, &mut calls);
    let finding = |call: &Expr| {
        let name = crate::call::async_udf(call)?.name();
        let message = format!("`{name}` is async, and a condition over one row cannot wait for it");
        let error = SqlError::new(SqlErrorKind::UdfArguments, message).at(names.call_at(&name.to_lowercase(), None));
        Some(error.help("call it in an sql node before this one, and use its column".to_owned()))
    };
    calls.iter().filter_map(finding).collect()
}

fn judge(udf: &Udf, args: &[Expr], schema: &DFSchema, text: &Text<'_>, names: &Names) -> Vec<SqlError> {
    let (name, signature) = (udf.name(), udf.signature());
    let error = |message: String, help: String, inner: Option<&Expr>| {
        let inner = inner.and_then(|e| place_of(e, text, names));
        let call = names.call_at(&name.to_lowercase(), inner.as_ref());
        SqlError::new(SqlErrorKind::UdfArguments, message).at(inner.or(call)).help(help)
    };
    if args.len() != signature.args.len() {
        let message = format!("`{name}` takes {} arguments, not {}", signature.args.len(), args.len());
        return vec![error(message, format!("it is {name}{signature}"), args.first())];
    }
    let mut found = Vec::new();
    for ((arg, declared), number) in args.iter().zip(&signature.args).zip(1..) {
        let Ok(given) = arg.get_type(schema) else { continue };
        let constant = arg.column_refs().is_empty();
        if let Some(help) = misfit(&given, declared.data_type, constant) {
            let message =
                format!("argument {number} of `{name}` is {}, and {} is needed", type_name(&given), declared.data_type);
            let list = if signature.kind == Kind::Aggregate { " of each row" } else { "" };
            found.push(error(message, format!("{help} (it is {name}{signature}{list})"), Some(arg)));
        }
    }
    found
}

/// What to do where a value cannot be passed as a type; none where it can. Integers of other widths are cast with a
/// check, row by row; so are the decimals that literals with a point are.
fn misfit(given: &DataType, wanted: Type, constant: bool) -> Option<&'static str> {
    let whole = matches!(wanted, Type::Int | Type::Bigint | Type::Uint | Type::Ubigint);
    let number = whole || matches!(wanted, Type::Real | Type::Double);
    match given {
        DataType::Null => None,
        given if given.is_integer() => (!number).then_some("CAST it AS VARCHAR"),
        DataType::Float16 | DataType::Float32 | DataType::Float64 if whole => {
            Some("say how to round: CAST(round(x) AS BIGINT)")
        }
        DataType::Float16 | DataType::Float32 | DataType::Float64 => (!number).then_some("CAST it AS VARCHAR"),
        given if given.is_decimal() && whole => {
            Some("pass its smallest unit as a whole number: CAST(x * 100 AS BIGINT) gives cents")
        }
        given if given.is_decimal() && constant && number => None,
        given if given.is_decimal() && number => Some(
            "let the function take an i64 and pass cents, CAST(x * 100 AS BIGINT); where a rounding error does no harm, CAST(x AS DOUBLE)",
        ),
        given if given.is_decimal() => Some("CAST it AS VARCHAR"),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => match wanted {
            Type::String => None,
            Type::Bytes => Some("CAST it AS BYTEA"),
            _ => Some("CAST it to a number"),
        },
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            (wanted != Type::Bytes).then_some("encode(x, 'hex') gives text")
        }
        DataType::Boolean => Some("CAST(x AS INT) gives 1 and 0"),
        DataType::Timestamp(..) => Some("CAST(x AS BIGINT) gives microseconds since 1970"),
        DataType::Date32 | DataType::Date64 => Some("CAST(x AS VARCHAR) gives 2026-01-31"),
        DataType::Struct(_) => Some("pass its fields one by one: x.lat"),
        DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..) => {
            Some("pass its items one by one: x[1], or unnest it first")
        }
        _ => Some("CAST it"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_has_an_advice() {
        let money = DataType::Decimal128(10, 2);
        assert!(misfit(&money, Type::Bigint, false).unwrap().contains("cents"));
        assert!(misfit(&money, Type::Double, false).unwrap().contains("cents"));
        assert_eq!(misfit(&money, Type::Double, true), None);
        assert!(misfit(&DataType::Boolean, Type::Int, false).unwrap().contains("AS INT"));
        assert!(misfit(&millstream_core::batch::TIMESTAMP, Type::Bigint, false).unwrap().contains("BIGINT"));
        assert_eq!(misfit(&DataType::Int32, Type::Bigint, false), None);
        assert_eq!(misfit(&DataType::Int64, Type::Int, false), None);
        assert_eq!(misfit(&DataType::Int64, Type::Double, false), None);
        assert!(misfit(&DataType::Float64, Type::Int, false).is_some());
        assert!(misfit(&DataType::Utf8, Type::Int, false).is_some());
        assert_eq!(misfit(&DataType::Utf8View, Type::String, false), None);
    }
}
