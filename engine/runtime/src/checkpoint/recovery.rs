//! Going on from a checkpoint: finds it, checks that it fits, finishes what it covers, and deals its state out.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use arrow::array::{Array as _, AsArray as _, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::UInt64Type;
use millstream_core::error::{Error, ErrorKind, Result};
use millstream_core::key::worker_of;
use millstream_core::planted::{Bug, is_planted};
use millstream_core::snapshot::{HASH, LATEST, StateTable};
use millstream_core::source::SplitId;
use millstream_core::time::{EventTime, Watermark};
use millstream_state::checkpoint::{Epochs, Listed, Manifest, NodeCounters, PlaceState, SourceState, SplitState};

use super::fit::{Fate, Fit, fit};
use super::options::{Begin, Checkpoints};
use crate::clock::Clock;
use crate::delivery::insist_for_a_while;
use crate::graph::{Graph, NodeKind};
use crate::run::RunOptions;

/// What a run goes on from, for people.
#[derive(Debug, Clone)]
pub struct Recovered {
    /// The checkpoint.
    pub checkpoint: u64,
    /// When it was taken.
    pub at: EventTime,
    /// Its inputs were read to their end, and everything is done.
    pub complete: bool,
    /// What it covers had not all been made visible, and was now.
    pub finished: bool,
    /// What becomes of each node's state.
    pub fits: Vec<Fit>,
}

/// The checkpoint a run begins from, before anything is opened.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) manifest: Option<Manifest>,
    /// Everything the manifest covers was made visible.
    pub(crate) committed: bool,
    /// Whether its state is taken back, or only what it covers is finished.
    pub(crate) resumes: bool,
    pub(crate) next: u64,
    /// See `SinkOptions::state`.
    pub(crate) state: String,
    pub(crate) fits: Vec<Fit>,
    /// Older ones that are kept.
    pub(crate) retained: Vec<Manifest>,
}

/// State to begin with.
#[derive(Debug, Default)]
pub(crate) struct Restored {
    /// Whether there is any.
    pub(crate) resumes: bool,
    /// See `SinkOptions::state`.
    pub(crate) state: String,
    pub(crate) run: String,
    /// The checkpoint gone on from.
    pub(crate) from: u64,
    /// The number of the next checkpoint.
    pub(crate) next: u64,
    pub(crate) tick: Option<u64>,
    pub(crate) splits: BTreeMap<usize, BTreeMap<SplitId, SplitState>>,
    pub(crate) watermarks: BTreeMap<usize, Watermark>,
    pub(crate) sources: BTreeMap<String, SourceState>,
    pub(crate) places: BTreeMap<String, PlaceState>,
    pub(crate) counters: BTreeMap<String, NodeCounters>,
    /// By place and worker; each takes its own.
    pub(crate) tables: Mutex<BTreeMap<(String, usize), Vec<StateTable>>>,
}

/// In messages.
const STORE: &str = "the checkpoint store";

/// Finds the checkpoint to begin from.
pub(crate) async fn find(graph: &Graph, options: &Checkpoints, epochs: &Epochs, run: &RunOptions) -> Result<Found> {
    let clock = run.clock.as_ref();
    let state = insist_for_a_while(clock, STORE, || epochs.identity(&run.generation)).await?;
    let listed = insist_for_a_while(clock, STORE, || epochs.list()).await?;
    let latest = insist_for_a_while(clock, STORE, || epochs.latest()).await?;
    let next = latest.as_ref().map_or(1, |l| l.checkpoint + 1);
    let Some(latest) = latest.filter(|_| options.begin != Begin::Reset) else {
        return Ok(Found {
            manifest: None,
            committed: true,
            resumes: false,
            next,
            state,
            fits: vec![],
            retained: vec![],
        });
    };
    let (wanted, committed) = match options.begin {
        Begin::From(n) if n != latest.checkpoint => (n, true),
        _ => (latest.checkpoint, latest.committed),
    };
    if !listed.iter().any(|l| l.checkpoint == wanted) {
        let message = format!("there is no checkpoint {wanted} in {}", epochs.store().location());
        return Err(Error::environment(format!("{message}: those that are kept are {}", numbers(&listed))));
    }
    let manifest = insist_for_a_while(clock, STORE, || epochs.manifest(wanted)).await;
    let manifest = manifest.map_err(|e| choices(e, wanted, &listed))?;
    if manifest.pipeline != graph.name {
        let message = format!("the checkpoints in {} are of the pipeline", epochs.store().location());
        return Err(Error::environment(format!("{message} `{}`, not of `{}`", manifest.pipeline, graph.name)));
    }
    let resumes = options.begin != Begin::Fresh;
    let fits = fit(graph, &manifest)?;
    if resumes {
        refuse_misfits(&fits, &options.allow_dropped, wanted)?;
    }
    let mut retained = Vec::new();
    for older in listed.iter().filter(|l| l.checkpoint < wanted).rev().take(options.keep.saturating_sub(1)) {
        // One that cannot be read is no reason not to go on from a newer one; it is left where it is.
        if let Ok(manifest) = insist_for_a_while(clock, STORE, || epochs.manifest(older.checkpoint)).await {
            retained.insert(0, manifest);
        }
    }
    retained.push(manifest.clone());
    Ok(Found { manifest: Some(manifest), committed, resumes, next, state, fits, retained })
}

