//! The options of every connector of this crate.

use serde_json::{Value, json};

/// Every option has a description: it is what an editor shows and what `docs` prints.
fn described(kind: &str, schema: &Value) {
    let text = |v: &Value| v.get("description").is_some_and(|d| !d.as_str().unwrap_or_default().is_empty());
    for (name, option) in schema["properties"].as_object().into_iter().flatten() {
        assert!(text(option), "{kind}: {name} has no description");
    }
    for (name, definition) in schema["$defs"].as_object().into_iter().flatten() {
        assert!(text(definition), "{kind}: {name} has no description");
        described(kind, definition);
    }
}

#[test]
fn every_option_is_documented_and_unknown_ones_are_refused() {
    for kind in millstream_aws::kinds() {
        let schema = (kind.options)().to_value();
        described(kind.name, &schema);
        assert_eq!(schema["additionalProperties"], Value::Bool(false), "{}", kind.name);
        let error = (kind.parse)(json!({ "no_such_option": 1 })).unwrap_err();
        assert!(error.contains("no_such_option"), "{}: {error}", kind.name);
    }
}
