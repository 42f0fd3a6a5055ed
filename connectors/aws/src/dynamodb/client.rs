//! One table of the service, and how it is called.

use std::collections::HashMap;
use std::sync::Arc;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::types::{AttributeValue, TableDescription, TableStatus, ThrottlingReason};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use millstream_core::{Error, ErrorKind, Result};

use super::backoff::Backoff;
use super::config::DynamoDbConfig;
use crate::access::Access;
use crate::answer::{Call, is_throttle};

/// An item: attribute to value.
pub(crate) type Item = HashMap<String, AttributeValue>;

/// How often a call that only reads is tried before its error is handed on.
const READ_ATTEMPTS: u32 = 8;

/// A table and the client that calls it.
#[derive(Debug)]
pub(crate) struct Remote {
    pub(crate) client: Client,
    pub(crate) table: String,
    /// What it is called in messages.
    shown: String,
}

impl Remote {
    pub(crate) async fn new(config: &DynamoDbConfig, access: &Access) -> Result<Arc<Self>> {
        let sdk = access.config().await?;
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(config.timeout.0.min(std::time::Duration::from_secs(5)))
            .operation_attempt_timeout(config.timeout.0)
            .build();
        let client = Client::from_conf(aws_sdk_dynamodb::config::Builder::from(sdk).timeout_config(timeouts).build());
        let shown = format!("the DynamoDB table `{}`", config.table);
        Ok(Arc::new(Self { client, table: config.table.clone(), shown }))
    }

    /// What a failed call means.
    pub(crate) fn error<E>(&self, operation: &'static str, error: SdkError<E, HttpResponse>) -> Error
    where
        E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
    {
        self.call(operation).error(error)
    }

    /// A call in the words of messages.
    pub(crate) fn call(&self, operation: &'static str) -> Call<'_> {
        Call { service: "dynamodb", operation, on: &self.shown }
    }

    /// Calls something that changes nothing until it answers; with patience, not for ever.
    pub(crate) async fn read<T, E, F>(&self, operation: &'static str, call: impl Fn() -> F) -> Result<T>
    where
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
        E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
    {
        let mut backoff = Backoff::new();
        let mut attempt = 1;
        loop {
            let error = match call().await {
                Ok(answer) => return Ok(answer),
                Err(error) => self.error(operation, error),
            };
            let passing = matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Indeterminate);
            if !passing {
                return Err(error);
            }
            if attempt == READ_ATTEMPTS {
                // A read that may have happened has not.
                return Err(Error::unavailable(error.to_string()));
            }
            attempt += 1;
            backoff.wait().await;
        }
    }

    /// The table as the service describes it.
    ///
    /// # Errors
    /// `Environment` where it does not exist or may not be described; `Unavailable` while it is being made.
    pub(crate) async fn describe(&self) -> Result<TableDescription> {
        let described = self
            .read("DescribeTable", || self.client.describe_table().table_name(&self.table).send())
            .await
            .map_err(|error| self.explained(error))?;
        let Some(description) = described.table else {
            return Err(Error::unavailable(format!("{} was not described", self.shown)));
        };
        match description.table_status() {
            Some(TableStatus::Creating) => Err(Error::unavailable(format!("{} is being made", self.shown))),
            Some(TableStatus::Deleting) => Err(Error::environment(format!("{} is being deleted", self.shown))),
            _ => Ok(description),
        }
    }

    fn explained(&self, error: Error) -> Error {
        if error.kind() == ErrorKind::Environment && error.message().contains("ResourceNotFound") {
            let make = "`millstream resources FILE --create` makes it";
            return Error::environment(format!("{} does not exist: {make}", self.shown));
        }
        error
    }

    /// What the table is called in messages.
    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }
}

/// Whether an error asks for fewer calls; `Some(true)` where it says that single keys are too hot.
pub(crate) fn throttled<E: ProvideErrorMetadata>(
    error: &SdkError<E, HttpResponse>,
    reasons: impl Fn(&E) -> Option<&[ThrottlingReason]>,
) -> Option<bool> {
    error.code().filter(|code| is_throttle(code))?;
    let reasons = error.as_service_error().and_then(reasons).unwrap_or_default();
    let hot = |reason: &ThrottlingReason| reason.reason().is_some_and(|r| r.ends_with("KeyRangeThroughputExceeded"));
    Some(!reasons.is_empty() && reasons.iter().all(hot))
}
