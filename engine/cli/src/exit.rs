//! How a command ends: the exit code and the last words.

use std::process::ExitCode;

use millstream_core::{Error, ErrorKind};
use millstream_runtime::run::RunError;

use crate::{panics, terminal};

/// A command that did not succeed.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    /// `None` where everything was said already.
    message: Option<String>,
    help: Option<String>,
}

impl Failure {
    /// The pipeline failed while running, or the engine did.
    pub(crate) const RUNNING: u8 = 1;
    /// The file or its tests.
    pub(crate) const FILE: u8 = 2;
    /// Something outside.
    pub(crate) const ENVIRONMENT: u8 = 3;

    /// Ends with `code` and a message.
    pub(crate) fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: Some(message.into()), help: None }
    }
    /// Ends with `code`; everything has been said.
    pub(crate) fn silent(code: u8) -> Self {
        Self { code, message: None, help: None }
    }
    /// The same, with what to do about it.
    #[must_use]
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// The exit code of an error of a kind.
pub(crate) fn code_of(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::Config => Failure::FILE,
        ErrorKind::Environment => Failure::ENVIRONMENT,
        _ => Failure::RUNNING,
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::new(code_of(error.kind()), explained(&error))
    }
}

impl From<RunError> for Failure {
    fn from(failed: RunError) -> Self {
        Self::new(code_of(failed.error.kind()), format!("{}: {}", failed.node, explained(&failed.error)))
    }
}

fn explained(error: &Error) -> String {
    match error.kind() {
        ErrorKind::Bug => format!("{error} (this is a bug in millstream, please report it)"),
        _ => error.to_string(),
    }
}

/// Says why a command failed, and gives the process its exit code.
pub(crate) fn code(ended: Result<(), Failure>) -> ExitCode {
    let Err(failure) = ended else { return ExitCode::SUCCESS };
    // A panic has said more than the error that follows from it.
    if let Some(message) = failure.message.filter(|_| !panics::happened()) {
        terminal::error(&message);
        if let Some(help) = &failure.help {
            terminal::help(help);
        }
    }
    ExitCode::from(failure.code)
}
