//! Connectors for AWS, over its official SDKs.
//!
//! Each folder is one service: `config.rs` its options, `source.rs`, `sink.rs`, `table.rs` what it can be. What they
//! share is how a client is made ([`access`]) and what an answer of a service means ([`answer`]).

pub(crate) mod access;
pub(crate) mod answer;
pub mod cloudwatch;
mod dynamodb;
pub mod kinesis;
pub(crate) mod message;
pub(crate) mod post;
pub(crate) mod probe;
mod s3;
pub mod sns;
pub mod sqs;

use millstream_core::connector::ConnectorKind;

/// Every kind of connector of this crate, in the order in which `list` shows them.
pub fn kinds() -> Vec<ConnectorKind> {
    vec![kinesis::kind(), dynamodb::kind(), s3::kind(), sqs::kind(), sns::kind(), cloudwatch::kind()]
}
