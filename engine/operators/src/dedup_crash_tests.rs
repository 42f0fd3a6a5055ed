//! A dedup that is killed and restored into other workers drops the same rows as one that lives on.

use millstream_core::EventTime;
use proptest::prelude::*;

use super::*;
use crate::testing::{Step, batch, run, survive, text_of};

const MICRO: Duration = Duration::from_micros(1);

type Drawn = (Vec<(u8, i64, i64)>, bool, Option<bool>, Option<usize>);

fn steps() -> impl Strategy<Value = Vec<Drawn>> {
    let rows = prop::collection::vec((0..12_u8, 0..100_i64, 0..2_i64), 1..6);
    let snapshot = prop::option::weighted(0.4, prop::bool::weighted(0.25));
    prop::collection::vec((rows, any::<bool>(), snapshot, prop::option::weighted(0.2, 1..5_usize)), 1..40)
}

proptest! {
    #[test]
    fn crashes_change_no_sighting(drawn in steps(), within in 0..30_u32, horizon in 0..150_u32) {
        let mut newest = 0;
        let steps: Vec<Step> = drawn
            .into_iter()
            .map(|(rows, moves_on, snapshot, crash)| {
                newest += 1 + rows.len() as i64 * 3;
                let names: Vec<String> = rows.iter().map(|(key, ..)| format!("key {key}")).collect();
                let rows: Vec<(&str, Option<i64>, i64)> = rows
                    .iter()
                    .zip(&names)
                    .map(|((_, back, n), id)| (id.as_str(), Some(*n), newest - *back.min(&i64::from(horizon))))
                    .collect();
                let watermark = moves_on.then_some(Watermark(EventTime(newest)));
                Step { batches: vec![(InPort(0), batch(&rows))], watermark, snapshot, crash }
            })
            .collect();
        let new = || Dedup::new(vec![0], MICRO * within, MICRO * horizon);
        let seen = |outs: &[Output]| {
            let mut passed: Vec<String> =
                outs.iter().flat_map(|o| &o.batches).flat_map(|(_, b)| text_of(b, "id")).collect();
            passed.sort();
            let counts = |of: fn(&Output) -> u64| outs.iter().map(of).sum::<u64>();
            (passed, counts(|o| o.counts.duplicate), counts(|o| o.counts.conflicts))
        };
        let (steady, workers) = survive(&steps, &[0], new(), new, seen, &mut ());
        let held: usize = workers.iter().map(|w| w.state_size().keys).sum();
        prop_assert_eq!(held, steady.state_size().keys, "as many ids are remembered");
    }
}

#[test]
fn what_an_input_says_besides_may_change_and_its_key_may_not() {
    let dedup = || Dedup::new(vec![0], MICRO, MICRO);
    let rows = batch(&[("a", Some(1), 0)]);
    let named = |d: Dedup| d.named(rows.rows.schema_ref()).layout().unwrap();
    assert_eq!(named(dedup()).fixed["key"], "id string");
    let other = Dedup::new(vec![0, 1], MICRO, MICRO);
    assert_eq!(named(other).differences(&named(dedup())), ["its key was id string and is id string, n bigint"]);
    let mut before = dedup();
    run(&mut before, rows.clone());
    let snapshot = before.snapshot(false).unwrap();
    assert!(before.snapshot(false).unwrap().is_nothing());
    let mut after = dedup();
    after.restore(snapshot.tables, Watermark::START).unwrap();
    let out = run(&mut after, batch(&[("a", Some(2), 0)]));
    assert_eq!((out.counts.duplicate, out.counts.conflicts), (1, 1));
}

#[test]
fn what_was_complete_is_all_taken_back() {
    let mut before = Dedup::new(vec![0], MICRO, MICRO);
    run(&mut before, batch(&[("a", Some(1), 0)]));
    let mut after = Dedup::new(vec![0], MICRO, MICRO);
    after.restore(before.snapshot(true).unwrap().tables, Watermark::COMPLETE).unwrap();
    assert_eq!(after.state_size().keys, 1);
}
