//! From what a pipeline file says to what the runtime runs: names become ports, SQL becomes operators.
//!
//! Everything that can be wrong beyond the structure of the file is found here, all at once, before anything runs.
//! A node that cannot be planned takes its readers out of the plan without findings of their own.
//!
//! Invariants:
//! 1. A graph comes out only where no finding is an error.
//! 2. Nodes are in topological order; so every port a node reads belongs to a node before it.
//! 3. Every port of refused rows is read by a sink or declared dropped.

mod binding;
mod describe;
mod findings;
mod functions;
mod operators;
mod planner;
mod ports;
mod recorded;
mod sink_templates;
mod sinks;
mod sources;
mod statements;
mod upserts;

pub use binding::{Bind, Bound, Profile};
pub use describe::Description;
pub use findings::findings;
pub use planner::{Options, Planned, plan};