fn numbers(listed: &[Listed]) -> String {
    let numbers: Vec<String> = listed.iter().map(|l| l.checkpoint.to_string()).collect();
    if numbers.is_empty() { "none".to_owned() } else { numbers.join(", ") }
}

/// A damaged checkpoint is never gone around by itself: rows that were counted on would be lost without a word.
fn choices(e: Error, damaged: u64, listed: &[Listed]) -> Error {
    if e.kind() != ErrorKind::Environment {
        return e;
    }
    let older: Vec<Listed> = listed.iter().filter(|l| l.checkpoint < damaged).cloned().collect();
    let earlier = match older.last() {
        Some(last) => format!(
            "`--from-checkpoint {}` goes on from an earlier one (kept: {}) and makes visible again what came after it, or ",
            last.checkpoint,
            numbers(&older)
        ),
        None => String::new(),
    };
    Error::environment(format!(
        "{e}. Nothing was read or written. Put the object back, or {earlier}`--reset-state` begins with empty state and \
         reads the inputs from their beginning"
    ))
}

fn refuse_misfits(fits: &[Fit], allowed: &[String], checkpoint: u64) -> Result<()> {
    let mut refused = Vec::new();
    for fit in fits.iter().filter(|f| !allowed.contains(&f.node)) {
        match &fit.fate {
            Fate::Kept | Fate::New => {}
            Fate::Gone => refused.push(format!("`{}` ({}) is not in the pipeline any more", fit.node, fit.kind)),
            Fate::Misfit(why) => refused.push(format!("`{}`: {}", fit.node, why.join("; "))),
        }
    }
    if refused.is_empty() {
        return Ok(());
    }
    let flags: Vec<String> = fits
        .iter()
        .filter(|f| matches!(f.fate, Fate::Gone | Fate::Misfit(_)) && !allowed.contains(&f.node))
        .map(|f| format!("--allow-dropped-state {}", f.node))
        .collect();
    Err(Error::config(format!(
        "checkpoint {checkpoint} has state that does not fit this pipeline: {}. Put the pipeline back as it was, or drop \
         that state with `{}`",
        refused.join("; "),
        flags.join(" ")
    )))
}

impl Found {
    /// The state of a run that begins here, without the rows of places.
    pub(crate) fn restored(&self, graph: &Graph, generation: &str) -> Restored {
        let fresh = Restored {
            state: self.state.clone(),
            run: generation.to_owned(),
            next: self.next,
            tick: self.tick(),
            ..Restored::default()
        };
        let Some(manifest) = self.manifest.as_ref().filter(|_| self.resumes) else { return fresh };
        let kept = |node: &str| self.fits.iter().any(|f| f.node == node && f.fate == Fate::Kept);
        let (mut splits, mut watermarks, mut sources) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for (i, node) in graph.nodes.iter().enumerate() {
            if let Some(state) = manifest.sources.get(&node.id).filter(|_| matches!(node.kind, NodeKind::Source(_))) {
                splits.insert(i, state.splits.clone());
                watermarks.insert(i, state.watermark.map_or(Watermark::START, Watermark));
                sources.insert(node.id.clone(), state.clone());
            }
        }
        let owner = |place: &str| place.split('.').next().unwrap_or(place).to_owned();
        let places = manifest.places.iter().filter(|(place, _)| kept(&owner(place)));
        let nodes: Vec<&str> = graph.nodes.iter().map(|n| n.id.as_str()).collect();
        let is_there = |node: &str| nodes.contains(&node) && !is_planted(Bug::ForgetCounters);
        let counters = manifest.counters.iter().filter(|(node, _)| is_there(node));
        Restored {
            resumes: true,
            state: self.state.clone(),
            // What an older checkpoint leads to is another story than what has been told since: names must not repeat.
            run: if manifest.checkpoint + 1 == self.next { manifest.run.clone() } else { generation.to_owned() },
            from: manifest.checkpoint,
            next: self.next,
            tick: self.tick(),
            splits,
            watermarks,
            sources,
            places: places.map(|(p, s)| (p.clone(), s.clone())).collect(),
            counters: counters.map(|(n, c)| (n.clone(), settled(c))).collect(),
            tables: Mutex::default(),
        }
    }
    fn tick(&self) -> Option<u64> {
        self.manifest.as_ref().map(|m| m.tick)
    }
    /// For people.
    pub(crate) fn recovered(&self) -> Option<Recovered> {
        let manifest = self.manifest.as_ref().filter(|_| self.resumes)?;
        Some(Recovered {
            checkpoint: manifest.checkpoint,
            at: manifest.at,
            complete: manifest.complete,
            finished: !self.committed,
            fits: self.fits.clone(),
        })
    }
}

