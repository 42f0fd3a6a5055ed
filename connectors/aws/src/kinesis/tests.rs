use millstream_core::format::RecordFormat;
use millstream_core::sink::WriteMode;
use serde_json::{Value, json};

use super::*;

fn problems(options: Value) -> Vec<String> {
    (kind().parse)(options).unwrap().problems()
}

fn refused(options: Value) -> String {
    (kind().parse)(options).unwrap_err()
}

#[test]
fn options_say_what_is_wrong_with_them() {
    assert!(problems(json!({ "stream": "trips" })).is_empty());
    assert!(problems(json!({ "stream_arn": "arn:aws:kinesis:eu-central-1:123456789012:stream/trips" })).is_empty());
    let fan_out = json!({ "stream": "trips", "read": "fan_out", "consumer": "millstream" });
    assert!(problems(fan_out).is_empty());
    for (options, says) in [
        (json!({}), "name the stream"),
        (json!({ "stream": "a", "stream_arn": "arn:aws:kinesis:r:1:stream/a" }), "leave one out"),
        (json!({ "stream_arn": "trips" }), "is not the ARN of a stream"),
        (json!({ "stream": "a", "read": "fan_out" }), "needs a `consumer`"),
        (json!({ "stream": "a", "consumer": "c" }), "is for `read: fan_out`"),
        (json!({ "stream": "a", "buffer": "1MiB" }), "at least 10MiB"),
        (json!({ "stream": "a", "format": "csv" }), "use json or raw"),
        (json!({ "stream": "a", "format": "parquet" }), "a format of files"),
    ] {
        let found = problems(options.clone());
        assert!(found.iter().any(|p| p.contains(says)), "{options}: {found:?}");
    }
    let error = refused(json!({ "stream": "a", "from": "yesterday" }));
    assert!(error.contains("`yesterday` is no place to begin: write trim_horizon, latest, or a time"), "{error}");
    assert!(refused(json!({ "stream": "a", "kpl": { "out_of_range": "lose" } })).contains("drop"));
    assert!(refused(json!({ "strem": "a" })).contains("strem"));
}

#[test]
fn places_to_begin_are_words_or_times() {
    let from = |text: &str| serde_json::from_value::<From>(json!(text)).unwrap();
    assert_eq!(from("trim_horizon"), From::TrimHorizon);
    assert_eq!(from("latest"), From::Latest);
    assert_eq!(from("2024-05-25T02:00:00+02:00"), from("2024-05-25T00:00:00Z"));
}

#[test]
fn every_option_is_documented() {
    fn check(schema: &Value) {
        let described = |v: &Value| v.get("description").is_some_and(|d| !d.as_str().unwrap_or_default().is_empty());
        for (name, option) in schema["properties"].as_object().into_iter().flatten() {
            assert!(described(option), "{name} has no description");
        }
        for (name, definition) in schema["$defs"].as_object().into_iter().flatten() {
            assert!(described(definition), "{name} has no description");
            check(definition);
        }
    }
    let schema = (kind().options)().to_value();
    check(&schema);
    assert_eq!(schema["additionalProperties"], Value::Bool(false));
}

#[test]
fn a_sink_says_what_it_cannot_do() {
    let rows = millstream_local::conformance::every_type(0, 1).schema();
    let options = millstream_local::conformance::sink_options("s", &rows);
    let sink = |connector: Value, options: &SinkOptions| {
        (kind().parse)(connector).unwrap().sink_problem(options).map(|(option, _)| option)
    };
    let plain = json!({ "stream": "a" });
    assert_eq!(sink(plain.clone(), &options), None);
    assert_eq!(sink(json!({ "stream": "a", "partition_key": "id" }), &options), None);
    assert_eq!(sink(json!({ "stream": "a", "partition_key": "no" }), &options), Some("write"));
    assert_eq!(sink(plain.clone(), &SinkOptions { path: Some("x".into()), ..options.clone() }), Some("path"));
    let csv = SinkOptions { format: RecordFormat::Csv, ..options.clone() };
    assert_eq!(sink(plain.clone(), &csv), Some("format"));
    assert_eq!(sink(plain, &SinkOptions { mode: WriteMode::Overwrite, ..options }), Some("mode"));
}
