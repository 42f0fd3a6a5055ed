//! The shipped flagship: over generated trips its KPI files are the generator's truth; over CSV files as they are in
//! the world, what a fold over their lines says.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use millstream_runtime::metrics::Snapshot;
use millstream_tests::check::{Reading, check};
use millstream_tests::rows::{self, Row};
use millstream_tests::run::{Tables, run_and_account};
use tempfile::TempDir;

const FLAGSHIP: &str = include_str!("../../pipelines/taxi_trips.yaml");
const GENERATED: &str = "trips: 100000, days: 7, seed: 42";

/// The flagship with its outputs below a folder.
fn flagship(out: &Path) -> String {
    let out = out.to_string_lossy();
    let text =
        FLAGSHIP.replace("path: out/", &format!("path: {out}/")).replace("path: out }", &format!("path: {out} }}"));
    assert!(
        text.contains(GENERATED) && text.contains("truth: out/truth.jsonl"),
        "the flagship has changed its profile"
    );
    text.replace("truth: out/", &format!("truth: {out}/"))
}

struct Ran {
    snapshot: Snapshot,
    table: Vec<Row>,
    files: BTreeMap<String, Vec<u8>>,
}

fn run(text: &str, out: &Path, profile: &str, environment: Vec<(String, String)>, workers: usize) -> Ran {
    let reading = Reading { profile: Some(profile.to_owned()), run: true, environment, ..Reading::default() };
    let graph = check(text, &reading).graph("taxi_trips.yaml", text);
    let tables = Tables::of(&graph);
    let snapshot = run_and_account(graph, workers);
    Ran { snapshot, table: rows::of(&tables.rows("trip_state")), files: rows::files(out) }
}

impl Ran {
    fn kpis(&self) -> Vec<u8> {
        self.files.iter().filter(|(path, _)| path.starts_with("kpis/")).flat_map(|(_, bytes)| bytes.clone()).collect()
    }
    fn statuses(&self) -> BTreeMap<&str, usize> {
        self.table.iter().fold(BTreeMap::new(), |mut counts, row| {
            *counts.entry(row["status"].as_str().unwrap()).or_default() += 1;
            counts
        })
    }
}

#[test]
fn the_kpis_of_generated_trips_are_the_truth() {
    let none = "duplicates: 0, disorder: 0, hours_late: 0, bad_json: 0, missing_field: 0, wrong_type: 0, bad_date: 0, \
                bad_rule: 0, unmatched_ends: 0, unfinished_trips: 0";
    let many = "duplicates: 0.1, disorder: 0.3, bad_json: 0.02, missing_field: 0.02, wrong_type: 0.02, bad_date: 0.02, \
                bad_rule: 0.02, unmatched_ends: 0.05, unfinished_trips: 0.05";
    for (seed, shares, workers) in [(1, "", 2), (2, none, 1), (3, many, 4)] {
        let out = TempDir::new().unwrap();
        let options = format!("trips: 5000, days: 3, seed: {seed}, shares: {{ {shares} }}");
        let text = flagship(out.path()).replace(GENERATED, &options);
        let ran = run(&text, out.path(), "local", Vec::new(), workers);
        let truth = &ran.files["truth.jsonl"];
        let kpis = String::from_utf8(ran.kpis()).unwrap();
        assert_eq!(kpis, String::from_utf8_lossy(truth), "seed {seed}, {shares}");
        let completed: u64 = kpis.lines().map(|line| rows::parse(line)["trip_count"].as_u64().unwrap()).sum();
        assert_eq!(ran.statuses()["COMPLETED"] as u64, completed, "seed {seed}, {shares}");
        let raw: usize = gunzipped_lines(&ran.files);
        let read: u64 = ran.snapshot.nodes.iter().filter(|n| n.kind == "source").map(|n| n.counts.input).sum();
        assert_eq!(raw as u64, read, "the archive has every record that was read");
    }
}

