//! Follows the control stream on each worker, and carries messages to the committer on worker 0.
//!
//! ```text
//! control --> coordinator --mail--> (by worker 0) --> post office --> committer (tokio)
//!                 ^
//!   places' reports, stored (tokio)
//! ```
//! Mail travels at the newest tick, beside the probed dataflow: it holds nothing back.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::{Scope, Stream};
use timely::progress::frontier::MutableAntichain;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::checkpoint::Mail;
use crate::control::{Control, WatermarkUpdate};
use crate::dataflow::WorkerContext;
use crate::graph::NodeKind;
use crate::host::Controls;
use crate::metrics::lock;

/// A message and the worker it is for.
type Letter = (u64, Mail);

/// Puts the coordinator of this worker, and the post office of worker 0, into the dataflow.
pub(crate) fn coordinate<'s>(
    scope: Scope<'s, u64>,
    ctx: &Rc<WorkerContext>,
    control: Controls<'s>,
    outgoing: UnboundedReceiver<Mail>,
) {
    let mail = coordinator(scope, ctx, control, outgoing);
    post_office(scope, ctx, mail);
}

fn coordinator<'s>(
    scope: Scope<'s, u64>,
    ctx: &Rc<WorkerContext>,
    control: Controls<'s>,
    mut outgoing: UnboundedReceiver<Mail>,
) -> Stream<'s, u64, Vec<Letter>> {
    let mut builder = OperatorBuilder::new("coordinator".to_owned(), scope);
    let mut input = builder.new_input(control, Pipeline);
    let (output, stream) = builder.new_output::<Vec<Letter>>();
    let address = builder.operator_info().address.to_vec();
    *ctx.mail_activator.borrow_mut() = Some(Arc::new(scope.worker().sync_activator_for(address)));
    let ctx = ctx.clone();
    let nodes = ctx.shared.graph.nodes.iter().enumerate();
    let sources: Vec<usize> = nodes.filter(|(_, n)| matches!(n.kind, NodeKind::Source(_))).map(|(i, _)| i).collect();
    builder.build(move |_| {
        let mut output: OutputBuilder<u64, CapacityContainerBuilder<Vec<Letter>>> = OutputBuilder::from(output);
        let mut newest: Option<Capability<u64>> = None;
        // Of ticks that have not passed: only when all are here is the fold what every worker's is.
        let mut updates: BTreeMap<u64, Vec<WatermarkUpdate>> = BTreeMap::new();
        move |frontiers: &[MutableAntichain<u64>]| {
            let mut letters = Vec::new();
            input.for_each(|capability, messages| {
                if newest.as_ref().is_none_or(|n| n.time() < capability.time()) {
                    newest = Some(capability.retain(0));
                }
                for (_, message) in messages.drain(..) {
                    match message {
                        Control::Tick => ctx.began(*capability.time()),
                        Control::Watermark(update) => updates.entry(*capability.time()).or_default().push(update),
                        // The hosts of this worker have it in their queues by now.
                        Control::Boundary(_) => letters.push((0, Mail::Seen)),
                        _ => {}
                    }
                }
            });
            while let Ok(mail) = outgoing.try_recv() {
                letters.push((0, mail));
            }
            if let Some(capability) = newest.as_ref().filter(|_| !letters.is_empty()) {
                let mut session = output.activate();
                let mut session = session.session_with_builder(capability);
                letters.into_iter().for_each(|l| session.give(l));
            }
            if frontiers.iter().all(|f| f.frontier().is_empty()) {
                newest = None;
            }
            while let Some(tick) = updates.first_entry()
                && !frontiers.iter().any(|f| f.frontier().less_equal(tick.key()))
            {
                ctx.fold.borrow_mut().apply(tick.remove());
            }
            observe(&ctx, &sources);
        }
    });
    stream
}

/// What watermarks this worker has heard of, and whether all sources have ended.
fn observe(ctx: &WorkerContext, sources: &[usize]) {
    let fold = ctx.fold.borrow();
    for source in sources {
        if let Some(m) = ctx.shared.metrics.node(*source) {
            m.set_watermark(ctx.index, fold.of(*source));
        }
    }
    if !sources.is_empty() && fold.least(sources).is_complete() {
        ctx.ended.set(true);
    }
}

fn post_office<'s>(scope: Scope<'s, u64>, ctx: &Rc<WorkerContext>, mail: Stream<'s, u64, Vec<Letter>>) {
    let mut builder = OperatorBuilder::new("post office".to_owned(), scope);
    let mut input = builder.new_input(mail, Exchange::new(|(worker, _): &Letter| *worker));
    let ctx = ctx.clone();
    let committer = (ctx.index == 0).then(|| lock(&ctx.shared.to_committer).take()).flatten();
    builder.build(move |_| {
        move |_: &[MutableAntichain<u64>]| {
            input.for_each(|_, letters| {
                for (_, mail) in letters.drain(..) {
                    match mail {
                        Mail::Seen => {
                            ctx.seen.set(ctx.seen.get() + 1);
                            if let Some(clock) = ctx.clock.borrow().as_ref() {
                                clock.activate();
                            }
                        }
                        Mail::Ended(ended) => {
                            if let Some(discovery) = ctx.discoveries.borrow().get(&ended.source) {
                                // One that is gone has failed, and has said why.
                                let _ = discovery.send(ended);
                            }
                        }
                        // A committer that is gone has failed, and has said why.
                        mail => drop(committer.as_ref().map(|c| c.send(mail))),
                    }
                }
            });
        }
    });
}
