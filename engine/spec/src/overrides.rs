//! `--set path=value`: replaces a value of the file before anything else looks at it.

use crate::codes;
use crate::findings::Findings;
use crate::span::Span;
use crate::suggest;
use crate::tree::{Node, Style, plain};

/// Replaces the value at the dotted path `name` with the YAML scalar `value`; a place that the file does not have
/// is a finding. List items are addressed by their number, from 0.
pub(crate) fn set(root: &mut Node, name: &str, value: &str, findings: &mut Findings) {
    let mut node = root;
    let mut done = String::new();
    for part in name.split('.') {
        let keys: Vec<String> = node.entries().iter().map(|(key, _)| key.text.clone()).collect();
        match node.get_mut(part) {
            Some(next) => node = next,
            None => {
                let here = if done.is_empty() { "the file".to_owned() } else { format!("`{done}`") };
                findings
                    .error(
                        codes::SET_NOWHERE,
                        Span::default(),
                        name,
                        format!("`--set {name}=..`: {here} has no `{part}`"),
                    )
                    .help(nowhere(part, &keys));
                return;
            }
        }
        done = crate::path::key(&done, part);
    }
    let quoted = |q: char| value.strip_prefix(q).and_then(|v| v.strip_suffix(q));
    let content = match quoted('"').or_else(|| quoted('\'')) {
        Some(text) => crate::tree::Content::Text(text.to_owned()),
        None => plain(value.trim()),
    };
    // Folded: what is set has no text in the file to point into.
    *node = Node { span: node.span, ..Node::new(content, node.span, Style::Folded) };
}

/// What to do about a place that the file does not have.
fn nowhere(part: &str, keys: &[String]) -> String {
    match suggest::help(part, "it has", keys.iter().map(String::as_str)) {
        Some(near) if near.starts_with("did you mean") => near,
        known => format!(
            "{}`--set` replaces what stands in the file, as `--set checkpoint.every=1m` does, and adds no keys: write \
             `{part}:` into the file first",
            known.map(|known| format!("{known}; ")).unwrap_or_default()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn sets_scalars_and_refuses_what_is_not_there() {
        let mut findings = Findings::default();
        let mut root = crate::yaml::read("a: { b: 1, c: [x, y] }\n", &mut findings).unwrap();
        set(&mut root, "a.b", "2", &mut findings);
        set(&mut root, "a.c.1", "'3'", &mut findings);
        assert_eq!(root.to_json(), json!({ "a": { "b": 2, "c": ["x", "3"] } }));
        assert_eq!(findings.len(), 0);
        set(&mut root, "a.bb.x", "2", &mut findings);
        let findings = findings.sorted();
        assert_eq!(findings[0].message, "`--set a.bb.x=..`: `a` has no `bb`");
        assert_eq!(findings[0].help.as_deref(), Some("did you mean `b`?  it has: b, c"));
    }
}
