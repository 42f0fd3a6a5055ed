//! Findings for people and for programs.

use annotate_snippets::{AnnotationKind, Level, Origin, Renderer, Snippet};
use serde_json::{Value, json};

use crate::diagnostic::{Finding, Severity};
use crate::span::Span;

/// Findings as text: each with its code, the place in the file with a caret, and what to do. `name` is what the file
/// is called in it.
pub fn render(findings: &[Finding], name: &str, text: &str, color: bool) -> String {
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    let mut out = String::new();
    for finding in findings {
        out.push_str(&one(finding, name, text, &renderer));
        out.push_str("\n\n");
    }
    out
}

fn one(finding: &Finding, name: &str, text: &str, renderer: &Renderer) -> String {
    let level = match finding.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let title = level.primary_title(finding.message.as_str()).id(finding.code);
    let mut group = if finding.span == Span::default() {
        // About no place in the text: `--set`, an empty file.
        title.element(Origin::path(name))
    } else {
        let caret = AnnotationKind::Primary.span(shown(finding, text)).label(finding.label.as_deref());
        title.element(Snippet::source(text).path(name).annotation(caret))
    };
    if !finding.path.is_empty() {
        group = group.element(Level::NOTE.no_name().message(format!("in {}", finding.path)));
    }
    if let Some(help) = &finding.help {
        group = group.element(Level::HELP.message(help.as_str()));
    }
    renderer.render(&[group])
}

/// The part of the place a caret can point at: within the text, on character boundaries, on one line.
fn shown(finding: &Finding, text: &str) -> std::ops::Range<usize> {
    let boundary = |mut at: usize| {
        at = at.min(text.len());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    let (start, end) = (boundary(finding.span.start), boundary(finding.span.end));
    let line = text.get(start..end).and_then(|covered| covered.find(['\n', '\r'])).map_or(end, |len| start + len);
    start..line.max(start)
}

/// Findings as JSON: file, line and column from 1 (columns in characters), bytes, code, severity, message, label,
/// path, help.
pub fn to_json(findings: &[Finding], name: &str, text: &str) -> Value {
    let place = |byte: usize| {
        let before = text.get(..byte.min(text.len())).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        (line, before.rsplit('\n').next().unwrap_or_default().chars().count() + 1)
    };
    let all = findings.iter().map(|finding| {
        let range = shown(finding, text);
        let ((line, column), end) = (place(range.start), place(range.end));
        json!({
            "file": name,
            "line": line,
            "column": column,
            "end": { "line": end.0, "column": end.1 },
            "bytes": [range.start, range.end],
            "code": finding.code,
            "severity": finding.severity,
            "message": finding.message,
            "label": finding.label,
            "path": finding.path,
            "help": finding.help,
        })
    });
    Value::Array(all.collect())
}
