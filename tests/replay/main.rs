//! Dead letters and `millstream replay`: a table that could not take its rows is whole afterwards, whatever it had.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

mod command;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use millstream_local::fault::{Fault, Faults};
use millstream_runtime::Graph;
use millstream_runtime::clock::SystemClock;
use millstream_runtime::replay::{Left, PutLetters, ReplayOptions, Replayed, replay};
use millstream_tests::check::{Reading, check_with_faults};
use millstream_tests::rows;
use millstream_tests::run::{Tables, block_on, run};

/// Orders and payments, merged by id; what the table does not take goes to a queue of dead letters.
const PIPELINE: &str = r#"
version: 1
name: shop
profiles:
  local:
    orders_in: { file: { path: "FOLDER/orders.jsonl", format: json } }
    payments_in: { file: { path: "FOLDER/payments.jsonl", format: json } }
    store: { embedded: { path: "FOLDER/table.db" } }
    letters: { embedded: { path: "FOLDER/letters.db" } }
    paid_out: { directory: { path: "FOLDER/out" } }
delivery: { outage: route, retry: { backoff: 1ms, max_backoff: 5ms, give_up_after: 20ms } }
sources:
  orders: { read: orders_in, schema: { id: string, at: timestamp, total: "decimal(10,2)", note: "string?" } }
  payments: { read: payments_in, schema: { id: string, paid_at: timestamp, amount: "decimal(10,2)", note: "string?" } }
tables:
  shop_state: { store: store, key: id }
transforms:
  merged:
    upsert:
      into: shop_state
      set:
        orders: { columns: [at, total, note], latest_by: at }
        payments: { columns: [paid_at, amount, note], latest_by: paid_at }
      status:
        PAID: at IS NOT NULL AND paid_at IS NOT NULL
        OPEN: at IS NOT NULL
sinks:
  done: { from: [merged.paid], write: paid_out, path: "paid/{batch_id}.jsonl" }
  dead_letter: { from: ["*.rejected", "*.late", "*.failed"], write: letters }
"#;

pub(crate) fn pipeline(folder: &Path) -> String {
    PIPELINE.replace("FOLDER", &folder.display().to_string())
}

pub(crate) fn inputs(folder: &Path, orders: &[&str], payments: &[&str]) {
    std::fs::write(folder.join("orders.jsonl"), orders.join("\n")).unwrap();
    std::fs::write(folder.join("payments.jsonl"), payments.join("\n")).unwrap();
}

pub(crate) const ORDERS: [&str; 3] = [
    r#"{"id":"a","at":"2026-03-01T09:00:00Z","total":10.10,"note":"first"}"#,
    r#"{"id":"b","at":"2026-03-01T09:01:00Z","total":20.20,"note":"ordered"}"#,
    r#"{"id":"c","at":"2026-03-01T09:02:00Z","total":30.30}"#,
];
pub(crate) const PAYMENTS: [&str; 2] = [
    r#"{"id":"b","paid_at":"2026-03-01T08:00:00Z","amount":20.20,"note":"paid in advance"}"#,
    r#"{"id":"c","paid_at":"2026-03-01T10:00:00Z","amount":30.30}"#,
];

fn graph(folder: &Path, faults: &BTreeMap<String, Faults>) -> Graph {
    let text = pipeline(folder);
    let reading = Reading { run: true, ..Reading::default() };
    check_with_faults(&text, &reading, faults).graph("shop.yaml", &text)
}

fn replayed(graph: &Graph, dry_run: bool) -> Replayed {
    let options = ReplayOptions { dry_run, give_up_after: Duration::from_millis(50), clock: Arc::new(SystemClock) };
    block_on(replay(graph, "dead_letter", &options)).unwrap()
}

fn table(graph: &Graph) -> BTreeMap<String, usize> {
    rows::bag(rows::of(&Tables::of(graph).rows("shop_state")))
}

