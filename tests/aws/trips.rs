//! The trips that are sent: those of `TRIP_DATA` where it is set, else generated ones; and what they come to.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use serde_json::{Map, Value};
use tempfile::TempDir;

use crate::resources::{Item, plain};
use crate::succeeded;
use millstream_aws_tests::binary::{binary, root};

/// Files with the records of both streams.
pub(crate) struct Trips {
    _folder: Option<TempDir>,
    pub(crate) starts: PathBuf,
    pub(crate) ends: PathBuf,
    /// What has to come out.
    pub(crate) outcome: Outcome,
}

/// What a run leaves, as far as it does not depend on where it ran.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) table: BTreeMap<String, Item>,
    /// By path.
    pub(crate) kpis: BTreeMap<String, String>,
    /// Refused rows: how often each is there.
    pub(crate) rejects: BTreeMap<String, usize>,
    pub(crate) late: BTreeMap<String, usize>,
}

impl Trips {
    /// Eight hundred trips of two days with many duplicates, and many records that are refused.
    pub(crate) fn few() -> &'static Self {
        static TRIPS: LazyLock<Trips> = LazyLock::new(Trips::generated);
        &TRIPS
    }
    /// The files of `TRIP_DATA`.
    pub(crate) fn real() -> Option<&'static Self> {
        static TRIPS: LazyLock<Option<Trips>> = LazyLock::new(|| {
            let folder = PathBuf::from(std::env::var_os("TRIP_DATA").filter(|folder| !folder.is_empty())?);
            Some(Trips::of(None, folder.join("trip_start.csv"), folder.join("trip_end.csv")))
        });
        TRIPS.as_ref()
    }
    fn generated() -> Self {
        let folder = TempDir::new().unwrap();
        let pipeline = Path::new(env!("CARGO_MANIFEST_DIR")).join("make_trips.yaml");
        succeeded(Command::new(binary()).arg("run").arg(pipeline).args(["--workers", "1"]).current_dir(folder.path()));
        let file = |part: &str| {
            let mut files = fs::read_dir(folder.path().join("trips").join(part)).unwrap().map(|e| e.unwrap().path());
            let file = files.find(|path| path.extension().is_some_and(|e| e == "jsonl")).unwrap();
            assert_eq!(files.find(|path| path.extension().is_some_and(|e| e == "jsonl")), None);
            file
        };
        let (starts, ends) = (file("starts"), file("ends"));
        Self::of(Some(folder), starts, ends)
    }
    /// What comes of them on the laptop is what has to come of them at AWS.
    fn of(folder: Option<TempDir>, starts: PathBuf, ends: PathBuf) -> Self {
        let outcome = Outcome::on_files(&starts, &ends);
        assert!(!outcome.table.is_empty() && !outcome.kpis.is_empty());
        Self { _folder: folder, starts, ends, outcome }
    }
    /// Trips that are complete in the end.
    pub(crate) fn completed(&self) -> usize {
        self.outcome.table.values().filter(|item| item["status"] == "COMPLETED").count()
    }
    /// Both files in so many parts, one after the other.
    pub(crate) fn parts(&self, count: usize, folder: &Path) -> Vec<(PathBuf, PathBuf)> {
        let cut = |from: &Path, name: &str| -> Vec<PathBuf> {
            let text = fs::read_to_string(from).unwrap();
            let lines: Vec<&str> = text.lines().collect();
            let part = |(i, lines): (usize, &[&str])| {
                let path = folder.join(format!("{name}_{i}.jsonl"));
                fs::write(&path, lines.join("\n") + "\n").unwrap();
                path
            };
            lines.chunks(lines.len().div_ceil(count)).enumerate().map(part).collect()
        };
        cut(&self.starts, "starts").into_iter().zip(cut(&self.ends, "ends")).collect()
    }
    /// Both files' first and second halves.
    pub(crate) fn halves(&self, folder: &Path) -> [(PathBuf, PathBuf); 2] {
        self.parts(2, folder).try_into().unwrap()
    }
}

