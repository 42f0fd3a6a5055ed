//! Checks a tree against a JSON Schema and says everything that is wrong, at its place.
//!
//! One walker serves the file's own schema and the options of every connector. It knows the part of JSON Schema that
//! `schemars` makes. What is unknown is removed from the tree, so that the rest can still be read.

use regex::Regex;
use serde_json::Value;

use crate::codes;
use crate::file::scalar::{self, Misread};
use crate::findings::Findings;
use crate::kinds::{Kinds, expectation, resolve, words};
use crate::path;
use crate::span::Span;
use crate::suggest;
use crate::tree::{Content, Key, Node, Style, number, plain};

/// What becomes of a value whose `${VAR}` is not set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unresolved {
    /// It may be anything: it is told elsewhere, or will be known at run time.
    Accept,
    /// It is fine as text; where a unit, number or word is needed, a default must be given.
    Text,
}

/// Where a value stands.
pub(crate) struct At {
    /// Structural path.
    pub(crate) path: String,
    /// The key before the value, or what else names it.
    pub(crate) key: Span,
    /// What the value means, for a help line where there is nothing better.
    pub(crate) meaning: Option<String>,
}

impl At {
    /// A place with nothing known of its meaning.
    pub(crate) fn new(path: String, key: Span) -> Self {
        Self { path, key, meaning: None }
    }
    /// The place of a key's value below this one.
    fn below(&self, key: &Key, meaning: Option<String>) -> Self {
        Self { path: path::key(&self.path, &key.text), key: key.span, meaning }
    }
    fn help(&self) -> Option<String> {
        let key = self.path.rsplit('.').next().and_then(|key| key.split('[').next())?;
        self.meaning.as_ref().map(|meaning| format!("`{key}`: {}", meaning.trim_end_matches('.')))
    }
}

/// Checks values of one root schema.
pub(crate) struct Walker<'a> {
    root: &'a Value,
    file: &'a str,
    unresolved: Unresolved,
    findings: &'a mut Findings,
}

impl<'a> Walker<'a> {
    /// A walker over `root`, which `$ref`s refer to; `file` is the text of the file.
    pub(crate) fn new(root: &'a Value, file: &'a str, unresolved: Unresolved, findings: &'a mut Findings) -> Self {
        Self { root, file, unresolved, findings }
    }

    /// Checks `node` against the root schema; whether it fits.
    pub(crate) fn check(&mut self, node: &mut Node, at: &At) -> bool {
        let before = self.findings.len();
        self.walk(self.root, node, at);
        self.findings.len() == before
    }

