//! Takes checkpoints: announces boundaries, gathers what the places report, claims, and has sinks make it visible.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use millstream_core::error::{Error, ErrorKind, Result};
use millstream_core::planted::{Bug, is_planted};
use millstream_core::source::SplitId;
use millstream_core::time::EventTime;
use millstream_state::checkpoint::{Claimed, Epochs, Manifest, NodeCounters, PlaceState, SourceState, Staged};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::mail::{Finalised, Mail, Part};
use crate::control::Boundary;
use crate::delivery::insist;
use crate::graph::NodeKind;
use crate::metrics::{CheckpointMetrics, lock};
use crate::run::{Command, Shared};

/// What is asked of the committer.
#[derive(Debug)]
pub(crate) enum Request {
    /// A checkpoint as soon as may be; its number is told when everything it covers is visible.
    Now(oneshot::Sender<u64>),
    /// Outboxes are full.
    Pressure,
    /// Sources have stopped (or ended: `complete`): checkpoints until nothing waits for one, then the end.
    Last { complete: bool },
}

/// Takes the checkpoints of a run; lives with worker 0.
pub(crate) struct Committer {
    shared: Arc<Shared>,
    requests: UnboundedReceiver<Request>,
    mail: UnboundedReceiver<Mail>,
    epochs: Option<Epochs>,
    every: Option<Duration>,
    keep: usize,
    /// The number of the next checkpoint.
    next: u64,
    /// What is known of places, sources and counters beyond what this process's workers report.
    places: BTreeMap<String, PlaceState>,
    sources: BTreeMap<String, SourceState>,
    counters: BTreeMap<String, NodeCounters>,
    /// By source: splits that were read to their end and whose children are in a committed checkpoint. Nobody will ask
    /// for them any more.
    retired: BTreeMap<String, BTreeSet<SplitId>>,
    /// Manifests that are kept, oldest first.
    retained: Vec<Manifest>,
    /// Reports of one checkpoint: from every place of every worker.
    expected: usize,
    /// Sinks, and sources whose records leave their stream, on every worker.
    finalisers: usize,
}

/// All reports of a checkpoint.
type Parts = Vec<Part>;

impl Committer {
    pub(crate) fn new(
        shared: Arc<Shared>,
        requests: UnboundedReceiver<Request>,
        mail: UnboundedReceiver<Mail>,
        retained: Vec<Manifest>,
    ) -> Self {
        let workers = shared.options.workers;
        let (mut places, mut finalisers) = (0, 0);
        for (number, node) in shared.graph.nodes.iter().enumerate() {
            places += match &node.kind {
                NodeKind::Operator(stages) => stages.len(),
                NodeKind::Sink(sink) => 1 + usize::from(sink.before.is_some()),
                NodeKind::Source(_) | NodeKind::Upsert(_) | NodeKind::Caller(_) => 1,
            };
            finalisers += match &node.kind {
                NodeKind::Sink(_) => 1,
                NodeKind::Upsert(upsert) => usize::from(upsert.after_checkpoint),
                _ => 0,
            };
            let acknowledges = shared.opened.sources.get(&number).is_some_and(|s| s.acknowledges());
            finalisers += usize::from(acknowledges);
        }
        let checkpoints = shared.options.checkpoints.as_ref();
        let restored = &shared.restored;
        Self {
            epochs: shared.epochs.clone(),
            every: checkpoints.map_or(Some(shared.graph.checkpoint_every), |c| c.every),
            keep: checkpoints.map_or(1, |c| c.keep.max(1)),
            next: restored.next,
            places: restored.places.clone(),
            sources: restored.sources.clone(),
            counters: restored.counters.clone(),
            retired: BTreeMap::new(),
            retained,
            expected: places * workers,
            finalisers: finalisers * workers,
            shared,
            requests,
            mail,
        }
    }

    /// Takes checkpoints until the run ends. A failure ends the run.
    pub(crate) async fn run(mut self) {
        if let Err(e) = self.serve().await {
            self.shared.failure.set("checkpoint", e);
        }
    }

