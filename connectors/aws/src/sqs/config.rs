//! Options of `sqs`.

use std::time::Duration;

use millstream_core::format::RecordFormat;
use millstream_core::units::Period;
use schemars::JsonSchema;
use serde::Deserialize;

/// Options of `sqs`: messages of an Amazon SQS queue, standard or FIFO.
///
/// As a source, a message is deleted only after the checkpoint that covers it, and hidden from others until then. As a sink,
/// each row is a message; a sink that reads refused rows (`*.failed`) makes dead letters of them, which `millstream
/// replay` reads back.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SqsConfig {
    /// The queue's URL, or its name alone. A FIFO queue's ends in `.fifo`.
    pub queue_url: String,
    /// The AWS region. Default: AWS_REGION, or that of the profile in ~/.aws/config.
    pub region: Option<String>,
    /// The service's address, for local servers and private endpoints. Default: AWS_ENDPOINT_URL_SQS, AWS_ENDPOINT_URL, or
    /// AWS itself.
    pub endpoint: Option<String>,
    /// A role to assume for every call.
    pub role_arn: Option<String>,
    /// Source: how the bodies of messages are encoded: `json` (default) or `raw`.
    #[serde(default)]
    pub format: RecordFormat,
    /// Source: for how long a received message is hidden from others; prolonged while its checkpoint is pending. After a
    /// crash, what was not covered comes back this long after it was received. Default 2m, at most 12h.
    pub visibility: Option<Period>,
    /// Source: how many calls for messages are under way at a time, of 10 messages each. Default 4.
    #[schemars(range(min = 1, max = 64))]
    pub receives: Option<usize>,
    /// Source: how many messages may be received and not deleted. SQS allows 120000, the default.
    #[schemars(range(min = 10, max = 120_000))]
    pub max_in_flight: Option<usize>,
    /// Sink to a FIFO queue: template of the message group, such as `{customer_id}`. Messages of a group stay in order, and
    /// are sent one after the other. Default: one group, named after the sink.
    pub group: Option<String>,
    /// Sink: where the body of a message goes that is larger than SQS allows (1 MiB): the message then points to it. Without
    /// it, such a row is refused.
    pub oversize: Option<Oversize>,
}

/// Bodies that are too large for a message, as objects of Amazon S3, in the form in which the SQS Extended Client Libraries
/// keep them.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Oversize {
    /// The bucket. Millstream never removes what it puts there: give it a lifecycle rule that outlasts the queue's retention.
    pub bucket: String,
    /// What the names of the objects begin with. Default `millstream/`.
    pub prefix: Option<String>,
    /// The bucket's region, where it is not the queue's.
    pub region: Option<String>,
    /// The address of S3, for local servers. Default: AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, or AWS itself.
    pub endpoint: Option<String>,
}

/// Longest time for which SQS hides a message.
const LONGEST: Duration = Duration::from_secs(12 * 3600);

impl Oversize {
    /// What the names of its objects begin with.
    pub(crate) fn prefix(&self) -> &str {
        self.prefix.as_deref().unwrap_or("millstream/")
    }
}

impl SqsConfig {
    /// Whether the queue keeps the order of groups and knows deduplication ids; SQS says it by the name.
    pub(crate) fn is_fifo(&self) -> bool {
        self.queue_url.ends_with(".fifo")
    }
    /// Whether the queue is named by its URL, not by its name alone.
    pub(crate) fn is_url(&self) -> bool {
        self.queue_url.contains("://")
    }
    /// The queue's name.
    pub(crate) fn name(&self) -> &str {
        let named = self.queue_url.trim();
        named.rsplit('/').next().unwrap_or(named)
    }
    pub(crate) fn visibility(&self) -> Duration {
        self.visibility.map_or(Duration::from_secs(120), |p| p.0)
    }
    pub(crate) fn receives(&self) -> usize {
        self.receives.unwrap_or(4).max(1)
    }
    pub(crate) fn max_in_flight(&self) -> usize {
        self.max_in_flight.unwrap_or(120_000)
    }
    /// What is wrong with the options, for people.
    pub(crate) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.queue_url.trim().is_empty() {
            problems.push("`queue_url` is empty: give the queue's URL or its name".to_owned());
        }
        let visibility = self.visibility();
        if visibility < Duration::from_secs(2) || visibility > LONGEST {
            problems.push("`visibility` must lie between 2s and 12h, which is what SQS can do".to_owned());
        }
        if !(1..=64).contains(&self.receives()) {
            problems.push("`receives` must lie between 1 and 64".to_owned());
        }
        if !(10..=120_000).contains(&self.max_in_flight()) {
            problems.push("`max_in_flight` must lie between 10 and 120000, which is what SQS allows".to_owned());
        }
        if matches!(self.format, RecordFormat::Csv | RecordFormat::Parquet) {
            problems.push("a message is one record: `format` is `json` or `raw`".to_owned());
        }
        if self.group.is_some() && !self.is_fifo() {
            problems.push("`group` is for FIFO queues, whose names end in `.fifo`".to_owned());
        }
        if self.oversize.as_ref().is_some_and(|o| o.bucket.trim().is_empty()) {
            problems.push("`oversize.bucket` is empty: name a bucket".to_owned());
        }
        problems
    }
}
