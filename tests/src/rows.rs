//! Rows as values that can be compared: JSON objects without nulls, in a canonical text.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use millstream_core::batch::is_hidden;
use millstream_formats::value::row_json;
use serde_json::{Map, Value};

/// A row: its user columns that have values.
pub type Row = Map<String, Value>;

/// The user columns of all rows.
pub fn of<'a>(batches: impl IntoIterator<Item = &'a RecordBatch>) -> Vec<Row> {
    let mut rows = Vec::new();
    for batch in batches {
        let batch = visible(batch);
        for row in 0..batch.num_rows() {
            rows.push(parse(&row_json(&batch, row)));
        }
    }
    rows
}

fn visible(batch: &RecordBatch) -> RecordBatch {
    let schema: SchemaRef = batch.schema();
    let users: Vec<usize> = (0..batch.num_columns()).filter(|i| !is_hidden(schema.field(*i).name())).collect();
    batch.project(&users).unwrap()
}

/// A JSON object without its nulls.
pub fn parse(text: &str) -> Row {
    match without_nulls(serde_json::from_str(text).unwrap_or_else(|e| panic!("{text}: {e}"))) {
        Value::Object(row) => row,
        other => panic!("{other} is not an object"),
    }
}

fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut fields: Vec<(String, Value)> =
                map.into_iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k, without_nulls(v))).collect();
            fields.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(fields.into_iter().collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(without_nulls).collect()),
        other => other,
    }
}

/// Rows in any order: how often each is there.
pub fn bag(rows: impl IntoIterator<Item = Row>) -> BTreeMap<String, usize> {
    let mut bag = BTreeMap::new();
    for row in rows {
        *bag.entry(Value::Object(row).to_string()).or_default() += 1;
    }
    bag
}

/// The last row of each key.
pub fn last_by(key: &[String], rows: Vec<Row>) -> Vec<Row> {
    let mut last: BTreeMap<String, Row> = BTreeMap::new();
    for row in rows {
        let of = key.iter().map(|k| row.get(k).map_or("null".to_owned(), Value::to_string)).collect::<Vec<_>>();
        last.insert(of.join("|"), row);
    }
    last.into_values().collect()
}

/// Every file below a folder: its path there and its bytes.
pub fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    collect(folder, folder, &mut found);
    found
}

fn collect(root: &Path, folder: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.file_name().is_some_and(|n| n.to_string_lossy().starts_with('.')) {
            // What is staged, and what the engine notes for itself.
            continue;
        }
        if path.is_dir() {
            collect(root, &path, found);
        } else {
            let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
            found.insert(name, fs::read(&path).unwrap());
        }
    }
}

/// The JSON lines of files.
pub fn of_files(files: &BTreeMap<String, Vec<u8>>) -> Vec<Row> {
    let texts = files.values().map(|bytes| String::from_utf8(bytes.clone()).unwrap());
    texts.flat_map(|text| text.lines().map(parse).collect::<Vec<_>>()).collect()
}