    async fn serve(&mut self) -> Result<()> {
        let mut due = self.every.map(|every| Instant::now() + every);
        loop {
            let request = tokio::select! {
                biased;
                request = self.requests.recv() => match request {
                    Some(request) => Some(request),
                    None => return Ok(()),
                },
                () = sleep_until(due) => None,
            };
            let began = Instant::now();
            match request {
                Some(Request::Last { complete }) => return self.end(complete).await,
                Some(Request::Now(told)) => {
                    let checkpoint = self.take(false, false).await?.0;
                    let _ = told.send(checkpoint);
                }
                Some(Request::Pressure) | None => {
                    self.take(false, false).await?;
                }
            }
            due = self.every.map(|every| (began + every).max(Instant::now()));
        }
    }

    /// Checkpoints until no sink has anything left to send and nothing was refused while it was sent.
    async fn end(&mut self, complete: bool) -> Result<()> {
        loop {
            let (checkpoint, refused) = self.take(true, complete).await?;
            // Whoever asks from now on is told of the last one.
            while let Ok(request) = self.requests.try_recv() {
                if let Request::Now(told) = request {
                    let _ = told.send(checkpoint);
                }
            }
            if refused == 0 {
                break;
            }
        }
        self.shared.command(Command::Close);
        Ok(())
    }

    /// Takes one checkpoint; gives its number and how many rows were refused when they were sent.
    async fn take(&mut self, last: bool, complete: bool) -> Result<(u64, u64)> {
        let (began, checkpoint) = (self.shared.options.clock.micros(), self.next);
        let wants_whole = |(name, place): (&String, &PlaceState)| place.wants_whole().then(|| name.clone());
        let boundary = Boundary {
            checkpoint,
            state: self.epochs.is_some(),
            whole: self.places.iter().filter_map(wants_whole).collect(),
            last,
        };
        self.shared.metrics.checkpoint_began(began);
        self.shared.command(Command::Boundary(boundary));
        let parts = self.gather(checkpoint).await?;
        let bytes = parts.iter().filter_map(|p| p.part.as_ref()).map(|p| p.bytes).sum();
        let claim = match self.epochs.clone() {
            None => None,
            Some(epochs) => {
                let mut manifest = self.manifest(parts, began);
                manifest.complete = complete;
                if is_planted(Bug::CommitBeforeClaim) {
                    self.shared.command(Command::Claimed(checkpoint));
                }
                Some((self.claim(&epochs, &manifest).await?, manifest, epochs))
            }
        };
        self.next += 1;
        self.shared.command(Command::Claimed(checkpoint));
        let refused = self.finalised(checkpoint).await?;
        if let Some((claim, manifest, epochs)) = claim {
            if refused == 0 {
                self.mark_committed(&epochs, &claim).await?;
                self.retire(&manifest);
            }
            self.retained.push(manifest);
            self.collect_garbage(&epochs).await?;
        }
        let now = self.shared.options.clock.micros();
        self.shared.metrics.checkpoint_took(CheckpointMetrics {
            checkpoint,
            at: now,
            took: now.saturating_sub(began),
            bytes,
            ..CheckpointMetrics::default()
        });
        Ok((checkpoint, refused))
    }

    async fn letter(&mut self) -> Result<Mail> {
        self.mail.recv().await.ok_or_else(|| Error::bug("the workers have gone"))
    }

    async fn gather(&mut self, checkpoint: u64) -> Result<Parts> {
        let mut parts = Vec::with_capacity(self.expected);
        while parts.len() < self.expected {
            let Mail::Part(text) = self.letter().await? else { continue };
            let part: Part = serde_json::from_str(&text).map_err(|e| Error::bug("a part").caused_by(e))?;
            if part.checkpoint == checkpoint {
                parts.push(part);
            }
        }
        // In one order, whichever came first.
        parts.sort_by(|a, b| (&a.place, a.worker).cmp(&(&b.place, b.worker)));
        Ok(parts)
    }

    async fn finalised(&mut self, checkpoint: u64) -> Result<u64> {
        let (mut done, mut refused) = (0, 0);
        while done < self.finalisers {
            if let Mail::Finalised(Finalised { checkpoint: n, refused: more }) = self.letter().await?
                && n == checkpoint
            {
                done += 1;
                refused += more;
            }
        }
        Ok(refused)
    }

