//! Stores the state of a place, off the data path, and tells the committer.

use std::sync::Arc;

use millstream_core::error::{Error, Result};
use millstream_core::snapshot::Snapshot;
use millstream_state::checkpoint::{Epochs, PartRef, encode};

use super::mail::{Mail, Part, Report};
use crate::delivery::insist;
use crate::run::Shared;

/// Smaller snapshots are encoded where they are: handing them over would cost more.
const SMALL: usize = 64 << 10;

/// Stores what a report holds; gives the mail that says so.
pub(crate) async fn upload(shared: &Arc<Shared>, checkpoint: u64, worker: usize, report: Report) -> Result<Mail> {
    let (mut layout, mut part) = (None, None);
    if let (Some((looks, snapshot)), Some(epochs)) = (report.state, &shared.epochs) {
        layout = Some(looks);
        if !snapshot.is_nothing() {
            part = Some(store(shared, epochs, checkpoint, worker, &report.place, snapshot).await?);
        }
    }
    let part = Part {
        checkpoint,
        worker,
        place: report.place,
        node: report.node,
        counters: report.counters,
        watermarks: report.watermarks,
        layout,
        part,
        splits: report.splits,
        staged: report.staged,
    };
    let text = serde_json::to_string(&part).map_err(|e| Error::bug("a part cannot be told").caused_by(e))?;
    Ok(Mail::Part(text))
}

async fn store(
    shared: &Arc<Shared>,
    epochs: &Epochs,
    checkpoint: u64,
    worker: usize,
    place: &str,
    snapshot: Snapshot,
) -> Result<PartRef> {
    let snapshot = Arc::new(snapshot);
    let bytes = if snapshot.bytes() <= SMALL || shared.options.turns.is_some() {
        encode(&snapshot)?
    } else {
        let snapshot = snapshot.clone();
        let encoded = tokio::task::spawn_blocking(move || encode(&snapshot)).await;
        encoded.map_err(|e| Error::bug("encoding state panicked").caused_by(e))??
    };
    shared.die_at("part.before")?;
    let generation = &shared.options.generation;
    let put = || epochs.put_part(checkpoint, generation, place, worker, &snapshot, bytes.clone());
    let part = insist(shared.options.clock.as_ref(), "the checkpoint store", put).await?;
    shared.die_at("part.after")?;
    Ok(part)
}
