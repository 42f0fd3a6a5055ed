//! Asking a service whether a pipeline may do something, by calls that change nothing.

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use millstream_core::Error;
use millstream_core::resource::Obstacle;

use crate::answer::{Call, is_absent, is_denied};

/// What services that speak of single actions say of a request that they would never carry out: without entries, say.
pub(crate) const MALFORMED: &[&str] = &[
    "AWS.SimpleQueueService.EmptyBatchRequest",
    "EmptyBatchRequest",
    "EmptyBatchRequestException",
    "InvalidParameter",
    "InvalidParameterCombination",
    "InvalidParameterException",
    "InvalidParameterValue",
    "InvalidParameterValueException",
    "MissingParameter",
    "MissingRequiredParameter",
    "MissingRequiredParameterException",
    "ReadCountOutOfRange",
    "ValidationError",
    "ValidationException",
];

/// A call that is made to see whether it is allowed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Probe<'a> {
    pub(crate) call: Call<'a>,
    /// What a policy must allow for it, such as `s3:ListBucket`.
    pub(crate) action: &'static str,
    /// Codes of errors that say that it is allowed: what it asks for is not there, say.
    pub(crate) allowed: &'static [&'static str],
}

impl Probe<'_> {
    /// What the answer says stands in the way; nothing where it was allowed.
    pub(crate) fn obstacle<T, E>(&self, answer: Result<T, SdkError<E, HttpResponse>>) -> Option<Obstacle>
    where
        E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
    {
        let error = answer.err()?;
        let code = error.code().unwrap_or_default().to_owned();
        // Services answer to some calls without a body, and so without a code.
        let status = error.raw_response().map(|r| r.status().as_u16());
        if self.allowed.contains(&code.as_str()) {
            return None;
        }
        let error = self.call.error(error);
        Some(if is_denied(&code) || (code.is_empty() && status == Some(403)) {
            missing(self.action, &error)
        } else if is_absent(&code) || status == Some(404) {
            absent(self.call.on)
        } else {
            // It may pass, and is worth knowing.
            Obstacle::warning(error.to_string())
        })
    }
}

/// A permission that is missing.
pub(crate) fn missing(action: &'static str, error: &Error) -> Obstacle {
    Obstacle::fatal(error.to_string())
        .action(action)
        .help(format!("allow `{action}`: `resources FILE --policy` has all"))
}

/// Something that is not there.
pub(crate) fn absent(shown: &str) -> Obstacle {
    Obstacle::fatal(format!("{shown} does not exist"))
        .help("create it, or name another; `millstream resources FILE --create` makes it, for development")
}
