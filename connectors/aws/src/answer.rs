//! What a failed call means: which errors of the services are to be retried, and which are a person's to fix.

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::display::DisplayErrorContext;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use millstream_core::{Error, ErrorKind};

/// A call, in the words of a message: `PutItem` of `dynamodb` on `table trips`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call<'a> {
    /// The service's prefix in IAM actions.
    pub(crate) service: &'static str,
    /// The API's operation, which mostly is its IAM action too.
    pub(crate) operation: &'static str,
    /// What it acts on, for people: `stream orders`.
    pub(crate) on: &'a str,
}

impl Call<'_> {
    /// The error that says what the runtime does next. `E` is one operation's.
    ///
    /// `Environment`: credentials, permissions, and what does not exist. `Unavailable`: it did not happen and may the next
    /// time. `Indeterminate`: it may have happened. `Config`: the service calls the request itself wrong.
    pub(crate) fn error<E>(&self, error: SdkError<E, HttpResponse>) -> Error
    where
        E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
    {
        let kind = self.kind(&error);
        let said = match error.code() {
            Some(code) => format!("{code}: {}", error.message().unwrap_or("no message")),
            None => DisplayErrorContext(&error).to_string(),
        };
        let fix = match (kind, error.code()) {
            (ErrorKind::Environment, Some(code)) if is_denied(code) => {
                format!(" (allow the action {}:{})", self.service, self.operation)
            }
            (ErrorKind::Environment, None) => {
                " (credentials come from the environment, ~/.aws, or the instance's role)".into()
            }
            _ => String::new(),
        };
        Error::new(kind, format!("{} on {}: {said}{fix}", self.operation, self.on))
    }

    fn kind<E: ProvideErrorMetadata>(&self, error: &SdkError<E, HttpResponse>) -> ErrorKind {
        match error {
            SdkError::ConstructionFailure(_) => ErrorKind::Config,
            // The connection was refused or broke: before or after the request was sent is not known. One that ends before
            // the answer is of no kind of its own, but known to be transient.
            SdkError::DispatchFailure(e) if e.is_io() || e.is_timeout() || e.as_other().is_some() => {
                ErrorKind::Indeterminate
            }
            // No credentials, or an endpoint that is no address.
            SdkError::DispatchFailure(_) => ErrorKind::Environment,
            SdkError::ServiceError(e) => {
                let status = e.raw().status().as_u16();
                match e.err().code() {
                    Some(code) => kind_of_code(code, status),
                    None => kind_of_status(status),
                }
            }
            _ => ErrorKind::Indeterminate,
        }
    }
}

fn kind_of_status(status: u16) -> ErrorKind {
    match status {
        429 | 503 => ErrorKind::Unavailable,
        500.. => ErrorKind::Indeterminate,
        401 | 403 | 404 => ErrorKind::Environment,
        _ => ErrorKind::Config,
    }
}

/// What an error code of any of the services means: they share most of them.
fn kind_of_code(code: &str, status: u16) -> ErrorKind {
    if is_throttle(code) {
        ErrorKind::Unavailable
    } else if is_denied(code) || is_absent(code) {
        ErrorKind::Environment
    } else {
        kind_of_status(status)
    }
}

/// The service asks for fewer calls; nothing was done.
pub(crate) fn is_throttle(code: &str) -> bool {
    matches!(
        code,
        "ProvisionedThroughputExceededException"
            | "ThrottlingException"
            | "Throttling"
            | "ThrottledException"
            | "RequestThrottled"
            | "RequestThrottledException"
            | "TooManyRequestsException"
            | "RequestLimitExceeded"
            | "LimitExceededException"
            | "KMSThrottlingException"
            | "KmsThrottled"
            | "SlowDown"
            | "ServiceUnavailable"
    )
}

/// Credentials or permissions do not allow it.
pub(crate) fn is_denied(code: &str) -> bool {
    matches!(
        code,
        "AccessDenied"
            | "AccessDeniedException"
            | "AuthorizationError"
            | "AuthorizationErrorException"
            | "ExpiredToken"
            | "ExpiredTokenException"
            | "IncompleteSignature"
            | "InvalidAccessKeyId"
            | "InvalidClientTokenId"
            | "KMSAccessDeniedException"
            | "KmsAccessDenied"
            | "MissingAuthenticationToken"
            | "NotAuthorized"
            | "SignatureDoesNotMatch"
            | "UnrecognizedClientException"
    )
}

/// What the call acts on does not exist.
pub(crate) fn is_absent(code: &str) -> bool {
    matches!(
        code,
        "ResourceNotFoundException"
            | "NoSuchBucket"
            | "NotFound"
            | "NotFoundException"
            | "QueueDoesNotExist"
            | "AWS.SimpleQueueService.NonExistentQueue"
    )
}