    fn walk(&mut self, schema: &Value, node: &mut Node, at: &At) {
        let schema = resolve(self.root, schema);
        if node.unresolved && (self.unresolved == Unresolved::Accept || node.text().is_none()) {
            return;
        }
        if let Some(all) = schema.get("allOf").and_then(Value::as_array) {
            all.iter().for_each(|part| self.walk(part, node, at));
        }
        if let Some(branches) = schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Value::as_array) {
            return self.any_of(schema, branches, node, at);
        }
        let kinds = Kinds::of(schema);
        if !kinds.admits(node) {
            coerce(kinds, node);
        }
        if !kinds.admits(node) {
            return self.wrong_type(schema, node, at);
        }
        if let Some(words) = words(self.root, schema) {
            return self.word(&words, node, at);
        }
        match &node.content {
            Content::Text(_) | Content::Number(..) => self.scalar(schema, node, at),
            Content::List(_) => self.list(schema, node, at),
            Content::Map(_) => self.map(schema, node, at),
            Content::Null | Content::Bool(_) => {}
        }
    }

    /// Picks the branch that fits the kind of the value, so that what is told is about that branch.
    fn any_of(&mut self, schema: &Value, branches: &[Value], node: &mut Node, at: &At) {
        if let Some(words) = words(self.root, schema).filter(|_| !matches!(node.content, Content::Map(_))) {
            return self.word(&words, node, at);
        }
        let admits = |node: &Node| -> Vec<&Value> {
            branches.iter().filter(|b| Kinds::of_any(self.root, b).admits(node)).collect()
        };
        let mut fitting = admits(node);
        if fitting.is_empty() {
            let all = branches.iter().fold(Kinds::NONE, |kinds, b| kinds.or(Kinds::of_any(self.root, b)));
            coerce(all, node);
            fitting = admits(node);
        }
        match fitting.as_slice() {
            [] => self.wrong_type(schema, node, at),
            [one] => self.walk(one, node, at),
            several => {
                let mut best: Option<(Findings, Node)> = None;
                for branch in several {
                    let (mut findings, mut tried) = (Findings::default(), node.clone());
                    Walker { findings: &mut findings, ..*self }.walk(branch, &mut tried, at);
                    if best.as_ref().is_none_or(|(least, _)| findings.len() < least.len()) {
                        best = Some((findings, tried));
                    }
                }
                if let Some((findings, tried)) = best {
                    *node = tried;
                    self.findings.append(findings);
                }
            }
        }
    }

    fn wrong_type(&mut self, schema: &Value, node: &Node, at: &At) {
        let expected = expectation(self.root, schema);
        if node.unresolved {
            return self.needs_value(&expected, node, at);
        }
        let place = if matches!(node.content, Content::Null) { at.key } else { self.place(node, at) };
        let help = match &node.content {
            Content::Number(_, text) if expected.starts_with("a string") => {
                Some(format!("put it in quotes: \"{text}\""))
            }
            Content::Bool(b) if expected.starts_with("a string") => Some(format!("put it in quotes: \"{b}\"")),
            Content::Number(_, text) if expected.starts_with("a duration") => {
                Some(format!("add a unit: `{text}s` for seconds, `{text}m` for minutes"))
            }
            Content::Text(text)
                if node.style == Style::Quoted && number(text).is_some() && expected.contains("number") =>
            {
                Some("remove the quotes".to_owned())
            }
            Content::List(items)
                if expected == "a map" && items.first().is_some_and(|i| matches!(i.content, Content::Map(_))) =>
            {
                Some("ids are keys here, not items of a list: write `id: ..` without the dash".to_owned())
            }
            _ => at.help(),
        };
        self.findings
            .error(codes::WRONG_TYPE, place, &at.path, format!("expected {expected}, found {}", node.described()))
            .maybe_help(help);
    }

    fn needs_value(&mut self, expected: &str, node: &Node, at: &At) {
        let text = node.text().unwrap_or_default();
        let name: String =
            text.chars().skip_while(|c| *c != '{').skip(1).take_while(|c| *c != '}' && *c != ':').collect();
        self.findings
            .error(codes::VARIABLE_UNSET, node.span, &at.path, format!("the variable `{name}` is not set"))
            .label(format!("{expected} is needed here"))
            .help(format!("set it (`export {name}=..`), or give a default: `${{{name}:-default}}`"));
    }

    fn word(&mut self, words: &[&str], node: &Node, at: &At) {
        let text = match &node.content {
            Content::Text(text) => text.clone(),
            Content::Bool(b) => b.to_string(),
            Content::Number(_, text) => text.clone(),
            _ => {
                let place = if matches!(node.content, Content::Null) { at.key } else { self.place(node, at) };
                let message = format!("expected {}, found {}", one_of(words), node.described());
                self.findings.error(codes::WRONG_TYPE, place, &at.path, message).maybe_help(at.help());
                return;
            }
        };
        if words.contains(&text.as_str()) {
            return;
        }
        if node.unresolved {
            return self.needs_value(&one_of(words), node, at);
        }
        let what = at.path.rsplit('.').next().unwrap_or_default();
        let shown = node.template.as_deref().unwrap_or(&text);
        self.findings
            .error(codes::UNKNOWN_VALUE, node.span, &at.path, format!("`{what}` cannot be `{shown}`"))
            .maybe_help(suggest::help(&text, "values", words.iter().copied()));
    }

    fn scalar(&mut self, schema: &Value, node: &mut Node, at: &At) {
        let (text, is_number) = match &node.content {
            Content::Number(n, text) => {
                self.range(schema, n.as_f64().unwrap_or_default(), node.span, at);
                (text.clone(), true)
            }
            Content::Text(text) => (text.clone(), false),
            _ => return,
        };
        let check = schema.get("format").and_then(Value::as_str).and_then(scalar::format);
        let Some((expected, check)) = check else {
            if let Some(fixed) = schema.get("const").filter(|fixed| **fixed != node.to_json()) {
                let message = format!("expected `{fixed}`, found {}", node.described());
                self.findings.error(codes::UNKNOWN_VALUE, node.span, &at.path, message);
            }
            if !is_number && !node.unresolved {
                self.pattern(schema, &text, node, at);
            }
            return;
        };
        if node.unresolved {
            return self.needs_value(expected, node, at);
        }
        if let Some(misread) = check(&text) {
            self.misread(misread, node, at);
        } else if is_number && !Kinds::of(schema).only_numbers() {
            node.content = Content::Text(text);
        }
    }

    /// A text must match its schema's pattern; one that cannot be read as a regular expression is not checked.
    fn pattern(&mut self, schema: &Value, text: &str, node: &Node, at: &At) {
        let pattern = schema.get("pattern").and_then(Value::as_str).and_then(|p| Regex::new(p).ok());
        if pattern.is_some_and(|pattern| !pattern.is_match(text)) {
            self.wrong_type(schema, node, at);
        }
    }

    fn misread(&mut self, misread: Misread, node: &Node, at: &At) {
        let place = match misread.range {
            Some(range) => within(node, self.file, range),
            None => node.span.first_line(self.file),
        };
        let message = match &node.template {
            // What a variable gave is not shown.
            Some(_) => format!("the value of {} does not fit: {}", node.described(), about(misread.code)),
            None => misread.message,
        };
        let key = at.path.rsplit('.').next().unwrap_or_default();
        let help = if cut_by_comma(node) { in_quotes(key) } else { misread.help };
        self.findings.error(misread.code, place, &at.path, message).help(help);
    }

    fn range(&mut self, schema: &Value, number: f64, span: Span, at: &At) {
        let limit = |name: &str| schema.get(name).and_then(Value::as_f64);
        let (least, most) = (limit("minimum"), limit("maximum"));
        // schemars gives integers the limits of their type; only meant limits are worth telling.
        let told = match (least, most) {
            (Some(least), _) if number < least => format!("at least {least}"),
            (_, Some(most)) if number > most => format!("at most {most}"),
            _ => return,
        };
        let what = at.path.rsplit('.').next().unwrap_or_default();
        self.findings
            .error(codes::OUT_OF_RANGE, span, &at.path, format!("`{what}` must be {told}"))
            .maybe_help(at.help());
    }

    fn list(&mut self, schema: &Value, node: &mut Node, at: &At) {
        let place = self.place(node, at);
        let Content::List(items) = &mut node.content else { return };
        if size(schema, "minItems").is_some_and(|least| items.len() < least) {
            let what = at.path.rsplit('.').next().unwrap_or_default();
            self.findings
                .error(codes::OUT_OF_RANGE, place, &at.path, format!("`{what}` is an empty list"))
                .maybe_help(at.help());
        }
        if size(schema, "maxItems").is_some_and(|most| items.len() > most) {
            self.findings.error(codes::OUT_OF_RANGE, place, &at.path, "too many items in the list");
        }
        let Some(each) = schema.get("items") else { return };
        for (i, item) in items.iter_mut().enumerate() {
            let place = item.span.first_line(self.file);
            let at = At { path: path::item(&at.path, i), key: place, meaning: at.meaning.clone() };
            self.walk(each, item, &at);
        }
    }

    fn map(&mut self, schema: &Value, node: &mut Node, at: &At) {
        let properties = schema.get("properties").and_then(Value::as_object);
        let others = schema.get("additionalProperties");
        let names = schema.pointer("/propertyNames/format").and_then(Value::as_str).and_then(scalar::format);
        self.counts(schema, node, at);
        let known = |key: &str| properties.and_then(|p| p.get(key));
        let missing: Vec<String> = schema
            .get("required")
            .and_then(Value::as_array)
            .map(|keys| {
                keys.iter().filter_map(Value::as_str).filter(|key| node.get(key).is_none()).map(str::to_owned).collect()
            })
            .unwrap_or_default();
        let first = node.entries().first().map_or(Span::default(), |(key, _)| key.span);
        let Content::Map(entries) = &mut node.content else { return };
        let present: Vec<String> = entries.iter().map(|(key, _)| key.text.clone()).collect();
        let mut told = missing.clone();
        let root = self.root;
        // The key whose value a comma has cut, and how many findings there were before it.
        let mut cut: Option<(String, usize)> = None;
        entries.retain_mut(|(key, value)| {
            let now = cut_by_comma(value).then(|| (key.text.clone(), self.findings.len()));
            let before = std::mem::replace(&mut cut, now);
            if before.as_ref().is_some_and(|(_, found)| self.findings.len() > *found) && is_rest(key, value) {
                return false;
            }
            let before = before.map(|(key, _)| key);
            let below = at.below(key, known(&key.text).and_then(|schema| own_description(root, schema)));
            if let Some((_, check)) = names.filter(|_| known(&key.text).is_none())
                && let Some(misread) = check(&key.text)
            {
                self.findings.error(misread.code, key.span, &below.path, misread.message).help(misread.help);
            }
            match (known(&key.text), others) {
                (Some(schema), _) => self.walk(schema, value, &below),
                (None, Some(Value::Bool(false))) => {
                    let help = key_help(&key.text, properties.into_iter().flat_map(|p| p.keys()), &present);
                    let help = before.map(|before| in_quotes(&before)).or(help);
                    if let Some(near) = help.as_deref().and_then(suggested) {
                        told.retain(|key| key != near);
                    }
                    let message = format!("unknown key `{}`{}", key.text, in_what(&at.path));
                    self.findings.error(codes::UNKNOWN_KEY, key.span, &below.path, message).maybe_help(help);
                    return false;
                }
                (None, Some(Value::Bool(true)) | None) => {}
                (None, Some(schema)) => self.walk(schema, value, &below),
            }
            true
        });
        // A key that is misspelt is not told again as missing.
        for key in told {
            let description = known(&key).map(|s| description(root, s)).unwrap_or_default();
            let place = if at.path.is_empty() { first } else { at.key };
            self.findings
                .error(codes::MISSING_KEY, place, &at.path, format!("missing key `{key}`{}", in_what(&at.path)))
                .help(format!("`{key}`: {}", description.trim_end_matches('.')));
        }
    }

    fn counts(&mut self, schema: &Value, node: &Node, at: &At) {
        let entries = node.entries().len();
        let what = at.path.rsplit('.').next().unwrap_or_default();
        if size(schema, "minProperties").is_some_and(|least| entries < least) {
            let place = self.place(node, at);
            self.findings
                .error(codes::OUT_OF_RANGE, place, &at.path, format!("`{what}` is empty"))
                .maybe_help(at.help());
        }
        if size(schema, "maxProperties").is_some_and(|most| entries > most) {
            let keys: Vec<&str> = node.entries().iter().map(|(key, _)| key.text.as_str()).collect();
            let second = node.entries().get(1).map_or(node.span, |(key, _)| key.span);
            self.findings
                .error(codes::EXACTLY_ONE, second, &at.path, format!("more than one key: {}", suggest::listed(&keys)))
                .label("a second key")
                .help("exactly one is allowed here");
        }
    }

    /// Where a finding about a whole value points: the value's first line, or the key before a block.
    fn place(&self, node: &Node, at: &At) -> Span {
        let text = self.file.get(node.span.start..node.span.end).unwrap_or_default();
        if text.contains('\n') || text.is_empty() { at.key } else { node.span }
    }
}

