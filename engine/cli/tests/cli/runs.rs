//! From `new` to `run`, and what is there afterwards.

use std::process::Command;

use serde_json::Value;

use crate::shell;

#[test]
fn a_new_pipeline_passes_check_test_and_run() {
    let shell = shell();
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
    let shell = shell();
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
fn logs_as_json_are_all_that_stdout_has() {
    let shell = shell();
    // Refused rows go to the log.
    let results = "results: { directory: { path: out/orders } }";
    let with_log = format!("{results}\n    refusals: {{ log: {{ level: warn }} }}");
    let to_log = "from: [\"*.rejected\"], write: refusals }";
    let to_files = "from: [\"*.rejected\"], write: results, path: \"refused/{batch_id}.jsonl\" }";
    shell.starter("orders", &[("trips: 10000", "trips: 500"), (results, &with_log), (to_files, to_log)]);
    let ran = shell.run(&["run", "orders.yaml", "--log-format", "json"]).ends(0);
    let lines: Vec<Value> = ran.out.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let (result, logs) = lines.split_last().unwrap();
    assert_eq!(result["pipeline"], "orders");
    assert!(
        !logs.is_empty() && logs.iter().all(|log| log["level"] == "WARN" && log["timestamp"].is_string()),
        "{logs:?}"
    );
    let again = shell.run(&["run", "orders.yaml", "--log-format", "json"]).ends(0);
    assert_eq!(serde_json::from_str::<Value>(again.out.trim_end()).unwrap()["complete"], true, "{}", again.out);
}

#[test]
fn any_number_of_workers_writes_the_same_bytes() {
    let mut files = Vec::new();
    for workers in ["1", "3"] {
        let shell = shell();
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
fn csv_records_of_a_test_go_through_the_csv_decoder() {
    let shell = shell();
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
    let shell = shell();
    shell.starter("orders", &[]);
    let ran = shell.run(&["preview", "orders.yaml", "valid_rides", "--rows", "3", "--format", "json"]).ends(0);
    assert_eq!(ran.out.lines().count(), 3, "{}", ran.out);
    assert!(ran.out.lines().all(|l| serde_json::from_str::<Value>(l).unwrap()["trip_id"].is_string()));
    let windows = shell.run(&["preview", "orders.yaml", "rides_per_day"]).ends(0);
    assert!(windows.out.contains("highest"), "{}", windows.out);
    assert!(!shell.folder.path().join("out").exists());
    shell.run(&["preview", "orders.yaml", "rides_in.rejected", "--rows", "1"]).ends(0).says(&["component", "rides_in"]);
    shell.run(&["preview", "orders.yaml", "valid_ridez"]).ends(2).says(&["did you mean `valid_rides`?"]);
}

#[test]
fn a_bench_writes_its_figures() {
    let shell = shell();
    shell.starter("orders", &[("trips: 10000", "trips: 1000")]);
    let args = ["bench", "orders.yaml", "--workers", "1", "--repeat", "2", "--json", "bench.json"];
    shell.run(&args).ends(0).says(&[
        "records/s and core",
        "peak memory",
        "p99",
        "warning: a bench writes for real, 2 times",
        "day_files (directory), refused (directory)",
    ]);
    let document: Value =
        serde_json::from_slice(&std::fs::read(shell.folder.path().join("bench.json")).unwrap()).unwrap();
    assert_eq!(document["runs"].as_array().unwrap().len(), 2);
    assert!(document["runs"][0]["records"].as_u64() > Some(900));
    assert_eq!(document["runs"][1]["adds_up"], true);
}

const TABLE: &str = r#"
version: 1
name: stock
profiles:
  local:
    moves: { file: { path: "moves.jsonl", follow: true } }
    stock: { embedded: { path: stock.db } }
    out: { directory: { path: out } }
sources:
  moves_in:
    read: moves
    schema: { item: string, room: "string?", at: timestamp }
tables:
  items: { store: stock, key: item }
transforms:
  placed:
    upsert:
      into: items
      set: { moves_in: { columns: [room, at], latest_by: at } }
sinks:
  refused: { from: ["*.rejected", "*.failed"], write: out, path: "refused/{batch_id}.jsonl" }
tests:
  - name: the latest move wins, through an outage
    steps:
      - fault: { at: stock, kind: unavailable, times: 2 }
      - moves_in: { item: a, room: kitchen, at: "2024-01-01 10:00:00" }
      - moves_in: [{ item: a, room: hall, at: "2024-01-01 09:00:00" }, { item: b, at: "2024-01-01 09:00:00" }]
    expect:
      items: [{ item: a, room: kitchen }, { item: b, room: null }]
  - name: what the store refuses is told
    steps:
      - fault: { at: stock, kind: refused }
      - moves_in: { item: a, room: kitchen, at: "2024-01-01 10:00:00" }
    expect:
      items.failed: [{ component: items, item: a, room: kitchen }]
      items: []
"#;

#[test]
fn an_endless_input_ends_when_it_is_idle() {
    let shell = shell();
    shell.write("stock.yaml", TABLE);
    let moves = [
        "{\"item\":\"a\",\"room\":\"hall\",\"at\":\"2024-01-01T10:00:00Z\"}",
        "{\"item\":\"b\",\"at\":\"2024-01-01T10:00:00Z\"}",
    ];
    shell.write("moves.jsonl", &format!("{}\n", moves.join("\n")));
    shell.run(&["test", "stock.yaml"]).ends(0).says(&["2 tests passed"]);
    let missing = shell.run(&["query", "stock.yaml", "SELECT * FROM items"]).ends(3);
    missing.says(&["`items` has not been written yet", "millstream run stock.yaml"]);
    assert!(!shell.folder.path().join("stock.db").exists(), "a question must not make a database");
    let table = shell.run(&["preview", "stock.yaml", "items", "--rows", "2", "--format", "csv"]).ends(0);
    assert!(table.out.starts_with("item,room,at\n"), "{}", table.out);
    assert!(!shell.folder.path().join("stock.db").exists(), "a preview must not make a database");
    shell.run(&["run", "stock.yaml", "--until-idle"]).ends(0).says(&["2 records", "every row is accounted for"]);
    let rows =
        shell.run(&["query", "stock.yaml", "SELECT item, room FROM items ORDER BY item", "--format", "csv"]).ends(0);
    assert_eq!(rows.out, "item,room\na,hall\nb,\n");
}

/// Ctrl-C stops the sources, and what is in flight is finished.
#[cfg(unix)]
#[test]
fn the_first_interrupt_stops_in_order() {
    use std::io::{BufRead as _, BufReader};
    let shell = shell();
    // 100 rides a second for ever.
    shell.starter("orders", &[("trips: 10000, days: 3, seed: 7", "rate: 100/s, seed: 7")]);
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
