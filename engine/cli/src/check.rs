//! `check`: everything that can be found without running: structure, names, connectors' options, SQL, the graph.

use millstream_spec::model::Pipeline;
use serde_json::json;

use crate::args::CheckArgs;
use crate::exit::Failure;
use crate::load::{self, Loaded, Purpose};
use crate::{number, registry, terminal};

/// Runs the command.
pub(crate) fn execute(args: &CheckArgs) -> Result<(), Failure> {
    let registry = registry::registry();
    let mut files = Vec::new();
    for path in &args.files {
        files.push(load::load(path, &args.reading, Purpose::Looking, &registry)?);
    }
    let all: Vec<&Loaded> = files.iter().collect();
    let failed = all.iter().any(|f| f.has_errors());
    if args.json {
        terminal::line(&format!("{:#}", document(&all)));
    } else {
        for file in &all {
            load::print(file);
            if !file.has_errors() {
                terminal::line(&format!("{} {}", terminal::green("✓"), praise(file)));
            }
        }
        if all.iter().any(|f| !f.findings().is_empty()) {
            terminal::note(&format!("{}\n", load::tally(&all)));
        }
    }
    if failed { Err(Failure::silent(Failure::FILE)) } else { Ok(()) }
}

/// What a file without errors holds.
fn praise(file: &Loaded) -> String {
    let Some(pipeline) = &file.parsed.pipeline else { return file.name.clone() };
    let profile = file.parsed.profile.as_deref().unwrap_or("-");
    format!("{}: {} is fine ({}; profile {profile})", file.name, pipeline.name.value, contents(pipeline))
}

fn contents(pipeline: &Pipeline) -> String {
    let parts = [
        (pipeline.sources.len(), "source"),
        (pipeline.tables.len(), "table"),
        (pipeline.transforms.len(), "transform"),
        (pipeline.sinks.len(), "sink"),
        (pipeline.tests.len(), "test"),
    ];
    let parts = parts.iter().filter(|(n, _)| *n > 0).map(|(n, noun)| number::of(*n as u64, noun));
    parts.collect::<Vec<_>>().join(", ")
}

fn document(files: &[&Loaded]) -> serde_json::Value {
    let each = files.iter().map(|f| {
        json!({
            "file": f.name,
            "ok": !f.has_errors(),
            "pipeline": f.parsed.pipeline.as_ref().map(|p| p.name.value.as_str()),
            "profile": f.parsed.profile,
        })
    });
    json!({ "findings": load::findings_json(files), "files": each.collect::<Vec<_>>() })
}
