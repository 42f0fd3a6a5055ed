//! Findings about a user's SQL, each with the bytes of the text it is about.

use std::fmt;
use std::ops::Range;

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SqlErrorKind {
    /// The text is not SQL.
    Parse,
    /// The text is SQL, and not one query.
    NotAQuery,
    /// No stream or port has this name.
    UnknownPort,
    /// No column has this name.
    UnknownColumn,
    /// No function has this name.
    UnknownFunction,
    /// Types, arguments or clauses do not fit together.
    Planning,
    /// One of the user's functions is called with arguments it does not take, or where it cannot be.
    UdfArguments,
    /// The arguments of a window do not fit.
    BadWindow,
    /// The result would depend on when the query runs.
    Volatile,
    /// A decimal would need more than 38 digits.
    DecimalOverflow,
    /// An aggregate (or join, or order) over a stream that never ends needs a window.
    NeedsWindow,
    /// The result would depend on the order in which rows arrive.
    OrderDependent,
    /// Early results were asked for and cannot be given.
    NoEarlyResults,
    /// A condition is not boolean.
    NotBoolean,
    /// SQL that Millstream does not run.
    Unsupported,
    /// A value made an expression fail while the query ran.
    Execution,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlError {
    /// What is wrong.
    pub kind: SqlErrorKind,
    /// For people, one line, without a full stop.
    pub message: String,
    /// The bytes of the SQL text it is about.
    pub range: Option<Range<usize>>,
    /// What stands beside the caret.
    pub label: Option<String>,
    /// What to do.
    pub help: Option<String>,
    /// Whether the query runs all the same.
    pub warning: bool,
}

impl SqlError {
    /// An error of `kind` without a place.
    pub fn new(kind: SqlErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), range: None, label: None, help: None, warning: false }
    }
    /// The same, about these bytes.
    #[must_use]
    pub fn at(mut self, range: impl Into<Option<Range<usize>>>) -> Self {
        self.range = range.into();
        self
    }
    /// The same, with words beside the caret.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }
    /// The same, with what to do about it.
    #[must_use]
    pub fn help(mut self, help: impl Into<Option<String>>) -> Self {
        self.help = help.into();
        self
    }
    /// The same as a warning.
    #[must_use]
    pub fn warning(mut self) -> Self {
        self.warning = true;
        self
    }
}

impl fmt::Display for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(help) = &self.help {
            write!(f, " ({help})")?;
        }
        Ok(())
    }
}

impl std::error::Error for SqlError {}
