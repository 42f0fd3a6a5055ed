//! Whatever the order, the repetition, the cut of batches, the pace of the store: the same table, the same transitions.

use std::collections::BTreeSet;

use millstream_core::table::PutOutcome;
use proptest::prelude::*;

use super::harness::{Event, Kind, Store, drain, feed, fold, rows_of, transitions, upsert};
use super::*;

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![Just(Kind::Owned), Just(Kind::Latest), Just(Kind::LatestNulls)]
}

fn value() -> impl Strategy<Value = Option<i64>> {
    prop_oneof![1 => Just(None), 2 => (0..3_i64).prop_map(Some)]
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = (0..4_u8, 0..2_usize, value(), value(), value(), 0..6_i64)
        .prop_map(|(key, input, v1, v2, shared, at)| Event { key, input, values: [v1, v2], shared, at });
    prop::collection::vec(event, 1..24)
}

/// Events of one content per key and input: what a dedup lets through.
fn distinct(events: &[Event]) -> Vec<Event> {
    let mut seen = BTreeSet::new();
    events.iter().copied().filter(|e| seen.insert((e.key, e.input))).collect()
}

/// The same events in another order with repetitions.
fn shuffled(events: &[Event], seeds: &[u32]) -> Vec<Event> {
    let mut order: Vec<(u32, Event)> = Vec::new();
    for (i, event) in events.iter().enumerate() {
        let seed = seeds[i % seeds.len()].wrapping_mul(i as u32 + 1);
        order.push((seed.wrapping_mul(0x9E37_79B9), *event));
        if seed.is_multiple_of(3) {
            order.push((seed.wrapping_mul(0x85EB_CA6B), *event));
        }
    }
    order.sort();
    order.into_iter().map(|(_, e)| e).collect()
}

/// (port, key): who entered what.
fn entered(out: &Output) -> BTreeSet<(usize, String)> {
    transitions(out).into_iter().map(|(port, row)| (port, row[0].clone())).collect()
}

proptest! {
    #[test]
    fn rows_are_a_fold_of_their_events_in_any_order(
        kind in kind(), events in events(), seeds in prop::collection::vec(any::<u32>(), 1..8), cut in 1..9_usize,
    ) {
        let expected = fold(kind, &events);
        let mut straight = upsert(kind);
        let first = feed(&mut straight, &events, usize::MAX);
        prop_assert_eq!(rows_of(&straight.own_rows().unwrap()), expected.clone());
        let again = shuffled(&events, &seeds);
        let mut other = upsert(kind);
        let second = feed(&mut other, &again, cut);
        prop_assert_eq!(rows_of(&other.own_rows().unwrap()), expected);
        // With nulls written over values a predicate may cease to hold: what fired then depends on the order.
        if kind != Kind::LatestNulls {
            prop_assert_eq!(entered(&first), entered(&second));
        }
    }

    #[test]
    fn the_cut_of_batches_changes_no_transition(kind in kind(), events in events(), cut in 1..5_usize) {
        let (mut one, mut other) = (upsert(kind), upsert(kind));
        let (whole, cut) = (feed(&mut one, &events, usize::MAX), feed(&mut other, &events, cut));
        prop_assert_eq!(transitions(&whole), transitions(&cut));
        prop_assert_eq!(whole.counts, cut.counts);
    }

    #[test]
    fn deduplicated_events_give_equal_transitions_in_any_order(
        events in events(), seeds in prop::collection::vec(any::<u32>(), 1..8), cut in 1..9_usize,
    ) {
        let events = distinct(&events);
        let (mut one, mut other) = (upsert(Kind::Owned), upsert(Kind::Owned));
        let (straight, shuffled) =
            (feed(&mut one, &events, usize::MAX), feed(&mut other, &shuffled(&events, &seeds), cut));
        prop_assert_eq!(transitions(&straight), transitions(&shuffled));
    }

    /// Several runs, each with its own state and some of the events, over one store, with writes that fail, land
    /// late or twice: the store holds the fold of all events.
    #[test]
    fn the_store_holds_the_fold_of_all_events_of_all_runs(
        kind in kind(),
        runs in prop::collection::vec((events(), prop::collection::vec(0..6_u8, 0..30)), 1..4),
        at_once in 1..5_usize,
    ) {
        let mut store = Store::default();
        let mut all = Vec::new();
        for (events, paces) in &runs {
            all.extend(events.iter().copied());
            let mut u = upsert(kind);
            let mut flying = None;
            let mut paces = paces.iter().copied().cycle();
            for event in events {
                feed(&mut u, &[*event], 1);
                match (paces.next().unwrap_or(0), flying.take()) {
                    (0, flight) => flying = flight,
                    (1, Some(rows)) => u.retry(rows),
                    // It happened, and nobody heard of it.
                    (2, Some(rows)) => {
                        store.put(&rows);
                        u.retry(rows);
                    }
                    (3, Some(rows)) => {
                        let mut outcomes = store.put(&rows);
                        outcomes[0] = PutOutcome::Retry("no answer".into());
                        u.on_outcomes(rows, outcomes, &mut Output::default()).unwrap();
                    }
                    (_, Some(rows)) => {
                        let outcomes = store.put(&rows);
                        u.on_outcomes(rows, outcomes, &mut Output::default()).unwrap();
                    }
                    (_, None) => flying = u.take_dirty(at_once).unwrap(),
                }
            }
            if let Some(rows) = flying {
                u.retry(rows);
            }
            drain(&mut u, &mut store, at_once);
            prop_assert_eq!(rows_of(&u.own_rows().unwrap()), fold(kind, events));
        }
        prop_assert_eq!(store.table(), fold(kind, &all));
    }
}
