//! What columns over a windowed aggregate say of their group: by which of them a result is known again.

use arrow::datatypes::DataType;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::Expr;

use super::length::Length;
use crate::cut::{column_index, unaliased};

/// What an output column says of its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// Which window it is.
    Window,
    /// The i-th key beside the window.
    Key(usize),
    /// Nothing that identifies it.
    Other,
}

/// Whether different windows of this length always have different values of an expression over their start or
/// end: a date of windows of whole days, `date_trunc` to a unit that the length is a multiple of.
pub(crate) fn is_injective(expr: &Expr, length: Length) -> bool {
    match unaliased(expr) {
        Expr::Column(_) => true,
        Expr::Cast(cast) => {
            let kept = match cast.field.data_type() {
                DataType::Date32 | DataType::Date64 => length.is_whole_days(),
                DataType::Timestamp(..) => true,
                _ => false,
            };
            kept && is_injective(&cast.expr, length)
        }
        Expr::ScalarFunction(call) if call.name() == "date_trunc" => match call.args.as_slice() {
            [Expr::Literal(ScalarValue::Utf8(Some(unit)), _), inner] => {
                let micros = match unit.to_lowercase().as_str() {
                    "day" => 86_400_000_000,
                    "hour" => 3_600_000_000,
                    "minute" => 60_000_000,
                    "second" => 1_000_000,
                    _ => return false,
                };
                length.is_multiple_of(micros) && is_injective(inner, length)
            }
            _ => false,
        },
        _ => false,
    }
}

/// What an expression over columns of these meanings says.
pub(crate) fn meaning(expr: &Expr, input: &DFSchema, meanings: &[Meaning], length: Length) -> Meaning {
    let of = |e: &Expr| column_index(e, input).and_then(|i| meanings.get(i)).copied().unwrap_or(Meaning::Other);
    match of(expr) {
        Meaning::Other if is_injective(expr, length) => {
            let columns = expr.column_refs();
            let windows = columns.iter().all(|c| of(&Expr::Column((*c).clone())) == Meaning::Window);
            if windows && !columns.is_empty() { Meaning::Window } else { Meaning::Other }
        }
        meaning => meaning,
    }
}
