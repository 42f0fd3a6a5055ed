//! Drives the real binary as a person would: exit codes, messages, `--json`, and the way from `new` to `run`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

mod aws;
mod looks;
mod mistakes;
mod oversize;
mod runs;
mod state;
mod summary;

use std::path::Path;

use millstream_tests::shell::{Ran, Shell};

fn shell() -> Shell {
    Shell::of(Path::new(env!("CARGO_BIN_EXE_millstream")))
}