/// The table as it is where nothing fails.
fn whole() -> BTreeMap<String, usize> {
    let folder = tempfile::tempdir().unwrap();
    inputs(folder.path(), &ORDERS, &PAYMENTS);
    let graph = graph(folder.path(), &BTreeMap::new());
    let tables = Tables::of(&graph);
    run(graph, 1).unwrap();
    let rows = rows::bag(rows::of(&tables.rows("shop_state")));
    assert_eq!(rows.len(), 3);
    rows
}

fn letters(folder: &Path) -> i64 {
    let db = rusqlite::Connection::open(folder.join("letters.db")).unwrap();
    db.query_row("SELECT count(*) FROM dead_letter", [], |row| row.get(0)).unwrap()
}

/// Runs with the table away all the time: every row becomes a dead letter.
fn outage(folder: &Path) -> Graph {
    let faults = Faults::default();
    faults.add(Fault::Unavailable, 1_000_000);
    run(graph(folder, &BTreeMap::from([("store".to_owned(), faults)])), 2).unwrap();
    let graph = graph(folder, &BTreeMap::new());
    assert!(table(&graph).is_empty(), "the table was away");
    assert!(letters(folder) >= 3);
    graph
}

#[test]
fn a_table_that_was_away_is_whole_after_a_replay() {
    let folder = tempfile::tempdir().unwrap();
    inputs(folder.path(), &ORDERS, &PAYMENTS);
    let graph = outage(folder.path());
    let count = letters(folder.path());
    let looked = replayed(&graph, true);
    assert_eq!((looked.read, looked.tables["shop_state"].written), (count as u64, count as u64));
    assert!(table(&graph).is_empty() && letters(folder.path()) == count, "a look changes nothing");
    let done = replayed(&graph, false);
    assert!(done.is_whole() && done.left.is_empty(), "{done:?}");
    assert_eq!(table(&graph), whole());
    assert_eq!(letters(folder.path()), 0);
    assert_eq!(replayed(&graph, false), Replayed::default(), "there is nothing left to do");
}

#[test]
fn letters_keep_version_attempts_and_what_merging_needs() {
    let folder = tempfile::tempdir().unwrap();
    inputs(folder.path(), &ORDERS, &PAYMENTS);
    outage(folder.path());
    let db = rusqlite::Connection::open(folder.path().join("letters.db")).unwrap();
    let without: i64 = db
        .query_row("SELECT count(*) FROM dead_letter WHERE version < 1 OR attempts < 2 OR stamps IS NULL", [], |row| {
            row.get(0)
        })
        .unwrap();
    assert_eq!(without, 0);
}

#[test]
fn what_the_table_has_learnt_since_stays() {
    let folder = tempfile::tempdir().unwrap();
    inputs(folder.path(), &ORDERS, &PAYMENTS);
    outage(folder.path());
    // The table is back, and another run puts later events of `b` and an earlier one of `c` into it.
    let later = [
        r#"{"id":"b","at":"2026-03-02T09:00:00Z","total":99.99,"note":"changed"}"#,
        r#"{"id":"c","at":"2026-02-01T00:00:00Z","total":1.00,"note":"an old draft"}"#,
    ];
    inputs(folder.path(), &later, &[]);
    let graph_of_later = graph(folder.path(), &BTreeMap::new());
    run(graph_of_later, 1).unwrap();
    let graph = graph(folder.path(), &BTreeMap::new());
    let done = replayed(&graph, false);
    assert!(done.left.is_empty(), "{done:?}");
    let everything: Vec<&str> = ORDERS.iter().copied().chain(later).collect();
    let all = tempfile::tempdir().unwrap();
    inputs(all.path(), &everything, &PAYMENTS);
    let expected = {
        let graph = self::graph(all.path(), &BTreeMap::new());
        let tables = Tables::of(&graph);
        run(graph, 1).unwrap();
        rows::bag(rows::of(&tables.rows("shop_state")))
    };
    assert_eq!(table(&graph), expected, "as if all events had come to one table");
    // The same letters once more, as after a crash before they were removed: the table says as much already.
    assert_eq!(replayed(&graph, false), Replayed::default());
}

