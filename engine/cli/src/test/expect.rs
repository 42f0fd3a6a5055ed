//! What a test expects, against what came.

use std::collections::HashMap;

use arrow::array::{Array as _, AsArray as _, RecordBatch};
use arrow::datatypes::SchemaRef;
use futures::TryStreamExt as _;
use millstream_core::batch::{is_hidden, user_columns};
use millstream_core::key::key_bytes;
use millstream_core::refusal;
use millstream_core::table::TableStore as _;
use millstream_core::{Error, Result};
use millstream_runtime::graph::Port;
use millstream_spec::model::Pipeline;
use millstream_spec::{Spanned, suggest};
use serde_json::Value;

use super::Problem;
use super::value::{Formats, same, same_json};
use crate::rows;
use crate::stage::Stage;

/// Columns shown where the test lists none.
const MOST_COLUMNS: usize = 8;

/// The rows a test expects under one name.
pub(super) struct Expected {
    name: Spanned<String>,
    rows: Vec<Spanned<Value>>,
    /// The table it names.
    pub(super) table: Option<String>,
    /// The captures of the ports it names.
    ports: Vec<(String, Port)>,
}

impl Expected {
    pub(super) fn new(name: Spanned<String>, rows: Vec<Spanned<Value>>) -> Self {
        Self { name, rows, table: None, ports: Vec::new() }
    }
    pub(super) fn add_port(&mut self, capture: String, port: Port) {
        self.ports.push((capture, port));
    }
}

/// Rows that were expected and did not come, and rows that came and were not expected.
#[derive(Debug, Clone)]
pub(super) struct Difference {
    pub(super) columns: Vec<String>,
    pub(super) matched: Vec<Vec<String>>,
    pub(super) missing: Vec<Vec<String>>,
    pub(super) unexpected: Vec<Vec<String>>,
}

/// A row that came.
struct Row {
    batch: RecordBatch,
    at: usize,
}

