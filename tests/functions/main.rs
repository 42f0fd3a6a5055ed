//! Functions of the user's, through the binary: from `udf new` to a running pipeline, and what a crash makes of answers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use millstream_tests::binary::{binary, root, udf_cache};
use millstream_tests::shell::{Ran, Shell};
use serde_json::Value;

fn shell() -> Shell {
    Shell::of(binary()).with("NO_COLOR", "1").with("MILLSTREAM_UDF_CACHE", udf_cache()).with("RUST_BACKTRACE", "0")
}

/// A crate of this repository.
fn of_repository(path: &str) -> String {
    root().join(path).display().to_string()
}

#[test]
fn a_new_crate_is_called_before_there_is_a_pipeline() {
    let shell = shell();
    shell.run(&["udf", "new", "udfs/times"]).exits(0).says(&["wrote the crate udfs/times", "crate: udfs/times"]);
    shell.run(&["udf", "build", "udfs/times"]).exits(0).says(&["times(bigint, bigint) -> bigint", "scalar"]);
    let rows = ["udf", "test", "udfs/times", "--row", "[6, 7]", "--row", "[null, 7]", "--format", "json"];
    let called = shell.run(&rows).exits(0);
    let results: Vec<Value> = called.out.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!((&results[0]["times"], &results[1]["times"]), (&Value::from(42), &Value::Null));
    shell.run(&["udf", "new", "udfs/times"]).exits(3).says(&["is there already"]);
    shell.run(&["udf", "new", "udfs/sum"]).exits(2).says(&["SQL has a function `sum` already"]);
    shell.run(&["udf", "new", "udfs/Times-2"]).exits(2).says(&["cannot be the name of a function"]);
    let wrong = shell.run(&["udf", "test", "udfs/times", "--row", "[6, \"x\"]"]).exits(2);
    wrong.says(&["row 1: argument 2 is not of type bigint", "times(bigint, bigint)"]);
    shell.run(&["udf", "test", "udfs/times", "--row", "[6]"]).exits(2).says(&["1 values for 2 arguments"]);
    shell.run(&["udf", "build", "udfs/nowhere"]).exits(2).says(&["there is no crate", "udf new"]);
}

/// The first block of a language in the guide.
fn in_guide(language: &str) -> String {
    let guide = std::fs::read_to_string(root().join("docs/udfs.md")).unwrap();
    let (_, block) = guide.split_once(&format!("```{language}\n")).unwrap();
    block.split_once("```").unwrap().0.to_owned()
}

#[test]
fn the_guide_leads_from_nothing_to_a_function_in_a_running_pipeline() {
    let shell = shell();
    shell.run(&["udf", "new", "udfs/trip_score"]).exits(0);
    shell.write("udfs/trip_score/src/lib.rs", &in_guide("rust"));
    let rows = ["udf", "test", "udfs/trip_score", "--row", "[12.5, 3400]", "--row", "[null, 100]"];
    assert_eq!(shell.run(&rows).exits(0).out, in_guide("text"));
    shell.write("trips.yaml", &in_guide("yaml"));
    shell.run(&["check", "trips.yaml"]).exits(0);
    shell.run(&["test", "trips.yaml"]).exits(0).says(&["1 test passed"]);
    let ran = shell.run(&["run", "trips.yaml"]).exits(0);
    ran.says(&["every row is accounted for"]);
    shell.run(&["list", "trips.yaml"]).exits(0).says(&["trip_score(double, bigint) -> bigint"]);
    let results: Vec<_> = std::fs::read_dir(shell.folder.path().join("out/trips/scores")).unwrap().flatten().collect();
    let rows: usize = results.iter().map(|f| std::fs::read_to_string(f.path()).unwrap().lines().count()).sum();
    assert!(rows > 9_000, "{rows} of 10,000 generated trips are scored");
}

