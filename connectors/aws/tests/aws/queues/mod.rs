//! SQS, SNS and CloudWatch.

mod alerts;
mod letters;
mod metrics;
mod sink;
mod source;

use std::collections::BTreeMap;
use std::sync::Arc;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_sqs::types::{Message, QueueAttributeName};
use millstream_core::Batch;
use millstream_core::connector::Connector;
use millstream_core::sink::{BatchId, Outcome, Sink, SinkOptions};
use millstream_local::conformance;
use millstream_services as services;
use serde_json::{Value, json};

use crate::credentials;

/// A connector of a kind with these options, in the region of the local servers.
pub(crate) fn connector(kind: &str, endpoint: &str, more: Value) -> Arc<dyn Connector> {
    credentials::set();
    let mut options = json!({ "endpoint": endpoint, "region": services::REGION });
    options.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let kind = millstream_aws::kinds().into_iter().find(|k| k.name == kind).unwrap();
    (kind.parse)(options).unwrap()
}

fn http() -> aws_smithy_runtime_api::client::http::SharedHttpClient {
    use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
    aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https()
}

/// A client of the tests' own, to look at what is really there.
pub(crate) fn client() -> Client {
    let config = aws_sdk_sqs::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .credentials_provider(Credentials::for_tests())
        .region(Region::new(services::REGION))
        .endpoint_url(services::sqs())
        .http_client(http());
    Client::from_conf(config.build())
}

/// A queue of a test's own.
pub(crate) struct Fresh {
    pub(crate) name: String,
    pub(crate) url: String,
    pub(crate) client: Client,
}

impl Fresh {
    pub(crate) async fn standard(of: &str) -> Self {
        Self::make(services::name(of), &[]).await
    }
    pub(crate) async fn fifo(of: &str) -> Self {
        let name = format!("{}.fifo", services::name(of));
        Self::make(name, &[(QueueAttributeName::FifoQueue, "true")]).await
    }
    pub(crate) async fn make(name: String, attributes: &[(QueueAttributeName, &str)]) -> Self {
        let client = client();
        let mut call = client.create_queue().queue_name(&name);
        for (attribute, value) in attributes {
            call = call.attributes(attribute.clone(), *value);
        }
        let url = call.send().await.unwrap().queue_url.unwrap();
        Self { name, url, client }
    }
    /// Takes all messages out of the queue, in the order in which they come.
    pub(crate) async fn drain(&self) -> Vec<Message> {
        let mut all = Vec::new();
        loop {
            let call = self.client.receive_message().queue_url(&self.url).max_number_of_messages(10);
            let call = call.message_attribute_names("All").visibility_timeout(60);
            let call = call.message_system_attribute_names(aws_sdk_sqs::types::MessageSystemAttributeName::All);
            let messages = call.wait_time_seconds(0).send().await.unwrap().messages.unwrap_or_default();
            if messages.is_empty() {
                return all;
            }
            for message in messages {
                let receipt = message.receipt_handle.clone().unwrap();
                self.client.delete_message().queue_url(&self.url).receipt_handle(receipt).send().await.unwrap();
                all.push(message);
            }
        }
    }
    /// Messages in the queue: visible ones, and hidden ones.
    pub(crate) async fn counts(&self) -> (u64, u64) {
        let names = [
            QueueAttributeName::ApproximateNumberOfMessages,
            QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
        ];
        let call = self.client.get_queue_attributes().queue_url(&self.url);
        let answer = call.set_attribute_names(Some(names.to_vec())).send().await.unwrap();
        let all = answer.attributes.unwrap();
        let count = |name: &QueueAttributeName| all.get(name).map_or(0, |text| text.parse().unwrap());
        let [visible, hidden] = &names;
        (count(visible), count(hidden))
    }
    pub(crate) async fn put(&self, bodies: &[String]) {
        for body in bodies {
            self.client.send_message().queue_url(&self.url).message_body(body).send().await.unwrap();
        }
    }
}

/// The attributes of a message that are texts or numbers.
pub(crate) fn attributes(message: &Message) -> BTreeMap<String, String> {
    let all = message.message_attributes.clone().unwrap_or_default();
    all.into_iter().filter_map(|(name, value)| Some((name, value.string_value?))).collect()
}

pub(crate) fn id(checkpoint: u64, sequence: u64) -> BatchId {
    BatchId { run: "r1".into(), checkpoint, instance: 0, sequence }
}

/// Sends rows as an outbox does: again, those that did not get through, until none is left. Gives how often it asked.
pub(crate) async fn insist(sink: &mut dyn Sink, id: &BatchId, batch: &Batch) -> usize {
    let mut left: Vec<u32> = (0..batch.num_rows() as u32).collect();
    for asked in 1..200 {
        let rows = batch.take(&left.clone().into()).unwrap();
        let outcomes = sink.send(id, &left, &rows).await.unwrap();
        let again = left.iter().zip(outcomes).filter_map(|(row, outcome)| match outcome {
            Outcome::Done => None,
            Outcome::Retry(_) => Some(*row),
            Outcome::Refused(why) => panic!("{why}"),
        });
        left = again.collect();
        if left.is_empty() {
            return asked;
        }
    }
    panic!("{} rows never get through", left.len());
}

/// Rows of every type as a batch of a sink, and its options.
pub(crate) fn rows(count: usize) -> (SinkOptions, Batch) {
    let rows = conformance::every_type(0, count);
    let options = conformance::sink_options("out", &rows.schema());
    let batch = conformance::batch(&options, &rows);
    (options, batch)
}