/// What was held at the boundary is counted anew by whoever takes it back.
fn settled(counters: &NodeCounters) -> NodeCounters {
    let mut counters = counters.clone();
    counters.counts.held = 0;
    counters.table.input = counters.table.input.saturating_sub(counters.table.held);
    counters.table.held = 0;
    counters
}

/// The tables of a place at a checkpoint, oldest first. Those that only the newest snapshot counts for are of that
/// checkpoint, or there are none: a snapshot that says nothing is not stored.
pub(crate) async fn load(
    epochs: &Epochs,
    place: &PlaceState,
    checkpoint: u64,
    clock: &dyn Clock,
) -> Result<Vec<StateTable>> {
    let mut tables = Vec::new();
    for part in &place.parts {
        let snapshot = insist_for_a_while(clock, STORE, || epochs.part(part)).await?;
        let counts = |t: &StateTable| part.checkpoint == checkpoint || !t.name.starts_with(LATEST);
        tables.extend(snapshot.tables.into_iter().filter(counts));
    }
    Ok(tables)
}

/// The rows of each worker's key groups; rows without a hash all belong to worker 0.
pub(crate) fn deal(tables: Vec<StateTable>, workers: usize) -> Result<Vec<Vec<StateTable>>> {
    let mut dealt: Vec<Vec<StateTable>> = (0..workers).map(|_| Vec::new()).collect();
    for table in tables {
        let mut parts: Vec<StateTable> =
            (0..workers).map(|_| StateTable { name: table.name.clone(), rows: Vec::new() }).collect();
        for rows in table.rows {
            let hashes = rows.schema().index_of(HASH).ok().map(|i| rows.column(i).clone());
            let Some(hashes) = hashes.as_ref().and_then(|h| h.as_primitive_opt::<UInt64Type>()) else {
                parts.iter_mut().take(1).for_each(|p| p.rows.push(rows.clone()));
                continue;
            };
            if workers == 1 {
                parts.iter_mut().for_each(|p| p.rows.push(rows.clone()));
                continue;
            }
            debug_assert_eq!(hashes.null_count(), 0, "every row has a hash");
            let mut owned: Vec<Vec<u32>> = vec![Vec::new(); workers];
            for (row, hash) in (0_u32..).zip(hashes.values()) {
                let worker = if is_planted(Bug::DealToOne) { 0 } else { worker_of(*hash, workers) };
                if let Some(rows) = owned.get_mut(worker) {
                    rows.push(row);
                }
            }
            for (part, owned) in parts.iter_mut().zip(owned).filter(|(_, owned)| !owned.is_empty()) {
                part.rows.push(take_record_batch(&rows, &UInt32Array::from(owned))?);
            }
        }
        for (worker, part) in dealt.iter_mut().zip(parts) {
            if !part.rows.is_empty() {
                worker.push(part);
            }
        }
    }
    Ok(dealt)
}

/// Loads the state of all places but those of sinks, and deals it out.
pub(crate) async fn deal_places(
    restored: &Restored,
    epochs: &Epochs,
    graph: &Arc<Graph>,
    options: &RunOptions,
) -> Result<()> {
    let (workers, clock) = (options.workers, options.clock.as_ref());
    let is_sink = |place: &str| graph.nodes.iter().any(|n| n.id == place && matches!(n.kind, NodeKind::Sink(_)));
    for (place, state) in restored.places.iter().filter(|(place, _)| !is_sink(place)) {
        let dealt = deal(load(epochs, state, restored.from, clock).await?, workers)?;
        let mut tables = crate::metrics::lock(&restored.tables);
        for (worker, of_worker) in dealt.into_iter().enumerate() {
            tables.insert((place.clone(), worker), of_worker);
        }
    }
    Ok(())
}
