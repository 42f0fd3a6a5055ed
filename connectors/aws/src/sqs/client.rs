//! One queue of SQS: its address, and calls that say what their errors mean.

use std::sync::Arc;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::ProvideErrorMetadata;
use aws_sdk_sqs::types::{
    ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry, Message, MessageSystemAttributeName,
    QueueAttributeName, SendMessageBatchRequestEntry,
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::operation::BuildError;
use millstream_core::{Error, Result};
use tokio::sync::OnceCell;

use super::config::SqsConfig;
use crate::access::Access;
use crate::answer::{Call, is_absent, is_denied};
use crate::post::{BATCH, Entry, outcomes};

/// The prefix of IAM actions.
const SERVICE: &str = "sqs";

/// A message and its receipt, by which it is deleted or hidden for longer.
#[derive(Debug, Clone)]
pub(crate) struct Handle {
    pub(crate) id: String,
    pub(crate) receipt: String,
}

/// A queue. Clones share connections.
#[derive(Debug, Clone)]
pub(crate) struct Queue {
    access: Arc<Access>,
    named: String,
    shown: String,
    client: Arc<OnceCell<Client>>,
    /// Its URL.
    found: Arc<OnceCell<String>>,
}

fn built<T>(built: Result<T, BuildError>) -> Result<T> {
    built.map_err(|e| Error::bug("a request to SQS lacks a part").caused_by(e))
}

impl Queue {
    pub(crate) fn new(access: Arc<Access>, config: &SqsConfig) -> Self {
        let named = config.queue_url.trim().to_owned();
        let shown = format!("queue {}", config.name());
        Self { access, named, shown, client: Arc::default(), found: Arc::default() }
    }

    /// The queue in messages to people.
    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }

    pub(crate) fn call(&self, operation: &'static str) -> Call<'_> {
        Call { service: SERVICE, operation, on: &self.shown }
    }

    /// The client and the queue's URL, which is asked for by its name at the first call.
    pub(crate) async fn open(&self) -> Result<(&Client, &str)> {
        let client = self.sdk().await?;
        let found = self.found.get_or_try_init(|| async {
            if self.named.contains("://") {
                return Ok::<_, Error>(self.named.clone());
            }
            let answer = client.get_queue_url().queue_name(&self.named).send().await;
            let answer = answer.map_err(|e| self.call("GetQueueUrl").error(e))?;
            answer.queue_url.ok_or_else(|| Error::unavailable(format!("{} has no URL", self.shown)))
        });
        Ok((client, found.await?))
    }

    /// The client alone.
    pub(crate) async fn sdk(&self) -> Result<&Client> {
        let made = async { Ok::<_, Error>(Client::new(self.access.config().await?)) };
        self.client.get_or_try_init(|| made).await
    }

    /// Whether it exists, as far as that may be asked.
    ///
    /// # Errors
    /// Credentials, or the service itself.
    pub(crate) async fn is_there(&self) -> Result<bool> {
        let client = self.sdk().await?;
        if self.named.contains("://") {
            let asked = client.get_queue_attributes().queue_url(&self.named);
            let asked = asked.attribute_names(QueueAttributeName::QueueArn).send().await;
            asked.map_or_else(|e| self.doubt("GetQueueAttributes", e), |_| Ok(true))
        } else {
            let asked = client.get_queue_url().queue_name(&self.named).send().await;
            asked.map_or_else(|e| self.doubt("GetQueueUrl", e), |_| Ok(true))
        }
    }

    /// What a failed question says of the queue's existence; who may not ask may still be right.
    fn doubt<E>(&self, operation: &'static str, error: SdkError<E, HttpResponse>) -> Result<bool>
    where
        E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
    {
        match error.code() {
            Some(code) if is_absent(code) => Ok(false),
            Some(code) if is_denied(code) => Ok(true),
            _ => Err(self.call(operation).error(error)),
        }
    }

    /// Sends messages, at most [`BATCH`]: what became of each, in their order. Entries are named by their places.
    ///
    /// # Errors
    /// As [`Call::error`]: nothing is known of any of them.
    pub(crate) async fn send(&self, entries: Vec<SendMessageBatchRequestEntry>) -> Result<Vec<Entry>> {
        let (client, url) = self.open().await?;
        let count = entries.len();
        let answer = client.send_message_batch().queue_url(url).set_entries(Some(entries)).send().await;
        let answer = answer.map_err(|e| self.call("SendMessageBatch").error(e))?;
        let failed = answer.failed().iter().map(|f| (f.id(), f.code(), f.message(), f.sender_fault()));
        Ok(outcomes(count, answer.successful().iter().map(|s| s.id()), failed))
    }

    /// Receives at most [`BATCH`] messages and hides them; waits for `wait` seconds where there are none.
    ///
    /// # Errors
    /// As [`Call::error`]; `Unavailable` where too many messages are in flight.
    pub(crate) async fn receive(&self, wait: i32, visibility: i32) -> Result<Vec<Message>> {
        let (client, url) = self.open().await?;
        let answer = client
            .receive_message()
            .queue_url(url)
            .max_number_of_messages(BATCH as i32)
            .wait_time_seconds(wait)
            .visibility_timeout(visibility)
            .message_system_attribute_names(MessageSystemAttributeName::All)
            .message_attribute_names("All")
            .send()
            .await;
        match answer {
            Ok(answer) => Ok(answer.messages.unwrap_or_default()),
            Err(e) if e.as_service_error().is_some_and(|e| e.is_over_limit()) => {
                Err(Error::unavailable(format!("{} has as many messages in flight as SQS allows", self.shown)))
            }
            Err(e) => Err(self.call("ReceiveMessage").error(e)),
        }
    }

    /// Deletes messages, at most [`BATCH`].
    ///
    /// # Errors
    /// As [`Queue::send`]; deleting again is safe.
    pub(crate) async fn delete(&self, messages: &[Handle]) -> Result<Vec<Entry>> {
        let (client, url) = self.open().await?;
        let entry = |(place, message): (usize, &Handle)| {
            let entry = DeleteMessageBatchRequestEntry::builder().id(place.to_string());
            built(entry.receipt_handle(&message.receipt).build())
        };
        let entries = messages.iter().enumerate().map(entry).collect::<Result<Vec<_>>>()?;
        let answer = client.delete_message_batch().queue_url(url).set_entries(Some(entries)).send().await;
        let answer = answer.map_err(|e| self.call("DeleteMessageBatch").error(e))?;
        let failed = answer.failed().iter().map(|f| (f.id(), f.code(), f.message(), f.sender_fault()));
        Ok(outcomes(messages.len(), answer.successful().iter().map(|s| s.id()), failed))
    }

    /// Hides messages, at most [`BATCH`], for so many seconds from now on; 0 shows them.
    ///
    /// # Errors
    /// As [`Queue::send`].
    pub(crate) async fn hide(&self, messages: &[Handle], seconds: i32) -> Result<Vec<Entry>> {
        let (client, url) = self.open().await?;
        let entry = |(place, message): (usize, &Handle)| {
            let entry = ChangeMessageVisibilityBatchRequestEntry::builder().id(place.to_string());
            built(entry.receipt_handle(&message.receipt).visibility_timeout(seconds).build())
        };
        let entries = messages.iter().enumerate().map(entry).collect::<Result<Vec<_>>>()?;
        let answer = client.change_message_visibility_batch().queue_url(url).set_entries(Some(entries)).send().await;
        let answer = answer.map_err(|e| self.call("ChangeMessageVisibilityBatch").error(e))?;
        let failed = answer.failed().iter().map(|f| (f.id(), f.code(), f.message(), f.sender_fault()));
        Ok(outcomes(messages.len(), answer.successful().iter().map(|s| s.id()), failed))
    }
}