    /// What was known, and what the places have reported.
    fn manifest(&mut self, parts: Parts, at: u64) -> Manifest {
        let mut counters = self.counters.clone();
        let mut staged: BTreeMap<String, Vec<Staged>> = BTreeMap::new();
        let mut layers: BTreeMap<String, (Option<_>, Vec<_>)> = BTreeMap::new();
        for part in parts {
            counters.entry(part.node.clone()).or_default().add(&part.counters);
            for (source, watermark) in part.watermarks {
                let known = self.sources.entry(source).or_default();
                known.watermark = known.watermark.max((watermark != i64::MIN).then_some(EventTime(watermark)));
            }
            if !part.splits.is_empty() {
                self.sources.entry(part.place.clone()).or_default().splits.extend(part.splits);
            }
            if let Some(value) = part.staged {
                staged.entry(part.node).or_default().push(Staged { instance: part.worker, staged: value });
            }
            let (layout, refs) = layers.entry(part.place).or_default();
            *layout = layout.take().or(part.layout);
            refs.extend(part.part);
        }
        for (source, retired) in &self.retired {
            if let Some(state) = self.sources.get_mut(source) {
                state.splits.retain(|id, _| !retired.contains(id));
            }
        }
        for (place, (layout, refs)) in layers {
            if let Some(layout) = layout {
                let known = self.places.entry(place);
                known.or_insert_with(|| PlaceState { layout: layout.clone(), parts: Vec::new() }).push(layout, refs);
            }
        }
        let options = &self.shared.options;
        Manifest {
            format: Manifest::FORMAT,
            pipeline: self.shared.graph.name.clone(),
            checkpoint: self.next,
            run: self.shared.restored.run.clone(),
            generation: options.generation.clone(),
            at: EventTime(i64::try_from(at).unwrap_or(i64::MAX)),
            tick: self.shared.boundary_tick.load(Ordering::Relaxed),
            workers: options.workers,
            complete: false,
            sources: self.sources.clone(),
            places: self.places.clone(),
            staged,
            counters,
        }
    }

    /// Finds the splits that need not be remembered any more now that this checkpoint is committed.
    fn retire(&mut self, committed: &Manifest) {
        for (source, state) in &committed.sources {
            let parents = state.splits.values().flat_map(|s| &s.parents);
            let ended = parents.filter(|p| state.splits.get(*p).is_some_and(|s| s.finished));
            self.retired.entry(source.clone()).or_default().extend(ended.cloned());
        }
    }

    async fn claim(&self, epochs: &Epochs, manifest: &Manifest) -> Result<millstream_state::checkpoint::Claim> {
        let clock = self.shared.options.clock.as_ref();
        self.shared.die_at("manifest.before")?;
        let claim = insist(clock, "the checkpoint store", || epochs.put_manifest(manifest)).await?;
        self.shared.die_at("claim.before")?;
        match insist(clock, "the checkpoint store", || epochs.claim(&claim)).await? {
            Claimed::Ours => {}
            Claimed::Theirs(theirs) => {
                return Err(Error::new(
                    ErrorKind::Fenced,
                    format!(
                        "another process ({}) runs this pipeline on the same state and has taken checkpoint {}: this one \
                         stops. Nothing is lost: the other goes on from the last checkpoint",
                        theirs.generation, theirs.checkpoint
                    ),
                ));
            }
        }
        self.shared.die_at("claim.after")?;
        Ok(claim)
    }

    async fn mark_committed(&self, epochs: &Epochs, claim: &millstream_state::checkpoint::Claim) -> Result<()> {
        self.shared.die_at("committed.before")?;
        let clock = self.shared.options.clock.as_ref();
        insist(clock, "the checkpoint store", || epochs.mark_committed(claim)).await?;
        self.shared.die_at("committed.after")
    }

    async fn collect_garbage(&mut self, epochs: &Epochs) -> Result<()> {
        let excess = self.retained.len().saturating_sub(self.keep);
        self.retained.drain(..excess);
        self.shared.die_at("garbage.before")?;
        // What cannot be removed now will be at the next checkpoint: no reason to hold anything up.
        if let Err(e) = epochs.collect_garbage(&self.retained).await {
            tracing::warn!("old checkpoints cannot be removed now: {e}");
        }
        self.shared.die_at("garbage.after")
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// Where requests go; shared by everyone who may ask.
pub(crate) type Requests = UnboundedSender<Request>;

impl Shared {
    /// Asks the committer for something; one that is gone has nothing left to do.
    pub(crate) fn request(&self, request: Request) {
        let _ = self.requests.send(request);
    }
    /// Has the clock pass something on.
    pub(crate) fn command(&self, command: Command) {
        lock(&self.commands).push(command);
    }
}