/// Puts a number or boolean where one is needed and a variable gave its text.
fn coerce(kinds: Kinds, node: &mut Node) {
    if let (Content::Text(text), Some(_), false) = (&node.content, &node.template, node.unresolved) {
        let candidate = Node { content: plain(text.trim()), ..node.clone() };
        if kinds.admits(&candidate) {
            *node = candidate;
        }
    }
}

fn one_of(words: &[&str]) -> String {
    words.iter().map(|w| format!("`{w}`")).collect::<Vec<_>>().join(" or ")
}

fn size(schema: &Value, name: &str) -> Option<usize> {
    schema.get(name).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok())
}

fn in_what(path: &str) -> String {
    if path.is_empty() { String::new() } else { format!(" in `{path}`") }
}

/// Whether a comma inside braces has cut the value in two: `{ type: decimal(10,2) }`.
fn cut_by_comma(node: &Node) -> bool {
    let count = |text: &str, signs: [char; 2]| text.matches(signs).count();
    node.style == Style::Plain && node.text().is_some_and(|text| count(text, ['(', '<']) > count(text, [')', '>']))
}

/// Whether a key without a value is what a comma has left of the value before it: `2)`.
fn is_rest(key: &Key, value: &Node) -> bool {
    matches!(value.content, Content::Null) && key.text.contains([')', '>'])
}

