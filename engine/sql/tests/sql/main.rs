//! The SQL crate from outside: golden plans and findings, and every streaming query against the batch oracle.

mod findings;
mod harness;
mod oracle;
mod plans;
mod rows;
mod windows;
