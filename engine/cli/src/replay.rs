//! `replay`: puts dead letters to where they could not go.

use std::sync::Arc;

use millstream_runtime::clock::SystemClock;
use millstream_runtime::graph::{Graph, NodeKind};
use millstream_runtime::replay::{ReplayOptions, Replayed, replay};
use millstream_spec::suggest;
use serde_json::json;

use crate::args::ReplayArgs;
use crate::exit::Failure;
use crate::{load, number, registry, run, terminal};

/// Runs the command.
pub(crate) fn execute(args: &ReplayArgs) -> Result<(), Failure> {
    let registry = registry::registry();
    let mut loaded = load::for_running(&args.file.file, &args.file.reading, args.json, &registry)?;
    let graph = run::graph(&mut loaded)?;
    named(&graph, &args.sink)?;
    let options =
        ReplayOptions { dry_run: args.dry_run, give_up_after: args.give_up_after, clock: Arc::new(SystemClock) };
    let replayed = run::play(async { Ok(replay(&graph, &args.sink, &options).await?) })?;
    if args.json {
        terminal::line(&format!("{:#}", document(args, &replayed)));
    } else {
        print(args, &replayed);
    }
    if replayed.is_whole() { Ok(()) } else { Err(Failure::silent(Failure::RUNNING)) }
}

/// Whether there is such a sink.
fn named(graph: &Graph, sink: &str) -> Result<(), Failure> {
    let sinks: Vec<&str> =
        graph.nodes.iter().filter(|n| matches!(n.kind, NodeKind::Sink(_))).map(|n| n.id.as_str()).collect();
    if sinks.contains(&sink) {
        return Ok(());
    }
    let failure = Failure::new(Failure::FILE, format!("there is no sink `{sink}`"));
    Err(match suggest::nearest(sink, sinks.iter().copied()) {
        Some(near) => failure.help(format!("did you mean `{near}`?")),
        None => failure.help(format!("sinks: {}", suggest::listed(&sinks))),
    })
}

fn print(args: &ReplayArgs, replayed: &Replayed) {
    let sink = terminal::bold(&args.sink);
    if replayed.read == 0 {
        terminal::line(&format!("{sink} has no dead letters"));
        return;
    }
    terminal::line(&format!("{sink}: {}", number::of(replayed.read, "dead letter")));
    for (table, put) in &replayed.tables {
        if put.written + put.known == 0 {
            continue;
        }
        let verb = if args.dry_run { "would be put to" } else { "put to" };
        let known = match put.known {
            0 => String::new(),
            known => format!(", {known} of them known there already"),
        };
        terminal::line(&format!("  {} {verb} `{table}`{known}", put.written + put.known));
    }
    for left in &replayed.left {
        terminal::line(&format!("  {} left, of {}: {} (the first is {})", left.count, left.port, left.why, left.first));
    }
    if args.dry_run {
        terminal::line(&terminal::dim("  nothing was written, and nothing removed"));
    }
}

fn document(args: &ReplayArgs, replayed: &Replayed) -> serde_json::Value {
    let tables: serde_json::Map<String, serde_json::Value> = replayed
        .tables
        .iter()
        .map(|(table, put)| (table.clone(), json!({ "written": put.written, "known": put.known })))
        .collect();
    let left: Vec<_> = replayed
        .left
        .iter()
        .map(|l| json!({ "port": l.port, "why": l.why, "tried": l.tried, "count": l.count, "first": l.first }))
        .collect();
    json!({ "sink": args.sink, "dry_run": args.dry_run, "read": replayed.read, "tables": tables, "left": left })
}
