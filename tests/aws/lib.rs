//! The binary that the tests of AWS drive: see `main.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../src/binary.rs"]
pub mod binary;
