//! `list`: the connectors there are, or the functions of a file.

use millstream_core::connector::{ConnectorKind, Role};
use serde_json::json;

use crate::args::ListArgs;
use crate::exit::Failure;
use crate::grid::Grid;
use crate::load::{self, Purpose};
use crate::{registry, terminal, udf_list};

/// Runs the command.
pub(crate) fn execute(args: &ListArgs) -> Result<(), Failure> {
    let registry = registry::registry();
    if let Some(file) = &args.file {
        return udf_list::print(&load::load(file, &args.reading, Purpose::Looking, &registry)?, args.json);
    }
    if args.json {
        let all: Vec<_> = registry.kinds().iter().map(entry).collect();
        terminal::line(&format!("{:#}", json!({ "connectors": all })));
        return Ok(());
    }
    let mut grid = Grid::new([
        ("connector", false),
        ("source", false),
        ("sink", false),
        ("table", false),
        ("state", false),
        ("metrics", false),
        ("", false),
    ]);
    for kind in registry.kinds() {
        let mark = |role: Role| if kind.roles.contains(&role) { "✓" } else { "" }.to_owned();
        let (name, summary) = match kind.built_in {
            true => (kind.name.to_owned(), kind.summary.to_owned()),
            false => (terminal::dim(kind.name), terminal::dim(&format!("{} (not in this binary)", kind.summary))),
        };
        let roles = [Role::Source, Role::Sink, Role::Table, Role::Checkpoints, Role::Metrics].map(mark);
        grid.row([vec![name], roles.to_vec(), vec![summary]].concat());
    }
    terminal::out(&grid.render());
    terminal::line(&format!("\n  {}", terminal::dim("`millstream docs CONNECTOR` lists the options of one")));
    Ok(())
}

fn entry(kind: &ConnectorKind) -> serde_json::Value {
    json!({ "name": kind.name, "summary": kind.summary, "roles": roles(kind), "built_in": kind.built_in })
}

/// `source`, `sink`, `table`, `checkpoints`: what a connector can be.
pub(crate) fn roles(kind: &ConnectorKind) -> Vec<&'static str> {
    let name = |role: &Role| match role {
        Role::Source => "source",
        Role::Sink => "sink",
        Role::Table => "table",
        Role::Checkpoints => "checkpoints",
        Role::Metrics => "metrics",
    };
    kind.roles.iter().map(name).collect()
}
