//! `profiles.<profile>.<name>`: a name bound to a connector.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::{Map, Value};

use crate::span::Spanned;

/// One connector with its options. Which options it has says the connector: see [`crate::connectors`].
#[derive(Debug)]
pub(crate) struct Binding {
    /// Name of the connector.
    pub(crate) connector: Spanned<String>,
    /// Its options: a map.
    pub(crate) options: Spanned<Value>,
}

impl<'de> Deserialize<'de> for Binding {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneKey;
        impl<'de> Visitor<'de> for OneKey {
            type Value = Binding;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a connector with its options")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Binding, A::Error> {
                let (connector, mut options): (Spanned<String>, Spanned<Value>) =
                    map.next_entry()?.ok_or_else(|| A::Error::custom("no connector"))?;
                if options.value.is_null() {
                    options = Spanned::new(Value::Object(Map::new()), connector.span);
                }
                Ok(Binding { connector, options })
            }
        }
        deserializer.deserialize_map(OneKey)
    }
}

impl JsonSchema for Binding {
    fn schema_name() -> Cow<'static, str> {
        "Binding".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "description": "A connector with its options: exactly one key." })
    }
}
