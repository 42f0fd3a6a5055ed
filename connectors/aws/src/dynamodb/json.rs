//! Items as JSON: as records of a source, and keys as positions.

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::client::Item;

/// Appends an item as one line of plain JSON: numbers with their digits, bytes as base64, sets as lists. Attributes
/// `without` are left out; the others are sorted by name, for the service gives them in no order.
pub(crate) fn write_item(item: &Item, without: &[&str], out: &mut Vec<u8>) {
    let mut names: Vec<&String> = item.keys().filter(|name| !without.contains(&name.as_str())).collect();
    names.sort_unstable();
    out.push(b'{');
    for (i, name) in names.into_iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write_string(name, out);
        out.push(b':');
        match item.get(name) {
            Some(value) => write(value, out),
            None => out.extend_from_slice(b"null"),
        }
    }
    out.push(b'}');
}

/// A value as plain JSON.
pub(crate) fn json_text(value: &AttributeValue) -> String {
    let mut out = Vec::new();
    write(value, &mut out);
    String::from_utf8(out).unwrap_or_default()
}

fn write_string(text: &str, out: &mut Vec<u8>) {
    // Text is always JSON.
    out.extend_from_slice(Value::from(text).to_string().as_bytes());
}

fn write(value: &AttributeValue, out: &mut Vec<u8>) {
    match value {
        AttributeValue::S(text) => write_string(text, out),
        AttributeValue::N(number) => out.extend_from_slice(number.as_bytes()),
        AttributeValue::Bool(true) => out.extend_from_slice(b"true"),
        AttributeValue::Bool(false) => out.extend_from_slice(b"false"),
        AttributeValue::B(bytes) => write_string(&STANDARD.encode(bytes), out),
        AttributeValue::M(map) => write_item(map, &[], out),
        AttributeValue::L(items) => write_list(items, write, out),
        AttributeValue::Ss(texts) => write_list(texts, |text, out| write_string(text, out), out),
        AttributeValue::Ns(numbers) => write_list(numbers, |n, out| out.extend_from_slice(n.as_bytes()), out),
        AttributeValue::Bs(bytes) => write_list(bytes, |b, out| write_string(&STANDARD.encode(b), out), out),
        _ => out.extend_from_slice(b"null"),
    }
}

fn write_list<T>(items: &[T], write: impl Fn(&T, &mut Vec<u8>), out: &mut Vec<u8>) {
    out.push(b'[');
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write(item, out);
    }
    out.push(b']');
}

/// The key of an item as text, in DynamoDB's own notation: `{"trip_id":{"S":"t1"}}`. Equal keys have equal texts.
pub(crate) fn key_text(item: &Item, key: &[String]) -> String {
    let mut map = Map::new();
    for name in key {
        let value = match item.get(name) {
            Some(AttributeValue::S(text)) => json!({ "S": text }),
            Some(AttributeValue::N(number)) => json!({ "N": normal(number) }),
            Some(AttributeValue::B(bytes)) => json!({ "B": STANDARD.encode(bytes) }),
            _ => Value::Null,
        };
        map.insert(name.clone(), value);
    }
    Value::Object(map).to_string()
}

/// A number without zeros behind its point, as the service gives it back.
fn normal(number: &str) -> &str {
    if number.contains('.') && !number.contains(['e', 'E']) {
        let trimmed = number.trim_end_matches('0');
        return trimmed.strip_suffix('.').unwrap_or(trimmed);
    }
    number
}

/// Reads what [`key_text`] wrote.
pub(crate) fn key_of_text(text: &str) -> Option<Item> {
    let Value::Object(map) = serde_json::from_str(text).ok()? else { return None };
    let mut item = Item::with_capacity(map.len());
    for (name, value) in map {
        let (kind, text) = value.as_object()?.iter().next()?;
        let text = text.as_str()?.to_owned();
        let value = match kind.as_str() {
            "S" => AttributeValue::S(text),
            "N" => AttributeValue::N(text),
            "B" => AttributeValue::B(Blob::new(STANDARD.decode(text).ok()?)),
            _ => return None,
        };
        item.insert(name, value);
    }
    Some(item)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_plain_json() {
        let item = Item::from([
            ("b".into(), AttributeValue::N("12345678901234567890.12345678901234567".into())),
            ("a".into(), AttributeValue::S("x\"\n".into())),
            ("c".into(), AttributeValue::Ns(vec!["1".into(), "2.5".into()])),
            ("d".into(), AttributeValue::M(Item::from([("k".into(), AttributeValue::Null(true))]))),
            ("e".into(), AttributeValue::B(Blob::new([0xff]))),
            ("_version".into(), AttributeValue::N("1".into())),
        ]);
        let mut out = Vec::new();
        write_item(&item, &["_version"], &mut out);
        let expected =
            r#"{"a":"x\"\n","b":12345678901234567890.12345678901234567,"c":[1,2.5],"d":{"k":null},"e":"/w=="}"#;
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn keys_come_back_from_their_texts() {
        let key = ["p".to_owned(), "s".to_owned()];
        let item = Item::from([
            ("p".into(), AttributeValue::B(Blob::new([0, 255]))),
            ("s".into(), AttributeValue::N("4.10".into())),
            ("other".into(), AttributeValue::Bool(true)),
        ]);
        let text = key_text(&item, &key);
        assert_eq!(text, r#"{"p":{"B":"AP8="},"s":{"N":"4.1"}}"#);
        let back = key_of_text(&text).unwrap();
        assert_eq!(back.len(), 2);
        assert_eq!(key_text(&back, &key), text);
        assert_eq!(key_of_text("5"), None);
    }
}