#[test]
fn aggregates_and_async_functions_begin_the_same_way() {
    let shell = shell();
    shell.run(&["udf", "new", "spread", "--aggregate"]).exits(0);
    let called = shell.run(&["udf", "test", "spread", "--row", "[9]", "--row", "[1]", "--format", "csv"]).exits(0);
    assert_eq!(called.out, "spread\n8\n");
    shell.run(&["udf", "new", "name_of", "--async"]).exits(0);
    shell.run(&["udf", "build", "name_of"]).exits(0).says(&["name_of(bigint) -> string", "async"]);
    let called = shell.run(&["udf", "test", "name_of", "--row", "[7]", "--row", "[-1]", "--format", "csv"]).exits(0);
    assert_eq!(called.out, "argument 1,name_of\n7,name of 7\n-1,\n");
}

#[test]
fn a_row_that_a_function_panics_on_is_told() {
    let shell = shell();
    let troubled = of_repository("tests/udfs/troubled");
    let ran = shell.run(&["udf", "test", &troubled, "--row", "[\"a\", 2]", "--row", "[\"a\", 13]"]);
    assert_eq!(ran.code, 2, "{}", ran.err);
    assert!(ran.out.contains("aa"), "{}", ran.out);
    assert!(ran.err.contains("row 2: `troubled` panicked"), "{}", ran.err);
}

