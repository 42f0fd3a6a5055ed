//! What a condition says of columns that are still null: the analysis behind the statuses of an upsert.
//!
//! A column of a merged row goes from null to a value and never back. A status fires once, when its condition first
//! holds; so the condition must not become false again by more columns getting a value.

use std::collections::BTreeSet;

use datafusion::logical_expr::{Expr, Operator};

/// Whether a condition that is true stays true while null columns get values and values stay as they are.
pub(crate) fn stays_true(expr: &Expr) -> bool {
    match expr {
        Expr::Alias(a) => stays_true(&a.expr),
        Expr::BinaryExpr(b) if matches!(b.op, Operator::And | Operator::Or) => {
            stays_true(&b.left) && stays_true(&b.right)
        }
        Expr::IsNotNull(e) => is_settled(e),
        Expr::IsTrue(e) => stays_true(e),
        Expr::Not(e) => match e.as_ref() {
            Expr::IsNull(e) => is_settled(e),
            other => is_settled(other),
        },
        other => is_settled(other),
    }
}

/// Whether a condition asks only which columns have values, and so stays true even when values change.
pub(crate) fn asks_presence_only(expr: &Expr) -> bool {
    match expr {
        Expr::Alias(a) => asks_presence_only(&a.expr),
        Expr::Literal(..) => true,
        Expr::BinaryExpr(b) if matches!(b.op, Operator::And | Operator::Or) => {
            asks_presence_only(&b.left) && asks_presence_only(&b.right)
        }
        Expr::IsNotNull(e) => matches!(e.as_ref(), Expr::Column(_)),
        Expr::IsTrue(e) => asks_presence_only(e),
        Expr::Not(e) => matches!(e.as_ref(), Expr::IsNull(e) if matches!(e.as_ref(), Expr::Column(_))),
        _ => false,
    }
}

/// Functions that are null where an argument is, and depend on nothing else.
const STRICT: [&str; 21] = [
    "abs",
    "btrim",
    "ceil",
    "character_length",
    "date_bin",
    "date_part",
    "date_trunc",
    "floor",
    "length",
    "lower",
    "ltrim",
    "octet_length",
    "regexp_like",
    "round",
    "rtrim",
    "starts_with",
    "strpos",
    "substr",
    "to_timestamp",
    "trunc",
    "upper",
];

/// Whether an expression, once it is not null, keeps its value while null columns get values.
fn is_settled(expr: &Expr) -> bool {
    match expr {
        Expr::Column(_) | Expr::Literal(..) => true,
        Expr::Alias(a) => is_settled(&a.expr),
        Expr::Cast(c) => is_settled(&c.expr),
        Expr::TryCast(c) => is_settled(&c.expr),
        Expr::Not(e) | Expr::Negative(e) => is_settled(e),
        Expr::BinaryExpr(b) => {
            !matches!(b.op, Operator::IsDistinctFrom | Operator::IsNotDistinctFrom)
                && is_settled(&b.left)
                && is_settled(&b.right)
        }
        Expr::Between(b) => is_settled(&b.expr) && is_settled(&b.low) && is_settled(&b.high),
        Expr::Like(l) | Expr::SimilarTo(l) => is_settled(&l.expr) && is_settled(&l.pattern),
        Expr::InList(l) => is_settled(&l.expr) && l.list.iter().all(is_settled),
        Expr::ScalarFunction(f) => STRICT.contains(&f.name()) && f.args.iter().all(is_settled),
        _ => false,
    }
}

/// Columns that have a value wherever the condition is true.
pub(crate) fn required_columns(expr: &Expr) -> BTreeSet<String> {
    when(expr, true)
}

/// Columns that have a value wherever the condition is `holds`.
fn when(expr: &Expr, holds: bool) -> BTreeSet<String> {
    match expr {
        Expr::Alias(a) => when(&a.expr, holds),
        Expr::IsTrue(e) if holds => when(e, true),
        Expr::IsFalse(e) if holds => when(e, false),
        Expr::IsNotNull(e) if holds => strict_columns(e),
        Expr::IsNull(e) if !holds => strict_columns(e),
        Expr::IsNotNull(_) | Expr::IsNull(_) | Expr::IsTrue(_) | Expr::IsFalse(_) => BTreeSet::new(),
        Expr::Not(e) => when(e, !holds),
        Expr::BinaryExpr(b) if matches!((b.op, holds), (Operator::And, true) | (Operator::Or, false)) => {
            let mut both = when(&b.left, holds);
            both.extend(when(&b.right, holds));
            both
        }
        Expr::BinaryExpr(b) if matches!(b.op, Operator::And | Operator::Or) => {
            when(&b.left, holds).intersection(&when(&b.right, holds)).cloned().collect()
        }
        other => strict_columns(other),
    }
}

/// Columns whose null makes the expression null.
fn strict_columns(expr: &Expr) -> BTreeSet<String> {
    let union = |exprs: &[&Expr]| exprs.iter().flat_map(|e| strict_columns(e)).collect();
    match expr {
        Expr::Column(c) => [c.name.clone()].into(),
        Expr::Alias(a) => strict_columns(&a.expr),
        Expr::Cast(c) => strict_columns(&c.expr),
        Expr::Not(e) | Expr::Negative(e) => strict_columns(e),
        Expr::BinaryExpr(b)
            if !matches!(
                b.op,
                Operator::And | Operator::Or | Operator::IsDistinctFrom | Operator::IsNotDistinctFrom
            ) =>
        {
            union(&[&b.left, &b.right])
        }
        Expr::Between(b) => strict_columns(&b.expr),
        Expr::Like(l) | Expr::SimilarTo(l) => union(&[&l.expr, &l.pattern]),
        Expr::InList(l) => strict_columns(&l.expr),
        Expr::ScalarFunction(f) if STRICT.contains(&f.name()) => union(&f.args.iter().collect::<Vec<_>>()),
        _ => BTreeSet::new(),
    }
}
