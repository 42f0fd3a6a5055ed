//! `resources`: what a pipeline needs of its services, as a list or as a policy; and makes it, for development.

use millstream_core::connector::Registry;
use millstream_core::resource::{Grant, Presence, Resource};
use millstream_runtime::graph::{Graph, NodeKind};
use serde_json::{Value, json};

use crate::args::ResourcesArgs;
use crate::exit::Failure;
use crate::grid::Grid;
use crate::load::Loaded;
use crate::uses::{Used, uses};
use crate::{absent, load, number, registry, run, state, terminal};

/// A resource, however many nodes use it.
#[derive(Debug)]
struct Needed {
    resource: Resource,
    /// Places in the pipeline file.
    by: Vec<String>,
    /// Whether it was made just now, where that was asked for.
    presence: Option<Presence>,
}

/// Runs the command.
pub(crate) fn execute(args: &ResourcesArgs) -> Result<(), Failure> {
    let registry = registry::registry();
    let (loaded, graph) = read(args, &registry)?;
    let state = state::name(&loaded)?;
    let uses = uses(&loaded, &graph, &state, &registry)?;
    let mut needed = gather(&uses);
    if args.create {
        run::play(create(&uses, &mut needed))?;
    }
    for need in &mut needed {
        need.resource.grants.iter_mut().flat_map(|g| &mut g.arns).for_each(|arn| *arn = args.filled(arn));
    }
    if args.policy {
        terminal::line(&format!("{:#}", policy(&needed)));
    } else if args.json {
        terminal::line(&format!("{:#}", json!({ "resources": needed.iter().map(entry).collect::<Vec<_>>() })));
    } else {
        list(&loaded, &needed, args.create);
    }
    unread(&graph);
    Ok(())
}

impl ResourcesArgs {
    /// An ARN with the region and account that were given; else with any.
    fn filled(&self, arn: &str) -> String {
        let part = |given: &Option<String>| given.clone().unwrap_or_else(|| "*".to_owned());
        arn.replace("{region}", &part(&self.region)).replace("{account}", &part(&self.account))
    }
}

/// What is only listed may have variables that are not set.
fn read(args: &ResourcesArgs, registry: &Registry) -> Result<(Loaded, Graph), Failure> {
    if args.create {
        let mut loaded = load::for_running(&args.file.file, &args.file.reading, args.json, registry)?;
        let graph = run::graph(&mut loaded)?;
        return Ok((loaded, graph));
    }
    let (loaded, graph, _) = absent::looked_at(&args.file, registry)?;
    Ok((loaded, graph))
}

/// Each resource once.
fn gather(uses: &[Used<'_>]) -> Vec<Needed> {
    let mut all: Vec<Needed> = Vec::new();
    for used in uses {
        let Some(resource) = used.connector.resource(&used.of) else { continue };
        let place = used.of.place();
        match all.iter_mut().find(|n| same(&n.resource, &resource)) {
            Some(known) => {
                known.by.push(place);
                for property in resource.properties {
                    if !known.resource.properties.contains(&property) {
                        known.resource.properties.push(property);
                    }
                }
                resource.grants.into_iter().for_each(|grant| merge(&mut known.resource.grants, grant));
            }
            None => all.push(Needed { resource, by: vec![place], presence: None }),
        }
    }
    all
}

fn same(one: &Resource, other: &Resource) -> bool {
    (one.kind, &one.name) == (other.kind, &other.name)
}

fn merge(grants: &mut Vec<Grant>, grant: Grant) {
    let alike = |g: &&mut Grant| g.arns == grant.arns && g.condition == grant.condition;
    match grants.iter_mut().find(alike) {
        Some(known) => known.actions.extend(grant.actions),
        None => grants.push(grant),
    }
}

async fn create(uses: &[Used<'_>], needed: &mut [Needed]) -> Result<(), Failure> {
    for used in uses {
        let Some(resource) = used.connector.resource(&used.of) else { continue };
        let Some(need) = needed.iter_mut().find(|n| same(&n.resource, &resource)) else { continue };
        let presence = used.connector.create(&used.of).await?;
        if need.presence != Some(Presence::Created) {
            need.presence = Some(presence);
        }
    }
    Ok(())
}

fn list(loaded: &Loaded, needed: &[Needed], created: bool) {
    if needed.is_empty() {
        terminal::line(&format!("{} needs no service: it runs on this machine alone", loaded.name));
        return;
    }
    let mut grid =
        Grid::new([("resource", false), ("name", false), ("", false), ("properties", false), ("used by", false)]);
    for need in needed {
        let presence = match need.presence {
            Some(Presence::Created) => terminal::green("created"),
            Some(Presence::Exists) => terminal::dim("exists"),
            None => String::new(),
        };
        let (kind, name) = (need.resource.kind.to_owned(), need.resource.name.clone());
        grid.row(vec![kind, name, presence, need.resource.properties.join("; "), need.by.join(", ")]);
    }
    grid.keep(|column| created || column != 2);
    terminal::out(&grid.render());
    if !created {
        terminal::line(&format!(
            "\n  {}",
            terminal::dim("`--policy` prints the permissions they need, `--create` makes what is missing")
        ));
    }
}

fn entry(need: &Needed) -> Value {
    let presence = need.presence.map(|p| if p == Presence::Created { "created" } else { "exists" });
    json!({
        "kind": need.resource.kind,
        "name": need.resource.name,
        "properties": need.resource.properties,
        "used_by": need.by,
        "actions": statements(need).into_iter().flat_map(|(actions, _)| actions).collect::<Vec<_>>(),
        "presence": presence,
    })
}

/// The actions of each grant, sorted and each once.
fn statements(need: &Needed) -> Vec<(Vec<&'static str>, &Grant)> {
    let sorted = |grant: &Grant| {
        let mut actions = grant.actions.clone();
        actions.sort_unstable();
        actions.dedup();
        actions
    };
    need.resource.grants.iter().map(|grant| (sorted(grant), grant)).collect()
}

/// An IAM policy that allows what the pipeline does, and nothing else.
fn policy(needed: &[Needed]) -> Value {
    let mut all = Vec::new();
    for (actions, grant) in needed.iter().flat_map(statements) {
        let mut statement = json!({ "Effect": "Allow", "Action": actions, "Resource": grant.arns });
        if let (Some(condition), Some(map)) = (&grant.condition, statement.as_object_mut()) {
            map.insert("Condition".to_owned(), condition.clone());
        }
        all.push(statement);
    }
    json!({ "Version": "2012-10-17", "Statement": all })
}

/// Says which nodes' connectors this binary could not ask.
fn unread(graph: &Graph) {
    let absent = graph.nodes.iter().filter(|node| {
        let connector = match &node.kind {
            NodeKind::Source(source) => &source.connector,
            NodeKind::Upsert(upsert) => &upsert.connector,
            NodeKind::Sink(sink) => &sink.connector,
            NodeKind::Operator(_) | NodeKind::Caller(_) => return false,
        };
        connector.kind() == absent::ABSENT
    });
    let absent: Vec<&str> = absent.map(|node| node.id.as_str()).collect();
    if !absent.is_empty() {
        let nodes = number::of(absent.len() as u64, "node");
        let names = absent.join(", ");
        terminal::note(&format!(
            "{}: not counted are {nodes} whose connectors are not part of this binary, or cannot be read without their \
             variables: {names}\n",
            terminal::yellow("warning")
        ));
    }
}
