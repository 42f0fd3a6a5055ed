//! Figures of a running pipeline, on their way to a service that keeps them.

use async_trait::async_trait;

use crate::error::Result;
use crate::time::EventTime;

/// What a figure counts in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Rows, records, failures.
    Count,
    /// Bytes.
    Bytes,
    /// Milliseconds.
    Milliseconds,
    /// Seconds.
    Seconds,
}

/// One figure over a period.
#[derive(Debug, Clone, PartialEq)]
pub struct Metric {
    /// Its name: `RecordsIn`.
    pub name: &'static str,
    /// The node it is about; none where it is about the whole pipeline.
    pub node: Option<String>,
    /// See [`Unit`].
    pub unit: Unit,
    /// What was measured: each value, and how often.
    pub values: Vec<(f64, u64)>,
    /// The end of the period.
    pub at: EventTime,
}

/// Keeps the figures of one pipeline.
#[async_trait]
pub trait MetricStore: Send {
    /// Keeps these. The pipeline goes on whatever this says.
    ///
    /// # Errors
    /// Any; the figures may be kept in part.
    async fn put(&mut self, metrics: &[Metric]) -> Result<()>;
}
