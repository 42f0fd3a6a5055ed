//! `check`: everything that can be found without running: structure, names, connectors' options, SQL, the graph.

use millstream_core::connector::Registry;
use millstream_runtime::checkpoint::{Fate, fit};
use millstream_spec::model::Pipeline;
use millstream_state::checkpoint::Epochs;
use serde_json::json;

use crate::args::CheckArgs;
use crate::exit::Failure;
use crate::grid::Grid;
use crate::load::{self, Loaded, Purpose};
use crate::state::StateArgs;
use crate::{number, online, registry, run, state, terminal};

/// Runs the command.
pub(crate) fn execute(args: &CheckArgs) -> Result<(), Failure> {
    let registry = registry::registry();
    let mut files = Vec::new();
    // A service is asked about what would run: with its variables, and with all of its connectors.
    let purpose = if args.online { Purpose::Running } else { Purpose::Looking };
    for path in &args.files {
        files.push(load::load(path, &args.reading, purpose, &registry)?);
    }
    let wrong = files.iter().any(Loaded::has_errors);
    for file in files.iter_mut().filter(|f| args.online && !f.has_errors()) {
        let found = run::play(online::findings(file, &registry))?;
        file.parsed.findings.extend(found);
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
    if failed {
        return Err(Failure::silent(if wrong { Failure::FILE } else { Failure::ENVIRONMENT }));
    }
    let Some(folder) = &args.state else { return Ok(()) };
    // Without a folder, what is meant is where a run would look.
    let place = StateArgs { state: folder.clone() };
    let mut refused = false;
    for file in &mut files {
        refused |= run::play(fits(file, &place, args.json, &registry))?;
    }
    if refused { Err(Failure::silent(Failure::FILE)) } else { Ok(()) }
}

/// Says what a file would make of the state that is stored; true where a run would refuse it.
async fn fits(file: &mut Loaded, place: &StateArgs, json: bool, registry: &Registry) -> Result<bool, Failure> {
    let epochs = Epochs::new(state::store(file, place, registry).await?);
    let location = epochs.store().location();
    let Some(latest) = epochs.latest().await? else {
        if !json {
            terminal::line(&format!("{}: no checkpoint in {location}: a run begins with nothing", file.name));
        }
        return Ok(false);
    };
    let manifest = epochs.manifest(latest.checkpoint).await?;
    let graph = run::graph(file).map_err(|_| {
        Failure::new(
            Failure::FILE,
            format!("{}: its state cannot be compared without all of its connectors", file.name),
        )
        .help("set the variables of the profile, or pick another with `--profile`")
    })?;
    let fits = fit(&graph, &manifest)?;
    let refused = fits.iter().any(|f| matches!(f.fate, Fate::Gone | Fate::Misfit(_)));
    if json {
        let each =
            fits.iter().map(|f| json!({ "node": f.node, "kind": f.kind, "rows": f.rows, "fate": word(&f.fate) }));
        let document =
            json!({ "checkpoint": latest.checkpoint, "location": location, "state": each.collect::<Vec<_>>() });
        terminal::line(&format!("{document:#}"));
        return Ok(refused);
    }
    terminal::line(&format!("\n{} of checkpoint {} in {location}", terminal::bold("State"), latest.checkpoint));
    let mut grid = Grid::new([("node", false), ("", false), ("rows", true), ("a run would", false)]);
    for f in &fits {
        let rows = if f.fate == Fate::New { terminal::dim("-") } else { number::count(f.rows) };
        grid.row(vec![f.node.clone(), f.kind.clone(), rows, word(&f.fate)]);
    }
    terminal::out(&grid.render());
    if refused {
        let dropped = fits.iter().filter(|f| matches!(f.fate, Fate::Gone | Fate::Misfit(_)));
        let flags: Vec<String> = dropped.map(|f| format!("--allow-dropped-state {}", f.node)).collect();
        terminal::help(&format!(
            "put the pipeline back as it was, or `millstream run {} {}`",
            file.name,
            flags.join(" ")
        ));
    }
    Ok(refused)
}

fn word(fate: &Fate) -> String {
    match fate {
        Fate::Kept => "keep it".to_owned(),
        Fate::New => "begin empty".to_owned(),
        Fate::Gone => "refuse: the node is not in the pipeline any more".to_owned(),
        Fate::Misfit(why) => format!("refuse: {}", why.join("; ")),
    }
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
