//! Connectors that need no network and no account: what the laptop runs on and what tests measure with.
//!
//! Each folder is one connector: `config.rs` its options, `source.rs`, `sink.rs`, `table.rs` what it can be.

pub mod checkpoints;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod directory;
pub mod embedded;
pub mod fault;
pub mod file;
pub mod generate;
mod io_error;
mod live;
pub mod log;
pub mod memory;
pub mod stdin;
pub mod stdout;
pub mod tcp;

pub use millstream_core::{clock, units};
use millstream_files::{ahead, lines, refused_options};

use millstream_core::connector::ConnectorKind;

/// Every kind of connector of this crate, in the order in which `list` shows them.
pub fn kinds() -> Vec<ConnectorKind> {
    vec![
        generate::kind(),
        file::kind(),
        directory::kind(),
        embedded::kind(),
        memory::kind(),
        log::kind(),
        stdin::kind(),
        stdout::kind(),
        tcp::kind(),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    /// Every option has a description: it is what an editor shows and what `docs` prints.
    fn check(kind: &str, schema: &Value) {
        let described = |v: &Value| v.get("description").is_some_and(|d| !d.as_str().unwrap_or_default().is_empty());
        for (name, option) in schema["properties"].as_object().into_iter().flatten() {
            assert!(described(option), "{kind}: {name} has no description");
        }
        for (name, definition) in schema["$defs"].as_object().into_iter().flatten() {
            assert!(described(definition), "{kind}: {name} has no description");
            check(kind, definition);
        }
    }

    #[test]
    fn every_option_is_documented_and_unknown_ones_are_refused() {
        for kind in super::kinds() {
            let schema = (kind.options)().to_value();
            check(kind.name, &schema);
            assert_eq!(schema["additionalProperties"], Value::Bool(false), "{}", kind.name);
            let error = (kind.parse)(serde_json::json!({ "no_such_option": 1 })).unwrap_err();
            assert!(error.contains("no_such_option"), "{}: {error}", kind.name);
        }
    }

    #[test]
    fn the_bindings_of_the_flagship_are_understood() {
        let bindings = serde_json::json!({
            "generate": { "dataset": "taxi_trips", "part": "starts", "trips": 100_000, "days": 7, "seed": 42 },
            "embedded": { "path": "out/taxi_trips.db" },
            "directory": { "path": "out" },
            "log": { "level": "warn" },
            "file": { "path": "/data/trip_start.csv", "format": "csv" },
        });
        for (name, options) in bindings.as_object().unwrap() {
            let kind = super::kinds().into_iter().find(|k| k.name == name).unwrap();
            assert!((kind.parse)(options.clone()).unwrap().problems().is_empty());
        }
    }
}
