//! Pipelines that changed between a snapshot and its return.

use arrow::datatypes::{DataType, Field, Schema};

use super::crash_tests::memory;
use super::harness::{A, B, Event, Kind, Row, Store, batch, drain, event, feed, rows_of, transitions, upsert};
use super::remember_tests::{column, restored, with};
use super::*;

#[test]
fn statuses_have_fired_by_name() {
    let mut before = upsert(Kind::Owned);
    feed(&mut before, &[event(1, A, 1, 1, 1)], 9);
    let snapshot = before.snapshot(false).unwrap();
    // Another order, DONE is gone, and there is a new one that holds at once.
    let changed = |spec: &mut UpsertSpec| {
        spec.statuses.reverse();
        spec.statuses.pop();
        let new = StatusSpec { name: "NEW".into(), ..spec.statuses[1].clone() };
        spec.statuses.insert(0, new);
    };
    let mut after = restored(with(Kind::Owned, changed), std::slice::from_ref(&snapshot));
    assert_eq!(memory(&[&after])["key 1"].fired, 0b100, "NEW, B, A");
    let out = feed(&mut after, &[event(1, B, 2, 2, 2)], 9);
    let statuses: Vec<String> = transitions(&out).into_iter().map(|(_, row)| row[row.len() - 4].clone()).collect();
    assert_eq!(statuses, ["NEW", "B"]);
    assert_eq!(with(Kind::Owned, changed).layout(), before.layout());
}

/// A table column more, set by these inputs from their column `v1`.
fn set_more(spec: &mut UpsertSpec, at: usize, name: &str, inputs: &[usize]) {
    let mut fields: Vec<Field> = spec.table.fields().iter().map(|f| f.as_ref().clone()).collect();
    fields.insert(at, Field::new(name, DataType::Int64, true));
    spec.table = Arc::new(Schema::new(fields));
    let moved = |c: &mut usize| *c += usize::from(*c >= at);
    spec.inputs.iter_mut().flat_map(|i| &mut i.columns).for_each(|(_, c)| moved(c));
    spec.statuses.iter_mut().flat_map(|s| s.columns.iter_mut().chain(&mut s.reads)).for_each(moved);
    spec.status_column.iter_mut().for_each(moved);
    inputs.iter().for_each(|i| spec.inputs[*i].columns.push((1, at)));
}

#[test]
fn a_layout_tells_what_a_changed_pipeline_can_take_back() {
    let stored = upsert(Kind::Owned).layout().unwrap();
    assert_eq!(stored.fixed["key"], "id string");
    assert_eq!((stored.columns["a1"].as_str(), stored.columns.len()), ("bigint, set by one input", 5));
    let differences = |kind, change: &dyn Fn(&mut UpsertSpec)| {
        with(kind, |s| change(s)).layout().unwrap().differences(&upsert(kind).layout().unwrap())
    };
    // A new input with a column of its own; inputs in another order.
    let none: Vec<String> = Vec::new();
    let third = |s: &mut UpsertSpec| {
        s.inputs.push(InputSpec { columns: vec![], ..s.inputs[0].clone() });
        set_more(s, 3, "new", &[2]);
    };
    assert_eq!(differences(Kind::Owned, &third), none);
    assert_eq!(differences(Kind::Latest, &third), none);
    assert_eq!(differences(Kind::Owned, &|s| s.inputs.reverse()), none);
    // A column more for an input.
    assert_eq!(differences(Kind::Owned, &|s| set_more(s, 3, "new", &[0])), none);
    assert_eq!(differences(Kind::Latest, &|s| set_more(s, 3, "new", &[0])), none);
    // But where nulls are values and nothing else decides, a row of the store would say null of it.
    let nulls = |s: &mut UpsertSpec| s.inputs[A].write_nulls = true;
    let before = with(Kind::Owned, nulls).layout().unwrap();
    let after = with(Kind::Owned, |s| {
        nulls(s);
        set_more(s, 3, "new", &[A]);
    });
    let named = "bigint, set by one input with nulls in a1, a2";
    assert_eq!(
        after.layout().unwrap().differences(&before),
        ["a1", "a2"].map(|c| format!("its column {c} was {named} and is {named}, new"))
    );
    // Another order, another meaning of nulls, another party.
    assert_eq!(differences(Kind::Latest, &|s| s.inputs[0].latest_by = Some(1)).len(), 3);
    assert_eq!(differences(Kind::Latest, &|s| s.inputs[0].write_nulls = true).len(), 3);
    assert_eq!(differences(Kind::Latest, &|s| s.inputs[1].columns.retain(|(_, c)| *c != 5)).len(), 1);
    let schema = batch(&[]).rows.schema();
    let named = upsert(Kind::LatestNulls).named(&[schema.clone(), schema]).layout().unwrap();
    assert_eq!(named.columns["shared"], "bigint, the latest by at bigint or at bigint with nulls");
}