#[test]
fn letters_that_are_put_twice_change_nothing_the_second_time() {
    let folder = tempfile::tempdir().unwrap();
    inputs(folder.path(), &ORDERS, &PAYMENTS);
    let graph = outage(folder.path());
    let copy = folder.path().join("copy.db");
    std::fs::copy(folder.path().join("letters.db"), &copy).unwrap();
    replayed(&graph, false);
    let db = rusqlite::Connection::open(folder.path().join("letters.db")).unwrap();
    db.execute("ATTACH ?1 AS before", [copy.display().to_string()]).unwrap();
    db.execute_batch("INSERT INTO dead_letter SELECT * FROM before.dead_letter").unwrap();
    let done = replayed(&graph, false);
    let PutLetters { written, known } = done.tables["shop_state"];
    assert!(written == 0 && known >= 3, "{done:?}");
    assert_eq!(table(&graph), whole());
}

#[test]
fn a_table_that_does_not_answer_keeps_its_letters_in_the_queue() {
    let folder = tempfile::tempdir().unwrap();
    inputs(folder.path(), &ORDERS, &PAYMENTS);
    outage(folder.path());
    let before = letters(folder.path());
    let faults = Faults::default();
    faults.add(Fault::Unavailable, 1_000_000);
    let away = graph(folder.path(), &BTreeMap::from([("store".to_owned(), faults)]));
    let done = replayed(&away, false);
    assert!(!done.is_whole());
    assert!(done.left.iter().all(|left| left.tried && left.why.contains("down on purpose")), "{done:?}");
    assert_eq!(letters(folder.path()), before);
    // It answers again, but loses answers: that a row is there is found out.
    let faults = Faults::default();
    faults.add(Fault::AppliedButError, 2);
    faults.add(Fault::Throttled, 2);
    let back = graph(folder.path(), &BTreeMap::from([("store".to_owned(), faults)]));
    assert!(replayed(&back, false).left.is_empty());
    assert_eq!((letters(folder.path()), table(&back)), (0, whole()));
}

#[test]
fn what_is_no_row_of_a_table_is_left_and_told() {
    let folder = tempfile::tempdir().unwrap();
    inputs(folder.path(), &["{\"id\":1"], &[]);
    let graph = graph(folder.path(), &BTreeMap::new());
    run(self::graph(folder.path(), &BTreeMap::new()), 1).unwrap();
    let db = rusqlite::Connection::open(folder.path().join("letters.db")).unwrap();
    db.execute_batch(
        r#"INSERT INTO dead_letter (pipeline, component, port, reasons, row, version) VALUES
           ('other', 'shop_state', 'failed', '[]', '{"id":"x"}', 1),
           ('shop', 'dropped', 'failed', '[]', '{"id":"x"}', 1),
           ('shop', 'shop_state', 'failed', '[]', '{"id":"x","total":"much"}', 1),
           ('shop', 'shop_state', 'failed', '[]', '{"id":"y","total":5.00}', 3)"#,
    )
    .unwrap();
    let done = replayed(&graph, false);
    assert_eq!((done.read, done.tables["shop_state"]), (5, PutLetters { written: 1, known: 0 }));
    let whys: Vec<&str> = done.left.iter().map(|Left { why, .. }| why.as_str()).collect();
    for part in ["no row of a table", "of the pipeline `other`", "no table `dropped`", "does not fit the table"] {
        assert!(whys.iter().any(|why| why.contains(part)), "{part}: {whys:?}");
    }
    assert!(done.is_whole(), "none of them was tried at a table");
    assert_eq!(letters(folder.path()), 4);
    let stored = rusqlite::Connection::open(folder.path().join("table.db")).unwrap();
    let version: i64 =
        stored.query_row("SELECT _version FROM shop_state WHERE id = 'y'", [], |row| row.get(0)).unwrap();
    assert_eq!(version, 3, "under the letter's version");
}
