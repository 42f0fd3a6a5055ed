//! The SQL crate from outside: golden plans and findings, and every streaming query against the batch oracle.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail loudly")]

mod crashes;
mod findings;
mod harness;
mod oracle;
mod plans;
mod remembered;
mod restores;
mod rows;
mod windows;
