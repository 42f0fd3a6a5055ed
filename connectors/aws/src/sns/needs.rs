//! What a pipeline needs of SNS: the topic, and the actions on it.

use millstream_core::resource::{Grant, Obstacle, Presence, Resource, Use};
use millstream_core::{Error, Result};

use super::client::Topic;
use super::config::SnsConfig;
use crate::probe::{MALFORMED, Probe};

/// The topic as something a pipeline needs.
pub(super) fn resource(config: &SnsConfig, of: &Use<'_>) -> Option<Resource> {
    let Use::Sink(_) = of else { return None };
    let properties = if config.is_fifo() { vec!["FIFO".to_owned()] } else { Vec::new() };
    let grants = vec![Grant::on(&config.topic_arn, &["sns:Publish"])];
    Some(Resource { kind: "SNS topic", name: config.name().to_owned(), properties, grants })
}

/// What stands in the way of publishing: asked by a call without messages, which is refused, for lack of permission first.
pub(super) async fn obstacles(topic: &Topic, config: &SnsConfig) -> Vec<Obstacle> {
    let client = match topic.client().await {
        Ok(client) => client,
        Err(error) => return vec![Obstacle::fatal(error.to_string())],
    };
    let probe = |operation, action, allowed| Probe { call: topic.call(operation), action, allowed };
    let described = client.get_topic_attributes().topic_arn(&config.topic_arn).send().await;
    match probe("GetTopicAttributes", "sns:GetTopicAttributes", &[]).obstacle(described) {
        // Who may only publish may not ask; that is enough to run.
        Some(o) if o.action.is_some() => {}
        Some(o) => return vec![o],
        None => {}
    }
    let empty = client.publish_batch().topic_arn(&config.topic_arn).set_publish_batch_request_entries(Some(Vec::new()));
    probe("PublishBatch", "sns:Publish", MALFORMED).obstacle(empty.send().await).into_iter().collect()
}

/// Makes the topic where it is not there.
pub(super) async fn create(topic: &Topic, config: &SnsConfig) -> Result<Presence> {
    let client = topic.client().await?;
    if client.get_topic_attributes().topic_arn(&config.topic_arn).send().await.is_ok() {
        return Ok(Presence::Exists);
    }
    let mut making = client.create_topic().name(config.name());
    if config.is_fifo() {
        making = making.attributes("FifoTopic", "true");
    }
    let made = making.send().await.map_err(|e| topic.call("CreateTopic").error(e))?.topic_arn.unwrap_or_default();
    if made == config.topic_arn {
        return Ok(Presence::Created);
    }
    // Its region or account is another one than the pipeline's.
    let wanted = &config.topic_arn;
    Err(Error::environment(format!(
        "the topic was made as `{made}`, and `topic_arn` is `{wanted}`: write the one that was made"
    )))
}
