//! What must hold of a checkpoint, of a run that has ended, and of everything that was left: each gives what is broken.

use std::collections::BTreeMap;
use std::path::Path;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, UInt64Type};
use millstream_core::batch::{Batch, hidden};
use millstream_local::memory::Memory;
use millstream_runtime::metrics::Snapshot;
use millstream_state::checkpoint::Manifest;
use millstream_tests::rows::{self, Row};
use serde_json::Value;

use crate::model::{Bag, Model, place, reject};

/// The ledger of a checkpoint: every node adds up, and what a port gave is what its readers took.
pub(crate) fn ledger_of(manifest: &Manifest) -> Vec<String> {
    let mut broken = Vec::new();
    let given: BTreeMap<&String, u64> =
        manifest.counters.values().flat_map(|c| &c.given).map(|(p, n)| (p, *n)).collect();
    for (node, counters) in &manifest.counters {
        if !counters.counts.adds_up() || !counters.table.adds_up() {
            broken.push(format!("the ledger of {node} does not add up: {counters:?}"));
        }
        for (port, taken) in &counters.taken {
            if given.get(port) != Some(taken) {
                broken.push(format!("{node} took {taken} rows of {port}, which gave {:?}", given.get(port)));
            }
        }
    }
    broken
}

/// The ledger of a run that has ended.
pub(crate) fn ledger_at_end(snapshot: &Snapshot, model: &Model) -> Vec<String> {
    let mut broken = Vec::new();
    for node in &snapshot.nodes {
        let id = node.id.as_str();
        if !node.adds_up() || node.counts.held > 0 || node.table.as_ref().is_some_and(|t| t.counts.held > 0) {
            broken.push(format!(
                "the ledger of {id} does not add up at the end: {:?} {:?} {:?}",
                node.counts, node.table, node.edges
            ));
        }
        let mut expect = |what: &str, found: u64, expected: u64| {
            if found != expected {
                broken.push(format!("{id} has {found} {what}, not {expected}"));
            }
        };
        if let Some(records) = model.records.get(id) {
            expect("records", node.counts.input, *records);
        }
        if let Some(duplicates) = model.duplicates.get(id) {
            expect("duplicates", node.counts.duplicate, *duplicates);
        }
        let of = |bag: &Bag| {
            bag.iter().filter(|(what, _)| what.starts_with(&format!("{id} "))).map(|(_, n)| *n as u64).sum::<u64>()
        };
        expect("rejects", node.counts.rejected, of(&model.rejects));
        expect("late rows", node.counts.late, of(&model.late));
    }
    broken
}

/// What a simulation has left.
pub(crate) struct Left<'a> {
    pub(crate) out: &'a Path,
    pub(crate) audit: &'a Memory,
    pub(crate) alerts: &'a Memory,
    pub(crate) dead: &'a Memory,
    pub(crate) table: Vec<RecordBatch>,
}

/// Everything that was left is what the model says.
pub(crate) fn results(left: &Left<'_>, model: &Model) -> Vec<String> {
    let mut broken = Vec::new();
    let files = rows::files(left.out);
    let below = |folder: &'static str| files.iter().filter(move |(path, _)| path.starts_with(folder));
    let kept: BTreeMap<String, String> = ["kpis/", "hourly/"]
        .into_iter()
        .flat_map(&below)
        .map(|(path, bytes)| (path.clone(), String::from_utf8_lossy(bytes).into_owned()))
        .collect();
    for path in kept.keys().chain(model.files.keys()).collect::<std::collections::BTreeSet<_>>() {
        let (found, expected) = (kept.get(path), model.files.get(path));
        if found != expected {
            broken.push(format!("the file {path} is {found:?}, not {expected:?}"));
        }
    }
    let lines = |folder: &'static str| -> Vec<Row> {
        let texts = below(folder).map(|(_, bytes)| String::from_utf8_lossy(bytes).into_owned());
        texts.flat_map(|text| text.lines().map(rows::parse).collect::<Vec<_>>()).collect()
    };
    compare("rejects", bag(lines("rejects/").iter().map(reject_of)), &model.rejects, &mut broken);
    compare("late rows", bag(lines("late/").iter().map(late_of)), &model.late, &mut broken);
    compare("raw records", bag(left.audit.written("raw_copy").iter().flat_map(places)), &model.raw, &mut broken);
    let transitions = ["started", "completed"].into_iter().flat_map(|sink| left.audit.written(sink));
    compare("transitions", bag(transitions.flat_map(|b| entered(&b))), &model.transitions, &mut broken);
    alerts(left, model, &mut broken);
    table(left, model, &mut broken);
    broken
}

fn bag(all: impl IntoIterator<Item = String>) -> Bag {
    let mut bag = Bag::new();
    all.into_iter().for_each(|one| *bag.entry(one).or_default() += 1);
    bag
}

