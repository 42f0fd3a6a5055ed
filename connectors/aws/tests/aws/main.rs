//! The connectors of AWS against local servers, and against the proxy that fails as AWS does.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

mod credentials;
mod dynamodb;
mod kinesis;
mod needs;
mod options;
mod queues;
mod s3;
