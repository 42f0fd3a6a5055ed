//! The outputs of a host: gives batches by port, counted.

use millstream_core::batch::Batch;
use timely::container::NoopBuilder;
use timely::dataflow::operators::CapabilityTrait;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

use crate::envelope::Envelope;
use crate::host::Batches;
use crate::tally::Tally;

/// Outputs by port.
pub(crate) struct Outlets(Vec<OutputBuilder<u64, NoopBuilder<Envelope>>>);

impl Outlets {
    /// Adds `ports` outputs to an operator that is being built.
    pub(crate) fn connect<'s>(builder: &mut OperatorBuilder<'s, u64>, ports: usize) -> (Self, Vec<Batches<'s>>) {
        let outputs = (0..ports).map(|_| builder.new_output::<Envelope>());
        let (outputs, streams) = outputs.map(|(output, stream)| (OutputBuilder::from(output), stream)).unzip();
        (Self(outputs), streams)
    }
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
    /// Gives a batch at the time of a capability. `counted`: as rows of this port of the tally's node.
    pub(crate) fn give(
        &mut self,
        port: usize,
        batch: Batch,
        since: u64,
        capability: &impl CapabilityTrait<u64>,
        tally: &mut Tally,
        counted: bool,
    ) {
        let Some(output) = self.0.get_mut(port) else { return };
        if counted {
            tally.gave(port, &batch);
        }
        output.activate().session_with_builder(capability).give_container(&mut Envelope::new(batch, since));
    }
}
