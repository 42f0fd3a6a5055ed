//! One row as one conditional update.
//!
//! ```text
//! SET #0 = :0, .. REMOVE #3, ..   IF   there is no item, or its version is lower, or it has expired
//! ```
//! Names always go by `#n`: `status` and `date` are reserved words. Attributes that are no columns stay as they are.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use millstream_core::table::{STAMPS, TRUNCATED, TableRows, UNVERSIONED, VERSION};

use super::attributes::{Column, Refusal, key_of};
use super::client::Item;

/// What `UpdateItem` is called with.
#[derive(Debug, Clone)]
pub(crate) struct Update {
    pub(crate) key: Item,
    pub(crate) update: String,
    pub(crate) condition: String,
    pub(crate) names: HashMap<String, String>,
    pub(crate) values: HashMap<String, AttributeValue>,
}

/// What the updates of one call of `put` share.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms<'a> {
    /// Indices of the key's columns, partition key first.
    pub(crate) key: &'a [usize],
    pub(crate) ttl_attribute: &'a str,
    /// Epoch seconds.
    pub(crate) now: i64,
    /// When what is written now expires.
    pub(crate) expires: Option<i64>,
}

/// Gathers what is set and what is removed.
#[derive(Debug, Default)]
struct Clauses {
    set: String,
    remove: String,
    names: HashMap<String, String>,
    values: HashMap<String, AttributeValue>,
}

impl Clauses {
    /// Sets an attribute, or removes it where there is no value.
    fn put(&mut self, place: &str, name: &str, value: Option<AttributeValue>) {
        self.names.insert(format!("#{place}"), name.to_owned());
        let (list, first, clause) = match &value {
            Some(_) => (&mut self.set, "SET ", format!("#{place} = :{place}")),
            None => (&mut self.remove, "REMOVE ", format!("#{place}")),
        };
        list.push_str(if list.is_empty() { first } else { ", " });
        list.push_str(&clause);
        if let Some(value) = value {
            self.values.insert(format!(":{place}"), value);
        }
    }
}

/// The update that puts a row.
///
/// # Errors
/// Why the row can never be put.
pub(crate) fn of_row(terms: &Terms<'_>, columns: &[Column], rows: &TableRows, row: usize) -> Result<Update, Refusal> {
    let key = key_of(columns, terms.key, row)?;
    let mut clauses = Clauses::default();
    for (i, column) in columns.iter().enumerate().filter(|(i, _)| !terms.key.contains(i)) {
        clauses.put(&i.to_string(), column.name(), column.value(row)?);
    }
    let text = |texts: &[Option<String>]| texts.get(row).cloned().flatten().map(AttributeValue::S);
    let number = |n: i64| AttributeValue::N(n.to_string());
    let version = rows.versions.get(row).copied().unwrap_or_default();
    clauses.put("v", VERSION, Some(AttributeValue::N(version.to_string())));
    clauses.put("s", STAMPS, text(&rows.stamps));
    clauses.put("t", TRUNCATED, text(&rows.truncated));
    clauses.put("e", terms.ttl_attribute, terms.expires.map(number));
    clauses.values.insert(":now".into(), number(terms.now));
    // An item without a version counts as of one: the first put of a key never goes over it unseen.
    let absent = if version > UNVERSIONED { "#v" } else { "#k" };
    if absent == "#k" {
        let first = terms.key.first().and_then(|k| columns.get(*k)).map(Column::name).unwrap_or_default();
        clauses.names.insert("#k".into(), first.to_owned());
    }
    let condition = format!("attribute_not_exists({absent}) OR #v < :v OR #e <= :now");
    let update = [clauses.set, clauses.remove].join(" ").trim().to_owned();
    Ok(Update { key, update, condition, names: clauses.names, values: clauses.values })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};

    use super::*;

    fn update(version: u64) -> Update {
        let status: ArrayRef = Arc::new(StringArray::from(vec![Some("DONE")]));
        let id: ArrayRef = Arc::new(StringArray::from(vec![Some("t1")]));
        let date: ArrayRef = Arc::new(Int64Array::from(vec![None]));
        let rows = RecordBatch::try_from_iter([("status", status), ("id", id), ("date", date)]).unwrap();
        let columns = Column::all(rows.schema_ref(), rows.columns()).unwrap();
        let rows = TableRows { rows, versions: vec![version], stamps: vec![None], truncated: vec![None] };
        let terms = Terms { key: &[1], ttl_attribute: "expiry", now: 100, expires: Some(160) };
        of_row(&terms, &columns, &rows, 0).unwrap()
    }

    #[test]
    fn reserved_words_and_nulls() {
        let first = update(1);
        assert_eq!(first.update, "SET #0 = :0, #v = :v, #e = :e REMOVE #2, #s, #t");
        assert_eq!(first.condition, "attribute_not_exists(#k) OR #v < :v OR #e <= :now");
        assert_eq!(first.key, Item::from([("id".into(), AttributeValue::S("t1".into()))]));
        assert_eq!((first.names["#0"].as_str(), first.names["#e"].as_str()), ("status", "expiry"));
        assert_eq!(first.values[":e"], AttributeValue::N("160".into()));
        assert!(first.names.keys().all(|n| first.update.contains(n) || first.condition.contains(n)));
    }

    #[test]
    fn later_versions_go_over_items_without_one() {
        assert_eq!(update(2).condition, "attribute_not_exists(#v) OR #v < :v OR #e <= :now");
        assert_eq!(update(u64::MAX).values[":v"], AttributeValue::N("18446744073709551615".into()));
    }
}