/// Lines in the archive of raw records.
fn gunzipped_lines(files: &BTreeMap<String, Vec<u8>>) -> usize {
    let raw = files.iter().filter(|(path, _)| path.starts_with("raw/"));
    let lines = raw.map(|(path, bytes)| {
        let mut text = Vec::new();
        std::io::copy(&mut flate2::read::MultiGzDecoder::new(bytes.as_slice()), &mut text)
            .unwrap_or_else(|e| panic!("{path}: {e}"));
        text.iter().filter(|b| **b == b'\n').count()
    });
    lines.sum()
}

/// A start and an end per line as such files are: dates in two ways, whole numbers with a point, text in quotes, empty
/// cells, Windows line ends, blank lines, no line end at the end.
const STARTS: &str = "\u{feff}trip_id,pickup_location_id,dropoff_location_id,vendor_id,pickup_datetime,estimated_dropoff_datetime,estimated_fare_amount\r\n\
    a1,93,93,1,25-05-2024 13:19,25-05-2024 14:03,34.18595284\r\n\
    \"a2\",247,\"247\",,2024-05-25 18:32:00,,69.12471722\r\n\
    \r\n\
    a3,1.0,265.0,2.0,25-05-2024 23:59,,0\r\n\
    a4,93,93,1,25-05-2024 10:00,,12\r\n\
    a4,93,93,1,25-05-2024 10:00,,12\r\n\
    a5,300,93,1,25-05-2024 10:00,,12\r\n\
    a6,93,93,1,2024/05/25,,12\r\n\
    a7,93,93,1.5,25-05-2024 10:00,,12\r\n\
    \"a,8\",93,93,1,26-05-2024 00:00,,\"1\"";
const ENDS: &str = "dropoff_datetime,rate_code,passenger_count,trip_distance,fare_amount,tip_amount,payment_type,trip_type,trip_id\n\
    2024-05-25 14:05:00,5.0,0.0,0.1,40.09620692463166,0.0,3.0,2.0,a1\n\
    2024-05-25 19:15:00,5.0,1.0,0.0,69.125,,,,a2\n\
    2024-05-26 00:30:00,,,,10.135,,,,a3\n\
    2024-05-26 00:31:00,,,,1e1,,,,\"a,8\"\n\
    2024-05-26 00:32:00,,,,ten,,,,a9\n\
    2024-05-26 00:33:00,,,,99999,,,,a9\n\
    2024-05-26 00:34:00,,,,7.5,,,,a10\n";

#[test]
fn csv_files_as_they_are_in_the_world() {
    for workers in [1, 2] {
        let (out, data) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        fs::write(data.path().join("trip_start.csv"), STARTS).unwrap();
        fs::write(data.path().join("trip_end.csv"), ENDS).unwrap();
        let environment = vec![("TRIP_DATA".to_owned(), data.path().to_string_lossy().into_owned())];
        let ran = run(&flagship(out.path()), out.path(), "csv", environment, workers);
        assert_eq!(ran.statuses(), BTreeMap::from([("AWAITING_START", 1), ("COMPLETED", 4), ("STARTED", 1)]));
        let expected = concat!(
            // 40.10 + 69.12 + 10.14: halves go to the even cent, over all digits.
            r#"{"date":"2024-05-25","total_fare":119.36,"trip_count":3,"average_fare":39.786666,"max_fare":69.12,"min_fare":10.14}"#,
            "\n",
            r#"{"date":"2024-05-26","total_fare":10.00,"trip_count":1,"average_fare":10.000000,"max_fare":10.00,"min_fare":10.00}"#,
            "\n",
        );
        assert_eq!(String::from_utf8(ran.kpis()).unwrap(), expected);
        let rejects = ran.files.iter().filter(|(path, _)| path.starts_with("rejects/"));
        let rejects = rows::of_files(&rejects.map(|(p, b)| (p.clone(), b.clone())).collect());
        let rules: Vec<String> = rejects.iter().map(|r| r["rules"].to_string()).collect();
        // a5 by its zone, a6 by its date, a7 by its vendor, "ten", 99999.
        assert_eq!(rules.len(), 5, "{rules:?}");
        let duplicates: u64 = ran.snapshot.nodes.iter().map(|n| n.counts.duplicate).sum();
        assert_eq!(duplicates, 1, "a4");
    }
}
