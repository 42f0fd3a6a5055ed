//! JSON Schema: of the file for the check, and with every connector's options inlined for editors (draft-07).

use std::sync::LazyLock;

use millstream_core::connector::{ConnectorKind, Registry};
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::file::File;

/// The schema of the file; the options of connectors are open in it.
pub(crate) fn file_schema() -> Value {
    static SCHEMA: LazyLock<Value> =
        LazyLock::new(|| SchemaSettings::draft07().into_generator().into_root_schema_for::<File>().to_value());
    SCHEMA.clone()
}

/// The schema that editors use for completion, hover and checks: draft-07, descriptions from the structs, the
/// options of every connector of the registry under `profiles.*.*`.
pub fn json_schema(registry: &Registry) -> Value {
    let mut schema = file_schema();
    let mut connectors = Map::new();
    let mut definitions = Map::new();
    for kind in registry.kinds() {
        let (options, own) = connector(kind);
        connectors.insert(kind.name.to_owned(), options);
        definitions.extend(own);
    }
    definitions.insert(
        "Binding".to_owned(),
        json!({
            "description": "A connector with its options: exactly one key.",
            "type": "object",
            "properties": connectors,
            "additionalProperties": false,
            "minProperties": 1,
            "maxProperties": 1,
        }),
    );
    if let Some(all) = schema.get_mut("definitions").and_then(Value::as_object_mut) {
        all.extend(definitions);
    }
    if let Some(version) = schema.pointer_mut("/properties/version").and_then(Value::as_object_mut) {
        version.insert("enum".to_owned(), json!([1]));
        version.insert("type".to_owned(), json!("integer"));
    }
    if let Some(root) = schema.as_object_mut() {
        root.insert("title".to_owned(), json!("Millstream pipeline"));
    }
    schema
}

/// The schema of a connector's options as draft-07, and the definitions it refers to under names of its own.
fn connector(kind: &ConnectorKind) -> (Value, Map<String, Value>) {
    let mut options = (kind.options)().to_value();
    let mut definitions = Map::new();
    let prefix = format!("{}.", kind.name);
    if let Some(root) = options.as_object_mut() {
        root.remove("$schema");
        root.remove("title");
        for name in ["$defs", "definitions"] {
            if let Some(Value::Object(own)) = root.remove(name) {
                definitions.extend(own.into_iter().map(|(name, schema)| (format!("{prefix}{name}"), schema)));
            }
        }
        let built_in = if kind.built_in { "" } else { " (not part of this binary)" };
        root.insert("description".to_owned(), json!(format!("{}{built_in}", kind.summary)));
    }
    redirect(&mut options, &prefix);
    definitions.values_mut().for_each(|schema| redirect(schema, &prefix));
    (nullable(options, kind), definitions)
}

/// A connector without required options may be written with nothing behind its key.
fn nullable(mut options: Value, kind: &ConnectorKind) -> Value {
    let required = options.get("required").and_then(Value::as_array).is_some_and(|keys| !keys.is_empty());
    if let Some(root) = options.as_object_mut().filter(|_| !required && kind.built_in)
        && root.get("type") == Some(&json!("object"))
    {
        root.insert("type".to_owned(), json!(["object", "null"]));
    }
    options
}

/// Points references to the definitions' new names. Draft-07 ignores what stands beside a `$ref`.
fn redirect(schema: &mut Value, prefix: &str) {
    match schema {
        Value::Object(object) => {
            let target = object.get("$ref").and_then(Value::as_str).map(str::to_owned);
            if let Some(name) = target.as_deref().and_then(|target| target.rsplit('/').next()) {
                let reference = json!({ "$ref": format!("#/definitions/{prefix}{name}") });
                if object.len() > 1 {
                    object.remove("$ref");
                    object.insert("allOf".to_owned(), json!([reference]));
                } else {
                    *schema = reference;
                    return;
                }
            }
            let done = target.is_some();
            for (_, value) in object.iter_mut().filter(|(name, _)| !(done && *name == "allOf")) {
                redirect(value, prefix);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| redirect(item, prefix)),
        _ => {}
    }
}
