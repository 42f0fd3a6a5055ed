//! Options with units, as people write them: `5m`, `64MiB`, `5000/s`.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};

/// A length of time such as `200ms`, `5m` or `6h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period(pub Duration);

/// A number of bytes such as `64MiB` or `500kB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(pub u64);

/// Events per time such as `5000/s` or `30/m`, kept as events per second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate(pub f64);

struct Text<T> {
    expecting: &'static str,
    parse: fn(&str) -> Result<T, String>,
    number: Option<fn(u64) -> T>,
}

impl<T> Visitor<'_> for Text<T> {
    type Value = T;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expecting)
    }
    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        (self.parse)(text).map_err(E::custom)
    }
    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        match self.number {
            Some(make) => Ok(make(number)),
            None => Err(E::invalid_type(de::Unexpected::Unsigned(number), &self)),
        }
    }
}

fn parse_period(text: &str) -> Result<Period, String> {
    humantime::parse_duration(text)
        .map(Period)
        .map_err(|_| format!("`{text}` is not a duration: write a number and a unit, such as 200ms, 5m or 6h"))
}

fn parse_size(text: &str) -> Result<Size, String> {
    text.parse::<bytesize::ByteSize>()
        .map(|s| Size(s.0))
        .map_err(|_| format!("`{text}` is not a size: write a number and a unit, such as 64MiB or 500kB"))
}

fn parse_rate(text: &str) -> Result<Rate, String> {
    let wrong = || format!("`{text}` is not a rate: write events per time, such as 5000/s or 30/m");
    let (count, unit) = text.split_once('/').ok_or_else(wrong)?;
    let count: f64 = count.trim().replace('_', "").parse().map_err(|_| wrong())?;
    let seconds = match unit.trim() {
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err(wrong()),
    };
    if count.is_finite() && count > 0.0 { Ok(Rate(count / seconds)) } else { Err(wrong()) }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(Text { expecting: "a duration such as 5m", parse: parse_period, number: None })
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(Text { expecting: "a size such as 64MiB", parse: parse_size, number: Some(Size) })
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(Text { expecting: "a rate such as 5000/s", parse: parse_rate, number: None })
    }
}

/// One text or a list of texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OneOrMany(pub Vec<String>);

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Texts;
        impl<'de> Visitor<'de> for Texts {
            type Value = OneOrMany;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a list of texts")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<OneOrMany, E> {
                Ok(OneOrMany(vec![text.to_owned()]))
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, mut items: A) -> Result<OneOrMany, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = items.next_element()? {
                    texts.push(text);
                }
                Ok(OneOrMany(texts))
            }
        }
        d.deserialize_any(Texts)
    }
}

macro_rules! text_schema {
    ($type:ident, $schema:expr) => {
        impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                $schema
            }
        }
    };
}

text_schema!(
    Period,
    json_schema!({
        "type": "string",
        "pattern": r"^\s*\d+\s*[a-zA-Zµ]+(\s*\d+\s*[a-zA-Zµ]+)*\s*$",
        "examples": ["200ms", "5m", "6h"],
    })
);
text_schema!(
    Size,
    json_schema!({
        "type": ["string", "integer"],
        "pattern": r"^\s*\d+(\.\d+)?\s*[kKmMgGtTpP]?i?[bB]?\s*$",
        "minimum": 0,
        "examples": ["64MiB", "500kB"],
    })
);
text_schema!(
    Rate,
    json_schema!({
        "type": "string",
        "pattern": r"^\s*[\d_.]+\s*/\s*(s|m|min|h)\s*$",
        "examples": ["5000/s", "30/m"],
    })
);
text_schema!(
    OneOrMany,
    json_schema!({
        "type": ["string", "array"],
        "items": { "type": "string" },
        "minItems": 1,
    })
);

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn people_write_units() {
        assert_eq!(serde_json::from_value::<Period>(json!("5m")).unwrap().0, Duration::from_secs(300));
        assert_eq!(serde_json::from_value::<Size>(json!("64MiB")).unwrap().0, 64 << 20);
        assert_eq!(serde_json::from_value::<Size>(json!(4096)).unwrap().0, 4096);
        assert_eq!(serde_json::from_value::<Rate>(json!("5_000/s")).unwrap().0, 5000.0);
        assert_eq!(serde_json::from_value::<Rate>(json!("30/m")).unwrap().0, 0.5);
    }

    #[test]
    fn wrong_units_say_what_to_write() {
        let error = serde_json::from_value::<Rate>(json!("fast")).unwrap_err().to_string();
        assert!(error.contains("`fast` is not a rate") && error.contains("5000/s"), "{error}");
        assert!(serde_json::from_value::<Rate>(json!("0/s")).is_err());
        assert!(serde_json::from_value::<Period>(json!(5)).is_err());
        assert!(serde_json::from_value::<Size>(json!("big")).unwrap_err().to_string().contains("64MiB"));
    }
}
