//! What is told of mistakes, and with which exit code.

use crate::shell;

#[test]
fn what_a_newcomer_gets_wrong_is_told_with_the_place_and_the_fix() {
    let shell = shell();
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
    let shell = shell();
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
fn a_missing_input_is_the_environment() {
    let shell = shell();
    shell.starter("orders", &[]);
    let ran = shell.run(&["run", "orders.yaml", "--profile", "files"]).ends(3).says(&["rides_in", "rides/*.csv"]);
    assert!(ran.err.contains("error: "), "{}", ran.err);
    shell.run(&["query", "orders.yaml", "SELECT * FROM day_files"]).ends(3).says(&["run"]);
    // Questions about results need none of the inputs' variables; what cannot be found is said.
    shell.starter(
        "later",
        &[("${RIDES:-rides/*.csv}", "${RIDES}"), ("path: out/later } }", "path: \"${OUT_FOLDER}\" } }")],
    );
    shell.run(&["run", "later.yaml", "--profile", "files"]).ends(2).says(&["RIDES", "OUT_FOLDER"]);
    let unset = shell.run(&["query", "later.yaml", "SELECT * FROM day_files", "--profile", "files"]);
    unset.ends(3).says(&["`${OUT_FOLDER}` is not set"]);
}

#[test]
fn a_failing_test_shows_what_came_instead() {
    let shell = shell();
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
    shell.run(&["test", "orders.yaml", "--filter", "nothing"]).ends(2).says(&["no test's name contains `nothing`"]);
}

#[test]
fn sql_of_a_query_has_carets() {
    let shell = shell();
    shell.starter("orders", &[("trips: 10000", "trips: 100")]);
    shell.run(&["run", "orders.yaml"]).ends(0);
    shell.run(&["query", "orders.yaml", "SELECT dya FROM day_files"]).ends(2).says(&["<query>:1:8", "^^^", "`day`"]);
    let rows =
        shell.run(&["query", "orders.yaml", "SELECT day FROM rides_per_day ORDER BY day LIMIT 1", "--format", "json"]);
    assert!(rows.ends(0).out.starts_with("{\"day\":\""));
}

#[test]
fn what_cannot_be_produced_is_said() {
    let shell = shell();
    shell.starter("orders", &[]);
    shell.write("more.jsonl", "{}\n");
    let produce = |source: &str| shell.run(&["produce", "orders.yaml", source, "--from", "more.jsonl"]);
    produce("ride_in").ends(2).says(&["there is no source named `ride_in`", "did you mean `rides_in`?"]);
    produce("rides_in").ends(2).says(&["nothing can be put into `generate`"]);
}

#[test]
fn a_query_tells_names_that_keep_no_rows_from_those_that_do() {
    let shell = shell();
    shell.starter("orders", &[("trips: 10000", "trips: 100")]);
    let query = |sql: &str| shell.run(&["query", "orders.yaml", sql]).ends(2);
    let can = "what can be queried: day_files, rides_per_day";
    query("SELECT * FROM valid_rides").says(&["is a stream", "millstream preview orders.yaml valid_rides", can]);
    query("SELECT * FROM valid_rides.rejected").says(&["`valid_rides.rejected` cannot be queried", can]);
    query("SELECT * FROM refused").says(&["`refused` cannot be queried: it is a sink that appends", can]);
    query("SELECT * FROM day_fils").says(&["no stream named `day_fils`", "did you mean `day_files`?"]);
}

/// What `run` suggests works, also where rows are kept in SQLite.
#[test]
fn rows_in_tables_of_sqlite_can_be_queried() {
    let shell = shell();
    let keyed =
        "day_files: { from: [rides_per_day], write: db, mode: overwrite }\n  each: { from: valid_rides, write: db }";
    shell.starter("orders", &[("trips: 10000", "trips: 100")]);
    let text = std::fs::read_to_string(shell.folder.path().join("orders.yaml")).unwrap();
    let sink = text.lines().find(|l| l.trim_start().starts_with("day_files:")).unwrap().trim();
    let text =
        text.replace(sink, keyed).replacen("  local:\n", "  local:\n    db: { embedded: { path: kept.db } }\n", 1);
    shell.write("orders.yaml", &text);
    shell.run(&["query", "orders.yaml", "SELECT * FROM day_files"]).ends(3).says(&["has not written anything yet"]);
    assert!(!shell.folder.path().join("kept.db").exists(), "a question must not make a database");
    let ran = shell.run(&["run", "orders.yaml"]).ends(0);
    ran.says(&["First rows of day_files", "\"SELECT * FROM day_files\""]);
    let asked = |sql: &str| shell.run(&["query", "orders.yaml", sql, "--format", "json"]).ends(0).out;
    let sum = asked("SELECT SUM(rides) AS n FROM day_files");
    assert_eq!(sum, asked("SELECT COUNT(*) AS n FROM each"));
    assert!(!sum.contains(":0}"), "{sum}");
}
