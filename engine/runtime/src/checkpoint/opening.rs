//! Opens every connector of a graph, and finishes what the last process had claimed and not made visible.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use millstream_core::batch::Batch;
use millstream_core::error::{Error, Result};
use millstream_core::planted::{Bug, is_planted};
use millstream_core::sink::{Commitment, Sink, SinkOptions};
use millstream_core::source::SplitSource;
use millstream_core::table::TableStore;
use millstream_state::checkpoint::{Epochs, Manifest, NodeCounters};

use super::recovery::{Found, Restored, load};
use crate::delivery::{Delivered, How, deliver, insist, insist_for_a_while};
use crate::graph::{Graph, NodeKind, SinkNode};
use crate::outbox::letters;
use crate::run::{RunError, RunOptions};

/// What was opened before the dataflow starts.
pub(crate) struct Opened {
    pub(crate) sources: BTreeMap<usize, Arc<dyn SplitSource>>,
    pub(crate) tables: BTreeMap<usize, Arc<dyn TableStore>>,
    /// By node and worker; each worker takes its own.
    pub(crate) sinks: Mutex<BTreeMap<(usize, usize), OpenedSink>>,
}

/// A sink's instance for one worker.
pub(crate) struct OpenedSink {
    pub(crate) sink: Box<dyn Sink>,
    pub(crate) options: SinkOptions,
    pub(crate) commitment: Commitment,
    /// Batches of an outbox of which rows were refused while the last process's checkpoint was finished.
    pub(crate) refused: Vec<(Batch, Delivered)>,
}

/// Opens everything.
pub(crate) async fn open(
    graph: &Graph,
    options: &RunOptions,
    epochs: Option<&Epochs>,
    found: Option<&Found>,
    restored: &mut Restored,
) -> Result<Opened, RunError> {
    let (mut sources, mut tables, mut sinks) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for (i, node) in graph.nodes.iter().enumerate() {
        let at = |e: Error| RunError { node: node.id.clone(), error: e };
        match &node.kind {
            NodeKind::Source(s) => {
                sources.insert(i, Arc::from(s.connector.source(&s.options).await.map_err(at)?));
            }
            NodeKind::Upsert(u) => {
                tables.insert(i, u.connector.table(&u.table).await.map_err(at)?);
            }
            NodeKind::Sink(s) => {
                for worker in 0..options.workers {
                    let opened = open_sink(s, worker, options, restored).await.map_err(at)?;
                    sinks.insert((i, worker), opened);
                }
            }
            NodeKind::Operator(_) | NodeKind::Caller(_) => {}
        }
    }
    if let (Some(epochs), Some(found)) = (epochs, found) {
        finish(graph, options, epochs, found, restored, &mut sinks).await?;
        for (i, node) in graph.nodes.iter().enumerate() {
            if let (NodeKind::Sink(_), Some(state)) = (&node.kind, restored.places.get(&node.id))
                && let Some(first) = sinks.get_mut(&(i, 0)).filter(|s| s.commitment == Commitment::Staged)
            {
                let at = |e: Error| RunError { node: node.id.clone(), error: e };
                let tables = load(epochs, state, restored.from, options.clock.as_ref()).await.map_err(at)?;
                first.sink.restore(tables).await.map_err(at)?;
            }
        }
    }
    Ok(Opened { sources, tables, sinks: Mutex::new(sinks) })
}

async fn open_sink(s: &SinkNode, worker: usize, options: &RunOptions, restored: &Restored) -> Result<OpenedSink> {
    let mut sink_options = s.options.clone();
    sink_options.instance = worker;
    sink_options.instances = options.workers;
    sink_options.state.clone_from(&restored.state);
    sink_options.run.clone_from(&restored.run);
    sink_options.generation.clone_from(&options.generation);
    sink_options.checkpoint = restored.next;
    Ok(OpenedSink {
        sink: s.connector.sink(&sink_options).await?,
        commitment: s.connector.commitment(&sink_options),
        options: sink_options,
        refused: Vec::new(),
    })
}

type Sinks = BTreeMap<(usize, usize), OpenedSink>;

