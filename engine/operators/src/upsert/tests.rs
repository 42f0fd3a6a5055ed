use millstream_core::EventTime;
use millstream_core::table::{PutOutcome, StoredRow, UNVERSIONED};

use super::harness::{A, B, Event, Kind, Store, batch, drain, event, feed, fold, rows_of, spec, transitions, upsert};
use super::*;

fn texts(row: &[&str]) -> Vec<String> {
    row.iter().map(|t| (*t).to_owned()).collect()
}

#[test]
fn end_before_start_gives_the_same_as_start_before_end() {
    let (start, end) = (event(1, A, 10, 20, 100), event(1, B, 30, 40, 200));
    let mut forward = upsert(Kind::Owned);
    let mut backward = upsert(Kind::Owned);
    let (out, reverse) = (feed(&mut forward, &[start, end], 9), feed(&mut backward, &[end, start], 9));
    assert_eq!(transitions(&out), transitions(&reverse));
    assert_eq!(rows_of(&forward.own_rows().unwrap()), rows_of(&backward.own_rows().unwrap()));
    let (t100, t200) = ("1970-01-01T00:00:00.000100", "1970-01-01T00:00:00.000200");
    let expected = [
        (0, texts(&["key 1", "10", "20", "30", "40", "DONE", t200, t200, "-"])),
        (1, texts(&["key 1", "10", "20", "A", t100, t100, "-"])),
        (2, texts(&["key 1", "30", "40", "B", t200, t200, "-"])),
    ];
    assert_eq!(transitions(&out).into_iter().collect::<Vec<_>>(), expected);
    assert_eq!((out.counts.merged, out.counts.produced), (2, 3));
}

#[test]
fn an_echo_is_a_duplicate_and_changes_nothing() {
    let mut u = upsert(Kind::Owned);
    let e = event(1, A, 10, None, 100);
    let out = feed(&mut u, &[e, e, e], 2);
    assert_eq!((out.counts.merged, out.counts.duplicate, out.counts.produced), (1, 2, 1));
    let mut store = Store::default();
    drain(&mut u, &mut store, 9);
    let out = feed(&mut u, &[e], 9);
    assert_eq!((out.counts.duplicate, u.dirty_len()), (1, 0));
}

#[test]
fn a_transition_shows_the_row_as_it_was_right_after_its_event() {
    // Three events of one key in one batch: the first enters A, whatever the others change.
    let events = [event(1, A, 1, 1, 1), event(1, A, 2, 2, 2), event(1, A, 3, 3, 3), event(2, A, 9, 9, 9)];
    let (mut together, mut apart) = (upsert(Kind::Owned), upsert(Kind::Owned));
    let (one, many) = (feed(&mut together, &events, 9), feed(&mut apart, &events, 1));
    assert_eq!(transitions(&one), transitions(&many));
    assert!(transitions(&one).iter().any(|(p, row)| *p == 1 && row[..3] == texts(&["key 1", "1", "1"])));
    assert_eq!(one.counts.produced, 2);
}

#[test]
fn an_unread_port_counts_its_transitions_and_builds_none() {
    let mut spec = spec(Kind::Owned);
    spec.statuses[1].wanted = false;
    let mut u = Upsert::new(Arc::new(spec)).unwrap();
    let out = feed(&mut u, &[event(1, A, 1, 1, 1)], 9);
    assert_eq!((out.counts.produced, out.batches.len()), (1, 0));
}

#[test]
fn keys_that_are_null_leave_by_the_failed_port() {
    let mut u = upsert(Kind::Owned);
    let good = batch(&[event(1, A, 1, 1, 1), event(2, A, 1, 1, 2)]);
    let mut columns = good.rows.columns().to_vec();
    columns[0] = Arc::new(arrow::array::StringArray::from(vec![None, Some("key 2")]));
    let rows = RecordBatch::try_new(good.rows.schema(), columns).unwrap();
    let mut out = Output::default();
    u.on_batch(InPort(A), Batch::new(rows), &mut out).unwrap();
    assert_eq!((out.counts.failed, out.counts.merged), (1, 1));
    assert_eq!(out.batches[0].0, OutPort(3));
    assert_eq!(u.own_rows().unwrap().num_rows(), 1);
}

#[test]
fn rows_of_one_key_coalesce_while_one_of_them_flies() {
    let mut u = upsert(Kind::Owned);
    feed(&mut u, &[event(1, A, 1, 1, 1), event(2, A, 1, 1, 1)], 9);
    assert_eq!(u.dirty_len(), 2);
    let first = u.take_dirty(9).unwrap().unwrap();
    assert_eq!((first.len(), u.dirty_len(), u.in_flight_len()), (2, 0, 2));
    feed(&mut u, &[event(1, B, 1, 1, 1)], 9);
    assert_eq!(u.dirty_len(), 1);
    assert!(u.take_dirty(9).unwrap().is_none(), "one write per key at a time");
    u.on_outcomes(first, vec![PutOutcome::Written, PutOutcome::Retry("busy".into())], &mut Output::default()).unwrap();
    let next = u.take_dirty(9).unwrap().unwrap();
    assert_eq!(next.rows.versions, [2, 1]);
    u.retry(next);
    let again = u.take_dirty(1).unwrap().unwrap();
    assert_eq!((again.len(), u.dirty_len(), u.in_flight_len()), (1, 1, 1));
}

