//! Asks SQS whether a pipeline could use a queue: by calls that change nothing.
//!
//! Each action is tried with a request that the service refuses, for lack of permission first: a batch without entries, zero
//! messages. A real receipt would count as a delivery.

use aws_sdk_sqs::Client;
use millstream_core::resource::{Obstacle, Use};

use super::client::Queue;
use super::config::SqsConfig;
use super::needs;
use crate::probe::{MALFORMED, Probe, absent};

/// What stands in the way of a use of a queue.
pub(super) async fn obstacles(queue: &Queue, config: &SqsConfig, of: &Use<'_>) -> Vec<Obstacle> {
    match queue.is_there().await {
        Ok(true) => {}
        Ok(false) => return vec![absent(queue.shown())],
        Err(error) => return vec![Obstacle::fatal(error.to_string())],
    }
    let (client, url) = match queue.open().await {
        Ok(opened) => opened,
        Err(error) => return vec![Obstacle::fatal(error.to_string())],
    };
    let mut obstacles = Vec::new();
    for action in needs::actions(config, of) {
        obstacles.extend(refused(queue, client, url, action).await);
    }
    obstacles
}

/// What the answer to a call that needs the action says stands in the way.
async fn refused(queue: &Queue, client: &Client, url: &str, action: &'static str) -> Option<Obstacle> {
    let probe = |operation| Probe { call: queue.call(operation), action, allowed: MALFORMED };
    match action {
        "sqs:SendMessage" => {
            let call = client.send_message_batch().queue_url(url).set_entries(Some(Vec::new()));
            probe("SendMessageBatch").obstacle(call.send().await)
        }
        "sqs:ReceiveMessage" => {
            let call = client.receive_message().queue_url(url).max_number_of_messages(0);
            probe("ReceiveMessage").obstacle(call.send().await)
        }
        "sqs:DeleteMessage" => {
            let call = client.delete_message_batch().queue_url(url).set_entries(Some(Vec::new()));
            probe("DeleteMessageBatch").obstacle(call.send().await)
        }
        "sqs:ChangeMessageVisibility" => {
            let call = client.change_message_visibility_batch().queue_url(url).set_entries(Some(Vec::new()));
            probe("ChangeMessageVisibilityBatch").obstacle(call.send().await)
        }
        _ => None,
    }
}
