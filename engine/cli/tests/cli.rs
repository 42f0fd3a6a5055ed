//! Drives the real binary as a person would: exit codes, messages, `--json`, and the way from `new` to `run`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

/// The binary in a folder of its own.
struct Shell {
    folder: TempDir,
}

impl Shell {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_millstream"));
        command.args(args).current_dir(self.folder.path()).env_remove("RUST_LOG").env_remove("NO_COLOR");
        command
    }
    fn run(&self, args: &[&str]) -> Ran {
        Ran::of(self.command(args).output().unwrap())
    }
    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).unwrap();
    }
    /// The starter pipeline, changed.
    fn starter(&self, name: &str, changes: &[(&str, &str)]) {
        assert_eq!(self.run(&["new", name]).code, 0);
        let path = format!("{name}.yaml");
        let mut text = std::fs::read_to_string(self.folder.path().join(&path)).unwrap();
        for (from, to) in changes {
            assert!(text.contains(from), "the starter has no `{from}`");
            text = text.replace(from, to);
        }
        self.write(&path, &text);
    }
}

struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl Ran {
    fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
    }
    /// The exit code is `code`; nothing looks like the inside of a Rust program.
    #[track_caller]
    fn ends(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        for inside in ["panicked", "RUST_BACKTRACE", "Some(", "Err(", "stack backtrace", "\u{1b}["] {
            assert!(!self.out.contains(inside) && !self.err.contains(inside), "{inside}:\n{}\n{}", self.out, self.err);
        }
        self
    }
    #[track_caller]
    fn says(self, texts: &[&str]) -> Self {
        for text in texts {
            assert!(self.out.contains(text) || self.err.contains(text), "no `{text}` in\n{}\n{}", self.out, self.err);
        }
        self
    }
    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}:\n{}", self.out))
    }
}

#[test]
fn a_new_pipeline_passes_check_test_and_run() {
    let shell = Shell::new();
    shell.run(&["new", "orders"]).ends(0).says(&[
        "wrote orders.yaml",
        "millstream check orders.yaml",
        "millstream run",
    ]);
    shell.run(&["check", "orders.yaml"]).ends(0).says(&["orders.yaml", "1 source", "profile local"]);
    shell.run(&["test", "orders.yaml"]).ends(0).says(&["ok", "1 test passed"]);
    let ran = shell.run(&["run", "orders.yaml", "--workers", "2"]).ends(0);
    let ran =
        ran.says(&["orders done in", "Ledger", "rides_in", "every row is accounted for", "First rows of day_files"]);
    assert!(ran.out.contains("millstream query orders.yaml"), "{}", ran.out);
    let query = "SELECT sum(rides) AS rides FROM day_files";
    let rides = shell.run(&["query", "orders.yaml", query, "--format", "csv"]).ends(0);
    assert!(rides.out.starts_with("rides\n"), "{}", rides.out);
    shell.run(&["new", "orders"]).ends(3).says(&["is there already", "choose another name"]);
}

#[test]
fn a_run_as_json_accounts_for_every_row() {
    let shell = Shell::new();
    shell.starter("orders", &[("trips: 10000", "trips: 500")]);
    let document = shell.run(&["run", "orders.yaml", "--workers", "1", "--json"]).ends(0).json();
    assert_eq!(document["pipeline"], "orders");
    assert_eq!(document["profile"], "local");
    assert_eq!(document["adds_up"], true);
    let nodes = document["nodes"].as_array().unwrap();
    let source = nodes.iter().find(|n| n["id"] == "rides_in").unwrap();
    assert_eq!(source["counts"]["input"], document["records"]);
    assert!(document["results"]["day_files"].as_array().unwrap().iter().all(|row| row["rides"].as_u64() > Some(0)));
}

#[test]
fn any_number_of_workers_writes_the_same_bytes() {
    let mut files = Vec::new();
    for workers in ["1", "3"] {
        let shell = Shell::new();
        shell.starter("orders", &[("trips: 10000", "trips: 3000")]);
        shell.run(&["run", "orders.yaml", "--workers", workers]).ends(0);
        let mut found: Vec<(String, Vec<u8>)> = Vec::new();
        for day in std::fs::read_dir(shell.folder.path().join("out/orders")).unwrap().flatten() {
            let name = day.file_name().into_string().unwrap();
            if name.starts_with("day=") {
                found.push((name, std::fs::read(day.path().join("rides.json")).unwrap()));
            }
        }
        found.sort();
        assert!(!found.is_empty());
        files.push(found);
    }
    assert_eq!(files[0], files[1]);
}

