//! Rows as messages of a queue or a topic: their text, and the attributes that say what they are.

use std::borrow::Cow;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Int64Type};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use millstream_core::Batch;
use xxhash_rust::xxh3::xxh3_128;

/// The attribute by which a receiver tells a message that was sent twice.
pub(crate) const ID: &str = "id";
/// Characters of a reason in an attribute; the whole is in the log and in files.
const REASON: usize = 1024;
/// Longest name of a group.
const GROUP: usize = 128;

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Text(String),
    Number(u64),
    /// Several texts, for filter policies that look for one of them.
    Texts(Vec<String>),
}

impl Value {
    /// The type and the text with which SQS and SNS have it.
    pub(crate) fn typed(&self) -> (&'static str, Cow<'_, str>) {
        match self {
            Self::Text(text) => ("String", Cow::Borrowed(text)),
            Self::Number(number) => ("Number", Cow::Owned(number.to_string())),
            Self::Texts(texts) => ("String.Array", Cow::Owned(serde_json::json!(texts).to_string())),
        }
    }
}

/// The attributes of a message, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Attributes(Vec<(&'static str, Value)>);

impl Attributes {
    /// Adds a text, but for one that is empty: the services know no empty attribute.
    pub(crate) fn text(&mut self, name: &'static str, text: &str) {
        if !text.is_empty() {
            self.0.push((name, Value::Text(allowed(text).into_owned())));
        }
    }
    pub(crate) fn number(&mut self, name: &'static str, number: Option<u64>) {
        self.0.extend(number.map(|n| (name, Value::Number(n))));
    }
    /// Adds one text as such, several as a list.
    pub(crate) fn texts(&mut self, name: &'static str, texts: Vec<String>) {
        match texts.as_slice() {
            [] => {}
            [one] => self.text(name, one),
            _ => self.0.push((name, Value::Texts(texts))),
        }
    }
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'static str, &Value)> {
        self.0.iter().map(|(name, value)| (*name, value))
    }
    /// Bytes that count against a message's limit.
    pub(crate) fn bytes(&self) -> usize {
        let bytes = |(name, value): (&str, &Value)| {
            let (of_type, text) = value.typed();
            name.len() + of_type.len() + text.len()
        };
        self.iter().map(bytes).sum()
    }
}

/// A text of a row.
pub(crate) fn text(batch: &Batch, name: &str, row: usize) -> Option<String> {
    let column = batch.column(name).filter(|c| c.is_valid(row))?;
    column.as_string_opt::<i32>().map(|texts| texts.value(row).to_owned())
}

/// A whole number of a row that is not negative.
pub(crate) fn number(batch: &Batch, name: &str, row: usize) -> Option<u64> {
    let column = batch.column(name).filter(|c| c.is_valid(row))?;
    u64::try_from(column.as_primitive_opt::<Int64Type>()?.value(row)).ok()
}

/// The texts of a list of a row; one text where the column is no list.
pub(crate) fn texts(batch: &Batch, name: &str, row: usize) -> Vec<String> {
    let Some(column) = batch.column(name).filter(|c| c.is_valid(row)) else { return Vec::new() };
    match column.as_list_opt::<i32>() {
        Some(lists) => strings(&lists.value(row)),
        None => text(batch, name, row).into_iter().collect(),
    }
}

fn strings(column: &ArrayRef) -> Vec<String> {
    let texts = column.as_string_opt::<i32>();
    texts.into_iter().flatten().flatten().map(str::to_owned).collect()
}

/// The bytes of a row.
pub(crate) fn bytes<'b>(batch: &'b Batch, name: &str, row: usize) -> Option<&'b [u8]> {
    let column = batch.column(name).filter(|c| c.is_valid(row))?;
    match column.data_type() {
        DataType::Binary => Some(column.as_binary::<i32>().value(row)),
        DataType::Utf8 => Some(column.as_string::<i32>().value(row).as_bytes()),
        _ => None,
    }
}

/// Why a refused row was refused, for people, in one line.
pub(crate) fn reason(batch: &Batch, row: usize) -> String {
    let (rules, reasons) = (texts(batch, "rules", row), texts(batch, "reasons", row));
    let each = reasons.iter().enumerate().map(|(i, text)| match rules.get(i) {
        Some(rule) => format!("{rule}: {text}"),
        None => text.clone(),
    });
    let all = each.collect::<Vec<_>>().join("; ");
    match all.char_indices().nth(REASON) {
        Some((end, _)) => format!("{}…", all.get(..end).unwrap_or_default()),
        None => all,
    }
}

/// Whether SQS and SNS take a character: those of XML 1.0.
fn is_allowed(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

/// The text with each character that the services refuse replaced.
pub(crate) fn allowed(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_allowed) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().map(|c| if is_allowed(c) { c } else { '\u{fffd}' }).collect())
}

/// JSON text as the services take it. In JSON what they refuse stands only within strings, where it can be escaped.
pub(crate) fn json(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_allowed) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_allowed(c) {
            escaped.push(c);
        } else {
            escaped.push_str(&format!("\\u{:04x}", c as u32));
        }
    }
    Cow::Owned(escaped)
}

/// Bytes as text that the services take, and whether that is base64.
pub(crate) fn raw(bytes: &[u8]) -> (String, bool) {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.is_empty() && text.chars().all(is_allowed) => (text.to_owned(), false),
        _ => (STANDARD.encode(bytes), true),
    }
}

/// The name of a group of a FIFO queue or topic: as the user wrote it where the service takes that, else a hash of it.
pub(crate) fn group(text: String) -> String {
    let fits = (1..=GROUP).contains(&text.len()) && text.chars().all(|c| c.is_ascii_graphic());
    if fits { text } else { format!("{:032x}", xxh3_128(text.as_bytes())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_services_refuse_is_escaped_or_replaced() {
        let odd = "a\u{ffff}b";
        assert_eq!(json(&format!("{{\"k\":\"{odd}\"}}")), r#"{"k":"a\uffffb"}"#);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&json(&format!("\"{odd}\""))).unwrap(), odd);
        assert_eq!(allowed("a\u{1}b"), "a\u{fffd}b");
        assert_eq!(raw(b"\xff\x00"), ("/wA=".to_owned(), true));
        assert_eq!(raw(b"plain \xc3\xa9"), ("plain é".to_owned(), false));
        assert_eq!(raw(b""), (String::new(), true), "no service takes an empty message");
    }

    #[test]
    fn groups_are_names_that_the_services_take() {
        assert_eq!(group("c-17/x".into()), "c-17/x");
        assert_eq!(group("two words".into()).len(), 32);
        assert_eq!(group("é".repeat(200)).len(), 32);
        assert_ne!(group(String::new()), group(" ".into()));
    }

    #[test]
    fn attributes_have_types_and_no_empty_texts() {
        let mut attributes = Attributes::default();
        attributes.text("port", "failed");
        attributes.text("component", "");
        attributes.number("attempts", Some(3));
        attributes.texts("rule", vec!["a".into(), "b".into()]);
        let all: Vec<_> = attributes.iter().map(|(name, value)| (name, value.typed())).collect();
        let expected =
            [("port", "String", "failed"), ("attempts", "Number", "3"), ("rule", "String.Array", r#"["a","b"]"#)];
        assert_eq!(all, expected.map(|(name, of_type, text)| (name, (of_type, Cow::Borrowed(text)))));
    }
}
