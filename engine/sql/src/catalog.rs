//! What SQL can name: the ports of the pipeline, and when a windowed query gives results.

use std::collections::BTreeMap;
use std::time::Duration;

use arrow::datatypes::SchemaRef;

use crate::functions::Functions;

/// A stream (or table) that SQL can name.
#[derive(Debug, Clone)]
pub struct Port {
    /// User columns, then hidden ones.
    pub schema: SchemaRef,
    /// Columns that identify a row, where there are such; empty otherwise.
    pub key: Vec<String>,
    /// Whether it ends by itself.
    pub bounded: bool,
}

/// The ports by the name the user writes: `starts`, `trips.completed`.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    ports: BTreeMap<String, Port>,
    functions: Functions,
}

impl Catalog {
    /// A catalog without ports.
    pub fn new() -> Self {
        Self::default()
    }
    /// Adds a port; one of the same name is replaced.
    pub fn insert(&mut self, name: impl Into<String>, port: Port) {
        self.ports.insert(name.into(), port);
    }
    /// The same with functions of the user's.
    #[must_use]
    pub fn with_functions(mut self, functions: Functions) -> Self {
        self.functions = functions;
        self
    }
    /// The user's functions.
    pub fn functions(&self) -> &Functions {
        &self.functions
    }
    /// The port named `name`.
    pub fn port(&self, name: &str) -> Option<&Port> {
        self.ports.get(name)
    }
    /// All ports, in the order of their names.
    pub fn ports(&self) -> impl Iterator<Item = (&str, &Port)> {
        self.ports.iter().map(|(name, port)| (name.as_str(), port))
    }
}

impl FromIterator<(String, Port)> for Catalog {
    fn from_iter<I: IntoIterator<Item = (String, Port)>>(ports: I) -> Self {
        Self { ports: ports.into_iter().collect(), functions: Functions::default() }
    }
}

/// `emit:` of a windowed query: when it gives results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Emit {
    /// Give preliminary results of changed groups this often (wall clock).
    pub early: Option<Duration>,
    /// How long after a window's end rows are still accepted into it, by the rows' own event time.
    pub allowed_lateness: Duration,
}
