//! Places in a pipeline file.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{Deserialize, Deserializer, Error as _, SeqAccess, Visitor};

/// Asks [`crate::read`]'s deserializer for a value with its place: a sequence of value, start, end.
pub(crate) const SPANNED: &str = "$millstream::Spanned";
/// Asks for a value with the place of its key as well: value, start, end, start and end of the key.
pub(crate) const KEYED: &str = "$millstream::Keyed";

/// A range of bytes of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

impl Span {
    /// The bytes `start..end`.
    pub fn new(start: usize, end: usize) -> Self {
        Self { start, end }
    }

    /// The part of this place that stands on its first line: a caret never covers a whole block.
    #[must_use]
    pub fn first_line(self, text: &str) -> Self {
        let lines = text.get(self.start..self.end).unwrap_or_default();
        let line = lines.lines().next().unwrap_or_default().trim_end();
        Self::new(
            self.start,
            self.start + line.len().max(usize::from(self.end > self.start)).min(self.end - self.start),
        )
    }
}

/// A value and its place.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Its place.
    pub span: Span,
}

impl<T> Spanned<T> {
    /// `value` at `span`.
    pub fn new(value: T, span: Span) -> Self {
        Self { value, span }
    }

    /// Another value at the same place.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Spanned<U> {
        Spanned::new(f(self.value), self.span)
    }
}

/// A value, its place, and the place of the key before it.
#[derive(Debug, Clone)]
pub(crate) struct Keyed<T> {
    /// The value.
    pub(crate) value: T,
    /// The place of its key.
    pub(crate) key: Span,
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Spanned<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let placed = deserializer.deserialize_newtype_struct(SPANNED, Placed::<T>(PhantomData))?;
        Ok(Self::new(placed.0, placed.1))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Keyed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let placed = deserializer.deserialize_newtype_struct(KEYED, Placed::<T>(PhantomData))?;
        Ok(Self { value: placed.0, key: placed.2 })
    }
}

/// Reads what the two markers ask for.
struct Placed<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Placed<T> {
    type Value = (T, Span, Span);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value with its place")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let value = seq.next_element()?.ok_or_else(|| A::Error::custom("no value"))?;
        let mut number = || seq.next_element::<usize>().map(Option::unwrap_or_default);
        Ok((value, Span::new(number()?, number()?), Span::new(number()?, number()?)))
    }
}

macro_rules! schema_of_the_value {
    ($name:ident) => {
        impl<T: JsonSchema> JsonSchema for $name<T> {
            fn inline_schema() -> bool {
                T::inline_schema()
            }
            fn schema_name() -> Cow<'static, str> {
                T::schema_name()
            }
            fn schema_id() -> Cow<'static, str> {
                T::schema_id()
            }
            fn json_schema(generator: &mut SchemaGenerator) -> Schema {
                T::json_schema(generator)
            }
        }
    };
}
schema_of_the_value!(Spanned);
schema_of_the_value!(Keyed);
