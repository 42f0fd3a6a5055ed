//! Findings: what is wrong with a pipeline file, where, and what to do.

use serde::Serialize;

use crate::span::Span;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The pipeline cannot run.
    Error,
    /// It can, and probably not as meant.
    Warning,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Such as `E0203`; documented in `docs/diagnostics.md`.
    pub code: &'static str,
    /// Error or warning.
    pub severity: Severity,
    /// One line, lower case, no full stop: what is wrong.
    pub message: String,
    /// Where.
    pub span: Span,
    /// What stands under the caret.
    pub label: Option<String>,
    /// Where in the pipeline's structure: `transforms.daily_kpis.sql`.
    pub path: String,
    /// What to do.
    pub help: Option<String>,
}
