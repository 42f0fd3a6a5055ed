//! Where the state of a pipeline is kept, and what a run begins from.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args as ClapArgs;
use millstream_core::checkpoint::CheckpointStore;
use millstream_core::connector::Registry;
use millstream_core::time::EventTime;
use millstream_local::checkpoints::default_store;
use millstream_plan::{Bind as _, Profile};
use millstream_runtime::checkpoint::{Begin, Checkpoints, Fate, Recovered};
use millstream_runtime::clock::{Clock as _, SystemClock};

use crate::exit::Failure;
use crate::load::Loaded;
use crate::{number, terminal};

/// The folder of state where nothing else was said.
const FOLDER: &str = ".millstream";

/// Where state is.
#[derive(Debug, Clone, Default, ClapArgs)]
pub(crate) struct StateArgs {
    /// The folder of checkpoints; by default what `checkpoint.store` names, else `.millstream`.
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
}

/// What a run begins from.
#[derive(Debug, Clone, Default, ClapArgs)]
pub(crate) struct BeginArgs {
    #[command(flatten)]
    pub(crate) place: StateArgs,
    /// Run anew over the same outputs, with empty state. Nothing is removed there: what the inputs do not give any more stays.
    #[arg(long, conflicts_with_all = ["from_checkpoint", "reset_state"])]
    pub(crate) fresh: bool,
    /// Go on from this checkpoint instead of the newest; `millstream checkpoints` lists them.
    #[arg(long, value_name = "N", conflicts_with = "reset_state")]
    pub(crate) from_checkpoint: Option<u64>,
    /// Begin with empty state, even where the newest checkpoint is damaged.
    #[arg(long)]
    pub(crate) reset_state: bool,
    /// Drop the stored state of a node that is gone or does not fit any more.
    #[arg(long, value_name = "NODE")]
    pub(crate) allow_dropped_state: Vec<String>,
}

impl BeginArgs {
    pub(crate) fn begin(&self) -> Begin {
        match (self.fresh, self.reset_state, self.from_checkpoint) {
            (true, ..) => Begin::Fresh,
            (_, true, _) => Begin::Reset,
            (.., Some(n)) => Begin::From(n),
            _ => Begin::Resume,
        }
    }
}

/// The name of a pipeline's state: each environment has one of its own, for where it reads and writes differs.
pub(crate) fn name(loaded: &Loaded) -> Result<String, Failure> {
    let pipeline = loaded.pipeline()?;
    Ok(match &loaded.parsed.profile {
        Some(profile) => format!("{}.{profile}", pipeline.name.value),
        None => pipeline.name.value.clone(),
    })
}

/// Opens the store of a pipeline's checkpoints.
pub(crate) async fn store(
    loaded: &Loaded,
    args: &StateArgs,
    registry: &Registry,
) -> Result<Arc<dyn CheckpointStore>, Failure> {
    let pipeline = loaded.pipeline()?;
    let name = &name(loaded)?;
    if let Some(folder) = &args.state {
        return Ok(default_store(folder, name)?);
    }
    let Some(bound) = &pipeline.checkpoint.store else { return Ok(default_store(Path::new(FOLDER), name)?) };
    let profile = Profile::new(pipeline, loaded.parsed.profile.as_deref(), registry);
    let connector = profile.bind(&bound.value).and_then(|b| b.connector);
    let connector = connector.ok_or_else(|| {
        Failure::new(
            Failure::FILE,
            format!("`{}`, which keeps the checkpoints, is not part of this binary", bound.value),
        )
        .help("`--state DIR` keeps them in a folder")
    })?;
    Ok(connector.checkpoints(name).await?)
}

/// Checkpoints as the file and the command line want them.
pub(crate) async fn checkpoints(
    loaded: &Loaded,
    args: &BeginArgs,
    registry: &Registry,
) -> Result<Checkpoints, Failure> {
    let pipeline = loaded.pipeline()?;
    Ok(Checkpoints {
        every: Some(pipeline.checkpoint.every),
        keep: pipeline.checkpoint.keep as usize,
        begin: args.begin(),
        allow_dropped: args.allow_dropped_state.clone(),
        holder: format!("millstream run {}", loaded.name),
        ..Checkpoints::new(store(loaded, &args.place, registry).await?)
    })
}

/// How long ago something was.
pub(crate) fn age(at: EventTime) -> Duration {
    let now = i64::try_from(SystemClock.micros()).unwrap_or(i64::MAX);
    Duration::from_micros(u64::try_from(now.saturating_sub(at.0)).unwrap_or(0))
}

/// Says what a run goes on from, and what it loses.
pub(crate) fn announce(begin: Begin, recovered: Option<&Recovered>) {
    if begin == Begin::Reset {
        terminal::note(&format!(
            "{}: the state is reset: the inputs are read from their beginning, and what was written before is written \
             again: appended files and messages twice, tables and keyed files to the same rows\n",
            terminal::yellow("warning")
        ));
    }
    if begin == Begin::Fresh {
        terminal::note(
            "running anew over the same outputs: nothing is removed, so keyed files and rows of keys that the inputs do \
             not have any more stay, and appended files stay beside the new ones\n",
        );
    }
    let Some(from) = recovered else { return };
    let finished = if from.finished { "; what it covers was not all visible yet, and is now" } else { "" };
    terminal::note(&format!(
        "going on from checkpoint {}, taken {} ago{finished}\n",
        from.checkpoint,
        number::duration(age(from.at))
    ));
    if let Begin::From(n) = begin {
        terminal::note(&format!(
            "{}: what was written after checkpoint {n} is written again: appended files and messages twice, tables and \
             keyed files to the same rows\n",
            terminal::yellow("warning")
        ));
    }
    for fit in &from.fits {
        match &fit.fate {
            Fate::Kept => {}
            Fate::New => terminal::note(&format!("  {} ({}) is new and begins empty\n", fit.node, fit.kind)),
            Fate::Gone | Fate::Misfit(_) => {
                terminal::note(&format!("  the state of {} ({}) is dropped, as allowed\n", fit.node, fit.kind));
            }
        }
    }
}
