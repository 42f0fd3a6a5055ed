//! `${VAR}`, `${VAR:-default}`, `${VAR:?message}`, `$${` in the string values of the tree.
//!
//! Invariants: keys and numbers are never touched; what a variable gave is never shown ([`Node::template`] is);
//! where a variable has no value and that is allowed, its `${..}` stays and the node is marked unresolved.

use crate::codes;
use crate::findings::Findings;
use crate::path;
use crate::span::Span;
use crate::tree::{Content, Node};

/// The name of the variable for the file's own folder.
const PIPELINE_DIR: &str = "PIPELINE_DIR";
/// Shorter values are no secrets, and hiding them would garble messages.
const SHORTEST_SECRET: usize = 4;

/// Where values come from.
pub(crate) struct Variables<'a> {
    /// The process environment, or what stands for it.
    pub(crate) environment: &'a dyn Fn(&str) -> Option<String>,
    /// The value of `${PIPELINE_DIR}`.
    pub(crate) pipeline_dir: String,
    /// Values given so far and the variables they came from: never to be shown.
    pub(crate) secrets: Vec<(String, String)>,
}

impl Variables<'_> {
    /// Substitutes everywhere in `node`. Where `required`, an unset variable is a finding.
    pub(crate) fn substitute(&mut self, node: &mut Node, at: &str, required: bool, findings: &mut Findings) {
        match &mut node.content {
            Content::List(items) => {
                for (i, item) in items.iter_mut().enumerate() {
                    self.substitute(item, &path::item(at, i), required, findings);
                }
            }
            Content::Map(entries) => {
                for (key, value) in entries {
                    self.substitute(value, &path::key(at, &key.text), required, findings);
                }
            }
            Content::Text(text) if text.contains("${") => {
                let filled = self.fill(text, node.span, at, required, findings);
                node.template = Some(std::mem::replace(text, filled.text));
                node.unresolved = filled.unresolved;
            }
            _ => {}
        }
    }

    fn fill(&mut self, text: &str, span: Span, at: &str, required: bool, findings: &mut Findings) -> Filled {
        let mut filled = Filled::default();
        let mut rest = text;
        while let Some(start) = rest.find("${") {
            let (before, reference) = rest.split_at(start);
            if let Some(before) = before.strip_suffix('$') {
                filled.text.push_str(before);
                filled.text.push_str("${");
                rest = reference.get(2..).unwrap_or_default();
                continue;
            }
            filled.text.push_str(before);
            let Some((whole, inner)) = braced(reference) else {
                findings
                    .error(codes::BAD_VARIABLE, span, at, "`${` without its `}`")
                    .help("write `${NAME}`, or `$${` for the two characters themselves");
                filled.text.push_str(reference);
                return filled;
            };
            rest = reference.get(whole.len()..).unwrap_or_default();
            match self.value(inner, span, at, required, findings) {
                Some(value) => filled.text.push_str(&value),
                None => {
                    filled.text.push_str(whole);
                    filled.unresolved = true;
                }
            }
        }
        filled.text.push_str(rest);
        filled
    }

    fn value(&mut self, inner: &str, span: Span, at: &str, required: bool, findings: &mut Findings) -> Option<String> {
        let (name, default, message) = if let Some((name, default)) = inner.split_once(":-") {
            (name, Some(default), None)
        } else if let Some((name, message)) = inner.split_once(":?") {
            (name, None, Some(message))
        } else {
            (inner, None, None)
        };
        let starts_well = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if !starts_well || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            findings.error(codes::BAD_VARIABLE, span, at, format!("`${{{inner}}}` is not a variable")).help(
                "write `${NAME}`, `${NAME:-default}` or `${NAME:?message}`, or `$${` for the two characters themselves",
            );
            return None;
        }
        if name == PIPELINE_DIR {
            return Some(self.pipeline_dir.clone());
        }
        if let Some(value) = (self.environment)(name).filter(|v| !v.is_empty()) {
            if value.len() >= SHORTEST_SECRET {
                self.secrets.push((value.clone(), name.to_owned()));
            }
            return Some(value);
        }
        if let Some(default) = default {
            return Some(default.to_owned());
        }
        if required {
            let said = message.filter(|m| !m.is_empty()).map_or_else(String::new, |m| format!(": {m}"));
            findings
                .error(codes::VARIABLE_UNSET, span, at, format!("the variable `{name}` is not set{said}"))
                .label("needed here")
                .help(format!("set it (`export {name}=..`), or give a default: `${{{name}:-default}}`"));
        }
        None
    }

    /// `message` without the values of variables.
    pub(crate) fn redacted(&self, message: &str) -> String {
        redact(message, &self.secrets)
    }
}

