//! Options of `cloudwatch`.

use schemars::JsonSchema;
use serde::Deserialize;

/// Options of `cloudwatch`: the pipeline's metrics in Amazon CloudWatch, named by `metrics: { write: NAME }`.
///
/// Of each node: RecordsIn, RecordsOut, RecordsRejected, RecordsLate, RecordsDeadLettered; of each source also EventTimeLag
/// (seconds) and MillisBehindLatest; of the pipeline the sums, CheckpointAge (seconds), CheckpointDuration and
/// BytesInFlight. What is about a node has the dimension Node.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CloudwatchConfig {
    /// The namespace of the metrics. Default: `Millstream/` and the pipeline's name.
    pub namespace: Option<String>,
    /// The AWS region. Default: AWS_REGION, or that of the profile in ~/.aws/config.
    pub region: Option<String>,
    /// The service's address, for local servers and private endpoints. Default: AWS_ENDPOINT_URL_CLOUDWATCH,
    /// AWS_ENDPOINT_URL, or AWS itself.
    pub endpoint: Option<String>,
    /// A role to assume for every call.
    pub role_arn: Option<String>,
    /// Dimensions that every metric has, such as the environment: `{ Environment: prod }`.
    #[serde(default)]
    pub dimensions: std::collections::BTreeMap<String, String>,
}

impl CloudwatchConfig {
    /// The namespace of a pipeline's metrics.
    pub(crate) fn namespace(&self, pipeline: &str) -> String {
        self.namespace.clone().unwrap_or_else(|| format!("Millstream/{pipeline}"))
    }
    /// What is wrong with the options, for people.
    pub(crate) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if let Some(namespace) = &self.namespace {
            let fits = |c: char| c.is_ascii_alphanumeric() || ".-_/#: ".contains(c);
            if namespace.is_empty() || namespace.len() > 255 || !namespace.chars().all(fits) {
                problems.push("`namespace` has 1 to 255 letters, digits, spaces and . - _ / # :".to_owned());
            } else if namespace.starts_with("AWS/") {
                problems.push("`namespace` must not begin with `AWS/`: that is for AWS's own metrics".to_owned());
            }
        }
        // One is for the node.
        if self.dimensions.len() > 29 {
            problems.push("CloudWatch knows at most 30 dimensions, one of which is the node".to_owned());
        }
        if self.dimensions.iter().any(|(name, value)| name.trim().is_empty() || value.trim().is_empty()) {
            problems.push("a dimension has a name and a value, neither of them empty".to_owned());
        }
        problems
    }
}
