//! Turns the tree into typed values by serde, places included.
//!
//! The tree has been checked against the schema of the very same types before ([`crate::check`]), so an error here
//! means that the two disagree; it is kept ([`Entry`]) and told, never lost.

use std::fmt;

use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, EnumAccess, Error as _, IntoDeserializer, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use crate::span::{KEYED, SPANNED, Span};
use crate::sqltext;
use crate::tree::{Content, Key, Node};

/// Why a value could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReadError {
    /// What is wrong.
    pub(crate) message: String,
    /// Where.
    pub(crate) span: Option<Span>,
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ReadError {}

impl serde::de::Error for ReadError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self { message: message.to_string(), span: None }
    }
}

impl ReadError {
    fn at(mut self, span: Span) -> Self {
        self.span.get_or_insert(span);
        self
    }
}

/// Reads a `T` from `node` of the file `text`; `key` is the place of the key before it.
pub(crate) fn read<'a, T: Deserialize<'a>>(node: &'a Node, key: Span, text: &'a str) -> Result<T, ReadError> {
    T::deserialize(Reader { node, key, text }).map_err(|e| e.at(node.span))
}

#[derive(Clone, Copy)]
struct Reader<'a> {
    node: &'a Node,
    key: Span,
    text: &'a str,
}

impl<'a> Reader<'a> {
    fn wrong(&self, expected: &str) -> ReadError {
        ReadError::custom(format!("expected {expected}, found {}", self.node.described())).at(self.node.span)
    }
}

impl<'de> Deserializer<'de> for Reader<'de> {
    type Error = ReadError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match &self.node.content {
            Content::Null => visitor.visit_unit(),
            Content::Bool(b) => visitor.visit_bool(*b),
            Content::Number(n, text) => {
                if let Some(n) = n.as_u64() {
                    visitor.visit_u64(n)
                } else if let Some(n) = n.as_i64() {
                    visitor.visit_i64(n)
                } else {
                    visitor.visit_f64(n.as_f64().ok_or_else(|| ReadError::custom(format!("bad number `{text}`")))?)
                }
            }
            Content::Text(text) => visitor.visit_str(text),
            Content::List(items) => visitor.visit_seq(Items { items: items.iter(), of: self }),
            Content::Map(entries) => visitor.visit_map(MapEntries { entries: entries.iter(), value: None, of: self }),
        }
        .map_err(|e| e.at(self.node.span))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.node.content {
            Content::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match &self.node.content {
            Content::Text(text) | Content::Number(_, text) => visitor.visit_str(text),
            Content::Bool(b) => visitor.visit_str(if *b { "true" } else { "false" }),
            _ => Err(self.wrong("a string")),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.deserialize_str(visitor)
    }

    /// A single value is a list of one: the schema says where that is allowed.
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match &self.node.content {
            Content::List(_) => self.deserialize_any(visitor),
            _ => visitor.visit_seq(Items { items: std::slice::from_ref(self.node).iter(), of: self }),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        let numbers = match name {
            SPANNED => vec![self.node.span.start, self.node.span.end],
            KEYED => vec![self.node.span.start, self.node.span.end, self.key.start, self.key.end],
            sqltext::SQL_TEXT => [self.node.span.start, self.node.span.end]
                .into_iter()
                .chain(sqltext::line_offsets(self.node, self.text))
                .collect(),
            _ => return visitor.visit_newtype_struct(self),
        };
        visitor.visit_seq(WithNumbers { value: Some(self), numbers: numbers.into_iter() })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        match &self.node.content {
            Content::Text(text) => visitor.visit_enum(StrDeserializer::new(text)),
            Content::Map(entries) => match entries.as_slice() {
                [(key, value)] => visitor.visit_enum(Variant { key, value: Reader { node: value, ..self } }),
                _ => Err(self.wrong("a map with one key")),
            },
            _ => Err(self.wrong("a string or a map with one key")),
        }
        .map_err(|e: ReadError| e.at(self.node.span))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct tuple tuple_struct
        map struct identifier ignored_any
    }
}

/// The items of a list.
struct Items<'de> {
    items: std::slice::Iter<'de, Node>,
    of: Reader<'de>,
}

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = ReadError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, ReadError> {
        let of = self.of;
        let item = self.items.next().map(|node| seed.deserialize(Reader { node, ..of }).map_err(|e| e.at(node.span)));
        item.transpose()
    }
}

/// The entries of a map; keys can be asked for with their place.
struct MapEntries<'de> {
    entries: std::slice::Iter<'de, (Key, Node)>,
    value: Option<(&'de Key, &'de Node)>,
    of: Reader<'de>,
}

impl<'de> MapAccess<'de> for MapEntries<'de> {
    type Error = ReadError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, ReadError> {
        let Some((key, value)) = self.entries.next() else { return Ok(None) };
        self.value = Some((key, value));
        seed.deserialize(KeyReader { key }).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, ReadError> {
        let (key, node) = self.value.take().ok_or_else(|| ReadError::custom("a value without its key"))?;
        seed.deserialize(Reader { node, key: key.span, ..self.of }).map_err(|e| e.at(node.span))
    }
}

struct KeyReader<'de> {
    key: &'de Key,
}

impl<'de> Deserializer<'de> for KeyReader<'de> {
    type Error = ReadError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_borrowed_str(&self.key.text)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        let Span { start, end } = self.key.span;
        match name {
            SPANNED => visitor.visit_seq(WithNumbers {
                value: Some(KeyReader { key: self.key }),
                numbers: vec![start, end].into_iter(),
            }),
            _ => visitor.visit_newtype_struct(self),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// A value followed by numbers: how places are handed through serde.
struct WithNumbers<D> {
    value: Option<D>,
    numbers: std::vec::IntoIter<usize>,
}

impl<'de, D: Deserializer<'de, Error = ReadError>> SeqAccess<'de> for WithNumbers<D> {
    type Error = ReadError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, ReadError> {
        if let Some(value) = self.value.take() {
            return seed.deserialize(value).map(Some);
        }
        self.numbers.next().map(|n| seed.deserialize(n.into_deserializer())).transpose()
    }
}

/// `{ variant: value }`.
struct Variant<'de> {
    key: &'de Key,
    value: Reader<'de>,
}

impl<'de> EnumAccess<'de> for Variant<'de> {
    type Error = ReadError;
    type Variant = Reader<'de>;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Reader<'de>), ReadError> {
        let variant = seed.deserialize(KeyReader { key: self.key }).map_err(|e| e.at(self.key.span))?;
        Ok((variant, self.value))
    }
}

impl<'de> VariantAccess<'de> for Reader<'de> {
    type Error = ReadError;

    fn unit_variant(self) -> Result<(), ReadError> {
        Ok(())
    }
    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, ReadError> {
        seed.deserialize(self).map_err(|e| e.at(self.node.span))
    }
    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, ReadError> {
        self.deserialize_any(visitor)
    }
    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        self.deserialize_any(visitor)
    }
}

/// Reads a `T` from the rest of a map: for types that are a string, a list or a map.
pub(crate) fn from_map<'de, T: Deserialize<'de>, A: MapAccess<'de>>(map: A) -> Result<T, A::Error> {
    T::deserialize(MapAccessDeserializer::new(map))
}
