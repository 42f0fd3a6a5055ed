//! The file as a tree of values, each with its place: what all checks and the typed model are made from.

use serde_json::{Number, Value};

use crate::span::Span;

/// One value of the file.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    /// What it is.
    pub(crate) content: Content,
    /// Where it stands; for the use of an alias, where `*name` stands.
    pub(crate) span: Span,
    /// How a scalar was written.
    pub(crate) style: Style,
    /// The text before `${..}` was substituted, where there was one: what messages may show.
    pub(crate) template: Option<String>,
    /// Whether a `${..}` in it has no value yet.
    pub(crate) unresolved: bool,
}

/// How a scalar is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// Without quotes.
    Plain,
    /// In quotes.
    Quoted,
    /// `|`.
    Literal,
    /// `>`.
    Folded,
    /// A list or map.
    Collection,
}

/// What a node is.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    /// Nothing, `~` or `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number, and its text.
    Number(Number, String),
    /// Text.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A map in the order of the file, its keys unique.
    Map(Vec<(Key, Node)>),
}

/// A key and its place.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    /// Its text.
    pub(crate) text: String,
    /// Its place.
    pub(crate) span: Span,
}

impl Node {
    /// A node of `content` at `span`.
    pub(crate) fn new(content: Content, span: Span, style: Style) -> Self {
        Self { content, span, style, template: None, unresolved: false }
    }

    /// Its text, where it is text.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.content {
            Content::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Its entries; none where it is not a map.
    pub(crate) fn entries(&self) -> &[(Key, Node)] {
        match &self.content {
            Content::Map(entries) => entries,
            _ => &[],
        }
    }

    /// Its items; none where it is not a list.
    pub(crate) fn items(&self) -> &[Node] {
        match &self.content {
            Content::List(items) => items,
            _ => &[],
        }
    }

    /// The value of a key.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        self.entries().iter().find(|(k, _)| k.text == key).map(|(_, node)| node)
    }

    /// The value of a key, to change.
    pub(crate) fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        match &mut self.content {
            Content::Map(entries) => entries.iter_mut().find(|(k, _)| k.text == key).map(|(_, node)| node),
            Content::List(items) => items.get_mut(key.parse::<usize>().ok()?),
            _ => None,
        }
    }

    /// How many nodes it consists of.
    pub(crate) fn size(&self) -> usize {
        match &self.content {
            Content::List(items) => 1 + items.iter().map(Node::size).sum::<usize>(),
            Content::Map(entries) => 1 + entries.iter().map(|(_, node)| node.size()).sum::<usize>(),
            _ => 1,
        }
    }

    /// Whether a variable without a value stands anywhere in it.
    pub(crate) fn has_unresolved(&self) -> bool {
        self.unresolved
            || self.items().iter().any(Node::has_unresolved)
            || self.entries().iter().any(|(_, node)| node.has_unresolved())
    }

    /// What it is, for messages: `the number `5``. Shows the template of text that came from a variable.
    pub(crate) fn described(&self) -> String {
        let shown = |text: &str| {
            let line = text.lines().next().unwrap_or_default();
            if line.chars().count() > 40 || line.len() < text.len() {
                format!("{}..", line.chars().take(40).collect::<String>())
            } else {
                line.to_owned()
            }
        };
        if let Some(template) = &self.template {
            return format!("`{}`", shown(template));
        }
        match &self.content {
            Content::Null => "nothing".to_owned(),
            Content::Bool(b) => format!("`{b}`"),
            Content::Number(_, text) => format!("the number `{}`", shown(text)),
            Content::Text(text) if text.is_empty() => "an empty string".to_owned(),
            Content::Text(text) => format!("the string `{}`", shown(text)),
            Content::List(_) => "a list".to_owned(),
            Content::Map(_) => "a map".to_owned(),
        }
    }

    /// It as JSON.
    pub(crate) fn to_json(&self) -> Value {
        match &self.content {
            Content::Null => Value::Null,
            Content::Bool(b) => Value::Bool(*b),
            Content::Number(number, _) => Value::Number(number.clone()),
            Content::Text(text) => Value::String(text.clone()),
            Content::List(items) => Value::Array(items.iter().map(Node::to_json).collect()),
            Content::Map(entries) => {
                Value::Object(entries.iter().map(|(k, node)| (k.text.clone(), node.to_json())).collect())
            }
        }
    }
}

/// What a plain scalar means by the core schema of YAML 1.2.
pub(crate) fn plain(text: &str) -> Content {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Content::Null,
        "true" | "True" | "TRUE" => return Content::Bool(true),
        "false" | "False" | "FALSE" => return Content::Bool(false),
        _ => {}
    }
    number(text).map_or_else(|| Content::Text(text.to_owned()), |n| Content::Number(n, text.to_owned()))
}

/// The number a text is.
pub(crate) fn number(text: &str) -> Option<Number> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    if let Some(hex) = unsigned.strip_prefix("0x") {
        return i64::from_str_radix(hex, 16)
            .ok()
            .filter(|_| hex == unsigned.trim_start_matches("0x"))
            .map(Number::from);
    }
    if let Some(octal) = unsigned.strip_prefix("0o") {
        return i64::from_str_radix(octal, 8).ok().map(Number::from);
    }
    if unsigned.bytes().all(|b| b.is_ascii_digit()) {
        let text = text.strip_prefix('+').unwrap_or(text);
        return text.parse::<i64>().map(Number::from).or_else(|_| text.parse::<u64>().map(Number::from)).ok();
    }
    if !unsigned.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-')) {
        return None;
    }
    text.parse::<f64>().ok().and_then(Number::from_f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_follow_the_core_schema() {
        let is = |text: &str, json: Value| {
            assert_eq!(Node::new(plain(text), Span::default(), Style::Plain).to_json(), json, "{text}");
        };
        is("", Value::Null);
        is("true", true.into());
        is("yes", "yes".into());
        is("42", 42.into());
        is("-7", (-7).into());
        is("+7", 7.into());
        is("0x1F", 31.into());
        is("1.5", 1.5.into());
        is("1e3", 1000.0.into());
        is("10s", "10s".into());
        is("2024-05-25", "2024-05-25".into());
        is("1.2.3", "1.2.3".into());
        is("18446744073709551615", u64::MAX.into());
        is(".", ".".into());
        is("-", "-".into());
    }
}
