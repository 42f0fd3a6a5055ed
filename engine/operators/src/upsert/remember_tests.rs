//! Snapshots piece by piece.

use arrow::array::TimestampMicrosecondArray;
use millstream_core::EventTime;
use millstream_core::snapshot::Layer;
use millstream_core::table::PutOutcome;

use super::crash_tests::{memory, unwritten};
use super::harness::{A, B, Event, Kind, Store, batch, drain, event, feed, fold, rows_of, spec, transitions, upsert};
use super::remember::{ROWS, UNWRITTEN};
use super::*;
use crate::testing::needed;

pub(super) fn restored(new: Upsert, layers: &[Snapshot]) -> Upsert {
    let mut upsert = new;
    upsert.restore(needed(layers), Watermark::START).unwrap();
    upsert
}

/// How many rows of a table of this name a snapshot has.
fn count(snapshot: &Snapshot, name: &str) -> usize {
    snapshot.tables.iter().filter(|t| t.name == name).map(StateTable::num_rows).sum()
}

/// Rows of state, and keys to be written.
fn counts(snapshot: &Snapshot) -> (usize, usize) {
    assert_eq!(count(snapshot, ROWS) + count(snapshot, UNWRITTEN), snapshot.num_rows(), "no other table");
    (count(snapshot, ROWS), count(snapshot, UNWRITTEN))
}

pub(super) fn with(kind: Kind, change: impl FnOnce(&mut UpsertSpec)) -> Upsert {
    let mut spec = spec(kind);
    change(&mut spec);
    Upsert::new(Arc::new(spec)).unwrap()
}

pub(super) fn column(upsert: &Upsert, name: &str) -> Vec<String> {
    let rows = upsert.own_rows().unwrap();
    let at = rows.schema().index_of(name).unwrap();
    rows_of(&rows).into_values().map(|row| row[at].clone()).collect()
}

#[test]
fn a_snapshot_has_the_rows_that_changed_and_only_those() {
    let mut u = upsert(Kind::Owned);
    feed(&mut u, &[event(1, A, 10, 20, 100), event(2, A, 1, 2, 100)], 9);
    let first = u.snapshot(false).unwrap();
    assert_eq!((first.layer, counts(&first)), (Layer::Changes, (2, 2)));
    // An echo, and answers of the store, change nothing of what is remembered.
    feed(&mut u, &[event(1, A, 10, 20, 100)], 9);
    drain(&mut u, &mut Store::default(), 9);
    assert!(u.snapshot(false).unwrap().is_nothing());
    feed(&mut u, &[event(1, B, 30, 40, 200)], 9);
    let second = u.snapshot(false).unwrap();
    assert_eq!(counts(&second), (1, 1));
    let mut again = restored(upsert(Kind::Owned), &[first, second]);
    assert_eq!(memory(&[&again]), memory(&[&u]));
    assert_eq!(
        counts(&again.snapshot(false).unwrap()),
        (0, 1),
        "what was restored has not changed, and is to be written"
    );
    drain(&mut again, &mut Store::default(), 9);
    assert!(again.snapshot(false).unwrap().is_nothing(), "nor did writing change it");
    let whole = u.snapshot(true).unwrap();
    assert_eq!((whole.layer, counts(&whole)), (Layer::Whole, (2, 1)));
    assert_eq!(memory(&[&restored(upsert(Kind::Owned), &[whole])]), memory(&[&u]));
}

#[test]
fn an_event_that_came_too_late_to_set_anything_still_moves_a_time() {
    let mut u = upsert(Kind::Latest);
    let events = [Event { shared: Some(1), ..event(1, A, 1, 1, 5) }, Event { shared: Some(2), ..event(1, A, 2, 2, 9) }];
    feed(&mut u, &events[1..], 9);
    u.snapshot(false).unwrap();
    let mut late = batch(&events[..1]);
    let mut columns = late.rows.columns().to_vec();
    columns[5] = Arc::new(TimestampMicrosecondArray::from(vec![50]));
    columns[6] = Arc::new(TimestampMicrosecondArray::from(vec![None]));
    late.rows = RecordBatch::try_new(late.rows.schema(), columns).unwrap();
    let mut out = Output::default();
    u.on_batch(InPort(A), late, &mut out).unwrap();
    assert_eq!((out.counts.merged, u.dirty_len()), (1, 1));
    assert_eq!(counts(&u.snapshot(false).unwrap()), (1, 1));
}

#[test]
fn a_later_layer_replaces_a_row_with_its_nulls() {
    let mut u = upsert(Kind::LatestNulls);
    feed(&mut u, &[event(1, B, 5, 6, 1)], 9);
    let first = u.snapshot(false).unwrap();
    feed(&mut u, &[event(1, B, None, 7, 2)], 9);
    let second = u.snapshot(false).unwrap();
    let again = restored(upsert(Kind::LatestNulls), &[first, second]);
    assert_eq!((column(&again, "b1"), column(&again, "b2")), (vec!["-".to_owned()], vec!["7".to_owned()]));
    assert_eq!(memory(&[&again]), memory(&[&u]));
}