#[test]
fn columns_that_were_added_are_null_and_nothing_has_set_them() {
    for kind in [Kind::Latest, Kind::LatestNulls] {
        let mut before = upsert(kind);
        feed(&mut before, &[event(1, A, 1, 2, 5), event(1, B, 3, 4, 6)], 9);
        let snapshot = before.snapshot(false).unwrap();
        let mut after = restored(with(kind, |s| set_more(s, 1, "new", &[B])), &[snapshot]);
        assert_eq!(
            (column(&after, "new"), column(&after, "a1"), column(&after, "b2")),
            (vec!["-".into()], vec!["1".into()], vec!["4".into()])
        );
        // An event that is older than all the row has.
        feed(&mut after, &[event(1, B, 9, 9, 2)], 9);
        assert_eq!((column(&after, "new"), column(&after, "b1")), (vec!["9".into()], vec!["3".into()]), "{kind:?}");
    }
}

#[test]
fn a_column_that_another_input_sets_now_keeps_its_stamp() {
    let mut before = upsert(Kind::Latest);
    feed(&mut before, &[event(1, A, 1, 2, 5), event(1, B, 3, 4, 9), event(1, A, None, 7, 6)], 9);
    let snapshot = before.snapshot(false).unwrap();
    let moved = |s: &mut UpsertSpec| {
        s.inputs[A].columns.retain(|(_, c)| *c != 1);
        s.inputs[B].columns.push((1, 1));
    };
    let mut after = restored(with(Kind::Latest, moved), &[snapshot]);
    let (was, is) = (memory(&[&before]), memory(&[&after]));
    assert_eq!((&is["key 1"].row, &is["key 1"].stamps), (&was["key 1"].row, &was["key 1"].stamps));
    // a1 was set at 5: an event at 6 sets it, though b1 and b2 are from 9.
    feed(&mut after, &[event(1, B, 8, 8, 6)], 9);
    assert_eq!((column(&after, "a1"), column(&after, "b1")), (vec!["8".to_owned()], vec!["3".to_owned()]));
}

#[test]
fn an_input_that_gains_a_column_goes_on_with_its_rows() {
    let gained = || with(Kind::Owned, |spec| set_more(spec, 3, "new", &[A]));
    // Enough keys that of some the old content hash is greater, and of some the new one.
    let a2 = |key: u8| key.is_multiple_of(2).then_some(7);
    let starts: Vec<Event> = (0..20).map(|key| event(key, A, i64::from(key), a2(key), 5)).collect();
    let ends: Vec<Event> = (0..20).map(|key| event(key, B, 3, 4, 9)).collect();
    let row = |key: u8, new: bool| -> (String, Row) {
        let (id, a2) = (format!("key {key}"), a2(key).map_or("-".into(), |v| v.to_string()));
        let new = if new { key.to_string() } else { "-".into() };
        (id.clone(), [id, key.to_string(), a2, new, "3".into(), "4".into(), "-".into(), "DONE".into()].into())
    };
    let mut store = Store::default();
    let mut before = upsert(Kind::Owned);
    feed(&mut before, &starts, 9);
    drain(&mut before, &mut store, 9);
    let mut after = restored(gained(), &[before.snapshot(false).unwrap()]);
    let entered = |out: &Output| -> Vec<usize> { transitions(out).into_iter().map(|(port, _)| port).collect() };
    // Later events merge into the rows restored, in which nothing has set the new column.
    let out = feed(&mut after, &ends, 9);
    assert_eq!(entered(&out), [[0; 20], [2; 20]].concat(), "DONE and B of each; A fired before");
    assert_eq!(rows_of(&after.own_rows().unwrap()), (0..20).map(|key| row(key, false)).collect());
    // Old events come again: they say what they said, and what was not asked for then.
    let out = feed(&mut after, &starts, 9);
    assert_eq!((entered(&out).len(), out.counts.merged), (0, 20));
    let all = (0..20).map(|key| row(key, true)).collect();
    assert_eq!(rows_of(&after.own_rows().unwrap()), all);
    drain(&mut after, &mut store, 9);
    assert_eq!(store.table(), all);
    // And again: nothing is new.
    assert_eq!(entered(&feed(&mut after, &starts, 9)).len(), 0);
    assert_eq!((after.dirty_len(), rows_of(&after.own_rows().unwrap())), (0, all));
}
