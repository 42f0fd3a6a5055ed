//! Sinks of rows that may be others when the same input is worked on again: they get them from an outbox, after the
//! checkpoint that holds them.

use std::sync::Arc;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use millstream_core::Result;
use millstream_core::connector::Connector;
use millstream_core::format::RecordFormat;
use millstream_core::sink::{Commitment, Sink, SinkOptions};

/// A connector whose sinks never write at once.
#[derive(Debug)]
pub(crate) struct Recorded(pub(crate) Arc<dyn Connector>);

#[async_trait]
impl Connector for Recorded {
    fn kind(&self) -> &'static str {
        self.0.kind()
    }
    fn record_format(&self) -> RecordFormat {
        self.0.record_format()
    }
    fn problems(&self) -> Vec<String> {
        self.0.problems()
    }
    fn sink_problem(&self, options: &SinkOptions) -> Option<(&'static str, String)> {
        self.0.sink_problem(options)
    }
    fn commitment(&self, options: &SinkOptions) -> Commitment {
        match self.0.commitment(options) {
            Commitment::Direct | Commitment::Keyed => Commitment::Outbox { deduplicates: false },
            waits => waits,
        }
    }
    async fn sink(&self, options: &SinkOptions) -> Result<Box<dyn Sink>> {
        self.0.sink(options).await
    }
    async fn written(&self, options: &SinkOptions) -> Result<Vec<RecordBatch>> {
        self.0.written(options).await
    }
}
