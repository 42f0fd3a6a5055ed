//! One topic of SNS, and calls that say what their errors mean.

use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_sns::Client;
use aws_sdk_sns::types::{MessageAttributeValue, PublishBatchRequestEntry};
use millstream_core::{Error, Result};
use tokio::sync::OnceCell;

use crate::access::Access;
use crate::answer::Call;
use crate::post::{Entry, Outgoing, Post, outcomes};

/// Bytes of a message, and of all messages of a call.
pub(crate) const LIMIT: usize = 256 << 10;

/// A topic. Clones share connections.
#[derive(Debug, Clone)]
pub(crate) struct Topic {
    access: Arc<Access>,
    arn: String,
    shown: String,
    client: Arc<OnceCell<Client>>,
}

impl Topic {
    pub(crate) fn new(access: Arc<Access>, arn: &str, name: &str) -> Self {
        Self { access, arn: arn.to_owned(), shown: format!("topic {name}"), client: Arc::default() }
    }

    /// The topic in messages to people.
    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }

    pub(crate) fn call(&self, operation: &'static str) -> Call<'_> {
        Call { service: "sns", operation, on: &self.shown }
    }

    pub(crate) async fn client(&self) -> Result<&Client> {
        let made = async { Ok::<_, Error>(Client::new(self.access.config().await?)) };
        self.client.get_or_try_init(|| made).await
    }

    /// A message that goes alone: the call for one is cheaper to allow and its errors say more.
    async fn publish(&self, message: &Outgoing) -> Result<Vec<Entry>> {
        let mut call = self
            .client()
            .await?
            .publish()
            .topic_arn(&self.arn)
            .message(&message.body)
            .set_subject(message.subject.clone())
            .set_message_group_id(message.group.clone());
        if message.group.is_some() {
            call = call.message_deduplication_id(&message.id);
        }
        for (name, value) in message.attributes.iter() {
            let (of_type, text) = value.typed();
            call = call.message_attributes(name, attribute(of_type, &text)?);
        }
        call.send().await.map_err(|e| self.call("Publish").error(e))?;
        Ok(vec![Entry::Done])
    }
}

fn attribute(of_type: &str, text: &str) -> Result<MessageAttributeValue> {
    let value = MessageAttributeValue::builder().data_type(of_type).string_value(text).build();
    value.map_err(|e| Error::bug("an attribute lacks a part").caused_by(e))
}

fn entry(message: &Outgoing, place: usize) -> Result<PublishBatchRequestEntry> {
    let mut entry = PublishBatchRequestEntry::builder()
        .id(place.to_string())
        .message(&message.body)
        .set_subject(message.subject.clone())
        .set_message_group_id(message.group.clone());
    if message.group.is_some() {
        entry = entry.message_deduplication_id(&message.id);
    }
    for (name, value) in message.attributes.iter() {
        let (of_type, text) = value.typed();
        entry = entry.message_attributes(name, attribute(of_type, &text)?);
    }
    entry.build().map_err(|e| Error::bug("a message lacks a part").caused_by(e))
}

#[async_trait]
impl Post for Topic {
    fn limit(&self) -> usize {
        LIMIT
    }
    async fn post(&self, call: &[Outgoing]) -> Result<Vec<Entry>> {
        if let [message] = call {
            return self.publish(message).await;
        }
        let entries = call.iter().enumerate().map(|(place, message)| entry(message, place));
        let entries = entries.collect::<Result<Vec<_>>>()?;
        let sent = self.client().await?.publish_batch().topic_arn(&self.arn);
        let answer = sent.set_publish_batch_request_entries(Some(entries)).send().await;
        let answer = answer.map_err(|e| self.call("PublishBatch").error(e))?;
        let failed = answer.failed().iter().map(|f| (f.id(), f.code(), f.message(), f.sender_fault()));
        Ok(outcomes(call.len(), answer.successful().iter().filter_map(|s| s.id()), failed))
    }
}
