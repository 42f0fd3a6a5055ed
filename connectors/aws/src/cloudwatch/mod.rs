//! `cloudwatch`: the pipeline's metrics in Amazon CloudWatch.

mod config;
mod store;

use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_cloudwatch::Client;
use millstream_core::Result;
use millstream_core::connector::{Connector, ConnectorKind, Role};
use millstream_core::metrics::MetricStore;
use millstream_core::resource::{Grant, Obstacle, Presence, Resource, Use};
use serde_json::json;

pub use config::CloudwatchConfig;

use crate::access::Access;
use crate::answer::Call;
use crate::probe::{MALFORMED, Probe};
use store::Cloudwatch;

/// What a policy must allow.
const PUT: &str = "cloudwatch:PutMetricData";

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
    /// Asked by a call without figures, which is refused, for lack of permission first.
    async fn online(&self, of: &Use<'_>) -> Vec<Obstacle> {
        let Use::Metrics(pipeline) = of else { return Vec::new() };
        let config = match self.access.config().await {
            Ok(config) => config,
            Err(error) => return vec![Obstacle::fatal(error.to_string())],
        };
        let namespace = self.config.namespace(pipeline);
        let on = format!("namespace {namespace}");
        let call = Call { service: "cloudwatch", operation: "PutMetricData", on: &on };
        let put = Client::new(config).put_metric_data().namespace(&namespace).set_metric_data(Some(Vec::new()));
        let probe = Probe { call, action: PUT, allowed: MALFORMED };
        // A pipeline runs without its metrics, too.
        probe.obstacle(put.send().await).map(|o| Obstacle { fatal: false, ..o }).into_iter().collect()
    }
    fn resource(&self, of: &Use<'_>) -> Option<Resource> {
        let Use::Metrics(pipeline) = of else { return None };
        let namespace = self.config.namespace(pipeline);
        // The action knows no resources: a condition keeps it to the namespace.
        let condition = Some(json!({ "StringEquals": { "cloudwatch:namespace": namespace } }));
        let grants = vec![Grant { condition, ..Grant::on("*", &[PUT]) }];
        Some(Resource { kind: "CloudWatch namespace", name: namespace, properties: Vec::new(), grants })
    }
    /// A namespace is there as soon as something is put into it.
    async fn create(&self, _of: &Use<'_>) -> Result<Presence> {
        Ok(Presence::Exists)
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