/// A pipeline over `rows.jsonl` that asks an async function, with these options of it.
fn calls(shell: &Shell, options: &str, rows: &str) {
    let slowly = of_repository("tests/udfs/slowly");
    shell.write("rows.jsonl", rows);
    shell.write(
        "calls.yaml",
        &format!(
            "version: 1
name: calls
profiles:
  local:
    rows_in: {{ file: {{ path: rows.jsonl }} }}
    kept: {{ embedded: {{ path: out/kept.db }} }}
    lake: {{ directory: {{ path: out }} }}
udfs: {{ slowly: {{ crate: \"{slowly}\", timeout: 20s{options} }} }}
sources:
  rows:
    read: rows_in
    schema: {{ id: bigint, n: bigint, at: timestamp }}
    event_time: {{ column: at }}
tables: {{ answers: {{ store: kept, key: id }} }}
transforms:
  answered: {{ sql: \"SELECT id, at, slowly(n) AS twice FROM rows\" }}
  hours:
    sql: |
      SELECT window_start, COUNT(*) AS rows, SUM(twice) AS total FROM tumble(answered, at, INTERVAL '1 hour')
      GROUP BY window_start, window_end
  keep: {{ upsert: {{ into: answers, set: {{ answered: [twice] }} }} }}
sinks:
  hourly: {{ from: [hours], write: lake, path: \"hours/{{window_start:%H}}.json\", mode: overwrite }}
  list: {{ from: [answered], write: lake, path: \"list/{{batch_id}}.jsonl\" }}
  refused: {{ from: [\"*.failed\", \"*.late\", \"*.rejected\"], write: lake, path: \"refused/{{batch_id}}.jsonl\" }}
"
        ),
    );
}

fn rows(ns: impl IntoIterator<Item = i64>) -> String {
    let row = |(id, n): (i64, i64)| format!("{{\"id\":{id},\"n\":{n},\"at\":\"2026-03-01T09:{:02}:00Z\"}}\n", id % 60);
    (1..).zip(ns).map(row).collect()
}

#[track_caller]
fn query(shell: &Shell, sql: &str) -> Ran {
    shell.run(&["query", "calls.yaml", sql, "--format", "csv"])
}

/// The ids of `list`, as they stand in its files.
fn listed(shell: &Shell) -> Vec<i64> {
    let mut ids = Vec::new();
    for file in std::fs::read_dir(shell.folder.path().join("out/list")).unwrap().flatten() {
        let text = std::fs::read_to_string(file.path()).unwrap();
        ids.extend(text.lines().map(|l| serde_json::from_str::<Value>(l).unwrap()["id"].as_i64().unwrap()));
    }
    ids
}

#[test]
fn order_is_kept_over_several_calls() {
    let shell = shell();
    calls(&shell, ", ordered: true, deterministic: true", &rows((0..60).map(|i| 120 - 2 * i)));
    let file = std::fs::read_to_string(shell.folder.path().join("calls.yaml")).unwrap();
    shell.write("calls.yaml", &file.replace("slowly(n) AS twice", "slowly(300 - slowly(n)) + slowly(n) AS twice"));
    shell.run(&["run", "calls.yaml", "--workers", "1"]).exits(0).says(&["every row is accounted for"]);
    assert_eq!(listed(&shell), (1..=60).collect::<Vec<i64>>());
    let total: i64 = (0..60).map(|i| 120 - 2 * i).map(|n| 2 * (300 - 2 * n) + 2 * n).sum();
    let kept = query(&shell, "SELECT count(*) AS rows, sum(twice) AS total FROM answers").exits(0);
    assert_eq!(kept.out, format!("rows,total\n60,{total}\n"));
}

#[test]
fn windows_wait_for_answers_and_order_is_kept_where_asked_for() {
    let shell = shell();
    // The first rows are answered last, long after the input and its watermarks have ended.
    calls(&shell, ", ordered: true, deterministic: true", &rows((0..60).map(|i| 600 - 10 * i)));
    shell.run(&["run", "calls.yaml", "--workers", "1"]).exits(0).says(&["every row is accounted for"]);
    let total: i64 = (0..60).map(|i| 2 * (600 - 10 * i)).sum();
    let hours = query(&shell, "SELECT rows, total FROM hourly").exits(0);
    assert_eq!(hours.out, format!("rows,total\n60,{total}\n"));
    assert_eq!(listed(&shell), (1..=60).collect::<Vec<i64>>());
    let kept = query(&shell, "SELECT count(*) AS rows, sum(twice) AS total FROM answers").exits(0);
    assert_eq!(kept.out, format!("rows,total\n60,{total}\n"));
}

#[test]
fn answers_have_no_effect_before_a_checkpoint_holds_them() {
    for (options, before) in [("", "rows\n0\n"), (", deterministic: true", "rows\n5\n")] {
        let shell = shell();
        calls(&shell, options, &rows([1, 2, 3, 4, 5]));
        let run = ["run", "calls.yaml", "--workers", "2"];
        let mut dying = shell.command(&run);
        dying.env("MILLSTREAM_CRASH_AT", "claim.before");
        assert_ne!(Ran::of(dying.output().unwrap()).code, 0);
        let count = "SELECT count(*) AS rows FROM answers";
        assert_eq!(query(&shell, count).exits(0).out, before, "{options}");
        shell.run(&run).exits(0).says(&["every row is accounted for"]);
        assert_eq!(
            query(&shell, "SELECT count(*) AS rows, sum(twice) AS total FROM answers").exits(0).out,
            "rows,total\n5,30\n"
        );
        assert_eq!(query(&shell, "SELECT rows, total FROM hourly").exits(0).out, "rows,total\n5,30\n");
    }
}

#[test]
fn a_process_that_dies_before_it_has_written_what_counts_leaves_it_to_the_next() {
    for point in ["claim.after", "committed.before"] {
        let shell = shell();
        calls(&shell, "", &rows([1, 2, 3, 4, 5]));
        let run = ["run", "calls.yaml", "--workers", "2"];
        let mut dying = shell.command(&run);
        dying.env("MILLSTREAM_CRASH_AT", point);
        assert_ne!(Ran::of(dying.output().unwrap()).code, 0, "{point}");
        shell.run(&run).exits(0);
        let kept = query(&shell, "SELECT count(*) AS rows, sum(twice) AS total FROM answers").exits(0);
        assert_eq!(kept.out, "rows,total\n5,30\n", "{point}");
    }
}

#[test]
fn queries_give_what_runs_give() {
    let shell = shell();
    calls(&shell, ", deterministic: true", &rows([1, 2, 3]));
    shell.run(&["run", "calls.yaml"]).exits(0);
    let asked = query(&shell, "SELECT id, twice, slowly(twice) AS again FROM answers ORDER BY id").exits(0);
    assert_eq!(asked.out, "id,twice,again\n1,2,4\n2,4,8\n3,6,12\n");
    query(&shell, "SELECT slowly('x') FROM answers")
        .exits(2)
        .says(&["argument 1 of `slowly` is string, and bigint is needed"]);
    let shown = shell.run(&["preview", "calls.yaml", "answered", "--rows", "3", "--format", "csv"]).exits(0);
    let mut lines: Vec<&str> = shown.out.lines().skip(1).collect();
    lines.sort_unstable();
    assert!(
        lines.len() == 3 && lines.iter().zip([2, 4, 6]).all(|(l, twice)| l.ends_with(&format!(",{twice}"))),
        "{}",
        shown.out
    );
}

#[test]
fn aggregates_give_in_queries_what_they_give_in_windows() {
    let shell = shell();
    calls(&shell, ", deterministic: true", &rows([4, 3, 9, 2]));
    let file = std::fs::read_to_string(shell.folder.path().join("calls.yaml")).unwrap();
    let median = format!("udfs: {{ median_fare: {{ crate: \"{}\" }}, ", of_repository("udfs/median_fare"));
    let file = file.replace("udfs: {", &median).replace("SUM(twice)", "median_fare(twice)");
    shell.write("calls.yaml", &file);
    shell.run(&["run", "calls.yaml"]).exits(0);
    // Of 4, 6, 8, 18.
    assert_eq!(query(&shell, "SELECT rows, total FROM hourly").exits(0).out, "rows,total\n4,7\n");
    assert_eq!(query(&shell, "SELECT median_fare(twice) AS m FROM answers").exits(0).out, "m\n7\n");
    let running = "SELECT id, median_fare(twice) OVER (ORDER BY id) AS m FROM answers ORDER BY id";
    assert_eq!(query(&shell, running).exits(0).out, "id,m\n1,8\n2,7\n3,8\n4,7\n");
    let sliding = "SELECT median_fare(twice) OVER (ORDER BY id ROWS 1 PRECEDING) AS m FROM answers";
    query(&shell, sliding).exits(2).says(&["`median_fare` over a frame that slides", "UNBOUNDED PRECEDING"]);
    query(&shell, "SELECT median_fare(CAST(NULL AS BIGINT)) AS m FROM answers").exits(0).says(&["m\n\"\"\n"]);
}

/// Where `udf build` says that a crate's library is.
fn built(shell: &Shell, folder: &str) -> String {
    let said = shell.run(&["udf", "build", &of_repository(folder)]).exits(0).out;
    said.lines().nth(1).unwrap().trim().to_owned()
}

#[test]
fn a_built_library_needs_no_crate_but_its_types() {
    let shell = shell();
    calls(&shell, "", &rows([4, 3, 9, 2]));
    let file = std::fs::read_to_string(shell.folder.path().join("calls.yaml")).unwrap();
    let (head, rest) = file.split_once("udfs: {").unwrap();
    let (_, rest) = rest.split_once("} }\n").unwrap();
    let udfs = |returns: &str| {
        let [surge, median, slowly] =
            ["udfs/surge_multiplier", "udfs/median_fare", "tests/udfs/slowly"].map(|f| built(&shell, f));
        format!(
            "{head}udfs:
  surge: {{ library: \"{surge}\", args: [bigint, bigint], returns: {returns} }}
  middle: {{ library: \"{median}\", args: [bigint], returns: bigint, kind: aggregate }}
  slowly: {{ library: \"{slowly}\", args: [bigint], returns: bigint, kind: async, timeout: 20s, max_in_flight: 2 }}
{}",
            rest.replace("SUM(twice)", "surge(middle(twice), 3)")
        )
    };
    shell.write("calls.yaml", &udfs("double"));
    shell.run(&["run", "calls.yaml"]).exits(0);
    // 7 for 3
    assert_eq!(query(&shell, "SELECT rows, total FROM hourly").exits(0).out, "rows,total\n4,2.0\n");
    shell.write("calls.yaml", &udfs("bigint"));
    let wrong = shell.run(&["check", "calls.yaml"]).exits(2);
    wrong.says(&["is not a function (bigint, bigint) -> bigint", "the library gives double, and bigint is declared"]);
}

#[test]
fn the_functions_of_a_file_are_listed() {
    let shell = shell();
    calls(&shell, ", max_in_flight: 7, deterministic: true", "");
    let listed = shell.run(&["list", "calls.yaml"]).exits(0);
    listed.says(&["slowly(bigint) -> bigint", "give null", "7 at once, 20s each, in any order, deterministic"]);
    let udfs: Value = serde_json::from_str(&shell.run(&["list", "calls.yaml", "--json"]).exits(0).out).unwrap();
    let expected = serde_json::json!({ "udfs": [{
        "name": "slowly", "kind": "async", "args": [{ "type": "bigint", "optional": false }], "returns": "bigint",
        "ordered": false, "timeout": "20s", "max_in_flight": 7, "deterministic": true,
    }]});
    assert_eq!(udfs, expected);
    let file = std::fs::read_to_string(shell.folder.path().join("calls.yaml")).unwrap();
    let (more, troubled) = (of_repository("tests/udfs/first_and_last"), of_repository("tests/udfs/troubled"));
    let three =
        format!("udfs: {{ ends: {{ crate: \"{more}\" }}, t: {{ crate: \"{troubled}\" }}, gone: {{ crate: nowhere }}, ");
    shell.write("three.yaml", &file.replace("udfs: {", &three));
    let listed = shell.run(&["list", "three.yaml"]).exits(2);
    listed.says(&["ends(", "one per group", "t(string?, bigint) -> string", "but for argument 1", "there is no crate"]);
}

/// A geocoder: by latitude. 3 is never answered well, 4 only when it is asked for the third time.
fn geocoder() -> String {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn serve(stream: TcpStream, asked: &AtomicUsize) -> std::io::Result<()> {
        let mut answers = stream.try_clone()?;
        let mut lines = BufReader::new(stream).lines();
        // Requests follow one another on a connection.
        while let Some(request) = lines.next().transpose()? {
            while lines.next().transpose()?.is_some_and(|header| !header.is_empty()) {}
            let (status, body) = match request.split(['=', '&']).nth(1) {
                Some("1.5") => ("200 OK", "43"),
                Some("2.5") => ("404 Not Found", "no zone"),
                Some("4.5") if asked.fetch_add(1, Ordering::Relaxed) >= 2 => ("200 OK", "161\n"),
                Some("5.5") => ("200 OK", "not a number"),
                _ => ("503 Service Unavailable", "later"),
            };
            write!(answers, "HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len())?;
        }
        Ok(())
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let asked = asked.clone();
            // A connection that breaks is the client's to notice.
            std::thread::spawn(move || serve(stream, &asked).ok());
        }
    });
    url
}

#[test]
fn a_geocoder_is_asked_over_http() {
    let shell = shell();
    let crate_folder = of_repository("udfs/geocode_zone");
    let rows = ["[1.5, 0]", "[2.5, 0]", "[3.5, 0]", "[4.5, 0]", "[5.5, 0]", "[null, 0]"];
    let mut args = vec!["udf", "test", &crate_folder, "--format", "csv"];
    for row in rows {
        args.extend(["--row", row]);
    }
    let ran = Ran::of(shell.command(&args).env("GEOCODER_URL", geocoder()).output().unwrap());
    assert_eq!(ran.code, 2, "{}\n{}", ran.out, ran.err);
    let zones: Vec<&str> = ran.out.lines().skip(1).map(|l| l.rsplit(',').next().unwrap()).collect();
    assert_eq!(zones, ["43", "", "", "161", "", ""], "{}\n{}", ran.out, ran.err);
    assert!(ran.err.contains("row 3: `geocode_zone` panicked"), "{}", ran.err);
    assert!(ran.err.contains("row 5: `geocode_zone` panicked"), "{}", ran.err);
    assert!(ran.err.contains("503 Service Unavailable"), "{}", ran.err);
}