#[test]
fn a_refused_row_leaves_with_its_version_and_all_its_columns() {
    let mut u = upsert(Kind::Owned);
    feed(&mut u, &[event(1, A, 1, 2, 7)], 9);
    let rows = u.take_dirty(9).unwrap().unwrap();
    let mut out = Output::default();
    u.on_outcomes(rows, vec![PutOutcome::Refused("too large".into())], &mut out).unwrap();
    assert_eq!(out.batches[0].0, OutPort(3));
    let refused = rows_of(&out.batches[0].1.rows.project(&[0, 1, 2, 3, 4, 6, 12]).unwrap());
    let row = r#"{"id":"key 1","a1":1,"a2":2,"b1":null,"b2":null,"shared":null,"status":"A"}"#;
    let at = "1970-01-01T00:00:00.000007";
    assert_eq!(refused["u"], texts(&["u", "failed", "[refused]", "[too large]", row, "1", at]));
    assert_eq!(u.dirty_len(), 0);
}

#[test]
fn what_an_earlier_run_left_is_merged_and_fires_nothing() {
    let mut store = Store::default();
    let (start, end) = (event(1, A, 10, 20, 100), event(1, B, 30, 40, 200));
    let mut before = upsert(Kind::Owned);
    feed(&mut before, &[start], 9);
    drain(&mut before, &mut store, 9);
    let mut after = upsert(Kind::Owned);
    let out = feed(&mut after, &[end], 9);
    drain(&mut after, &mut store, 9);
    assert_eq!(store.table(), fold(Kind::Owned, &[start, end]));
    assert_eq!(store.version(1), 2);
    assert_eq!(transitions(&out).len(), 1, "only B: the start was another run's");
    // The same again over the same table: nothing to write, nothing kept.
    let mut echo = upsert(Kind::Owned);
    feed(&mut echo, &[start, end], 9);
    let puts = store.puts;
    drain(&mut echo, &mut store, 9);
    assert_eq!((store.puts - puts, store.version(1), echo.base_of.len()), (1, 2, 0));
}

#[test]
fn many_events_of_a_forgotten_key_do_not_overwrite_its_row() {
    let mut store = Store::default();
    let old = event(1, A, 10, 20, 1);
    let mut before = upsert(Kind::Latest);
    feed(&mut before, &[old], 9);
    drain(&mut before, &mut store, 9);
    // Five events coalesced into one write: their version alone would beat the stored one.
    let new: Vec<Event> = (0..5).map(|i| event(1, B, i, i, 10 + i)).collect();
    let mut after = upsert(Kind::Latest);
    feed(&mut after, &new, 9);
    drain(&mut after, &mut store, 9);
    let all: Vec<Event> = [old].into_iter().chain(new).collect();
    assert_eq!(store.table(), fold(Kind::Latest, &all));
}

#[test]
fn a_row_of_another_program_is_merged_into() {
    let (ours, theirs) = (event(1, A, 1, 2, 7), event(1, B, 5, 6, 0));
    let mut u = upsert(Kind::Owned);
    feed(&mut u, &[ours], 9);
    let mut other = upsert(Kind::Owned);
    feed(&mut other, &[theirs], 9);
    let mut store = Store::default();
    store.insert(StoredRow { row: other.own_rows().unwrap(), version: UNVERSIONED, stamps: None });
    let out = drain(&mut u, &mut store, 9);
    assert_eq!((out.batches.len(), store.table()), (0, fold(Kind::Owned, &[theirs, ours])));
}

#[test]
fn a_store_that_breaks_its_rule_is_not_tried_for_ever() {
    let mut u = upsert(Kind::Owned);
    feed(&mut u, &[event(1, A, 1, 2, 7)], 9);
    let mut other = upsert(Kind::Owned);
    feed(&mut other, &[event(1, B, 5, 6, 0)], 9);
    let mut store = Store::default();
    store.stuck = true;
    store.insert(StoredRow { row: other.own_rows().unwrap(), version: UNVERSIONED, stamps: None });
    assert_eq!(drain(&mut u, &mut store, 9).batches.len(), 1);
}

#[test]
fn forgetting_waits_for_the_store_and_frees_everything() {
    let mut u = upsert(Kind::Owned);
    let second = 1_000_000;
    feed(&mut u, &[event(1, A, 1, 1, 0), event(2, A, 1, 1, 200 * second)], 9);
    let late = Watermark(EventTime(150 * second));
    u.on_watermark(late, &mut Output::default()).unwrap();
    assert_eq!(u.state_size().keys, 2, "a dirty key stays");
    drain(&mut u, &mut Store::default(), 9);
    u.on_watermark(Watermark(EventTime(160 * second)), &mut Output::default()).unwrap();
    assert_eq!(u.state_size().keys, 1);
}

#[test]
fn inputs_share_columns_only_with_latest_by() {
    let mut wrong = spec(Kind::Latest);
    wrong.inputs[1].latest_by = None;
    let error = Upsert::new(Arc::new(wrong)).unwrap_err();
    assert_eq!(error.message(), "several inputs of `u` set `shared`: give each `latest_by`");
}