#[test]
fn after_a_restart_the_store_says_what_it_has_and_nothing_is_written_twice() {
    let (start, end, next) = (event(1, A, 10, 20, 100), event(1, B, 30, 40, 200), event(2, A, 1, 1, 300));
    let mut store = Store::default();
    let mut before = upsert(Kind::Owned);
    feed(&mut before, &[start], 9);
    drain(&mut before, &mut store, 9);
    let snapshot = before.snapshot(false).unwrap();
    // After the boundary: written and lost.
    feed(&mut before, &[end], 9);
    drain(&mut before, &mut store, 9);
    let mut after = restored(upsert(Kind::Owned), &[snapshot]);
    assert_eq!(after.dirty_len(), 0, "what was written by the boundary is not written again");
    let out = feed(&mut after, &[end, next], 9);
    let ports: Vec<usize> = transitions(&out).into_iter().map(|(port, _)| port).collect();
    assert_eq!(ports, [0, 1, 2], "DONE and B of the first, A of the second");
    let rows = after.take_dirty(9).unwrap().unwrap();
    assert_eq!(rows.rows.versions, [1, 1], "only where the store has none");
    let outcomes = store.put(&rows);
    after.on_outcomes(rows, outcomes, &mut Output::default()).unwrap();
    assert_eq!((after.dirty_len(), after.base_of.len()), (0, 0), "the store had it all");
    assert_eq!((store.table(), store.version(1)), (fold(Kind::Owned, &[start, end, next]), 2));
}

#[test]
fn a_row_that_was_refused_is_not_tried_again_after_a_restart() {
    let mut before = upsert(Kind::Owned);
    feed(&mut before, &[event(1, A, 1, 2, 7)], 9);
    let rows = before.take_dirty(9).unwrap().unwrap();
    before.on_outcomes(rows, vec![PutOutcome::GivenUp("gone".into())], &mut Output::default()).unwrap();
    let mut after = restored(upsert(Kind::Owned), &[before.snapshot(false).unwrap()]);
    assert!(after.take_dirty(9).unwrap().is_none());
}

#[test]
fn rows_forgotten_at_the_watermark_are_not_taken_back() {
    let second = 1_000_000;
    let mut u = upsert(Kind::Owned);
    feed(&mut u, &[event(1, A, 1, 1, 0), event(2, A, 1, 1, 200 * second)], 9);
    drain(&mut u, &mut Store::default(), 9);
    let snapshot = u.snapshot(false).unwrap();
    for (watermark, keys) in [(Watermark(EventTime(150 * second)), 1), (Watermark::COMPLETE, 2)] {
        let mut again = upsert(Kind::Owned);
        again.restore(snapshot.tables.clone(), watermark).unwrap();
        assert_eq!(again.state_size().keys, keys);
    }
    let mut again = restored(upsert(Kind::Owned), &[snapshot]);
    again.on_watermark(Watermark(EventTime(150 * second)), &mut Output::default()).unwrap();
    assert_eq!(again.state_size().keys, 1, "what was restored is forgotten in its time");
}

#[test]
fn what_was_not_acknowledged_at_the_freeze_is_written_after_a_restart() {
    let mut store = Store::default();
    let mut before = upsert(Kind::Owned);
    let acknowledged = event(1, A, 1, 1, 100);
    feed(&mut before, &[acknowledged], 9);
    drain(&mut before, &mut store, 9);
    // 2 flies and reaches the store, 3 flies and changes, 4 waits, 5 comes back.
    let (second, third, fourth, fifth) =
        (event(2, A, 2, 2, 100), event(3, A, 3, 3, 100), event(4, A, 4, 4, 100), event(5, A, 5, 5, 100));
    feed(&mut before, &[second, third], 9);
    let flying = before.take_dirty(9).unwrap().unwrap();
    store.put(&flying);
    feed(&mut before, &[fifth], 9);
    let came_back = before.take_dirty(9).unwrap().unwrap();
    before.on_outcomes(came_back, vec![PutOutcome::Retry("later".into())], &mut Output::default()).unwrap();
    let end = event(3, B, 6, 6, 200);
    feed(&mut before, &[end, fourth], 9);
    assert_eq!((before.in_flight_len(), before.dirty_len()), (2, 3));
    let snapshot = before.snapshot(false).unwrap();
    assert_eq!(counts(&snapshot), (5, 4), "a key that is dirty and in flight is there once");
    let mut after = restored(upsert(Kind::Owned), &[snapshot]);
    assert_eq!(unwritten(&[&after]), ["key 2", "key 3", "key 4", "key 5"].map(str::to_owned).into());
    assert_eq!((after.dirty_len(), after.in_flight_len()), (4, 0));
    let puts = store.puts;
    drain(&mut after, &mut store, 9);
    assert_eq!(store.puts - puts, 5, "each once, and 3 again, of which the store had less");
    assert_eq!(store.table(), fold(Kind::Owned, &[acknowledged, second, third, end, fourth, fifth]));
}

