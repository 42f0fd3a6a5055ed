//! The nouns of Millstream and the traits between its parts; knows Arrow and nothing else of the engine.
//!
//! ```text
//! SplitSource -> RawRecords -> Decoder -> Batch -> Operator ... -> Batch -> Sink | TableStore
//! ```
//!
//! Every other crate speaks in these types. A connector implements [`source::SplitSource`], [`sink::Sink`] or
//! [`table::TableStore`] and registers a [`connector::ConnectorKind`]; an operator implements
//! [`operator::Operator`]. None of them knows the runtime that drives it.

pub mod batch;
pub mod caller;
pub mod checkpoint;
pub mod clock;
pub mod connector;
pub mod dead_letter;
pub mod error;
pub mod format;
pub mod item;
pub mod key;
pub mod ledger;
pub mod metrics;
pub mod operator;
pub mod planted;
pub mod producer;
pub mod refusal;
pub mod resource;
pub mod schema;
pub mod sink;
pub mod snapshot;
pub mod source;
pub mod stager;
pub mod table;
pub mod time;
pub mod units;

pub use batch::{Batch, Origin};
pub use error::{Error, ErrorKind, Result};
pub use time::{EventTime, Tick, Watermark};