fn compare(what: &str, found: Bag, expected: &Bag, broken: &mut Vec<String>) {
    for (one, times) in &found {
        let expected = expected.get(one).copied().unwrap_or_default();
        if *times != expected {
            broken.push(format!("{what}: {times} times, not {expected}: {one}"));
        }
    }
    for (one, times) in expected.iter().filter(|(one, _)| !found.contains_key(*one)) {
        broken.push(format!("{what}: missing {times} times: {one}"));
    }
}

fn text(row: &Row, name: &str) -> String {
    match row.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    }
}

fn list(row: &Row, name: &str) -> Vec<String> {
    let items = row.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    items.iter().map(|v| v.as_str().unwrap_or_default().to_owned()).collect()
}

fn place_of(row: &Row) -> String {
    place(&text(row, "source"), &text(row, "split"), text(row, "position"))
}

fn reject_of(row: &Row) -> String {
    let (component, rules, reasons) = (text(row, "component"), list(row, "rules"), list(row, "reasons"));
    let (rules, reasons): (Vec<&str>, Vec<&str>) =
        (rules.iter().map(String::as_str).collect(), reasons.iter().map(String::as_str).collect());
    // The decoder's reasons are its own to word.
    let reasons = if component.starts_with("trip_") { &[][..] } else { &reasons };
    reject(&component, &place_of(row), &rules, reasons)
}

fn late_of(row: &Row) -> String {
    let component = text(row, "component");
    if component.starts_with("trip_") {
        return format!("{component} {}", place_of(row));
    }
    let trip = row.get("row").and_then(|r| r.get("trip_id")).and_then(Value::as_str).unwrap_or("?");
    format!("{component} {trip}")
}

/// Where the rows of a batch stand.
fn places(batch: &Batch) -> Vec<String> {
    let Some(origin) = &batch.origin else { return vec!["without origin".to_owned(); batch.num_rows()] };
    let Some(positions) = batch.column(hidden::POSITION) else { return Vec::new() };
    let position = |row: usize| match positions.as_primitive_opt::<UInt64Type>() {
        Some(numbers) => numbers.value(row).to_string(),
        None => positions.as_string::<i32>().value(row).to_owned(),
    };
    (0..positions.len()).map(|row| place(&origin.source, &origin.split, position(row))).collect()
}

/// Which trip entered which status.
fn entered(batch: &Batch) -> Vec<String> {
    let rows = rows::of([&batch.rows]);
    rows.iter().map(|row| format!("{} {}", text(row, "trip_id"), text(row, "status"))).collect()
}

/// Every reject is in one alert for each of its rules.
fn alerts(left: &Left<'_>, model: &Model, broken: &mut Vec<String>) {
    let mut found: BTreeMap<(String, String), u64> = BTreeMap::new();
    for batch in left.alerts.written("reject_alerts") {
        let Some(counts) = batch.column("count").map(|c| c.as_primitive::<Int64Type>().clone()) else { continue };
        for (row, count) in rows::of([&batch.rows]).iter().zip(counts.values()) {
            *found.entry((text(row, "component"), text(row, "rule"))).or_default() += *count as u64;
        }
    }
    if found != model.alerts {
        broken.push(format!("alerts count {found:?}, not {:?}", model.alerts));
    }
}

/// The table, with what dead letters say of rows that it could not take, is the fold.
fn table(left: &Left<'_>, model: &Model, broken: &mut Vec<String>) {
    let mut found: BTreeMap<String, Row> = BTreeMap::new();
    for row in rows::of(&left.table) {
        let id = text(&row, "trip_id");
        if found.insert(id.clone(), row).is_some() {
            broken.push(format!("the table has two rows of {id}"));
        }
    }
    let mut letters: BTreeMap<String, Vec<Row>> = BTreeMap::new();
    for letter in left.dead.written("dead_letter").iter().flat_map(|b| rows::of([&b.rows])) {
        if let Some(row) = letter.get("row").and_then(Value::as_object) {
            letters.entry(text(row, "trip_id")).or_default().push(row.clone());
        }
    }
    for (id, expected) in &model.table {
        let mut row = found.remove(id).unwrap_or_default();
        for letter in letters.remove(id).into_iter().flatten() {
            // Putting it to the table again would merge it: the status follows from the columns.
            row.extend(letter.into_iter().filter(|(_, value)| !value.is_null()));
            let has = |column: &str| row.contains_key(column);
            let status = match (has("pickup_at"), has("dropoff_at")) {
                (true, true) => "COMPLETED",
                (true, false) => "STARTED",
                _ => "AWAITING_START",
            };
            row.insert("status".to_owned(), status.into());
        }
        let same = row.len() == expected.len() && expected.iter().all(|(name, value)| row.get(name) == Some(value));
        if !same {
            broken.push(format!("the row of {id} is {row:?}, not {expected:?}"));
        }
    }
    for row in found.into_values().chain(letters.into_values().flatten()) {
        broken.push(format!("a row of a trip that is not there: {row:?}"));
    }
}
