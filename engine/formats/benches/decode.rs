//! Nanoseconds per record.
fn main() {}