impl Row {
    fn text(&self, name: &str) -> Option<String> {
        let column = self.batch.column_by_name(name)?;
        (!column.is_null(self.at)).then(|| rows::value(column, self.at))
    }
    fn list(&self, name: &str) -> Vec<String> {
        let Some(lists) = self.batch.column_by_name(name).and_then(|c| c.as_list_opt::<i32>()) else {
            return Vec::new();
        };
        let items = lists.value(self.at);
        (0..items.len()).map(|i| rows::value(&items, i)).collect()
    }
    /// Whether a column has a value; `None` where there is no such column.
    fn has(&self, name: &str, expected: &Value, formats: &Formats) -> Option<bool> {
        if self.is_refused() {
            if let Some(many) = self.plural(name) {
                return Some(many.iter().any(|one| expected.as_str() == Some(one)));
            }
            if self.batch.column_by_name(name).is_none() {
                let row = self.text("row").or_else(|| self.text("raw"))?;
                let row: Value = serde_json::from_str(&row).ok()?;
                return Some(same_json(expected, row.get(name)?, formats));
            }
        }
        let column = self.batch.column_by_name(name)?;
        Some(same(expected, column, self.at, formats))
    }
    /// `rule` and `reason` of a refused row mean any of its rules and reasons.
    fn plural(&self, name: &str) -> Option<Vec<String>> {
        match name {
            "rule" => Some(self.list("rules")),
            "reason" => Some(self.list("reasons")),
            _ => None,
        }
    }
    fn is_refused(&self) -> bool {
        self.batch.schema() == refusal::schema()
    }
    /// A column as text, for people.
    fn shown(&self, name: &str) -> String {
        if let (true, Some(many)) = (self.is_refused(), self.plural(name)) {
            return many.join("; ");
        }
        if let Some(column) = self.batch.column_by_name(name) {
            return rows::cell(column, self.at);
        }
        let row = self.text("row").or_else(|| self.text("raw")).unwrap_or_default();
        let row: Value = serde_json::from_str(&row).unwrap_or_default();
        row.get(name).map_or_else(|| "-".to_owned(), plain)
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}

/// Compares everything a test expects.
pub(super) async fn compare(pipeline: &Pipeline, stage: &Stage, all: &[Expected]) -> Vec<Problem> {
    let formats = Formats::of(pipeline);
    let mut problems = Vec::new();
    for expected in all {
        match came(stage, expected).await {
            Ok((schemas, rows)) => {
                let unknown = unknown_columns(expected, &schemas, &rows);
                if unknown.is_empty() {
                    problems.extend(one(expected, &schemas, &rows, &formats));
                }
                problems.extend(unknown);
            }
            Err(e) => problems.push(Problem::new(expected.name.span, format!("{}: {e}", expected.name.value))),
        }
    }
    problems
}

/// The rows that came under a name, and their schemas.
async fn came(stage: &Stage, expected: &Expected) -> Result<(Vec<SchemaRef>, Vec<Row>)> {
    if let Some(name) = &expected.table {
        let Some(table) = stage.table(name) else { return Ok((Vec::new(), Vec::new())) };
        let batches: Vec<RecordBatch> = table.scan().await?.try_collect().await?;
        return Ok((vec![table.schema().columns.clone()], all_rows(batches)));
    }
    let mut rows = Vec::new();
    for (capture, port) in &expected.ports {
        let found = all_rows(stage.captured(capture));
        rows.extend(if port.key.is_empty() { found } else { last_of_keys(found, &port.key)? });
    }
    Ok((expected.ports.iter().map(|(_, p)| p.schema.clone()).collect(), rows))
}

fn all_rows(batches: Vec<RecordBatch>) -> Vec<Row> {
    batches.into_iter().flat_map(|b| (0..b.num_rows()).map(move |at| Row { batch: b.clone(), at })).collect()
}

/// A later row of a key replaces earlier ones.
fn last_of_keys(rows: Vec<Row>, key: &[String]) -> Result<Vec<Row>> {
    let mut last: HashMap<Vec<u8>, usize> = HashMap::new();
    for (number, row) in rows.iter().enumerate() {
        let schema = row.batch.schema();
        let columns: Vec<usize> = key.iter().filter_map(|k| schema.index_of(k).ok()).collect();
        if columns.len() != key.len() {
            return Err(Error::bug("a keyed port lacks a column of its key"));
        }
        let mut bytes = Vec::new();
        key_bytes(&row.batch, &columns, row.at, &mut bytes)?;
        last.insert(bytes, number);
    }
    let kept: std::collections::HashSet<usize> = last.into_values().collect();
    Ok(rows.into_iter().enumerate().filter(|(number, _)| kept.contains(number)).map(|(_, row)| row).collect())
}

/// Columns a test names that none of the rows can have.
fn unknown_columns(expected: &Expected, schemas: &[SchemaRef], rows: &[Row]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for row in &expected.rows {
        for name in row.value.as_object().into_iter().flatten().map(|(name, _)| name) {
            let in_schema = schemas.iter().any(|s| s.index_of(name).is_ok_and(|_| !is_hidden(name)));
            // What a refused row holds is known only from the rows themselves.
            let refused = schemas.iter().any(|s| *s == refusal::schema());
            let in_rows = refused
                && (rows.is_empty() || rows.iter().any(|r| r.has(name, &Value::Null, &Formats::default()).is_some()));
            if schemas.is_empty() || in_schema || in_rows {
                continue;
            }
            let known: Vec<&str> = schemas
                .iter()
                .flat_map(|s| s.fields().iter().take(user_columns(s)))
                .map(|f| f.name().as_str())
                .collect();
            let mut problem = Problem::new(row.span, format!("`{}` has no column `{name}`", expected.name.value));
            problem.help = suggest::help(name, "columns", known);
            problems.push(problem);
        }
    }
    problems
}

fn one(expected: &Expected, schemas: &[SchemaRef], rows: &[Row], formats: &Formats) -> Option<Problem> {
    let fits = |want: &Spanned<Value>, row: &Row| {
        want.value.as_object().is_some_and(|o| o.iter().all(|(name, v)| row.has(name, v, formats) == Some(true)))
    };
    let table: Vec<Vec<bool>> =
        expected.rows.iter().map(|want| rows.iter().map(|row| fits(want, row)).collect()).collect();
    let partners = pair(&table, rows.len());
    let (wanted, got) = (expected.rows.len(), rows.len());
    let met = partners.iter().flatten().count();
    if met == wanted && met == got {
        return None;
    }
    let count = |n: usize| crate::number::of(n as u64, "row");
    let message = match wanted == got {
        true => format!("`{}` has {} as expected, but with other values", expected.name.value, count(got)),
        false => format!("`{}` has {}, expected {wanted}", expected.name.value, count(got)),
    };
    let mut problem = Problem::new(expected.name.span, message);
    problem.difference = Some(difference(expected, schemas, rows, &partners));
    Some(problem)
}

/// For each expected row, the row that came for it: as many pairs as possible (augmenting paths).
fn pair(fits: &[Vec<bool>], rows: usize) -> Vec<Option<usize>> {
    fn place(want: usize, fits: &[Vec<bool>], seen: &mut [bool], taken: &mut [Option<usize>]) -> bool {
        for row in 0..taken.len() {
            // A row that does not fit this one may still be tried for another.
            let fit = fits.get(want).and_then(|f| f.get(row)).copied().unwrap_or(false);
            if !fit || seen.get_mut(row).is_none_or(|s| std::mem::replace(s, true)) {
                continue;
            }
            let holder = taken.get(row).copied().flatten();
            if holder.is_none_or(|holder| place(holder, fits, seen, taken)) {
                if let Some(slot) = taken.get_mut(row) {
                    *slot = Some(want);
                }
                return true;
            }
        }
        false
    }
    let mut taken: Vec<Option<usize>> = vec![None; rows];
    for want in 0..fits.len() {
        place(want, fits, &mut vec![false; rows], &mut taken);
    }
    let partner = |want| taken.iter().position(|t| *t == Some(want));
    (0..fits.len()).map(partner).collect()
}

fn difference(expected: &Expected, schemas: &[SchemaRef], rows: &[Row], partners: &[Option<usize>]) -> Difference {
    let mut columns: Vec<String> = Vec::new();
    for name in expected.rows.iter().filter_map(|r| r.value.as_object()).flat_map(|o| o.keys()) {
        if !columns.contains(name) {
            columns.push(name.clone());
        }
    }
    if columns.is_empty() {
        columns = default_columns(schemas);
    }
    let came = |row: &Row| columns.iter().map(|c| row.shown(c)).collect::<Vec<_>>();
    let wanted = |row: &Spanned<Value>| {
        let cell = |c: &String| row.value.get(c).map_or_else(String::new, plain);
        columns.iter().map(cell).collect::<Vec<_>>()
    };
    let left = |i: &usize| !partners.contains(&Some(*i));
    Difference {
        matched: partners.iter().flatten().filter_map(|i| rows.get(*i)).map(came).collect(),
        missing: expected.rows.iter().zip(partners).filter(|(_, p)| p.is_none()).map(|(row, _)| wanted(row)).collect(),
        unexpected: (0..rows.len()).filter(left).filter_map(|i| rows.get(i)).map(came).collect(),
        columns,
    }
}

fn default_columns(schemas: &[SchemaRef]) -> Vec<String> {
    let Some(schema) = schemas.first() else { return Vec::new() };
    if *schema == refusal::schema() {
        return ["component", "rule", "reason", "row"].map(str::to_owned).to_vec();
    }
    let users = schema.fields().iter().filter(|f| !is_hidden(f.name()));
    users.take(MOST_COLUMNS).map(|f| f.name().clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_rows_as_possible_find_a_partner() {
        // The first expected row fits both; the second only the first one.
        assert_eq!(pair(&[vec![true, true], vec![true, false]], 2), [Some(1), Some(0)]);
        assert_eq!(pair(&[vec![true], vec![true]], 1), [Some(0), None]);
        assert_eq!(
            pair(&[vec![true, false, true], vec![true, true, false], vec![true, false, false]], 3),
            [Some(2), Some(1), Some(0)]
        );
        assert_eq!(pair(&[], 2), []);
    }
}