fn in_quotes(key: &str) -> String {
    format!("inside braces a comma ends the value: put the value of `{key}` in quotes")
}

/// What an unknown key was meant to be: one of the keys that are not there yet.
fn key_help<'k>(key: &str, keys: impl Iterator<Item = &'k String> + Clone, present: &[String]) -> Option<String> {
    let near = suggest::nearest(key, keys.clone().map(String::as_str));
    if let Some(near) = near.filter(|near| present.iter().any(|key| key == near)) {
        return Some(format!("`{near}` is already there: move what belongs to it, and remove this key"));
    }
    suggest::help(key, "keys", keys.filter(|key| !present.contains(key)).map(String::as_str))
}

/// The word a help line suggests.
fn suggested(help: &str) -> Option<&str> {
    help.strip_prefix("did you mean `")?.split('`').next()
}

fn description(root: &Value, schema: &Value) -> String {
    own_description(root, schema).unwrap_or_else(|| expectation(root, schema))
}

fn own_description(root: &Value, schema: &Value) -> Option<String> {
    let own = schema.get("description").or_else(|| resolve(root, schema).get("description"));
    own.and_then(Value::as_str).map(|text| text.replace('\n', " "))
}

fn about(code: &str) -> String {
    let text = codes::ALL.iter().find(|(known, _)| *known == code).map(|(_, text)| text.trim()).unwrap_or_default();
    text.trim_end_matches('.').to_owned()
}

/// The place of a range of a scalar's text, where text and file correspond; else the whole scalar.
fn within(node: &Node, file: &str, range: std::ops::Range<usize>) -> Span {
    match crate::sqltext::line_offsets(node, file).as_slice() {
        [start] if range.end > range.start => Span::new(start + range.start, start + range.end),
        _ => node.span.first_line(file),
    }
}
