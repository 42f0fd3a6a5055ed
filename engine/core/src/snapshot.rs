//! State at a boundary: what an operator or a sink remembers, as batches that outlive the process.
//!
//! A snapshot is a [`Layer`] over the ones before it. Restoring gives all layers from the last whole one on, oldest
//! first; where a later one has a row of the same key, that row replaces the earlier one. Rows that may belong to
//! different workers begin with the column [`HASH`]; whoever restores gives each worker the rows of its key groups.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use serde::{Deserialize, Serialize};

/// First column of state that is spread over workers: the hash of the row's key, never null, `UInt64`.
pub const HASH: &str = "__hash";

/// Tables whose names begin so replace those of the same name in earlier snapshots, instead of adding to them.
pub const LATEST: &str = "latest ";

/// How a snapshot stands to those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    /// What changed since the last snapshot.
    #[default]
    Changes,
    /// Everything: the ones before it are not needed any more.
    Whole,
}

/// Named rows of state. Tables of one name in several layers belong together; their schemas may differ where the
/// pipeline changed in between.
#[derive(Debug, Clone, PartialEq)]
pub struct StateTable {
    /// Names it within its operator.
    pub name: String,
    /// Its rows, in batches of one schema. Without rows it says nothing.
    pub rows: Vec<RecordBatch>,
}

impl StateTable {
    /// A table of one batch.
    pub fn new(name: impl Into<String>, rows: RecordBatch) -> Self {
        Self { name: name.into(), rows: vec![rows] }
    }
    /// How many rows it has.
    pub fn num_rows(&self) -> usize {
        self.rows.iter().map(RecordBatch::num_rows).sum()
    }
}

/// What an operator or sink remembers, or what of it has changed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    /// Whether this is all.
    pub layer: Layer,
    /// Its tables.
    pub tables: Vec<StateTable>,
}

impl Snapshot {
    /// All there is.
    pub fn whole(tables: Vec<StateTable>) -> Self {
        Self { layer: Layer::Whole, tables }
    }
    /// What changed.
    pub fn changes(tables: Vec<StateTable>) -> Self {
        Self { layer: Layer::Changes, tables }
    }
    /// How many rows it has.
    pub fn num_rows(&self) -> usize {
        self.tables.iter().map(StateTable::num_rows).sum()
    }
    /// Whether it says nothing that the layers before it do not say.
    pub fn is_nothing(&self) -> bool {
        self.layer == Layer::Changes && self.num_rows() == 0
    }
    /// Bytes of memory of its rows.
    pub fn bytes(&self) -> usize {
        self.tables.iter().flat_map(|t| &t.rows).map(RecordBatch::get_array_memory_size).sum()
    }
}

/// What state looks like: whether what one version of a pipeline has stored can be restored into another.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateLayout {
    /// What remembers it: `dedup`, `upsert`, ..
    pub kind: String,
    /// What must be the same, in words for people: `key` -> `trip_id string`.
    pub fixed: BTreeMap<String, String>,
    /// Columns with their types: those stored must be there still; others may have been added.
    pub columns: BTreeMap<String, String>,
}

impl StateLayout {
    /// A layout of a kind.
    pub fn new(kind: impl Into<String>) -> Self {
        Self { kind: kind.into(), ..Self::default() }
    }
    /// The same with something that must not change.
    #[must_use]
    pub fn fixed(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.fixed.insert(name.into(), value.into());
        self
    }
    /// The same with a column.
    #[must_use]
    pub fn column(mut self, name: impl Into<String>, data_type: impl Into<String>) -> Self {
        self.columns.insert(name.into(), data_type.into());
        self
    }
    /// Why what was `stored` cannot be restored into this, in words for people; none where it can.
    pub fn differences(&self, stored: &Self) -> Vec<String> {
        if self.kind != stored.kind {
            return vec![format!("it was `{}` and is `{}`", stored.kind, self.kind)];
        }
        let mut differences = Vec::new();
        for (name, was) in &stored.fixed {
            match self.fixed.get(name) {
                Some(is) if is == was => {}
                Some(is) => differences.push(format!("its {name} was {was} and is {is}")),
                None => differences.push(format!("its {name} was {was} and is gone")),
            }
        }
        for (name, is) in self.fixed.iter().filter(|(name, _)| !stored.fixed.contains_key(*name)) {
            differences.push(format!("its {name} is {is} and was not there"));
        }
        for (name, was) in &stored.columns {
            match self.columns.get(name) {
                Some(is) if is == was => {}
                Some(is) => differences.push(format!("its column {name} was {was} and is {is}")),
                None => differences.push(format!("its column {name} is gone")),
            }
        }
        differences
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layout_may_gain_columns_and_nothing_else() {
        let stored = StateLayout::new("upsert").fixed("key", "id string").column("fare", "decimal(10,2)");
        let more = stored.clone().column("tip", "decimal(10,2)");
        assert_eq!(more.differences(&stored), Vec::<String>::new());
        assert_eq!(stored.differences(&more), ["its column tip is gone"]);
        let other = StateLayout::new("upsert").fixed("key", "id bigint").column("fare", "double");
        assert_eq!(
            other.differences(&stored),
            ["its key was id string and is id bigint", "its column fare was decimal(10,2) and is double"]
        );
        assert_eq!(StateLayout::new("dedup").differences(&stored), ["it was `upsert` and is `dedup`"]);
    }
}