#[test]
fn what_a_newcomer_gets_wrong_is_told_with_the_place_and_the_fix() {
    let shell = Shell::new();
    shell.run(&["check", "nowhere.yaml"]).ends(3).says(&["there is no file `nowhere.yaml`", "millstream new"]);
    shell.starter("orders", &[]);
    shell.run(&["run", "order.yaml"]).ends(3).says(&["did you mean `orders.yaml`?"]);
    shell.run(&["run", "orders.yaml", "--profile", "prod"]).ends(2).says(&["prod", "local"]);
    shell.run(&["run", "orders.yaml", "--set", "checkpoint"]).ends(2).says(&["path=value"]);
    shell.run(&["frobnicate"]).ends(2);
    shell.run(&["docs", "fle"]).ends(2).says(&["did you mean `file`?"]);
    for (name, from, to, says) in [
        ("column", "SUM(fare_amount)", "SUM(fare_amout)", "fare_amount"),
        ("stream", "from: valid_rides", "from: valid_ride", "valid_ride"),
        ("port", "from: [rides_per_day]", "from: [rides_per_dya]", "did you mean `rides_per_day`?"),
        ("key", "validate:", "validat:", "validate"),
        ("option", "seed: 7", "sed: 7", "seed"),
        ("connector", "generate:", "generat:", "generate"),
    ] {
        let file = format!("{name}.yaml");
        shell.starter(name, &[]);
        let text = std::fs::read_to_string(shell.folder.path().join(&file)).unwrap();
        let text = text.replacen(if text.contains(from) { from } else { "from: rides_in" }, to, 1);
        shell.write(&file, &text);
        let checked = shell.run(&["check", &file]).ends(2).says(&[says, "help", &format!("--> {file}:")]);
        assert!(checked.err.trim_end().lines().last().unwrap().contains("error"), "{}", checked.err);
        shell.run(&["run", &file]).ends(2).says(&[says]);
    }
}

#[test]
fn findings_are_a_document_with_json() {
    let shell = Shell::new();
    shell.starter("orders", &[("seed: 7", "sed: 7")]);
    let document = shell.run(&["check", "orders.yaml", "--json"]).ends(2).json();
    let finding = &document["findings"][0];
    assert_eq!(finding["file"], "orders.yaml");
    assert_eq!(finding["severity"], "error");
    assert!(finding["line"].as_u64() > Some(1) && finding["code"].as_str().unwrap().starts_with('E'));
    assert_eq!(document["files"][0]["ok"], false);
    let document = shell.run(&["run", "orders.yaml", "--json"]).ends(2).json();
    assert_eq!(document["findings"].as_array().unwrap().len(), 1);
}

#[test]
fn connectors_of_other_binaries_are_known_and_refused() {
    let shell = Shell::new();
    let kinesis = "rides: { kinesis: { stream: s } }";
    shell.starter(
        "orders",
        &[("rides: { generate: { dataset: taxi_trips, part: ends, trips: 10000, days: 3, seed: 7 } }", kinesis)],
    );
    shell.run(&["check", "orders.yaml"]).ends(0).says(&["kinesis", "known", "1 warning"]);
    shell.run(&["run", "orders.yaml"]).ends(2).says(&["kinesis", "not part of this binary"]);
    shell.run(&["explain", "orders.yaml"]).ends(0).says(&["rides_per_day", "guarantee"]);
    shell.run(&["test", "orders.yaml"]).ends(0).says(&["1 test passed"]);
    shell.run(&["list"]).ends(0).says(&["kinesis", "not in this binary", "embedded"]);
    shell.run(&["docs", "kinesis"]).ends(0).says(&["not part of this binary"]);
}

#[test]
fn a_missing_input_is_the_environment() {
    let shell = Shell::new();
    shell.starter("orders", &[]);
    let ran = shell.run(&["run", "orders.yaml", "--profile", "files"]).ends(3).says(&["rides_in", "rides/*.csv"]);
    assert!(ran.err.contains("error: "), "{}", ran.err);
    shell.run(&["query", "orders.yaml", "SELECT * FROM day_files"]).ends(3).says(&["run"]);
}

#[test]
fn a_failing_test_shows_what_came_instead() {
    let shell = Shell::new();
    shell.starter("orders", &[("rides: 2, fares: \"20.00\"", "rides: 3, fares: \"20.0\"")]);
    shell.run(&["test", "orders.yaml"]).ends(2).says(&[
        "FAILED",
        "`rides_per_day` has 1 row as expected, but with other values",
        "--> orders.yaml:",
        "- expected",
        "+ got",
        "1 of 1 test failed",
    ]);
    let document = shell.run(&["test", "orders.yaml", "--json"]).ends(2).json();
    let test = &document["files"][0]["tests"][0];
    assert_eq!(test["ok"], false);
    assert_eq!(test["problems"][0]["difference"]["missing"][0][1], "3");
    assert_eq!(test["problems"][0]["difference"]["unexpected"][0][1], "2");
    shell.run(&["test", "orders.yaml", "--filter", "nothing"]).ends(0).says(&["no test's name contains `nothing`"]);
}

