//! Rows that wait for the checkpoint that covers them, to be sent then, each batch under an id of its own.
//!
//! ```text
//! write -> gathered --prepare(n)--> named by n, in the state of n --[n is claimed]--> sent
//! ```
//! The state of checkpoint n is what it covers and what is not sent: after a crash exactly that is sent again.

use std::sync::Arc;

use millstream_core::batch::{Batch, Origin};
use millstream_core::error::{Error, Result};
use millstream_core::planted::{Bug, is_planted};
use millstream_core::sink::{BatchId, SinkOptions};
use millstream_core::snapshot::{Snapshot, StateTable};
use serde::{Deserialize, Serialize};

/// A batch under its id.
#[derive(Debug, Clone)]
pub(crate) struct Letter {
    pub(crate) id: BatchId,
    pub(crate) batch: Batch,
    /// When the oldest record that led to it was read.
    pub(crate) since: u64,
}

/// What a batch is stored under: its id, and where its rows came from.
#[derive(Debug, Serialize, Deserialize)]
struct Name {
    id: BatchId,
    origin: Option<(String, String)>,
}

/// The outbox of one instance of a sink.
#[derive(Debug)]
pub(crate) struct Outbox {
    run: String,
    instance: usize,
    /// The checkpoint that will cover what is gathered now.
    checkpoint: u64,
    letters: Vec<Letter>,
    sequence: u64,
}

impl Outbox {
    pub(crate) fn new(options: &SinkOptions) -> Self {
        Self {
            run: options.run.clone(),
            instance: options.instance,
            checkpoint: options.checkpoint,
            letters: Vec::new(),
            sequence: 0,
        }
    }
    /// Keeps a batch.
    pub(crate) fn put(&mut self, batch: Batch, since: u64) {
        let id = BatchId {
            run: self.run.clone(),
            checkpoint: self.checkpoint,
            instance: self.instance,
            sequence: self.sequence,
        };
        self.sequence += 1;
        self.letters.push(Letter { id, batch, since });
    }
    /// What this checkpoint covers is complete; what comes now belongs to the next one.
    pub(crate) fn close(&mut self, checkpoint: u64) -> Result<Snapshot> {
        debug_assert_eq!(checkpoint, self.checkpoint, "checkpoints follow one by one");
        (self.checkpoint, self.sequence) = (checkpoint + 1, 0);
        let kept = self.letters.iter().filter(|_| !is_planted(Bug::ForgetOutbox));
        let tables = kept.map(|l| {
            let origin = l.batch.origin.as_ref().map(|o| (o.source.clone(), o.split.clone()));
            let name = serde_json::to_string(&Name { id: l.id.clone(), origin });
            let name = name.map_err(|e| Error::bug("an id cannot be stored").caused_by(e))?;
            Ok(StateTable::new(name, l.batch.rows.clone()))
        });
        Ok(Snapshot::whole(tables.collect::<Result<_>>()?))
    }
    /// Takes what a checkpoint that counts has covered.
    pub(crate) fn take_upto(&mut self, checkpoint: u64) -> Vec<Letter> {
        let (due, later) = std::mem::take(&mut self.letters).into_iter().partition(|l| l.id.checkpoint <= checkpoint);
        self.letters = later;
        due
    }
}

/// The letters that [`Outbox::close`] made tables of.
pub(crate) fn letters(tables: Vec<StateTable>) -> Result<Vec<Letter>> {
    let mut letters = Vec::new();
    for table in tables {
        let name: Name = serde_json::from_str(&table.name)
            .map_err(|e| Error::bug("an outbox has a batch without an id").caused_by(e))?;
        for rows in table.rows.into_iter().filter(|r| r.num_rows() > 0) {
            let origin = name.origin.clone().map(|(source, split)| Arc::new(Origin { source, split }));
            letters.push(Letter { id: name.id.clone(), batch: Batch { rows, origin }, since: 0 });
        }
    }
    Ok(letters)
}
