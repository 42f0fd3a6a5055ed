//! Figures as metric data of CloudWatch.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_cloudwatch::Client;
use aws_sdk_cloudwatch::types::{Dimension, MetricDatum, StandardUnit};
use aws_smithy_types::DateTime;
use millstream_core::metrics::{Metric, MetricStore, Unit};
use millstream_core::{Error, Result};
use tokio::sync::OnceCell;

use crate::access::Access;
use crate::answer::Call;

/// Data of one call at most.
const CALL: usize = 1000;
/// Different values of one datum at most.
const VALUES: usize = 150;

/// Puts figures under one namespace.
pub(crate) struct Cloudwatch {
    access: Arc<Access>,
    namespace: String,
    dimensions: BTreeMap<String, String>,
    client: OnceCell<Client>,
}

impl Cloudwatch {
    pub(crate) fn new(access: Arc<Access>, namespace: String, dimensions: BTreeMap<String, String>) -> Self {
        Self { access, namespace, dimensions, client: OnceCell::new() }
    }

    fn data(&self, metric: &Metric) -> Vec<MetricDatum> {
        let dimension = |(name, value): (&str, &str)| Dimension::builder().name(name).value(value).build();
        let node = metric.node.as_deref().map(|node| ("Node", node));
        let own = self.dimensions.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let dimensions: Vec<Dimension> = own.chain(node).map(dimension).collect();
        let datum = |values: &[(f64, u64)]| {
            MetricDatum::builder()
                .metric_name(metric.name)
                .set_dimensions(Some(dimensions.clone()))
                .timestamp(DateTime::from_millis(metric.at.0.div_euclid(1000)))
                .unit(unit(metric.unit))
                .set_values(Some(values.iter().map(|(value, _)| *value).collect()))
                .set_counts(Some(values.iter().map(|(_, count)| *count as f64).collect()))
                .build()
        };
        metric.values.chunks(VALUES).map(datum).collect()
    }
}

fn unit(unit: Unit) -> StandardUnit {
    match unit {
        Unit::Count => StandardUnit::Count,
        Unit::Bytes => StandardUnit::Bytes,
        Unit::Milliseconds => StandardUnit::Milliseconds,
        Unit::Seconds => StandardUnit::Seconds,
    }
}

#[async_trait]
impl MetricStore for Cloudwatch {
    async fn put(&mut self, metrics: &[Metric]) -> Result<()> {
        let made = async { Ok::<_, Error>(Client::new(self.access.config().await?)) };
        let client = self.client.get_or_try_init(|| made).await?;
        let on = format!("namespace {}", self.namespace);
        let data: Vec<MetricDatum> = metrics.iter().flat_map(|metric| self.data(metric)).collect();
        for call in data.chunks(CALL) {
            let put = client.put_metric_data().namespace(&self.namespace).set_metric_data(Some(call.to_vec())).send();
            let call = Call { service: "cloudwatch", operation: "PutMetricData", on: &on };
            put.await.map_err(|e| call.error(e))?;
        }
        Ok(())
    }
}
