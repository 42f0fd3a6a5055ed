//! What a run leaves behind, and how it differs from another's.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io::Read as _;
use std::path::Path;

use flate2::read::MultiGzDecoder;
use millstream_tests::rows::{self, Row};
use rusqlite::Connection;
use rusqlite::types::Value as Cell;

/// What a run leaves, without what may differ between two runs: names of files and the engine's own columns.
#[derive(Debug, PartialEq)]
pub(crate) struct Left {
    pub(crate) kpis: BTreeMap<String, Vec<u8>>,
    /// Rows of `trip_state` by their key.
    pub(crate) table: BTreeMap<String, Vec<(String, Cell)>>,
    pub(crate) rejects: BTreeMap<String, usize>,
    late: BTreeMap<String, usize>,
    /// Lines by their source, and how often each is there.
    pub(crate) raw: BTreeMap<String, usize>,
    pub(crate) dead_letters: i64,
}

impl Left {
    pub(crate) fn of(folder: &Path) -> Self {
        let out = folder.join("out");
        let database = Connection::open(out.join("taxi_trips.db")).unwrap();
        let dead_letters = database.query_row("SELECT count(*) FROM dead_letter", [], |row| row.get(0)).unwrap();
        Self {
            kpis: rows::files(&out.join("kpis")),
            table: table(&database),
            rejects: rows::bag(rows::of_files(&rows::files(&out.join("rejects"))).into_iter().map(refusal)),
            late: rows::bag(rows::of_files(&rows::files(&out.join("late")))),
            raw: raw(&out.join("raw")),
            dead_letters,
        }
    }
    /// How it differs from what was expected; nothing where it does not.
    pub(crate) fn differences(&self, expected: &Self) -> Vec<String> {
        let mut all = self.results(expected);
        all.extend(unlike("rejects", &expected.rejects, &self.rejects));
        all.extend(unlike("late", &expected.late, &self.late));
        all.extend(unlike("raw", &expected.raw, &self.raw));
        if self.dead_letters != expected.dead_letters {
            all.push(format!("{} dead letters", self.dead_letters));
        }
        all
    }
    /// The same of what is overwritten by a run with empty state, where files of lines are added to.
    pub(crate) fn results(&self, expected: &Self) -> Vec<String> {
        let mut all = unlike("kpis", &expected.kpis, &self.kpis);
        all.extend(unlike("table", &expected.table, &self.table));
        all
    }
}

fn table(database: &Connection) -> BTreeMap<String, Vec<(String, Cell)>> {
    let mut select = database.prepare("SELECT * FROM trip_state ORDER BY trip_id").unwrap();
    let names: Vec<String> = select.column_names().map(str::to_owned).collect();
    let rows = select.query_map([], |row| {
        let cells = names.iter().enumerate().filter(|(_, name)| !name.starts_with('_'));
        let cells: Vec<(String, Cell)> =
            cells.map(|(i, name)| Ok((name.clone(), row.get(i)?))).collect::<Result<_, rusqlite::Error>>()?;
        Ok((row.get("trip_id")?, cells))
    });
    rows.unwrap().map(Result::unwrap).collect()
}

/// What says which row was refused by whom and why.
fn refusal(mut row: Row) -> Row {
    row.retain(|name, _| {
        ["component", "rules", "reasons", "row", "raw", "source", "position"].contains(&name.as_str())
    });
    row
}

fn raw(folder: &Path) -> BTreeMap<String, usize> {
    let mut lines = BTreeMap::new();
    for (path, bytes) in rows::files(folder) {
        let source = path.split('/').next().unwrap();
        let mut text = Vec::new();
        MultiGzDecoder::new(bytes.as_slice()).read_to_end(&mut text).unwrap_or_else(|e| panic!("{path}: {e}"));
        for line in String::from_utf8_lossy(&text).lines() {
            *lines.entry(format!("{source}: {line}")).or_default() += 1;
        }
    }
    lines
}

/// Up to three entries that differ.
fn unlike<V: PartialEq + Debug>(what: &str, expected: &BTreeMap<String, V>, got: &BTreeMap<String, V>) -> Vec<String> {
    let all: std::collections::BTreeSet<&String> = expected.keys().chain(got.keys()).collect();
    let unlike: Vec<&String> = all.into_iter().filter(|key| expected.get(*key) != got.get(*key)).collect();
    let shown = unlike.iter().take(3);
    shown
        .map(|key| {
            let (expected, got) = (expected.get(*key), got.get(*key));
            format!("{what}, one of {} that differ: {key}: expected {expected:?}, got {got:?}", unlike.len())
        })
        .collect()
}
