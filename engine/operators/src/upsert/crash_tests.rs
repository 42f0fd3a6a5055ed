//! An upsert that is killed and restored into other workers makes the same rows, fires the same transitions and has the
//! same keys left to write as one that lives on.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use millstream_core::EventTime;
use millstream_core::key::KEY_GROUPS;
use proptest::prelude::*;

use super::harness::{Event, Kind, Store, batch, drain, rows_of, spec, transitions};
use super::stamp::Stamp;
use super::*;
use crate::testing::{Step, survive};

type Drawn = (Vec<Event>, bool, Option<bool>, Option<usize>);

fn steps() -> impl Strategy<Value = Vec<Drawn>> {
    let value = || prop_oneof![1 => Just(None), 2 => (0..3_i64).prop_map(Some)];
    let event = (0..8_u8, 0..2_usize, value(), value(), value(), 0..60_i64)
        .prop_map(|(key, input, v1, v2, shared, at)| Event { key, input, values: [v1, v2], shared, at });
    let events = prop::collection::vec(event, 1..8);
    let snapshot = prop::option::weighted(0.4, prop::bool::weighted(0.25));
    prop::collection::vec((events, any::<bool>(), snapshot, prop::option::weighted(0.2, 1..5_usize)), 1..30)
}

/// What is known of a key.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Memory {
    pub(super) row: Vec<String>,
    pub(super) stamps: Vec<Option<Stamp>>,
    times: Vec<Option<i64>>,
    pub(super) version: u64,
    pub(super) fired: u32,
    event_time: i64,
}

pub(super) fn memory(upserts: &[&Upsert]) -> BTreeMap<String, Memory> {
    let mut all = BTreeMap::new();
    for upsert in upserts {
        let table = &upsert.own.table;
        for slot in table.slots_of_groups(0..KEY_GROUPS) {
            let columns: Vec<usize> = (0..upsert.layout.width).collect();
            let (key, row) = rows_of(&table.rows_of(&columns, &[slot]).unwrap()).pop_first().unwrap();
            let inputs = upsert.layout.inputs.iter().flat_map(|i| [i.event_time, i.arrived_at]);
            let meta = table.meta(slot);
            let memory = Memory {
                row,
                stamps: columns.iter().map(|c| upsert.own.stamp(slot, *c).unwrap()).collect(),
                times: inputs.map(|c| table.column(c).unwrap().i64_at(slot)).collect(),
                version: meta.version,
                fired: meta.fired,
                event_time: meta.event_time,
            };
            assert!(all.insert(key, memory).is_none(), "a key in two places");
        }
    }
    all
}

/// The keys that the store has not acknowledged.
pub(super) fn unwritten(upserts: &[&Upsert]) -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    for table in upserts.iter().map(|u| &u.own.table) {
        let waits = |slot: &Slot| table.meta(*slot).has(Meta::DIRTY) || table.meta(*slot).has(Meta::IN_FLIGHT);
        let slots: Vec<Slot> = table.slots_of_groups(0..KEY_GROUPS).filter(waits).collect();
        keys.extend(rows_of(&table.rows_of(&[0], &slots).unwrap()).into_keys());
    }
    keys
}

proptest! {
    #[test]
    fn crashes_change_no_row_and_no_transition(
        drawn in steps(), kind in prop_oneof![Just(Kind::Owned), Just(Kind::Latest), Just(Kind::LatestNulls)],
        horizon in 0..60_i64, longer in 0..400_i64,
    ) {
        let mut newest = 0;
        let steps: Vec<Step> = drawn
            .into_iter()
            .map(|(mut events, moves_on, snapshot, crash)| {
                newest += 10 * events.len() as i64;
                events.iter_mut().for_each(|e| e.at = newest - e.at.min(horizon));
                let batches = events.chunk_by(|a, b| a.input == b.input).map(|run| (InPort(run[0].input), batch(run)));
                let watermark = moves_on.then_some(Watermark(EventTime(newest)));
                Step { batches: batches.collect(), watermark, snapshot, crash }
            })
            .collect();
        let mut spec = spec(kind);
        spec.forget_after = Some(Duration::from_micros((horizon + longer) as u64));
        let spec = Arc::new(spec);
        let new = || Upsert::new(spec.clone()).unwrap();
        let settle = |u: &mut Upsert| drop(drain(u, &mut Store::default(), 9));
        let seen = |outs: &[Output]| {
            let (mut entered, mut produced) = (BTreeSet::new(), 0);
            for out in outs {
                produced += out.counts.produced;
                entered.extend(transitions(out));
            }
            let counts = |of: fn(&Output) -> u64| outs.iter().map(of).sum::<u64>();
            (entered, produced, counts(|o| o.counts.merged), counts(|o| o.counts.duplicate))
        };
        let (steady, workers) = survive(&steps, &[0], new, settle, seen);
        prop_assert_eq!(memory(&workers.iter().collect::<Vec<_>>()), memory(&[&steady]));
        prop_assert_eq!(unwritten(&workers.iter().collect::<Vec<_>>()), unwritten(&[&steady]));
    }
}
