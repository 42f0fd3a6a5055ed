//! The editor's schema.

use millstream_spec::json_schema;
use serde_json::{Value, json};

use crate::connectors::registry;

const TAXI: &str = include_str!("../fixtures/taxi_trips.yaml");
const RIDES: &str = include_str!("../fixtures/rides.yaml");

fn yaml(text: &str) -> Value {
    serde_yaml::from_str(text).unwrap()
}

#[test]
fn it_is_draft_07_and_accepts_pipelines() {
    let schema = json_schema(&registry());
    assert_eq!(schema["$schema"], json!("http://json-schema.org/draft-07/schema#"));
    jsonschema::meta::validate(&schema).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    for text in [TAXI, RIDES, &millstream_spec::starter("first")] {
        let errors: Vec<String> =
            validator.iter_errors(&yaml(text)).map(|e| format!("{} at {}", e, e.instance_path())).collect();
        assert_eq!(errors, Vec::<String>::new());
    }
}

#[test]
fn it_refuses_what_the_language_refuses() {
    let schema = json_schema(&registry());
    let validator = jsonschema::validator_for(&schema).unwrap();
    for (right, wrong) in [
        ("compression: gzip", "compresion: gzip"),
        ("mode: overwrite", "mode: overwite"),
        ("trips: 100000", "trip: 100000"),
        ("{ generate: {", "{ genrate: {"),
        ("version: 1", "version: 2"),
        ("within: 24h", "within: 24"),
        ("  trips: ", "  trips-x: "),
        ("crash: after_checkpoint", "crash: sometime"),
    ] {
        let text = TAXI.replacen(right, wrong, 1);
        assert_ne!(text, TAXI, "{right}");
        assert!(!validator.is_valid(&yaml(&text)), "{wrong}");
    }
}

/// Every key has a text for hovering, connectors' options too.
#[test]
fn every_key_is_described() {
    fn walk(schema: &Value, at: &str, without: &mut Vec<String>) {
        if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
            for (key, property) in properties {
                let at = format!("{at}.{key}");
                if !property.to_string().contains("\"description\"") && property.get("$ref").is_none() {
                    without.push(at.clone());
                }
                walk(property, &at, without);
            }
        }
        for name in ["definitions", "additionalProperties", "items"] {
            match schema.get(name) {
                Some(Value::Object(definitions)) if name == "definitions" => {
                    definitions.iter().for_each(|(key, schema)| walk(schema, key, without));
                }
                Some(schema) => walk(schema, at, without),
                None => {}
            }
        }
    }
    let mut without = Vec::new();
    walk(&json_schema(&registry()), "", &mut without);
    assert_eq!(without, Vec::<String>::new());
}
