//! Rows that are too large: what is cut, and what echoes of them are taken for.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema};
use millstream_core::Batch;
use millstream_core::batch::hidden_fields;
use millstream_core::item::{LIMIT, oversized};
use millstream_core::operator::{InPort, Operator, OutPort, Output};
use millstream_core::table::TableRows;

use super::harness::{Store, drain};
use super::{InputSpec, Upsert, UpsertSpec};

const COLUMNS: [(&str, DataType); 4] =
    [("id", DataType::Utf8), ("n", DataType::Int64), ("note", DataType::Utf8), ("more", DataType::Utf8)];

fn upsert(truncate: &[usize]) -> Upsert {
    let fields = COLUMNS.map(|(name, t)| Field::new(name, t, name != "id")).to_vec();
    let input = InputSpec { columns: vec![(1, 1), (2, 2), (3, 3)], key: vec![0], latest_by: None, write_nulls: false };
    let spec = UpsertSpec {
        id: "u".into(),
        table: Arc::new(Schema::new(fields)),
        key: vec![0],
        inputs: vec![input],
        statuses: Vec::new(),
        status_column: None,
        forget_after: None,
        truncate: truncate.to_vec(),
        failed: OutPort(0),
    };
    Upsert::new(Arc::new(spec)).unwrap()
}

fn feed(upsert: &mut Upsert, id: &str, note: &str, more: &str) {
    let mut fields = COLUMNS.map(|(name, t)| Field::new(name, t, name != "id")).to_vec();
    fields.extend(hidden_fields(DataType::UInt64));
    let time: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![1]));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(vec![id])),
        Arc::new(Int64Array::from(vec![7])),
        Arc::new(StringArray::from(vec![note])),
        Arc::new(StringArray::from(vec![more])),
        time.clone(),
        time,
        Arc::new(UInt64Array::from(vec![0])),
    ];
    let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
    upsert.on_batch(InPort(0), Batch::new(rows), &mut Output::default()).unwrap();
}

fn taken(upsert: &mut Upsert) -> TableRows {
    upsert.take_dirty(9).unwrap().unwrap().rows
}

fn text(rows: &TableRows, column: usize) -> &str {
    rows.rows.column(column).as_string::<i32>().value(0)
}

#[test]
fn columns_are_cut_in_their_order_only_as_far_as_needed_and_named() {
    let mut u = upsert(&[3, 2]);
    // Three bytes each, so that most cuts would fall into one.
    let (note, more) = ("€".repeat(LIMIT / 6), "€".repeat(LIMIT / 4));
    feed(&mut u, "a", &note, &more);
    let rows = taken(&mut u);
    assert!(oversized(&rows).unwrap().is_empty());
    assert_eq!(rows.truncated, [Some("more".to_owned())], "one was enough");
    assert!(rows.stamps[0].is_some(), "it cannot be computed again from what is stored");
    assert_eq!(text(&rows, 2), note);
    let left = text(&rows, 3);
    assert!(more.starts_with(left) && left.len() > LIMIT - note.len() - 300, "{}", left.len());

    let mut u = upsert(&[3, 2]);
    feed(&mut u, "a", &"x".repeat(2 * LIMIT), &more);
    let rows = taken(&mut u);
    assert_eq!(rows.truncated, [Some("more,note".to_owned())]);
    assert!(text(&rows, 3).is_empty() && text(&rows, 2).len() > LIMIT - 300);
    assert!(oversized(&rows).unwrap().is_empty());
}

#[test]
fn rows_that_fit_and_columns_that_are_not_named_stay_as_they_are() {
    let mut u = upsert(&[2]);
    feed(&mut u, "small", "note", "more");
    let rows = taken(&mut u);
    assert_eq!((&rows.truncated, &rows.stamps), (&vec![None], &vec![None]));
    let large = "x".repeat(LIMIT + 1);
    feed(&mut u, "large", "note", &large);
    let rows = taken(&mut u);
    assert_eq!((text(&rows, 2), text(&rows, 3)), ("", large.as_str()), "not enough: its host refuses it");
    assert_eq!(oversized(&rows).unwrap().len(), 1);
    let mut u = upsert(&[]);
    feed(&mut u, "large", "note", &large);
    assert_eq!(text(&taken(&mut u), 3), large);
}

#[test]
fn an_echo_of_a_cut_row_is_known_as_one() {
    let mut store = Store::default();
    let large = "x".repeat(2 * LIMIT);
    let mut u = upsert(&[2]);
    feed(&mut u, "key 1", &large, "more");
    drain(&mut u, &mut store, 9);
    let stored = store.table();
    // A replay after a crash: the same event again, by an upsert that knows nothing of the store.
    let mut again = upsert(&[2]);
    feed(&mut again, "key 1", &large, "more");
    let puts = store.puts;
    drain(&mut again, &mut store, 9);
    assert_eq!((store.puts - puts, store.version(1)), (1, 1), "nothing was written over it");
    assert_eq!(store.table(), stored);
}
