//! Options of `sns`.

use schemars::JsonSchema;
use serde::Deserialize;

/// Options of `sns`: messages to an Amazon SNS topic, standard or FIFO.
///
/// Each row is a message: `message` and `subject` of the sink are templates over its columns, and without them the message
/// is the row as JSON. With `digest`, a flood of rows is one message per group and time. Subscriptions can filter by the
/// attributes `pipeline`, `component` and `rule`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SnsConfig {
    /// The topic's ARN: `arn:aws:sns:eu-west-1:123456789012:alerts`. A FIFO topic's ends in `.fifo`.
    pub topic_arn: String,
    /// The AWS region. Default: that of the ARN.
    pub region: Option<String>,
    /// The service's address, for local servers and private endpoints. Default: AWS_ENDPOINT_URL_SNS, AWS_ENDPOINT_URL, or
    /// AWS itself.
    pub endpoint: Option<String>,
    /// A role to assume for every call.
    pub role_arn: Option<String>,
    /// For a FIFO topic: template of the message group, such as `{customer_id}`. Messages of a group stay in order, and are
    /// sent one after the other. Default: one group, named after the sink.
    pub group: Option<String>,
}

impl SnsConfig {
    /// Whether the topic keeps the order of groups and knows deduplication ids; SNS says it by the name.
    pub(crate) fn is_fifo(&self) -> bool {
        self.topic_arn.ends_with(".fifo")
    }
    /// The region of the topic's ARN.
    pub(crate) fn region_of_topic(&self) -> Option<&str> {
        self.topic_arn.split(':').nth(3).filter(|region| !region.is_empty())
    }
    /// The topic's name.
    pub(crate) fn name(&self) -> &str {
        self.topic_arn.rsplit(':').next().unwrap_or(&self.topic_arn)
    }
    /// What is wrong with the options, for people.
    pub(crate) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        // A variable that is not set stays as it was written.
        let known = !self.topic_arn.contains("${");
        if known && (self.topic_arn.split(':').count() != 6 || !self.topic_arn.starts_with("arn:")) {
            let topic = &self.topic_arn;
            problems.push(format!(
                "`{topic}` is no ARN of a topic: write arn:aws:sns:REGION:ACCOUNT:NAME, as the console shows it"
            ));
        }
        if self.group.is_some() && !self.is_fifo() {
            problems.push("`group` is for FIFO topics, whose names end in `.fifo`".to_owned());
        }
        problems
    }
}
