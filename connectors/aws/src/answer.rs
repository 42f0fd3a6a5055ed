//! What a failed call means: which errors of the services are to be retried, and which are a person's to fix.

use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
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
            None => chain(&error),
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

    fn kind<E>(&self, error: &SdkError<E, HttpResponse>) -> ErrorKind
    where
        E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
    {
        if let Some(kind) = kind_of_credentials(error) {
            return kind;
        }
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

/// An error and all it came of, each in its own words.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut said: Vec<String> = std::iter::successors(Some(error), |e| e.source()).map(ToString::to_string).collect();
    said.dedup();
    said.join(": ")
}

/// What it means that there were no credentials for a call, where that is why it failed: nothing was done.
fn kind_of_credentials(error: &(dyn std::error::Error + 'static)) -> Option<ErrorKind> {
    let mut causes = std::iter::successors(Some(error), |e| e.source());
    let credentials = causes.find_map(|cause| cause.downcast_ref::<CredentialsError>())?;
    Some(match credentials {
        CredentialsError::CredentialsNotLoaded(_) | CredentialsError::InvalidConfiguration(_) => ErrorKind::Environment,
        // Whoever gives them says no, or does not answer now.
        _ if chain(credentials).split(|c: char| !c.is_ascii_alphanumeric()).any(is_denied) => ErrorKind::Environment,
        _ => ErrorKind::Unavailable,
    })
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
    if is_throttle(code) || is_passing(code) {
        ErrorKind::Unavailable
    } else if is_denied(code) || is_absent(code) || is_of_key(code) {
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
            | "KMSThrottling"
            | "KmsThrottled"
            | "SlowDown"
            | "ServiceUnavailable"
    )
}

/// Something else is being done with what the call acts on; nothing was done.
fn is_passing(code: &str) -> bool {
    matches!(code, "ResourceInUseException" | "TransactionConflictException" | "ReplicatedWriteConflictException")
}

/// The key of KMS that what the call acts on is encrypted with cannot be used: it is disabled, gone, or of another kind.
fn is_of_key(code: &str) -> bool {
    code.get(..3).is_some_and(|service| service.eq_ignore_ascii_case("kms"))
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
            | "InvalidSignatureException"
            | "KMSAccessDeniedException"
            | "KmsAccessDenied"
            | "MissingAuthenticationToken"
            | "MissingAuthenticationTokenException"
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_says_whether_to_try_again_to_ask_a_person_or_to_refuse_the_row() {
        for (code, kind) in [
            ("ProvisionedThroughputExceededException", ErrorKind::Unavailable),
            ("TransactionConflictException", ErrorKind::Unavailable),
            ("ResourceInUseException", ErrorKind::Unavailable),
            ("KMSThrottlingException", ErrorKind::Unavailable),
            ("KMSDisabledException", ErrorKind::Environment),
            ("KmsInvalidState", ErrorKind::Environment),
            ("InvalidSignatureException", ErrorKind::Environment),
            ("AccessDeniedException", ErrorKind::Environment),
            ("ResourceNotFoundException", ErrorKind::Environment),
            ("ValidationException", ErrorKind::Config),
        ] {
            assert_eq!(kind_of_code(code, 400), kind, "{code}");
        }
    }
}
