//! `cloudwatch`: the pipeline's metrics in Amazon CloudWatch.

mod config;
mod store;

use std::sync::Arc;

use async_trait::async_trait;
use millstream_core::Result;
use millstream_core::connector::{Connector, ConnectorKind, Role};
use millstream_core::metrics::MetricStore;

pub use config::CloudwatchConfig;

use crate::access::Access;
use store::Cloudwatch;

#[derive(Debug)]
struct Metrics {
    config: CloudwatchConfig,
    access: Arc<Access>,
}

#[async_trait]
impl Connector for Metrics {
    fn kind(&self) -> &'static str {
        "cloudwatch"
    }
    fn problems(&self) -> Vec<String> {
        self.config.problems()
    }
    async fn metrics(&self, pipeline: &str) -> Result<Box<dyn MetricStore>> {
        let (namespace, dimensions) = (self.config.namespace(pipeline), self.config.dimensions.clone());
        Ok(Box::new(Cloudwatch::new(self.access.clone(), namespace, dimensions)))
    }
}

/// The kind `cloudwatch`.
pub(crate) fn kind() -> ConnectorKind {
    ConnectorKind {
        name: "cloudwatch",
        summary: "Amazon CloudWatch: the pipeline's metrics",
        roles: &[Role::Metrics],
        built_in: true,
        options: || schemars::schema_for!(CloudwatchConfig),
        parse: |options| {
            let config: CloudwatchConfig = serde_json::from_value(options).map_err(|e| e.to_string())?;
            let CloudwatchConfig { region, endpoint, role_arn, .. } = &config;
            let access = Access::new(region.as_deref(), endpoint.as_deref(), role_arn.as_deref());
            Ok(Arc::new(Metrics { access: Arc::new(access), config }))
        },
    }
}
