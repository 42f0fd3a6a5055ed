//! What a person reads when a run has ended: why rows were refused, and what belongs to this run.

use std::fs::OpenOptions;
use std::io::Write as _;

use crate::{Shell, shell};

const SENSORS: &str = r#"
version: 1
name: sensors
profiles:
  local:
    files: { file: { path: "in.csv", format: csv, follow: true } }
    db: { embedded: { path: out/sensors.db } }
    out: { directory: { path: out } }
sources:
  readings:
    read: files
    schema: { sensor: string, at: timestamp, value: int }
    event_time: { column: at }
transforms:
  valid: { validate: { from: readings, rules: { sane: { check: "value < 1000", reason: "{value} is too much" } } } }
  hourly:
    sql: |
      SELECT window_start AS hour, sensor, COUNT(*) AS n, MAX(value) / (COUNT(*) - 2) AS odd, SUM(value) - 1 AS less
      FROM tumble(valid, at, INTERVAL '1 hour') GROUP BY window_start, sensor
sinks:
  hours: { from: hourly, write: db, mode: overwrite }
  refused: { from: ["*.rejected", "*.late", "*.failed"], write: out, path: "refused/{batch_id}.jsonl" }
"#;

fn sensors(rows: &str) -> Shell {
    let shell = shell();
    shell.write("sensors.yaml", SENSORS);
    shell.write("in.csv", &format!("sensor,at,value\n{rows}"));
    shell
}

#[test]
fn where_everything_is_refused_the_summary_says_why_and_warns() {
    let shell = sensors("a,yesterday,1\nb,today,x\n");
    let ran = shell.run(&["run", "sensors.yaml", "--until-idle"]).ends(0);
    let ran = ran.says(&[
        "Refused\n",
        "readings.rejected     2  bad_timestamp  ",
        "\"today\" is not a time",
        "1  wrong_type",
    ]);
    ran.says(&["warning: all 2 records of readings were refused"]);
    let shell = sensors("a,2024-01-01T00:00:00Z,1000\nb,2024-01-01T00:00:00Z,1\n");
    let ran = shell.run(&["run", "sensors.yaml", "--until-idle"]).ends(0);
    let ran = ran.says(&["valid.rejected     1  sane  1000 is too much"]);
    assert!(!ran.out.contains("warning"), "{}", ran.out);
    let shell = sensors("a,2024-01-01T00:00:00Z,1000\nb,2024-01-01T00:00:00Z,2000\n");
    let document = shell.run(&["run", "sensors.yaml", "--until-idle", "--json"]).ends(0).json();
    assert_eq!(document["warnings"], serde_json::json!(["all 2 rows of valid were refused"]));
    let reason = &document["nodes"][1]["reasons"][0];
    assert_eq!((&reason["rule"], &reason["rows"]), (&"sane".into(), &2.into()));
}

#[test]
fn a_result_that_cannot_be_computed_is_told_by_the_names_of_the_query() {
    let at = "2024-01-01T00:00:00Z";
    // A later hour closes the first one.
    let shell = sensors(&format!("a,{at},1\na,{at},2\nb,{at},3\n"));
    let text = SENSORS.replace(", follow: true", "");
    shell.write("sensors.yaml", &text);
    let ran = shell.run(&["run", "sensors.yaml"]).ends(0);
    ran.says(&["hourly.failed     1  expression  divide by zero", "1 result of hourly could not be computed"]);
    let folder = std::fs::read_dir(shell.folder.path().join("out/refused")).unwrap();
    let refused: String = folder.map(|f| std::fs::read_to_string(f.unwrap().path()).unwrap()).collect();
    let row = r#""row":{"hour":"2024-01-01T00:00:00Z","sensor":"a","n":2,"max(valid.value)":2,"sum(CAST(valid.value AS BIGINT))":3}"#;
    assert!(refused.contains(row), "{refused}");
}

#[test]
fn a_run_that_goes_on_tells_its_own_figures_from_those_of_all_runs() {
    let shell = sensors("a,2024-01-01T00:00:00Z,1\na,2024-01-01T00:10:00Z,x\n");
    let ran = shell.run(&["run", "sensors.yaml", "--until-idle"]).ends(0).says(&["2 records", "Ledger\n"]);
    assert!(!ran.out.contains("in all"), "{}", ran.out);
    let mut file = OpenOptions::new().append(true).open(shell.folder.path().join("in.csv")).unwrap();
    file.write_all(b"a,2024-01-01T02:00:00Z,5\n").unwrap();
    drop(file);
    let ran = shell.run(&["run", "sensors.yaml", "--until-idle"]).ends(0);
    let ran =
        ran.says(&[": 1 record, ", "went on from an earlier run: 3 records in all", "records now  in all", "rows now"]);
    let ran = ran.says(&["Ledger of all runs", "every row is accounted for"]);
    assert!(!ran.out.contains("Refused"), "those of the first run were told there: {}", ran.out);
    let document = shell.run(&["run", "sensors.yaml", "--until-idle", "--json"]).ends(0).json();
    assert_eq!((&document["records"], &document["records_in_all"]), (&0.into(), &3.into()));
    assert_eq!(document["resumed"], true);
}
