//! Reads a JSON Schema: what it refers to, which kinds of YAML values it admits, and how to say it.

use serde_json::Value;

use crate::file::scalar;
use crate::tree::{Content, Node};

/// A set of kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kinds(u8);

const NULL: u8 = 1;
const BOOL: u8 = 2;
const INTEGER: u8 = 4;
const NUMBER: u8 = 8;
const STRING: u8 = 16;
const LIST: u8 = 32;
const MAP: u8 = 64;
const ALL: u8 = 127;

impl Kinds {
    /// No kind.
    pub(crate) const NONE: Self = Self(0);

    /// What a schema without branches admits.
    pub(crate) fn of(schema: &Value) -> Self {
        let one = |name: &Value| match name.as_str() {
            Some("null") => NULL,
            Some("boolean") => BOOL,
            Some("integer") => INTEGER,
            Some("number") => NUMBER | INTEGER,
            Some("string") => STRING,
            Some("array") => LIST,
            Some("object") => MAP,
            _ => 0,
        };
        match schema.get("type") {
            Some(Value::Array(names)) => Self(names.iter().map(one).fold(0, |all, kind| all | kind)),
            Some(name) => Self(one(name)),
            None if schema.get("properties").is_some() => Self(MAP),
            None => match schema.get("const").or_else(|| schema.get("enum").and_then(|e| e.get(0))) {
                Some(Value::String(_)) => Self(STRING),
                Some(Value::Number(_)) => Self(NUMBER | INTEGER),
                Some(Value::Bool(_)) => Self(BOOL),
                Some(Value::Null) => Self(NULL),
                _ => Self(ALL),
            },
        }
    }

    /// What a schema admits, by any of its branches.
    pub(crate) fn of_any(root: &Value, schema: &Value) -> Self {
        let schema = resolve(root, schema);
        if let Some(all) = schema.get("allOf").and_then(Value::as_array).filter(|_| schema.get("type").is_none()) {
            return all.iter().fold(Self(ALL), |kinds, part| Self(kinds.0 & Self::of_any(root, part).0));
        }
        match schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Value::as_array) {
            Some(branches) => branches.iter().fold(Self::NONE, |kinds, b| kinds.or(Self::of_any(root, b))),
            None => Self::of(schema),
        }
    }

    /// Both.
    pub(crate) fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether the node is of one of them.
    pub(crate) fn admits(self, node: &Node) -> bool {
        let kind = match &node.content {
            Content::Null => NULL,
            Content::Bool(_) => BOOL,
            Content::Number(n, _) if n.is_f64() => NUMBER,
            Content::Number(..) => INTEGER,
            Content::Text(_) => STRING,
            Content::List(_) => LIST,
            Content::Map(_) => MAP,
        };
        self.0 & kind != 0
    }

    /// Whether numbers are all it admits.
    pub(crate) fn only_numbers(self) -> bool {
        self.0 & !(NUMBER | INTEGER | NULL) == 0
    }
}

/// What a schema wants, for `expected .., found ..`.
pub(crate) fn expectation(root: &Value, schema: &Value) -> String {
    let mut wanted: Vec<String> = Vec::new();
    collect(root, schema, &mut wanted);
    wanted.dedup();
    match wanted.split_last() {
        None => "something else".to_owned(),
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
    }
}

/// What a schema of texts wants: its examples say it best.
fn text_wanted(schema: &Value) -> String {
    let examples: Vec<&str> =
        schema.get("examples").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    match (schema.get("pattern"), examples.as_slice()) {
        (Some(_), [example]) => format!("a value such as `{example}`"),
        (Some(_), [first, second, ..]) => format!("a value such as `{first}` or `{second}`"),
        _ => "a string".to_owned(),
    }
}

fn collect(root: &Value, schema: &Value, wanted: &mut Vec<String>) {
    let schema = resolve(root, schema);
    if let Some(words) = words(root, schema) {
        return wanted.extend(words.iter().map(|word| format!("`{word}`")));
    }
    let branches = ["anyOf", "oneOf", "allOf"].iter().find_map(|name| schema.get(*name).and_then(Value::as_array));
    if let Some(branches) = branches {
        return branches.iter().for_each(|branch| collect(root, branch, wanted));
    }
    let format = schema.get("format").and_then(Value::as_str).and_then(scalar::format);
    let kinds = Kinds::of(schema).0;
    if kinds == ALL {
        return;
    }
    if kinds & STRING != 0 {
        wanted.push(format.map_or_else(|| text_wanted(schema), |(expected, _)| expected.to_owned()));
    }
    if kinds & NUMBER != 0 {
        wanted.push("a number".to_owned());
    } else if kinds & INTEGER != 0 && (kinds & STRING == 0 || format.is_none()) {
        wanted.push(format.map_or("a whole number", |(expected, _)| expected).to_owned());
    }
    if kinds & BOOL != 0 {
        wanted.push("`true` or `false`".to_owned());
    }
    if kinds & LIST != 0 {
        wanted.push("a list".to_owned());
    }
    if kinds & MAP != 0 {
        wanted.push("a map".to_owned());
    }
}

/// The schema that `schema` refers to.
pub(crate) fn resolve<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    let mut schema = schema;
    for _ in 0..32 {
        let Some(target) = schema.get("$ref").and_then(Value::as_str) else { break };
        let Some(found) = target.strip_prefix('#').and_then(|pointer| root.pointer(pointer)) else { break };
        schema = found;
    }
    schema
}

/// The words of an enumeration, where the schema is one.
pub(crate) fn words<'a>(root: &'a Value, schema: &'a Value) -> Option<Vec<&'a str>> {
    let schema = resolve(root, schema);
    if let Some(words) = schema.get("enum").and_then(Value::as_array) {
        return words.iter().map(Value::as_str).collect();
    }
    if let Some(word) = schema.get("const").filter(|_| schema.get("format").is_none()) {
        return word.as_str().map(|word| vec![word]);
    }
    let branches = schema.get("oneOf").or_else(|| schema.get("anyOf"))?.as_array()?;
    let mut all = Vec::new();
    for branch in branches.iter().filter(|b| b.get("type").and_then(Value::as_str) != Some("null")) {
        all.extend(words(root, branch)?);
    }
    Some(all)
}