/// Makes visible what a claimed checkpoint covers, where its own process did not come to the end of that.
async fn finish(
    graph: &Graph,
    options: &RunOptions,
    epochs: &Epochs,
    found: &Found,
    restored: &mut Restored,
    sinks: &mut Sinks,
) -> Result<(), RunError> {
    let Some(manifest) = &found.manifest else { return Ok(()) };
    let engine = |error| RunError { node: "checkpoint".to_owned(), error };
    let mut refused = 0;
    for (i, node) in graph.nodes.iter().enumerate() {
        let at = |e: Error| RunError { node: node.id.clone(), error: e };
        let NodeKind::Sink(spec) = &node.kind else { continue };
        let Some(first) = sinks.get_mut(&(i, 0)) else { continue };
        if !found.committed && !is_planted(Bug::LeaveUnfinished) {
            options.die_at("recovery.before").map_err(engine)?;
            for staged in manifest.staged.get(&node.id).into_iter().flatten() {
                let commit = async |sink: &mut dyn Sink| sink.commit(manifest.checkpoint, &staged.staged).await;
                again(options, &node.id, first.sink.as_mut(), commit).await.map_err(at)?;
            }
        }
        if matches!(first.commitment, Commitment::Outbox { .. }) {
            let resent = match found.committed {
                true => Vec::new(),
                false => send(options, epochs, manifest, spec, &node.id, first).await.map_err(at)?,
            };
            let failed: u64 = resent.iter().map(|(_, d)| d.failed.len() as u64 + d.dropped).sum();
            refused += failed;
            if let (false, Some((_, delivered))) = (spec.has_failed_port, resent.first()) {
                let why = delivered.failed.first().map(|f| f.reason.text.clone()).unwrap_or_default();
                let message = format!("rows that were to be sent are refused and have nowhere else to go: {why}");
                return Err(at(Error::unavailable(message)));
            }
            if let (Some(before), Some(now)) = (manifest.counters.get(&node.id), restored.counters.get_mut(&node.id)) {
                account(before, now, &resent);
            }
            // Refused rows leave by the `failed` port of whoever goes on; a run that begins anew has nothing to do with
            // them.
            if found.resumes {
                first.refused = resent;
            }
            restored.places.remove(&node.id);
        }
    }
    let gone = |id: &&String| !found.committed && !graph.nodes.iter().any(|n| n.id == **id);
    if let Some(gone) = manifest.staged.keys().find(gone) {
        return Err(engine(Error::config(format!(
            "checkpoint {} covers rows of the sink `{gone}` that are not visible yet, and the sink is not in the pipeline \
             any more: run the pipeline as it was until it says that it goes on, then change it",
            manifest.checkpoint
        ))));
    }
    if !found.committed && refused == 0 {
        options.die_at("recovery.after").map_err(engine)?;
        let (clock, store) = (options.clock.as_ref(), "the checkpoint store");
        let claim = insist_for_a_while(clock, store, || epochs.claim_of(manifest.checkpoint)).await.map_err(engine)?;
        insist(clock, store, || epochs.mark_committed(&claim)).await.map_err(engine)?;
    }
    Ok(())
}

/// Asks a sink for something until it is done.
async fn again<F>(options: &RunOptions, name: &str, sink: &mut dyn Sink, ask: F) -> Result<()>
where
    F: AsyncFn(&mut dyn Sink) -> Result<()>,
{
    let delivery = millstream_core::sink::Delivery::default();
    let mut attempts = crate::delivery::Attempts::new(&delivery, options.clock.as_ref());
    loop {
        match ask(sink).await {
            Err(e) if crate::delivery::passing(&e) => attempts.again_always(name, &e.to_string()).await,
            done => return done,
        }
    }
}

/// Sends what the outboxes of a sink held at the checkpoint; gives the batches of which rows were not taken.
async fn send(
    options: &RunOptions,
    epochs: &Epochs,
    manifest: &Manifest,
    spec: &SinkNode,
    name: &str,
    first: &mut OpenedSink,
) -> Result<Vec<(Batch, Delivered)>> {
    let Some(state) = manifest.places.get(name) else { return Ok(Vec::new()) };
    let mut refused = Vec::new();
    for letter in letters(load(epochs, state, manifest.checkpoint, options.clock.as_ref()).await?)? {
        let (sink, how) = (first.sink.as_mut(), How::Send(&letter.id));
        let delivered = deliver(sink, how, &letter.batch, &spec.delivery, options.clock.as_ref(), name).await?;
        if delivered.failed.is_empty() && delivered.dropped == 0 {
            continue;
        }
        refused.push((letter.batch, delivered));
    }
    Ok(refused)
}

/// What an outbox held has been sent by now, but for what was refused; that is counted here, and only given later.
fn account(before: &NodeCounters, now: &mut NodeCounters, refused: &[(Batch, Delivered)]) {
    let dropped: u64 = refused.iter().map(|(_, d)| d.dropped).sum();
    let failed: u64 = refused.iter().map(|(_, d)| d.failed.len() as u64).sum::<u64>() + dropped;
    now.counts.out += before.counts.held.saturating_sub(failed);
    now.counts.failed += failed;
    now.counts.dropped += dropped;
}
