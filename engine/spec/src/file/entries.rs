//! A map by id that keeps the order of the file, and survives a broken entry.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

use super::name::Id;
use super::scalar::Grammar;
use crate::span::{Span, Spanned};

/// Entries by id; one that cannot be read is an error of its own and costs no other.
#[derive(Debug)]
pub(crate) struct Entries<T>(pub(crate) Vec<(Spanned<String>, Result<T, Unread>)>);

/// Why an entry could not be read, and where.
#[derive(Debug, Clone)]
pub(crate) struct Unread {
    /// What is wrong.
    pub(crate) message: String,
    /// The place of its value.
    pub(crate) span: Span,
}

impl<T> Default for Entries<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Entries<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for All<T> {
            type Value = Entries<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(key) = map.next_key::<Spanned<String>>()? {
                    let value = map.next_value::<Spanned<Lenient<T>>>()?;
                    let span = value.span;
                    entries.push((key, value.value.0.map_err(|message| Unread { message, span })));
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(All(PhantomData))
    }
}

/// A value that may fail to be read. The deserializer holds no state, so a failure leaves nothing half done.
struct Lenient<T>(Result<T, String>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Lenient<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(T::deserialize(deserializer).map_err(|e| e.to_string())))
    }
}

impl<T: JsonSchema> JsonSchema for Entries<T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        format!("Map_of_{}", T::schema_name()).into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "additionalProperties": generator.subschema_for::<T>(),
            "propertyNames": { "format": format!("millstream-{}", Id::FORMAT), "pattern": "^([A-Za-z]|_[A-Za-z0-9])[A-Za-z0-9_]*$" },
        })
    }
}
