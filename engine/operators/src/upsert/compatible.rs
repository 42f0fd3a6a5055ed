//! What an upsert's state looks like: which changes of a pipeline can be restored into.
//!
//! Stamps decide between events, so what they mean must stay: the column an input is ordered by, the inputs that share a
//! column, whether nulls are values. What a column says of all this stands behind its type. Free to change: inputs and
//! columns added besides, the order of inputs, which input alone sets a column, the status column, `forget_after`, and
//! statuses: they have fired by name, and a new one fires for a key of before when an event next changes it.
//!
//! An input may set more columns than before. A content hash is over all that its input sets, so an event that comes
//! before such a change and again after it counts as another one then: it sets the same values again, and fires nothing
//! twice. Where an input without `latest_by` has unequal events about one key, only their hashes ever said which of them
//! wins: one that had lost may win when it comes again. An input that writes nulls and has no `latest_by` must set what it
//! did: the store's row has the stamp of an event that said null of the new column, and might win against those that say
//! more.

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
            (None, _) => "one input".to_owned(),
        };
        inputs.push(match (input.write_nulls, group.latest) {
            (true, true) => format!("{order} with nulls"),
            (true, false) => format!("{order} with nulls in {}", layout.names(&input.sets()).join(", ")),
            (false, _) => order,
        });
    }
    inputs.sort();
    match group.latest {
        true => format!(", the latest by {}", inputs.join(" or ")),
        false => format!(", set by {}", inputs.join(" or ")),
    }
}
