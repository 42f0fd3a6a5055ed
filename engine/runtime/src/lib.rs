//! Runs a [`graph::Graph`] on timely dataflow.
//!
//! ```text
//!  clock (worker 0) --ticks, splits, stop--> sources --watermarks--+
//!                                               |                  v
//!   reader tasks (tokio) --raw records--> [source host] -> [operator host] .. -> [sink host] --> probe
//!                                                             |    [table host]      |
//!                                          writer tasks (tokio) <----- rows ---------+
//! ```
//!
//! Invariants:
//! 1. One clock: the timely timestamp is the tick, and only the clock on worker 0 makes ticks. Every operator on
//!    every worker sees every tick, also one without data.
//! 2. A watermark is a fold of updates that travel as data: the same on every worker at the same tick.
//! 3. Batches with zero rows are never sent: progress tracking counts rows.
//! 4. A capability is held for everything that was read and is not yet durable; so the probe behind the sinks says
//!    what is in flight, and sources stop reading by that.
//! 5. A checkpoint covers what was given up to one tick, its boundary, everywhere: see [`checkpoint`].
//! 6. Nothing but messages connects workers: they may live in several processes.

mod acknowledge;
mod caller_host;
pub mod checkpoint;
pub mod clock;
mod clock_host;
mod control;
mod control_input;
mod coordinator;
mod dataflow;
mod delivery;
mod discovery;
mod envelope;
pub mod figures;
pub mod graph;
mod host;
pub mod metrics;
mod outbox;
mod outlets;
mod reader;
mod reasons;
mod recorder;
pub mod replay;
mod routing;
pub mod run;
mod sink_host;
mod snapshot;
mod source;
mod source_host;
mod stash;
mod table_host;
mod tally;
mod writer;

pub use graph::Graph;
pub use run::{Ready, RunOptions, Running, ready, start};
