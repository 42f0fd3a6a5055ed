//! Batches beyond a boundary that has not passed, in the order they came.

use std::collections::VecDeque;

use millstream_core::batch::Batch;
use timely::dataflow::operators::{Capability, InputCapability};

use crate::envelope::Envelope;

/// A batch with what is needed to take it later.
pub(crate) struct Stashed {
    pub(crate) input: usize,
    pub(crate) batch: Batch,
    pub(crate) since: u64,
    /// By output.
    pub(crate) capabilities: Vec<Capability<u64>>,
}

/// What a host keeps while it waits for a boundary.
#[derive(Default)]
pub(crate) struct Stash(VecDeque<Stashed>);

impl Stash {
    /// Keeps what has arrived.
    pub(crate) fn put(
        &mut self,
        input: usize,
        envelope: &mut Envelope,
        capability: &InputCapability<u64>,
        outputs: usize,
    ) {
        let Some(batch) = envelope.batch.take() else { return };
        let capabilities = (0..outputs).map(|output| capability.retain(output)).collect();
        self.0.push_back(Stashed { input, batch, since: envelope.since, capabilities });
    }
    /// Everything, oldest first.
    pub(crate) fn take(&mut self) -> impl Iterator<Item = Stashed> + use<> {
        std::mem::take(&mut self.0).into_iter()
    }
}
