//! Which columns an upsert's state has, and who decides about each.
//!
//! Columns that the same inputs set form a group. A group has one stamp per row, that of the greatest event that
//! set it; only where events with nulls interleave do single columns have stamps of their own.
//!
//! ```text
//! table's columns | per group: hash, order (latest_by only) | per input: event time, arrival time
//! ```

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use millstream_core::batch::TIMESTAMP;
use millstream_core::{Error, Result};
use millstream_state::content;

use super::spec::UpsertSpec;

/// Columns that the same inputs set.
#[derive(Debug)]
pub(super) struct Group {
    /// In the table's order.
    pub(super) columns: Vec<usize>,
    /// Inputs that set them.
    pub(super) inputs: Vec<usize>,
    /// Whether the greater `latest_by` wins; else the greater content hash.
    pub(super) latest: bool,
    /// Whether one of its inputs writes nulls: a null may then be a value.
    pub(super) nulls_are_values: bool,
    /// Column of the stamps' content hashes.
    pub(super) hash: usize,
    /// Column of the stamps' `latest_by` values.
    pub(super) order: Option<usize>,
}

/// An input, in terms of the table.
#[derive(Debug)]
pub(super) struct Input {
    /// (table's column, input's column) in the table's order: what it sets and what its content hash is over.
    pub(super) columns: Vec<(usize, usize)>,
    pub(super) key: Vec<usize>,
    pub(super) groups: Vec<usize>,
    pub(super) latest_by: Option<usize>,
    pub(super) write_nulls: bool,
    /// Seed of its content hash.
    pub(super) seed: u64,
    /// Column of the greatest event time of its events.
    pub(super) event_time: usize,
    /// Column of the greatest arrival time of its events.
    pub(super) arrived_at: usize,
}

impl Input {
    /// The table's columns that it sets, in the table's order.
    pub(super) fn sets(&self) -> Vec<usize> {
        self.columns.iter().map(|(c, _)| *c).collect()
    }
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Layout {
    /// How many leading columns are the table's own.
    pub(super) width: usize,
    /// The table's own columns.
    pub(super) table: SchemaRef,
    /// All columns of the state.
    pub(super) schema: SchemaRef,
    pub(super) key: Vec<usize>,
    pub(super) groups: Vec<Group>,
    /// By the table's column.
    pub(super) group_of: Vec<Option<usize>>,
    pub(super) inputs: Vec<Input>,
    /// Whether any group is decided by `latest_by`: the store then keeps stamps.
    pub(super) stamped: bool,
}

impl Layout {
    pub(super) fn new(spec: &UpsertSpec) -> Result<Arc<Self>> {
        spec.check()?;
        let table = spec.nullable_table();
        let width = table.fields().len();
        let mut fields: Vec<Field> = table.fields().iter().map(|f| f.as_ref().clone()).collect();
        let mut add = |name: String, data_type| {
            fields.push(Field::new(name, data_type, true));
            fields.len() - 1
        };
        let mut groups: Vec<Group> = Vec::new();
        let mut group_of = vec![None; width];
        for (column, of) in group_of.iter_mut().enumerate() {
            let inputs = setters(spec, column);
            if inputs.is_empty() {
                continue;
            }
            let at = match groups.iter().position(|g| g.inputs == inputs) {
                Some(at) => at,
                None => {
                    let group = group(spec, inputs, column, |what, t| add(format!("__{what}:{column}"), t))?;
                    groups.push(group);
                    groups.len() - 1
                }
            };
            *of = Some(at);
            if let Some(group) = groups.get_mut(at) {
                group.columns.push(column);
            }
        }
        let mut inputs = Vec::with_capacity(spec.inputs.len());
        for (i, input) in spec.inputs.iter().enumerate() {
            let mut columns: Vec<(usize, usize)> = input.columns.iter().map(|(from, to)| (*to, *from)).collect();
            columns.retain(|(to, _)| !spec.key.contains(to));
            columns.sort_unstable();
            columns.dedup_by_key(|(to, _)| *to);
            let names = columns.iter().filter_map(|(to, _)| table.fields().get(*to)).map(|f| f.name().as_str());
            inputs.push(Input {
                seed: content::seed(names),
                groups: (0..groups.len()).filter(|g| groups.get(*g).is_some_and(|g| g.inputs.contains(&i))).collect(),
                key: input.key.clone(),
                latest_by: input.latest_by,
                write_nulls: input.write_nulls,
                event_time: add(format!("__event_time:{i}"), TIMESTAMP),
                arrived_at: add(format!("__arrived_at:{i}"), TIMESTAMP),
                columns,
            });
        }
        let stamped = groups.iter().any(|g| g.latest);
        let schema = Arc::new(Schema::new(fields));
        Ok(Arc::new(Self { width, table, schema, key: spec.key.clone(), groups, group_of, inputs, stamped }))
    }
    /// The names of columns of the table.
    pub(super) fn names(&self, columns: &[usize]) -> Vec<&str> {
        columns.iter().filter_map(|c| self.table.fields().get(*c)).map(|f| f.name().as_str()).collect()
    }
    /// The group that decides about a column.
    pub(super) fn group(&self, column: usize) -> Option<(usize, &Group)> {
        let at = self.group_of.get(column).copied().flatten()?;
        self.groups.get(at).map(|g| (at, g))
    }
}

/// The inputs that set a column, but for columns of the key: those are set with the key.
fn setters(spec: &UpsertSpec, column: usize) -> Vec<usize> {
    if spec.key.contains(&column) {
        return Vec::new();
    }
    let sets = |i: &usize| spec.inputs.get(*i).is_some_and(|i| i.columns.iter().any(|(_, to)| *to == column));
    (0..spec.inputs.len()).filter(sets).collect()
}

fn group(
    spec: &UpsertSpec,
    inputs: Vec<usize>,
    column: usize,
    mut add: impl FnMut(&str, DataType) -> usize,
) -> Result<Group> {
    let of = |i: &usize| spec.inputs.get(*i);
    let latest = inputs.iter().filter_map(of).all(|i| i.latest_by.is_some());
    if inputs.len() > 1 && !latest {
        let name = spec.table.fields().get(column).map_or("?", |f| f.name());
        return Err(Error::config(format!("several inputs of `{}` set `{name}`: give each `latest_by`", spec.id)));
    }
    let nulls_are_values = inputs.iter().filter_map(of).any(|i| i.write_nulls);
    let hash = add("hash", DataType::UInt64);
    let order = latest.then(|| add("order", DataType::Int64));
    Ok(Group { columns: Vec::new(), inputs, latest, nulls_are_values, hash, order })
}
