//! What shows without running: graphs, pages, the schema of editors.

use std::path::Path;

use serde_json::Value;

use crate::{Ran, shell};

#[test]
fn a_graph_can_be_drawn() {
    let shell = shell();
    shell.starter("orders", &[]);
    let mermaid = shell.run(&["explain", "orders.yaml", "--format", "mermaid"]).ends(0);
    assert!(mermaid.out.starts_with("flowchart LR\n") && mermaid.out.contains("rides_in -->|rejected| refused"));
    let dot = shell.run(&["explain", "orders.yaml", "--format", "dot"]).ends(0);
    assert!(dot.out.starts_with("digraph") && dot.out.contains("\"rides_in\" -> \"valid_rides\""));
    shell
        .run(&["explain", "orders.yaml", "--format", "yaml"])
        .ends(0)
        .says(&["read_by:", "fare_amount: decimal(10,2)"]);
}

#[test]
fn colours_are_only_where_they_are_wanted() {
    let shell = shell();
    shell.starter("orders", &[]);
    let colored = Ran::of(shell.command(&["--color", "always", "check", "orders.yaml"]).output().unwrap());
    assert!(colored.out.contains("\u{1b}["));
    let plain = shell.command(&["check", "orders.yaml"]).env("NO_COLOR", "1").output().unwrap();
    Ran::of(plain).ends(0);
}

#[test]
fn every_connector_has_a_page() {
    let shell = shell();
    let all = shell.run(&["list", "--json"]).ends(0).json();
    for connector in all["connectors"].as_array().unwrap() {
        let name = connector["name"].as_str().unwrap();
        let page = shell.run(&["docs", name]).ends(0);
        if connector["built_in"] == true {
            assert!(page.out.contains("Options") && page.out.contains("Example"), "{}", page.out);
        }
    }
}

/// The editor's schema beside the pipelines is the one this binary prints, and every pipeline in the tree fits it.
#[test]
fn the_schema_of_editors_is_current_and_fits_every_pipeline() {
    let pipelines = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pipelines");
    let printed = shell().run(&["schema"]).ends(0).out;
    let committed = std::fs::read_to_string(pipelines.join("pipeline.schema.json")).unwrap();
    assert!(printed == committed, "run `millstream schema > pipelines/pipeline.schema.json`");
    let schema: Value = serde_json::from_str(&printed).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let mut checked = 0;
    let scenarios = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/scenarios");
    let files = [pipelines, scenarios].into_iter().flat_map(|folder| std::fs::read_dir(folder).unwrap());
    for file in files.flatten().map(|e| e.path()) {
        if file.extension().is_some_and(|e| e == "yaml") {
            let text = std::fs::read_to_string(&file).unwrap();
            let value: Value = serde_yaml::from_str(&text).unwrap();
            let errors: Vec<String> =
                validator.iter_errors(&value).map(|e| format!("{}: {e}", e.instance_path())).collect();
            assert!(errors.is_empty(), "{}: {errors:?}", file.display());
            checked += 1;
        }
    }
    assert!(checked > 0);
}
