//! Hosts a sink: hands rows to its writer task, and holds on to their ticks until the writer has them safe.

use std::collections::VecDeque;
use std::rc::Rc;

use millstream_core::batch::{Batch, hidden};
use millstream_core::error::{Error, Result};
use millstream_core::format::Reason;
use millstream_core::ledger::Counts;
use millstream_core::refusal::{self, Refusal};
use millstream_core::time::EventTime;
use millstream_formats::value::row_json;
use timely::container::NoopBuilder;
use timely::dataflow::Scope;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::progress::frontier::MutableAntichain;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::dataflow::WorkerContext;
use crate::delivery::Delivered;
use crate::envelope::Envelope;
use crate::graph::{Routing, SinkNode};
use crate::host::{Batches, DataInput};
use crate::metrics::lock;
use crate::writer::{FromWriter, ToWriter, Writer};

/// A sink in the dataflow of one worker.
struct SinkHost {
    inputs: Vec<DataInput>,
    output: OutputBuilder<u64, NoopBuilder<Envelope>>,
    to_writer: UnboundedSender<ToWriter>,
    from_writer: UnboundedReceiver<FromWriter>,
    /// Batches the writer has not answered for, oldest first, each with the capability of its tick.
    waiting: VecDeque<(Batch, Capability<u64>)>,
    finishing: bool,
    finished: bool,
    node: usize,
    /// Whether the rows come from the node's inputs, or were made by its digest.
    counts_input: bool,
    has_failed_port: bool,
    ctx: Rc<WorkerContext>,
}

/// Puts a sink into the dataflow; gives the stream of rows it refused.
pub(crate) fn host<'s>(
    scope: Scope<'s, u64>,
    ctx: &Rc<WorkerContext>,
    node: usize,
    sink: &SinkNode,
    inputs: Vec<(Batches<'s>, Routing)>,
    counts_input: bool,
) -> Result<Batches<'s>> {
    let name = ctx.node_id(node);
    let writes_to = lock(&ctx.shared.opened.sinks).remove(&(node, ctx.index));
    let Some(writes_to) = writes_to else {
        return Err(Error::bug(format!("`{name}` was not opened for worker {}", ctx.index)));
    };
    let mut builder = OperatorBuilder::new(name.clone(), scope);
    let inputs = inputs
        .into_iter()
        .map(|(stream, routing)| DataInput::connect(&mut builder, stream, &routing, ctx, node))
        .collect();
    let (output, failed) = builder.new_output::<Envelope>();
    let path = builder.operator_info().address.to_vec();
    let (to_writer, from_host) = unbounded_channel();
    let (to_host, from_writer) = unbounded_channel();
    let writer = Writer {
        sink: writes_to,
        delivery: sink.delivery,
        clock: ctx.shared.options.clock.clone(),
        metrics: ctx.shared.metrics.clone(),
        commit_every: ctx.shared.graph.commit_every,
        name: format!("`{name}`"),
        from_host,
        to_host,
        activator: scope.worker().sync_activator_for(path),
    };
    ctx.shared.tokio.spawn(writer.run());
    let mut host = SinkHost {
        inputs,
        output: OutputBuilder::from(output),
        to_writer,
        from_writer,
        waiting: VecDeque::new(),
        finishing: false,
        finished: false,
        node,
        counts_input,
        has_failed_port: sink.has_failed_port,
        ctx: ctx.clone(),
    };
    builder.build_reschedule(move |_| {
        move |frontiers: &[MutableAntichain<u64>]| {
            if host.ctx.shared.failure.is_set() {
                return false;
            }
            if let Err(e) = host.work(frontiers) {
                host.ctx.shared.failure.set(&host.ctx.node_id(host.node), e);
            }
            !host.finished
        }
    });
    Ok(failed)
}

