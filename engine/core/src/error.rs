//! One error type, whose kind says what the runtime does next.

use std::fmt;

/// What the runtime does about an error. Expected results (a stale version, a late row, a reject) are values
/// of their own types, never errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The pipeline or its options are wrong: exit code 2, nothing runs.
    Config,
    /// Something outside is missing or forbidden (file, permission, resource): exit code 3.
    Environment,
    /// This row can never succeed: route it.
    BadRow,
    /// The service cannot answer now: retry, and hold the sources back meanwhile.
    Unavailable,
    /// It may or may not have happened: retry only if that is idempotent, else read back.
    Indeterminate,
    /// Another process owns this state: stop.
    Fenced,
    /// A test has ended the run as if the process had died.
    Killed,
    /// A broken invariant of Millstream itself: exit code 1.
    Bug,
}

/// An error of a kind, with a lower-case message that names the thing and, where there is one, the fix.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The result of everything in Millstream that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of `kind`.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }
    /// See [`ErrorKind::Config`].
    pub fn config(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Config, message)
    }
    /// See [`ErrorKind::Environment`].
    pub fn environment(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Environment, message)
    }
    /// See [`ErrorKind::Unavailable`].
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unavailable, message)
    }
    /// See [`ErrorKind::Bug`].
    pub fn bug(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Bug, message)
    }
    /// The same error with what caused it.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }
    /// What the runtime does about it.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
    /// The message without its causes.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(source) = &self.source {
            write!(f, ": {source}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|s| s as _)
    }
}

impl From<arrow::error::ArrowError> for Error {
    /// Arrow fails inside the engine only where a schema was broken: a bug, unless the caller says otherwise.
    fn from(e: arrow::error::ArrowError) -> Self {
        Self::bug("a batch does not fit its schema").caused_by(e)
    }
}
