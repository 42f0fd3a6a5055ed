//! What can go wrong with a UDF.

use millstream_core::{Error, ErrorKind};

/// An error of a UDF, with a message for the person who wrote or uses it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UdfError {
    /// The function panicked on these rows.
    #[error("`{0}` panicked")]
    Panicked(String),
    /// The call of a row took too long.
    #[error("`{name}` did not answer within {within}")]
    TimedOut {
        /// The UDF.
        name: String,
        /// How long it was given, in words.
        within: String,
    },
    /// The library does not keep to the interface.
    #[error("{0}")]
    Broken(String),
    /// The crate or library cannot be used; `help` says what to do.
    #[error("{message}")]
    Unusable {
        /// What is wrong.
        message: String,
        /// What to do.
        help: String,
    },
}

impl UdfError {
    /// The crate or library cannot be used.
    pub(crate) fn unusable(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self::Unusable { message: message.into(), help: help.into() }
    }

    /// What to do, where that is known.
    pub fn help(&self) -> Option<&str> {
        match self {
            Self::Unusable { help, .. } => Some(help),
            _ => None,
        }
    }
}

impl From<UdfError> for Error {
    fn from(e: UdfError) -> Self {
        let kind = match &e {
            UdfError::Panicked(_) | UdfError::TimedOut { .. } | UdfError::Broken(_) => ErrorKind::BadRow,
            UdfError::Unusable { .. } => ErrorKind::Config,
        };
        Self::new(kind, e.to_string())
    }
}