impl SinkHost {
    fn work(&mut self, frontiers: &[MutableAntichain<u64>]) -> Result<()> {
        for (port, input) in self.inputs.iter_mut().enumerate() {
            let (waiting, to_writer, ctx) = (&mut self.waiting, &self.to_writer, &self.ctx);
            let (node, counts_input) = (self.node, self.counts_input);
            input.for_each(|capability, envelope| {
                let since = envelope.since;
                let Some(batch) = envelope.batch.take() else { return };
                if counts_input && let Some(m) = ctx.shared.metrics.node(node) {
                    m.took(port, batch.num_rows());
                    m.add(Counts { input: batch.num_rows() as u64, ..Counts::default() });
                }
                // A writer that is gone has said why.
                let _ = to_writer.send(ToWriter::Write { batch: batch.clone(), since });
                waiting.push_back((batch, capability.retain(0)));
            });
        }
        while let Ok(answer) = self.from_writer.try_recv() {
            match answer {
                FromWriter::Wrote(delivered) => self.settle(delivered?)?,
                FromWriter::Finished(summary) => {
                    self.finished = true;
                    let summary = summary?;
                    if let Some(m) = self.ctx.shared.metrics.node(self.node) {
                        m.set_summary(summary);
                    }
                }
            }
        }
        self.report();
        if !self.finishing && self.waiting.is_empty() && frontiers.iter().all(|f| f.frontier().is_empty()) {
            self.finishing = true;
            let _ = self.to_writer.send(ToWriter::Finish);
        }
        Ok(())
    }

    /// The oldest batch is done: its tick may pass.
    fn settle(&mut self, delivered: Delivered) -> Result<()> {
        let Some((batch, capability)) = self.waiting.pop_front() else {
            return Err(Error::bug("a writer answered for a batch it was not given"));
        };
        let failed = delivered.failed.len() as u64;
        let counts = if self.counts_input {
            Counts {
                out: delivered.written,
                failed: failed + delivered.dropped,
                dropped: delivered.dropped,
                ..Counts::default()
            }
        } else {
            Counts::default()
        };
        if let Some(m) = self.ctx.shared.metrics.node(self.node) {
            m.add(counts);
        }
        if failed == 0 {
            return Ok(());
        }
        let component = self.ctx.node_id(self.node);
        let refusals = delivered.failed.into_iter().map(|(row, reason)| refuse(&component, &batch, row, reason));
        let refusals: Vec<Refusal> = refusals.collect();
        if !self.has_failed_port {
            let why = refusals.first().and_then(|r| r.reasons.first()).map(|r| r.text.clone()).unwrap_or_default();
            return Err(Error::unavailable(format!("refused rows have nowhere else to go: {why}")));
        }
        if let Some(m) = self.ctx.shared.metrics.node(self.node) {
            m.gave(0, refusals.len());
        }
        let mut session = self.output.activate();
        let mut envelope = Envelope::new(refusal::batch(&refusals)?, self.ctx.now());
        session.session_with_builder(&capability).give_container(&mut envelope);
        Ok(())
    }

    fn report(&self) {
        if let Some(m) = self.ctx.shared.metrics.node(self.node)
            && self.counts_input
        {
            m.set_held(self.ctx.index, self.waiting.iter().map(|(b, _)| b.num_rows() as u64).sum());
        }
    }
}

/// A row that a sink could not take, as a refusal.
fn refuse(component: &str, batch: &Batch, row: usize, reason: Reason) -> Refusal {
    let time = |name: &str| {
        batch.column(name).and_then(|c| {
            let c = c.as_any().downcast_ref::<arrow::array::TimestampMicrosecondArray>()?;
            (!arrow::array::Array::is_null(c, row)).then(|| EventTime(c.value(row)))
        })
    };
    Refusal {
        component: component.to_owned(),
        port: "failed",
        reasons: vec![reason],
        row: Some(row_json(&batch.rows, row)),
        raw: None,
        version: None,
        source: batch.origin.as_ref().map(|o| o.source.clone()),
        split: batch.origin.as_ref().map(|o| o.split.clone()),
        position: None,
        arrived_at: time(hidden::ARRIVED_AT).unwrap_or(EventTime(0)),
        event_time: time(hidden::EVENT_TIME),
    }
}