#[test]
fn an_answer_after_the_freeze_does_not_change_what_was_frozen() {
    let mut u = upsert(Kind::Owned);
    feed(&mut u, &[event(1, A, 1, 1, 1), event(2, A, 1, 1, 1)], 9);
    let (first, second) = (u.take_dirty(1).unwrap().unwrap(), u.take_dirty(1).unwrap().unwrap());
    let frozen = u.snapshot(false).unwrap();
    u.on_outcomes(second, vec![PutOutcome::Written], &mut Output::default()).unwrap();
    let one = u.snapshot(false).unwrap();
    assert_eq!((counts(&frozen), counts(&one)), ((2, 2), (0, 1)), "answers come in any order");
    assert_eq!(unwritten(&[&restored(upsert(Kind::Owned), &[frozen.clone(), one.clone()])]), unwritten(&[&u]));
    u.on_outcomes(first, vec![PutOutcome::Written], &mut Output::default()).unwrap();
    let none = u.snapshot(false).unwrap();
    assert!(none.is_nothing());
    // Only the list of the newest counts, and the newest has none.
    let after = restored(upsert(Kind::Owned), &[frozen, one, none]);
    assert_eq!((after.state_size().keys, after.dirty_len()), (2, 0));
}

#[test]
fn a_key_past_its_limit_is_kept_until_it_is_written() {
    let second = 1_000_000;
    let late = Watermark(EventTime(150 * second));
    let mut u = upsert(Kind::Owned);
    let (old, new) = (event(1, A, 1, 1, 0), event(2, A, 1, 1, 200 * second));
    feed(&mut u, &[old, event(3, A, 1, 1, 0), new], 9);
    let (mut store, mut out) = (Store::default(), Output::default());
    let rows = u.take_dirty(9).unwrap().unwrap();
    // 3 is done with, the others are not.
    let outcomes = ["key 1", "key 3", "key 2"].map(|key| match key {
        "key 3" => PutOutcome::GivenUp("gone".into()),
        _ => PutOutcome::Retry("later".into()),
    });
    u.on_outcomes(rows, outcomes.into(), &mut out).unwrap();
    u.on_watermark(late, &mut out).unwrap();
    let snapshot = u.snapshot(true).unwrap();
    assert_eq!(counts(&snapshot), (2, 2));
    let mut again = upsert(Kind::Owned);
    again.restore(needed(&[snapshot]), late).unwrap();
    assert_eq!((memory(&[&again]), unwritten(&[&again])), (memory(&[&u]), unwritten(&[&u])));
    again.on_watermark(late, &mut out).unwrap();
    assert_eq!(again.state_size().keys, 2, "it is dirty still");
    drain(&mut again, &mut store, 9);
    assert_eq!(store.table(), fold(Kind::Owned, &[old, new]));
    again.on_watermark(Watermark(EventTime(200 * second)), &mut out).unwrap();
    assert_eq!(again.state_size().keys, 1, "then it goes, once time has moved on");
}

#[test]
fn a_key_that_went_stays_gone_though_an_earlier_list_has_it() {
    let second = 1_000_000;
    let late = Watermark(EventTime(150 * second));
    let mut u = upsert(Kind::Owned);
    feed(&mut u, &[event(1, A, 1, 1, 0)], 9);
    let first = u.snapshot(false).unwrap();
    drain(&mut u, &mut Store::default(), 9);
    u.on_watermark(late, &mut Output::default()).unwrap();
    feed(&mut u, &[event(2, A, 1, 1, 200 * second)], 9);
    let layers = [first, u.snapshot(false).unwrap()];
    assert_eq!(layers.each_ref().map(counts), [(1, 1), (1, 1)]);
    let mut again = upsert(Kind::Owned);
    again.restore(needed(&layers), late).unwrap();
    assert_eq!((memory(&[&again]), unwritten(&[&again])), (memory(&[&u]), unwritten(&[&u])));
}

#[test]
fn what_is_not_an_upserts_state_is_a_bug() {
    let rows = batch(&[event(1, A, 1, 1, 1)]).rows;
    for name in ["rows", "ids"] {
        let table = StateTable::new(name, rows.clone());
        assert!(upsert(Kind::Owned).restore(vec![table], Watermark::START).is_err());
    }
}

#[test]
fn a_key_to_be_written_whose_row_is_nowhere_is_a_bug() {
    let mut u = upsert(Kind::Owned);
    feed(&mut u, &[event(1, A, 1, 1, 1)], 9);
    u.snapshot(false).unwrap();
    let lost = u.snapshot(false).unwrap();
    assert_eq!(counts(&lost), (0, 1));
    let error = upsert(Kind::Owned).restore(lost.tables, Watermark::START).unwrap_err();
    assert_eq!(error.message(), "the state of `u` lacks the row of a key that is to be written");
}
