//! Connectors that need no network and no account: what the laptop runs on and what tests measure with.
//!
//! Each folder is one connector: `config.rs` its options, `source.rs`, `sink.rs`, `table.rs` what it can be.

mod ahead;
pub mod clock;
#[cfg(feature = "conformance")]
pub mod conformance;
mod declared;
pub mod directory;
pub mod embedded;
pub mod fault;
pub mod file;
pub mod generate;
mod io_error;
mod lines;
mod live;
pub mod log;
pub mod memory;
pub mod stdin;
pub mod stdout;
pub mod tcp;
pub mod units;

use millstream_core::connector::ConnectorKind;

/// Every kind of connector of this crate, in the order in which `list` shows them.
pub fn kinds() -> Vec<ConnectorKind> {
    vec![
        generate::kind(),
        file::kind(),
        directory::kind(),
        embedded::kind(),
        memory::kind(),
        log::kind(),
        stdin::kind(),
        stdout::kind(),
        tcp::kind(),
    ]
}
