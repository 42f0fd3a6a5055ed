//! Bindings of a file, some of them decorated with faults.

use std::collections::BTreeMap;
use std::sync::Arc;

use millstream_core::connector::Registry;
use millstream_local::fault::{Faults, FaultyConnector};
use millstream_plan::{Bind, Bound, Profile};
use millstream_spec::model::Pipeline;

/// The bindings of a profile; the calls at those with a script of faults fail as it says.
pub struct Faulty<'a> {
    profile: Profile<'a>,
    faults: &'a BTreeMap<String, Faults>,
}

impl<'a> Faulty<'a> {
    /// The profile `name` of `pipeline` with faults by binding.
    pub fn new(
        pipeline: &'a Pipeline,
        name: Option<&str>,
        registry: &'a Registry,
        faults: &'a BTreeMap<String, Faults>,
    ) -> Self {
        Self { profile: Profile::new(pipeline, name, registry), faults }
    }
}

impl Bind for Faulty<'_> {
    fn bind(&self, name: &str) -> Option<Bound> {
        let bound = self.profile.bind(name)?;
        let connector = match (bound.connector, self.faults.get(name)) {
            (Some(inner), Some(faults)) => Some(Arc::new(FaultyConnector::new(inner, faults.clone())) as _),
            (connector, _) => connector,
        };
        Some(Bound { connector, kind: bound.kind })
    }
}
