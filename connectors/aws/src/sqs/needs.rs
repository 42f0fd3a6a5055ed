//! What a pipeline needs of SQS: the queue, and the actions on it.

use aws_sdk_sqs::types::QueueAttributeName;
use millstream_core::resource::{Grant, Presence, Resource, Use};
use millstream_core::{Error, Result};

use super::client::Queue;
use super::config::SqsConfig;
use super::large;
use millstream_core::refusal;

/// The actions of who takes messages out.
const TAKING: [&str; 3] = ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility"];

/// The actions of a use, without which it fails.
pub(super) fn actions(config: &SqsConfig, of: &Use<'_>) -> Vec<&'static str> {
    let mut actions = match of {
        Use::Source(_) => TAKING.to_vec(),
        // `replay` takes dead letters out again.
        Use::Sink(options) if refusal::is_of(&options.schema) => [&["sqs:SendMessage"], TAKING.as_slice()].concat(),
        Use::Sink(_) => vec!["sqs:SendMessage"],
        _ => return Vec::new(),
    };
    if !config.is_url() {
        actions.push("sqs:GetQueueUrl");
    }
    actions
}

/// Its ARN, with `{region}` and `{account}` where neither the options nor the queue's URL say them.
fn arn(config: &SqsConfig) -> String {
    // https://sqs.REGION.amazonaws.com/ACCOUNT/NAME
    let mut parts = config.queue_url.trim().rsplit('/').skip(1);
    let account = parts.next().filter(|a| a.len() == 12 && a.bytes().all(|b| b.is_ascii_digit()));
    let host = parts.next().and_then(|host| host.strip_prefix("sqs.")?.strip_suffix(".amazonaws.com"));
    let region = config.region.as_deref().or(host).unwrap_or("{region}");
    format!("arn:aws:sqs:{region}:{}:{}", account.unwrap_or("{account}"), config.name())
}

/// The queue as something a pipeline needs.
pub(super) fn resource(config: &SqsConfig, of: &Use<'_>) -> Option<Resource> {
    let actions = actions(config, of);
    if actions.is_empty() {
        return None;
    }
    let mut grants = vec![Grant::on(arn(config), &actions)];
    if let Some(oversize) = &config.oversize {
        let objects = format!("arn:aws:s3:::{}/{}*", oversize.bucket, oversize.prefix());
        let actions: &[&str] = if matches!(of, Use::Source(_)) { &["s3:GetObject"] } else { &large::ACTIONS };
        grants.push(Grant::on(objects, actions));
    }
    let mut properties = Vec::new();
    if config.is_fifo() {
        properties.push("FIFO".to_owned());
    }
    if let Some(oversize) = &config.oversize {
        properties.push(format!("large bodies in the S3 bucket {}", oversize.bucket));
    }
    Some(Resource { kind: "SQS queue", name: config.name().to_owned(), properties, grants })
}

/// Makes the queue where it is not there.
pub(super) async fn create(queue: &Queue, config: &SqsConfig) -> Result<Presence> {
    if queue.is_there().await? {
        return Ok(Presence::Exists);
    }
    let mut making = queue.sdk().await?.create_queue().queue_name(config.name());
    if config.is_fifo() {
        making = making.attributes(QueueAttributeName::FifoQueue, "true");
    }
    let made = making.send().await.map_err(|e| queue.call("CreateQueue").error(e))?.queue_url.unwrap_or_default();
    if !config.is_url() || queue.is_there().await? {
        return Ok(Presence::Created);
    }
    // Its region or account is another one than the pipeline's.
    let wanted = config.queue_url.trim();
    Err(Error::environment(format!(
        "the queue was made as `{made}`, and `queue_url` is `{wanted}`: write the one that was made"
    )))
}
