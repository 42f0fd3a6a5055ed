//! The ports of all planned nodes, by the names users write.

use std::collections::BTreeMap;

use arrow::datatypes::{DataType, Schema, SchemaRef};
use millstream_core::batch::user_columns;
use millstream_runtime::graph::PortRef;

/// What a port carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Carries {
    /// Rows of the user's columns.
    Rows,
    /// Records as bytes.
    Raw,
    /// Refused rows: somebody must read them.
    Refused,
}

/// A port and what is known of it.
#[derive(Debug, Clone)]
pub(crate) struct PortInfo {
    pub(crate) at: PortRef,
    pub(crate) schema: SchemaRef,
    /// User columns that identify a row.
    pub(crate) key: Vec<String>,
    pub(crate) carries: Carries,
    /// Whether it ends by itself.
    pub(crate) bounded: bool,
    /// The source nodes its rows come from.
    pub(crate) sources: Vec<usize>,
    /// Whether a later row may replace an earlier one of the same key.
    pub(crate) revised: bool,
    /// Columns that are greater in a later one; empty where nothing tells.
    pub(crate) revisions: Vec<String>,
    /// Whether what a row holds may be other values when the same input is worked on again: answers of an async function
    /// that is not declared deterministic. Nothing of it may have an effect before a checkpoint holds it.
    pub(crate) undecided: bool,
}

impl PortInfo {
    /// The user's columns.
    pub(crate) fn columns(&self) -> Vec<&str> {
        let users = user_columns(&self.schema);
        self.schema.fields().iter().take(users).map(|f| f.name().as_str()).collect()
    }
    /// Index and type of a user's column.
    pub(crate) fn column(&self, name: &str) -> Option<(usize, &DataType)> {
        let users = user_columns(&self.schema);
        let (i, field) = self.schema.fields().iter().enumerate().take(users).find(|(_, f)| f.name() == name)?;
        Some((i, field.data_type()))
    }
    /// The schema of the user's columns.
    pub(crate) fn user_schema(&self) -> Schema {
        let users = user_columns(&self.schema);
        Schema::new(self.schema.fields().iter().take(users).cloned().collect::<Vec<_>>())
    }
}

/// Ports by name: `trips.completed`, `valid_starts`.
#[derive(Debug, Default)]
pub(crate) struct Ports(BTreeMap<String, PortInfo>);

impl Ports {
    pub(crate) fn insert(&mut self, name: String, port: PortInfo) {
        self.0.insert(name, port);
    }
    pub(crate) fn get(&self, name: &str) -> Option<&PortInfo> {
        self.0.get(name)
    }
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &PortInfo)> {
        self.0.iter().map(|(name, port)| (name.as_str(), port))
    }
    /// Ports whose name ends as a `*.port` pattern does; none for another pattern.
    pub(crate) fn matching(&self, pattern: &str) -> Vec<(String, PortInfo)> {
        let Some(end) = pattern.strip_prefix('*').filter(|end| end.starts_with('.')) else { return Vec::new() };
        self.0.iter().filter(|(name, _)| name.ends_with(end)).map(|(n, p)| (n.clone(), p.clone())).collect()
    }
    /// The ports of a node: names behind the dot.
    pub(crate) fn of_node<'a>(&'a self, node: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.keys().filter_map(move |name| name.strip_prefix(node)?.strip_prefix('.'))
    }
}