#[test]
fn steps_that_need_checkpoints_fail_and_say_so() {
    let shell = Shell::new();
    shell.starter("orders", &[("      - watermark:", "      - crash: now\n      - watermark:")]);
    shell.run(&["test", "orders.yaml"]).ends(2).says(&["`crash` needs checkpoints", "--> orders.yaml:"]);
}

#[test]
fn csv_records_of_a_test_go_through_the_csv_decoder() {
    let shell = Shell::new();
    shell.starter(
        "orders",
        &[("fare_amount: \"-1\" }", "fare_amount: \"-1\" }\n      - rides_in: 'd,2024-05-25 13:00:00,nonsense,'")],
    );
    let text = std::fs::read_to_string(shell.folder.path().join("orders.yaml")).unwrap();
    shell.write("orders.yaml", &format!("{text}      rides_in.rejected: [{{ component: rides_in }}]\n"));
    shell.run(&["test", "orders.yaml", "--profile", "files"]).ends(0).says(&["1 test passed"]);
}

#[test]
fn a_preview_writes_nothing() {
    let shell = Shell::new();
    shell.starter("orders", &[]);
    let ran = shell.run(&["preview", "orders.yaml", "valid_rides", "--rows", "3", "--format", "json"]).ends(0);
    assert_eq!(ran.out.lines().count(), 3, "{}", ran.out);
    assert!(ran.out.lines().all(|l| serde_json::from_str::<Value>(l).unwrap()["trip_id"].is_string()));
    let windows = shell.run(&["preview", "orders.yaml", "rides_per_day"]).ends(0);
    assert!(windows.out.contains("highest"), "{}", windows.out);
    assert!(!shell.folder.path().join("out").exists());
    shell.run(&["preview", "orders.yaml", "valid_ridez"]).ends(2).says(&["did you mean `valid_rides`?"]);
}

#[test]
fn sql_of_a_query_has_carets() {
    let shell = Shell::new();
    shell.starter("orders", &[("trips: 10000", "trips: 100")]);
    shell.run(&["run", "orders.yaml"]).ends(0);
    shell.run(&["query", "orders.yaml", "SELECT dya FROM day_files"]).ends(2).says(&["<query>:1:8", "^^^", "`day`"]);
    let rows =
        shell.run(&["query", "orders.yaml", "SELECT day FROM rides_per_day ORDER BY day LIMIT 1", "--format", "json"]);
    assert!(rows.ends(0).out.starts_with("{\"day\":\""));
}

#[test]
fn a_graph_can_be_drawn() {
    let shell = Shell::new();
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
fn a_bench_writes_its_figures() {
    let shell = Shell::new();
    shell.starter("orders", &[("trips: 10000", "trips: 1000")]);
    let args = ["bench", "orders.yaml", "--workers", "1", "--repeat", "2", "--json", "bench.json"];
    shell.run(&args).ends(0).says(&["records/s and core", "peak memory", "p99"]);
    let document: Value =
        serde_json::from_slice(&std::fs::read(shell.folder.path().join("bench.json")).unwrap()).unwrap();
    assert_eq!(document["runs"].as_array().unwrap().len(), 2);
    assert!(document["runs"][0]["records"].as_u64() > Some(900));
    assert_eq!(document["runs"][1]["adds_up"], true);
}

#[test]
fn colours_are_only_where_they_are_wanted() {
    let shell = Shell::new();
    shell.starter("orders", &[]);
    let colored = Ran::of(shell.command(&["--color", "always", "check", "orders.yaml"]).output().unwrap());
    assert!(colored.out.contains("\u{1b}["));
    let plain = shell.command(&["check", "orders.yaml"]).env("NO_COLOR", "1").output().unwrap();
    Ran::of(plain).ends(0);
}

#[test]
fn every_connector_has_a_page() {
    let shell = Shell::new();
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
    let printed = Shell::new().run(&["schema"]).ends(0).out;
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

/// Ctrl-C stops the sources, and what is in flight is finished.
#[cfg(unix)]
#[test]
fn the_first_interrupt_stops_in_order() {
    use std::io::{BufRead as _, BufReader};
    let shell = Shell::new();
    // 100 rides a second for ever.
    shell.starter("orders", &[("trips: 10000, days: 3, seed: 7", "rate: 100, seed: 7")]);
    let mut child = shell
        .command(&["run", "orders.yaml"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut err = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    // The first line is printed when the file is read; the log line after that comes from the running pipeline.
    while !line.contains("rows") {
        line.clear();
        assert!(err.read_line(&mut line).unwrap() > 0, "it ended by itself");
    }
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let out = String::from_utf8(output.stdout).unwrap();
    assert!(out.contains("stopped after") && out.contains("every row is accounted for"), "{out}");
}
