//! `millstream`: checks, tests, runs and explains pipeline files.
//!
//! ```text
//! args -> load (parse, plan, findings) -> one module per command -> terminal
//! ```
//!
//! Invariants:
//! 1. Everything printed goes through [`terminal`]: results to stdout, everything else to stderr.
//! 2. Every way out is a [`exit::Failure`] or success, with the exit codes of the manual: 0 ok, 1 failed while
//!    running, 2 the file is wrong or its tests fail, 3 the environment.

mod absent;
mod allocator;
mod args;
mod bench;
mod check;
mod checkpoints;
mod crash;
mod docs;
mod exit;
mod explain;
mod grid;
mod ledger;
mod list;
mod load;
mod logging;
mod metrics;
mod new;
mod number;
mod online;
mod panics;
mod preview;
mod produce;
mod progress;
mod query;
mod refused;
mod registry;
mod replay;
mod resources;
mod rows;
mod run;
mod schema;
mod stage;
mod state;
mod summary;
mod terminal;
mod test;
mod udf;
mod udf_list;
mod udf_rows;
mod uses;
mod written;

use clap::Parser as _;

// Deliberate bugs are for simulations: no build of the binary has them.
const _: () = assert!(!millstream_core::planted::COMPILED_IN, "the feature planted-bugs is for tests/simulation");

fn main() -> std::process::ExitCode {
    allocator::tune();
    let args = args::Args::parse();
    terminal::colors(args.color);
    panics::install();
    millstream_udf::compile::announce(|what| terminal::note(&format!("{what}\n")));
    logging::install(args.log.as_deref().unwrap_or(args.command.default_log()), args.log_format);
    exit::code(args.command.execute())
}
