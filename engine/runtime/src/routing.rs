//! Sends each row to the worker that owns its key group.

use arrow::array::UInt32Array;
use millstream_core::batch::Batch;
use millstream_core::error::Result;
use millstream_core::key::{hash_rows, worker_of};
use timely::communication::Push;
use timely::dataflow::channels::Message;
use timely::dataflow::channels::pushers::exchange::Distributor;

use crate::envelope::Envelope;
use crate::graph::Routing;
use crate::run::Failure;

/// Splits batches by key group. Every row leaves exactly once: progress tracking counts them.
pub(crate) struct ByKeyGroup {
    routing: Routing,
    failure: Failure,
    node: String,
}

impl ByKeyGroup {
    pub(crate) fn new(routing: Routing, failure: Failure, node: String) -> Self {
        Self { routing, failure, node }
    }

    /// The rows of `batch` by worker: `None` where all of them belong to the one worker given.
    fn split(&self, batch: &Batch, workers: usize) -> Result<(usize, Option<Vec<Batch>>)> {
        let hashes = match &self.routing {
            Routing::Local | Routing::Single => return Ok((0, None)),
            Routing::Keys(columns) => hash_rows(&batch.rows, columns)?,
        };
        let mut indices: Vec<Vec<u32>> = vec![Vec::new(); workers];
        for (row, hash) in hashes.into_iter().enumerate() {
            if let Some(rows) = indices.get_mut(worker_of(hash, workers)) {
                rows.push(row as u32);
            }
        }
        if let Some(all) = indices.iter().position(|rows| rows.len() == batch.num_rows()) {
            return Ok((all, None));
        }
        let parts = indices.into_iter().map(|rows| batch.take(&UInt32Array::from(rows))).collect::<Result<_>>()?;
        Ok((0, Some(parts)))
    }
}

impl Distributor<Envelope> for ByKeyGroup {
    fn partition<T: Clone, P: Push<Message<T, Envelope>>>(
        &mut self,
        container: &mut Envelope,
        time: &T,
        pushers: &mut [P],
    ) {
        let since = container.since;
        let Some(batch) = container.batch.take() else { return };
        let split = self.split(&batch, pushers.len());
        let mut push = |worker: usize, batch: Batch| {
            if let Some(pusher) = pushers.get_mut(worker)
                && batch.num_rows() > 0
            {
                Message::push_at(&mut Envelope::new(batch, since), time.clone(), pusher);
            }
        };
        match split {
            Ok((worker, None)) => push(worker, batch),
            Ok((_, Some(parts))) => parts.into_iter().enumerate().for_each(|(w, b)| push(w, b)),
            // The rows must still leave, or the frontier would stick and hide the error that ends the run.
            Err(e) => {
                self.failure.set(&self.node, e);
                push(0, batch);
            }
        }
    }

    fn flush<T: Clone, P: Push<Message<T, Envelope>>>(&mut self, _time: &T, _pushers: &mut [P]) {}
}
