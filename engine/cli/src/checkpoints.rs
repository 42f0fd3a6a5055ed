//! `checkpoints`: which ones a pipeline has, how old and large they are, and how far they had read.

use millstream_core::time::EventTime;
use millstream_state::checkpoint::{Epochs, Listed, Manifest};
use serde_json::json;

use crate::args::CheckpointsArgs;
use crate::exit::Failure;
use crate::grid::Grid;
use crate::load::{self, Purpose};
use crate::summary::moment;
use crate::{number, registry, run, state, terminal};

/// Runs the command.
pub(crate) fn execute(args: &CheckpointsArgs) -> Result<(), Failure> {
    let registry = registry::registry();
    let loaded = load::load(&args.file.file, &args.file.reading, Purpose::Looking, &registry)?;
    if loaded.has_errors() {
        load::print(&loaded);
        return Err(Failure::silent(Failure::FILE));
    }
    run::play(async {
        let epochs = Epochs::new(state::store(&loaded, &args.place, &registry).await?);
        let listed = epochs.list().await?;
        let mut all = Vec::new();
        for one in listed {
            let manifest = epochs.manifest(one.checkpoint).await;
            all.push((one, manifest));
        }
        if args.json {
            terminal::line(&format!("{:#}", document(&epochs, &all)));
        } else {
            show(&epochs, &all);
        }
        Ok(())
    })
}

type Read = (Listed, Result<Manifest, millstream_core::Error>);

fn show(epochs: &Epochs, all: &[Read]) {
    let location = epochs.store().location();
    if all.is_empty() {
        terminal::line(&format!("no checkpoints in {location}"));
        return;
    }
    let columns = [("checkpoint", true), ("age", true), ("state", true), ("written", true), ("", false)];
    let mut grid = Grid::new(columns);
    for (one, manifest) in all {
        let number = one.checkpoint.to_string();
        match manifest {
            Ok(m) => {
                let sizes = [state_bytes(m), written_bytes(m)].map(number::bytes);
                let [all, new] = sizes;
                grid.row(vec![number, number::duration(state::age(m.at)), all, new, words(one, m)]);
            }
            Err(e) => grid.row(vec![number, "-".into(), "-".into(), "-".into(), terminal::red(&e.to_string())]),
        }
    }
    terminal::line(&format!("{} in {location}\n", number::of(all.len() as u64, "checkpoint")));
    terminal::out(&grid.render());
    if let Some((_, Ok(newest))) = all.iter().rev().find(|(_, m)| m.is_ok()) {
        positions(newest);
    }
}

fn words(one: &Listed, manifest: &Manifest) -> String {
    match (manifest.complete, one.committed) {
        (true, true) => terminal::green("complete: the inputs were read to their end"),
        (_, true) => String::new(),
        (_, false) => terminal::yellow("not all it covers is visible yet; the next run begins with that"),
    }
}

/// Bytes of state that a restart from here reads.
fn state_bytes(manifest: &Manifest) -> u64 {
    manifest.places.values().flat_map(|p| &p.parts).map(|p| p.bytes).sum()
}

/// Bytes of state written for this one.
fn written_bytes(manifest: &Manifest) -> u64 {
    let own = |n: &u64| *n == manifest.checkpoint;
    manifest.places.values().flat_map(|p| &p.parts).filter(|p| own(&p.checkpoint)).map(|p| p.bytes).sum()
}

/// How far the newest checkpoint has read.
fn positions(manifest: &Manifest) {
    terminal::line(&format!("\n{}", terminal::bold(&format!("Positions of checkpoint {}", manifest.checkpoint))));
    let columns = [("source", false), ("split", false), ("read to", true), ("of", true), ("watermark", false)];
    let mut grid = Grid::new(columns);
    for (source, state) in &manifest.sources {
        let watermark = state.watermark.map_or("-".to_owned(), |w| match w {
            EventTime::MAX => "complete".to_owned(),
            w => moment(w),
        });
        let mut name = source.clone();
        for (split, state) in &state.splits {
            let position = match (&state.position, state.finished) {
                (_, true) => "the end".to_owned(),
                (Some(p), _) => p.to_string(),
                (None, _) => "the beginning".to_owned(),
            };
            let size = state.size.map_or_else(|| "-".to_owned(), number::bytes);
            grid.row(vec![std::mem::take(&mut name), split.to_string(), position, size, watermark.clone()]);
        }
        if state.splits.is_empty() {
            grid.row(vec![name, "-".into(), "-".into(), "-".into(), watermark]);
        }
    }
    terminal::out(&grid.render());
}

fn document(epochs: &Epochs, all: &[Read]) -> serde_json::Value {
    let each = all.iter().map(|(one, manifest)| match manifest {
        Ok(m) => json!({
            "checkpoint": one.checkpoint,
            "committed": one.committed,
            "complete": m.complete,
            "at": m.at.to_string(),
            "age_seconds": state::age(m.at).as_secs_f64(),
            "state_bytes": state_bytes(m),
            "written_bytes": written_bytes(m),
            "workers": m.workers,
            "run": m.run,
            "sources": m.sources,
        }),
        Err(e) => json!({ "checkpoint": one.checkpoint, "damaged": e.to_string() }),
    });
    json!({ "location": epochs.store().location(), "checkpoints": each.collect::<Vec<_>>() })
}