/// `message` with every secret replaced by `${NAME}`; `secrets` are values and the names of their variables.
pub fn redact(message: &str, secrets: &[(String, String)]) -> String {
    let mut secrets: Vec<_> = secrets.iter().collect();
    // The longest first: a secret may be part of another.
    secrets.sort_by_key(|(value, _)| std::cmp::Reverse(value.len()));
    secrets
        .into_iter()
        .fold(message.to_owned(), |message, (value, name)| message.replace(value.as_str(), &format!("${{{name}}}")))
}

#[derive(Default)]
struct Filled {
    text: String,
    unresolved: bool,
}

/// `${..}` at the start of `text`, whole and inside; braces in a default may be nested.
fn braced(text: &str) -> Option<(&str, &str)> {
    let mut depth = 0_usize;
    for (i, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => return Some((text.get(..=i)?, text.get(2..i)?)),
            '}' => depth -= 1,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Style;

    fn filled(text: &str, required: bool) -> (String, bool, Vec<String>) {
        let environment = |name: &str| match name {
            "SET" => Some("value".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        let mut variables =
            Variables { environment: &environment, pipeline_dir: "pipelines".to_owned(), secrets: Vec::new() };
        let mut findings = Findings::default();
        let mut node = Node::new(Content::Text(text.to_owned()), Span::default(), Style::Quoted);
        variables.substitute(&mut node, "a", required, &mut findings);
        let messages = findings.sorted().into_iter().map(|f| f.message).collect();
        (node.text().unwrap().to_owned(), node.unresolved, messages)
    }

    #[test]
    fn forms() {
        let gives = |text: &str, expected: &str| assert_eq!(filled(text, true), (expected.to_owned(), false, vec![]));
        gives("a/${SET}/b", "a/value/b");
        gives("${UNSET:-x}", "x");
        gives("${EMPTY:-x}", "x");
        gives("${SET:-x}", "value");
        gives("${UNSET:-{a}}", "{a}");
        gives("$${SET} ${SET}", "${SET} value");
        gives("${PIPELINE_DIR}/x", "pipelines/x");
        gives("{SET} $SET", "{SET} $SET");
    }

    #[test]
    fn unset_is_a_finding_only_where_required() {
        assert_eq!(filled("${NO}", false), ("${NO}".to_owned(), true, vec![]));
        assert_eq!(filled("${NO}", true).2, ["the variable `NO` is not set"]);
        assert_eq!(filled("${NO:?where the data is}", true).2, ["the variable `NO` is not set: where the data is"]);
        assert_eq!(filled("${NO", false).2, ["`${` without its `}`"]);
        assert_eq!(filled("${a b}", false).2, ["`${a b}` is not a variable"]);
    }

    #[test]
    fn values_are_redacted() {
        let environment = |_: &str| Some("s3cret".to_owned());
        let mut variables = Variables { environment: &environment, pipeline_dir: String::new(), secrets: Vec::new() };
        let mut node = Node::new(Content::Text("${KEY}".to_owned()), Span::default(), Style::Quoted);
        variables.substitute(&mut node, "a", true, &mut Findings::default());
        assert_eq!(variables.redacted("bad key s3cret"), "bad key ${KEY}");
        assert_eq!(node.described(), "`${KEY}`");
    }
}
