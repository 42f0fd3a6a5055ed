//! Names of a profile to connectors.

use std::sync::Arc;

use millstream_core::connector::{Connector, Registry};
use millstream_spec::model::{self, Pipeline};

/// What a name is bound to.
#[derive(Debug, Clone)]
pub struct Bound {
    /// The connector, where this binary has it and its options can be read.
    pub connector: Option<Arc<dyn Connector>>,
    /// Its kind's name.
    pub kind: String,
}

/// Stands for a connector that is not in this binary, so that the rest of a file can be checked.
#[derive(Debug)]
pub(crate) struct Absent;

impl Connector for Absent {
    fn kind(&self) -> &'static str {
        "not built in"
    }
}

/// Looks names up. The file's structure was checked before: what is missing here has a finding already.
pub trait Bind {
    /// What `name` is bound to.
    fn bind(&self, name: &str) -> Option<Bound>;
}

/// The bindings of one of the file's profiles.
#[derive(Debug)]
pub struct Profile<'a> {
    profile: Option<&'a model::Profile>,
    registry: &'a Registry,
}

impl<'a> Profile<'a> {
    /// The profile `name`, or the file's first one.
    pub fn new(pipeline: &'a Pipeline, name: Option<&str>, registry: &'a Registry) -> Self {
        let profile = match name {
            Some(name) => pipeline.profiles.iter().find(|(id, _)| id.value == name),
            None => pipeline.profiles.first(),
        };
        Self { profile: profile.map(|(_, p)| p), registry }
    }
}

impl Bind for Profile<'_> {
    fn bind(&self, name: &str) -> Option<Bound> {
        let (_, binding) = self.profile?.bindings.iter().find(|(id, _)| id.value == name)?;
        let kind = self.registry.kind(&binding.connector.value)?;
        let connector = kind.built_in.then(|| (kind.parse)(binding.options.value.clone()).ok()).flatten();
        Some(Bound { connector, kind: kind.name.to_owned() })
    }
}
