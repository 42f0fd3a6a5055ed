//! What must be the same in a changed pipeline for its windows' groups to be taken back.
//!
//! The results above the aggregate and how early they come may change: nothing of them is stored. Everything below
//! it may not, because a stored group holds what rows have become there. Nor may anything that says when a window is
//! given or forgotten: under the new one, a window would count as given that was not, or rows would find a forgotten
//! one and begin it anew.

use std::time::Duration;

use arrow::datatypes::DataType;
use millstream_core::snapshot::StateLayout;
use millstream_core::time::micros;

use super::length::Length;
use super::plan::{GroupColumn, WindowPlan};
use crate::chain::visible;
use crate::cut::Branch;

/// The layout of a query's groups.
pub(crate) fn layout(plan: &WindowPlan) -> StateLayout {
    let time = |d: Duration| Length::Micros(micros(d)).to_string();
    let given = if plan.having { "settled" } else { "ended" };
    let mut layout = StateLayout::new("window")
        .fixed("window", plan.length.to_string())
        .fixed("time", &plan.time)
        .fixed("allowed lateness", time(plan.emit.allowed_lateness))
        .fixed("horizon", time(plan.horizon))
        .fixed("moment of results", format!("when a window is {given}"));
    for (branch, number) in plan.branches.iter().zip(1..) {
        layout = layout.fixed(format!("input {number}"), input(branch));
    }
    let keys = plan.groups.iter().zip(&plan.words.groups).filter(|(g, _)| matches!(g, GroupColumn::Key(_)));
    for (((_, words), key), number) in keys.zip(&plan.keys).zip(1..) {
        layout = layout.fixed(format!("key {number}"), format!("{words} {}", key.data_type()));
    }
    for ((aggregate, words), number) in plan.aggregates.iter().zip(&plan.words.aggregates).zip(1..) {
        let states = aggregate.state.iter().map(|f| f.data_type());
        layout = layout.fixed(format!("aggregate {number}"), format!("{words}, kept as {}", types(states)));
    }
    layout
}

/// What a chain reads and does. Types of literals are left out of its words; those of the columns say them.
fn input(branch: &Branch) -> String {
    let schema = &branch.chain.scan.schema;
    let columns = schema.fields().iter().take(visible(schema));
    let columns: Vec<String> = columns.map(|f| format!("{} {}", f.name(), f.data_type())).collect();
    let mut text = format!("{} ({})", branch.stream, columns.join(", "));
    for words in &branch.words {
        text.push_str("; ");
        text.push_str(words);
    }
    text
}

fn types<'a>(types: impl Iterator<Item = &'a DataType>) -> String {
    types.map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
