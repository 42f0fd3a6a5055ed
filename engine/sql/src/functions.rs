//! The functions that SQL can call beside DataFusion's own: those of the user.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datafusion::logical_expr::{AggregateUDF, ScalarUDF};
use millstream_udf::{Kind, Udf};

use crate::session;
use crate::udf::aggregate::AggregateFunction;
use crate::udf::scalar::ScalarFunction;

/// The user's functions, by name; SQL does not mind the case of a function's name.
#[derive(Debug, Clone, Default)]
pub struct Functions {
    scalars: BTreeMap<String, Arc<ScalarUDF>>,
    aggregates: BTreeMap<String, Arc<AggregateUDF>>,
    udfs: BTreeMap<String, Udf>,
    unusable: BTreeSet<String>,
}

impl Functions {
    /// No functions.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a UDF; one of the same name is replaced.
    pub fn insert(&mut self, udf: Udf) {
        let name = udf.name().to_lowercase();
        match udf.signature().kind {
            Kind::Scalar | Kind::Async => {
                self.scalars.insert(name.clone(), Arc::new(ScalarUDF::from(ScalarFunction::new(udf.clone()))));
            }
            Kind::Aggregate => {
                self.aggregates.insert(name.clone(), Arc::new(AggregateUDF::from(AggregateFunction::new(udf.clone()))));
            }
        }
        self.udfs.insert(name, udf);
    }

    /// Adds the name of a function that cannot be used, for reasons told elsewhere: what calls it is not planned, and
    /// nothing more is said of it.
    pub fn insert_unusable(&mut self, name: &str) {
        self.unusable.insert(name.to_lowercase());
    }

    /// The UDF of this name.
    pub fn udf(&self, name: &str) -> Option<&Udf> {
        self.udfs.get(&name.to_lowercase())
    }

    /// Whether a function of this name cannot be used.
    pub(crate) fn is_unusable(&self, name: &str) -> bool {
        self.unusable.contains(name)
    }

    pub(crate) fn scalar(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        self.scalars.get(name).or_else(|| session::state().scalar_functions().get(name)).cloned()
    }

    pub(crate) fn aggregate(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        self.aggregates.get(name).or_else(|| session::state().aggregate_functions().get(name)).cloned()
    }

    /// Whether there is a function of this name (lower case) of any kind.
    pub(crate) fn contains(&self, name: &str) -> bool {
        self.udfs.contains_key(name) || self.unusable.contains(name) || session::is_function(name)
    }

    /// All functions' names.
    pub(crate) fn names(&self) -> Vec<&str> {
        let mut names = session::functions();
        names.extend(self.udfs.keys().map(String::as_str));
        names.sort_unstable();
        names.dedup();
        names
    }
}

/// Whether SQL has a function or relation of this name by itself.
pub fn is_built_in(name: &str) -> bool {
    let name = name.to_lowercase();
    session::is_function(&name) || session::relations().contains(&name.as_str())
}
