//! What an upsert's state looks like: which changes of a pipeline can be restored into.
//!
//! Stamps decide between events, so what they mean must stay. A content hash is over all that its input sets, in the
//! table's order: an input without `latest_by` must set the same columns in the same order, or an echo of an event that
//! once lost could win. With `latest_by` the hash decides ties only: such an input may set more columns, but the
//! column it is ordered by must stay, and so must the inputs that share a column. Whether nulls are values decides
//! how stamps are read. What a column says of all this stands behind its type. Free to change: inputs and columns
//! added besides, the order of inputs, the status column, `forget_after`, and statuses: they have fired by name, and a new
//! one fires for a key of before when an event next changes it.

use millstream_core::schema::type_name;
use millstream_core::snapshot::StateLayout;

use super::layout::{Group, Layout};
use super::spec::UpsertSpec;

/// Describes the state of an upsert; `orders` are the names and types of the inputs' `latest_by`.
pub(super) fn describe(spec: &UpsertSpec, layout: &Layout, orders: &[Option<String>]) -> StateLayout {
    let typed = |column: &usize| {
        let field = layout.table.fields().get(*column);
        field.map_or_else(String::new, |f| format!("{} {}", f.name(), type_name(f.data_type())))
    };
    let key: Vec<String> = layout.key.iter().map(typed).collect();
    let mut described = StateLayout::new("upsert").fixed("key", key.join(", "));
    for (column, field) in layout.table.fields().iter().enumerate() {
        if layout.key.contains(&column) || Some(column) == spec.status_column {
            continue;
        }
        let data_type = type_name(field.data_type());
        let rule = layout.group(column).map(|(_, group)| rule(layout, group, orders)).unwrap_or_default();
        described = described.column(field.name(), data_type + &rule);
    }
    described
}

/// What decides about the columns of a group.
fn rule(layout: &Layout, group: &Group, orders: &[Option<String>]) -> String {
    let mut inputs: Vec<String> = Vec::new();
    for (at, input) in group.inputs.iter().filter_map(|i| Some((*i, layout.inputs.get(*i)?))) {
        let order = match (input.latest_by, orders.get(at).cloned().flatten()) {
            (Some(_), Some(name)) => name,
            (Some(index), None) => format!("column {index}"),
            (None, _) => layout.names(&input.sets()).join(", "),
        };
        inputs.push(if input.write_nulls { format!("{order} with nulls") } else { order });
    }
    inputs.sort();
    match group.latest {
        true => format!(", the latest by {}", inputs.join(" or ")),
        false => format!(", set with {}", inputs.join(" or ")),
    }
}
