//! Figures of a pipeline as lines of the log.

use std::collections::BTreeMap;

use async_trait::async_trait;
use millstream_core::Result;
use millstream_core::metrics::{Metric, MetricStore, Unit};
use serde_json::{Map, Value, json};

use super::config::Level;
use super::sink::say;

/// Writes a line per report.
pub(crate) struct LogMetrics {
    level: Level,
    pipeline: String,
}

impl LogMetrics {
    pub(crate) fn new(level: Level, pipeline: &str) -> Self {
        Self { level, pipeline: pipeline.to_owned() }
    }

    /// The figures by node, those of the whole pipeline first: counts as they are, of what was looked at the greatest.
    pub(crate) fn line(&self, metrics: &[Metric]) -> String {
        let mut of_pipeline = Map::new();
        let mut nodes: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
        for metric in metrics {
            let value = match metric.unit {
                Unit::Count => metric.values.iter().map(|(value, count)| value * *count as f64).sum(),
                _ => metric.values.iter().map(|(value, _)| *value).fold(0.0, f64::max),
            };
            let place = match &metric.node {
                Some(node) => nodes.entry(node).or_default(),
                None => &mut of_pipeline,
            };
            // Whole numbers, as they were counted.
            place.insert(metric.name.to_owned(), json!(value as u64));
        }
        of_pipeline.insert("nodes".to_owned(), json!(nodes));
        format!("metrics of {}: {}", self.pipeline, Value::Object(of_pipeline))
    }
}

#[async_trait]
impl MetricStore for LogMetrics {
    async fn put(&mut self, metrics: &[Metric]) -> Result<()> {
        say(self.level, "metrics", &self.line(metrics));
        Ok(())
    }
}
