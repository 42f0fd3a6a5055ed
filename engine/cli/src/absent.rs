//! Graphs for looking at: connectors that this binary, or this machine, does not have are stood in for.

use std::sync::Arc;

use millstream_core::connector::{Connector, Registry};
use millstream_plan::{Bind, Bound, Description, Profile};
use millstream_runtime::Graph;

use crate::args::FileArgs;
use crate::exit::Failure;
use crate::load::{self, Loaded, Purpose};
use crate::terminal;

/// What [`Connector::kind`] of a stand-in says.
pub(crate) const ABSENT: &str = "absent";

/// Stands for a connector of another binary, or one whose options cannot be read here.
#[derive(Debug)]
struct Absent;

impl Connector for Absent {
    fn kind(&self) -> &'static str {
        ABSENT
    }
    fn positions_are_offsets(&self) -> bool {
        false
    }
}

/// Binds every name the profile binds.
struct Whole<'a>(&'a Profile<'a>);

impl Bind for Whole<'_> {
    fn bind(&self, name: &str) -> Option<Bound> {
        let bound = self.0.bind(name)?;
        let connector = bound.connector.unwrap_or_else(|| Arc::new(Absent));
        Some(Bound { connector: Some(connector), kind: bound.kind })
    }
}

/// Reads and plans a file that nothing of is run: variables may be unset. Errors in it are printed.
pub(crate) fn looked_at(file: &FileArgs, registry: &Registry) -> Result<(Loaded, Graph, Description), Failure> {
    let loaded = load::load(&file.file, &file.reading, Purpose::Looking, registry)?;
    if loaded.has_errors() {
        load::print(&loaded);
        terminal::note(&format!("{}\n", load::tally(&[&loaded])));
        return Err(Failure::silent(Failure::FILE));
    }
    let pipeline = loaded.pipeline()?;
    let profile = Profile::new(pipeline, loaded.parsed.profile.as_deref(), registry);
    let planned = load::plan(pipeline, &Whole(&profile), true);
    let graph = planned.graph.ok_or_else(|| Failure::silent(Failure::FILE))?;
    Ok((loaded, graph, planned.description))
}
