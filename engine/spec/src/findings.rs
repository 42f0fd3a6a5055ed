//! Collects findings: keeps them all, in the order of the file, each told once.

use std::collections::HashSet;

use crate::diagnostic::{Finding, Severity};
use crate::span::Span;

/// The findings of one file so far.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    all: Vec<Finding>,
}

impl Findings {
    /// Adds an error; its label and help can be added to what is returned.
    pub(crate) fn error(&mut self, code: &'static str, span: Span, path: &str, message: impl Into<String>) -> Told<'_> {
        self.tell(Severity::Error, code, span, path, message.into())
    }

    /// Adds a warning.
    pub(crate) fn warning(
        &mut self,
        code: &'static str,
        span: Span,
        path: &str,
        message: impl Into<String>,
    ) -> Told<'_> {
        self.tell(Severity::Warning, code, span, path, message.into())
    }

    fn tell(&mut self, severity: Severity, code: &'static str, span: Span, path: &str, message: String) -> Told<'_> {
        let at = self.all.len();
        let path = path.to_owned();
        self.all.push(Finding { code, severity, message, span, label: None, path, help: None });
        Told { all: &mut self.all, at }
    }

    /// Whether there is an error among them.
    pub(crate) fn has_errors(&self) -> bool {
        self.all.iter().any(|f| f.severity == Severity::Error)
    }

    /// Adds those of another.
    pub(crate) fn append(&mut self, mut other: Self) {
        self.all.append(&mut other.all);
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// All of them by place, each once.
    pub(crate) fn sorted(mut self) -> Vec<Finding> {
        let mut seen = HashSet::new();
        self.all.retain(|f| seen.insert((f.code, f.span, f.message.clone())));
        sort(&mut self.all);
        self.all
    }
}

/// Puts findings into the order of the file; findings at one place keep their order, errors first.
pub fn sort(findings: &mut [Finding]) {
    findings.sort_by_key(|f| (f.span.start, f.severity == Severity::Warning, f.span.end));
}

/// A finding that was just added.
pub(crate) struct Told<'a> {
    all: &'a mut Vec<Finding>,
    at: usize,
}

impl Told<'_> {
    /// What stands under the caret.
    pub(crate) fn label(self, label: impl Into<String>) -> Self {
        if let Some(finding) = self.all.get_mut(self.at) {
            finding.label = Some(label.into());
        }
        self
    }

    /// What to do.
    pub(crate) fn help(self, help: impl Into<String>) -> Self {
        self.maybe_help(Some(help.into()))
    }

    /// What to do, where that is known.
    pub(crate) fn maybe_help(self, help: Option<String>) -> Self {
        if let Some(finding) = self.all.get_mut(self.at) {
            finding.help = help;
        }
        self
    }
}