impl Outcome {
    /// Runs the pipeline on its profile `csv` over files.
    fn on_files(starts: &Path, ends: &Path) -> Self {
        let folder = TempDir::new().unwrap();
        let command = |name: &str| {
            let mut command = Command::new(binary());
            command.arg(name).arg(root().join("pipelines/taxi_trips.yaml")).current_dir(folder.path());
            command.args(["--profile", "csv"]).env("TRIP_DATA", folder.path());
            for (stream, file) in [("start_stream", starts), ("end_stream", ends)] {
                let format = if file.extension().is_some_and(|e| e == "csv") { "csv" } else { "json" };
                let option = format!("profiles.csv.{stream}.file");
                command.arg("--set").arg(format!("{option}.path={}", file.display()));
                command.arg("--set").arg(format!("{option}.format={format}"));
            }
            command
        };
        succeeded(&mut command("run"));
        let mut query = command("query");
        let table = succeeded(query.arg("SELECT * FROM trip_state").args(["--format", "json"]));
        let out = folder.path().join("out");
        let lines = |part: &str| {
            let files = files(&out.join(part));
            files.into_values().flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect()
        };
        let kpis = files(&out.join("kpis")).into_iter().map(|(path, text)| (format!("kpis/{path}"), text));
        Self {
            table: table.lines().map(|line| item(&object(line))).map(|item| (item["trip_id"].clone(), item)).collect(),
            kpis: kpis.collect(),
            rejects: refusals(lines("rejects")),
            late: refusals(lines("late")),
        }
    }
    /// How it differs from what was expected; nothing where it does not.
    pub(crate) fn differences(&self, expected: &Self) -> Vec<String> {
        let mut all = unlike("table", &expected.table, &self.table);
        all.extend(unlike("kpis", &expected.kpis, &self.kpis));
        all.extend(unlike("rejects", &expected.rejects, &self.rejects));
        all.extend(unlike("late", &expected.late, &self.late));
        all
    }
}

pub(crate) fn object(line: &str) -> Map<String, Value> {
    serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))
}

/// A row of `query`, as an item of DynamoDB: nulls are absent, numbers are text.
fn item(row: &Map<String, Value>) -> Item {
    let text = |value: &Value| match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        number => Some(plain(&number.to_string())),
    };
    row.iter().filter_map(|(name, value)| Some((name.clone(), text(value)?))).collect()
}

/// What says which row was refused by whom and why: not where it stood.
pub(crate) fn refusals(lines: Vec<String>) -> BTreeMap<String, usize> {
    let mut bag = BTreeMap::new();
    for line in lines {
        let mut row = object(&line);
        row.retain(|name, _| ["component", "rule", "rules", "reasons", "row", "trip_id"].contains(&name.as_str()));
        *bag.entry(Value::Object(row).to_string()).or_default() += 1;
    }
    bag
}

/// Every visible file below a folder by its path there.
fn files(folder: &Path) -> BTreeMap<String, String> {
    let (mut found, mut folders) = (BTreeMap::new(), vec![folder.to_path_buf()]);
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.')) {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().to_string_lossy().into_owned();
                found.insert(name, fs::read_to_string(&path).unwrap());
            }
        }
    }
    found
}

/// Up to three entries that differ.
fn unlike<V: PartialEq + std::fmt::Debug>(
    what: &str,
    expected: &BTreeMap<String, V>,
    got: &BTreeMap<String, V>,
) -> Vec<String> {
    let all: std::collections::BTreeSet<&String> = expected.keys().chain(got.keys()).collect();
    let unlike: Vec<&String> = all.into_iter().filter(|key| expected.get(*key) != got.get(*key)).collect();
    let told = |key: &&String| {
        let (expected, got) = (expected.get(*key), got.get(*key));
        format!("{what}, one of {} that differ: {key}:\n  expected {expected:?}\n  got      {got:?}", unlike.len())
    };
    unlike.iter().take(3).map(told).collect()
}
