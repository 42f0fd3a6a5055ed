//! An upsert that is killed and restored into other workers makes the same rows, fires the same transitions, has the
//! same keys left to write and brings the store to the same rows as one that lives on: with writes that are in flight at
//! the freeze and at the crash, that nobody hears of, that land late or never.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use millstream_core::EventTime;
use millstream_core::key::KEY_GROUPS;
use millstream_core::table::PutOutcome;
use proptest::prelude::*;

use super::harness::{Event, Kind, Store, batch, drain, fold, rows_of, spec, transitions};
use super::stamp::Stamp;
use super::*;
use crate::testing::{Step, Watch, survive};

/// What becomes of writes after a batch.
#[derive(Debug, Clone, Copy)]
enum Act {
    /// Nothing.
    Wait,
    /// So many rows fly; they reach the store at once, or when they are answered for.
    Take(usize, bool),
    /// The oldest or the newest flight is answered for.
    Answer(bool),
    /// The oldest flight comes back.
    Lose,
    /// What an operator that is dead had sent reaches the store.
    Haunt,
}

/// A store that outlives its operators.
#[derive(Debug, Default)]
struct World {
    store: Store,
    /// What happens, again and again.
    acts: Vec<Act>,
    next: usize,
    /// Sent by operators that died before it reached the store.
    late: Vec<DirtyRows>,
}

struct Flight {
    rows: DirtyRows,
    /// There where it has reached the store.
    outcomes: Option<Vec<PutOutcome>>,
}

/// An upsert that writes through. Before a watermark all is written, for what is forgotten depends on that.
struct Writing {
    upsert: Upsert,
    world: Arc<Mutex<World>>,
    flights: Vec<Flight>,
}

impl Writing {
    fn new(spec: &Arc<UpsertSpec>, world: &Arc<Mutex<World>>) -> Self {
        Self { upsert: Upsert::new(spec.clone()).unwrap(), world: world.clone(), flights: Vec::new() }
    }
    fn act(&mut self, world: &mut World) {
        let act = world.acts.get(world.next % world.acts.len().max(1)).copied();
        world.next += 1;
        match act {
            None | Some(Act::Wait) => {}
            Some(Act::Take(count, reaches)) => {
                if let Some(rows) = self.upsert.take_dirty(count).unwrap() {
                    let outcomes = reaches.then(|| world.store.put(&rows));
                    self.flights.push(Flight { rows, outcomes });
                }
            }
            Some(Act::Answer(_) | Act::Lose) if self.flights.is_empty() => {}
            Some(Act::Answer(oldest)) => {
                let flight = self.flights.remove(if oldest { 0 } else { self.flights.len() - 1 });
                self.land(flight, world);
            }
            Some(Act::Lose) => self.upsert.retry(self.flights.remove(0).rows),
            Some(Act::Haunt) => {
                world.late.pop().map(|rows| world.store.put(&rows));
            }
        }
    }
    fn land(&mut self, Flight { rows, outcomes }: Flight, world: &mut World) {
        let outcomes = outcomes.unwrap_or_else(|| world.store.put(&rows));
        let mut out = Output::default();
        self.upsert.on_outcomes(rows, outcomes, &mut out).unwrap();
        assert!(out.batches.is_empty(), "this store refuses nothing");
    }
    fn settle(&mut self) {
        let world = self.world.clone();
        let mut world = lock(&world);
        for flight in std::mem::take(&mut self.flights) {
            self.land(flight, &mut world);
        }
        drain(&mut self.upsert, &mut world.store, 3);
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        let sent = self.flights.drain(..).filter(|f| f.outcomes.is_none()).map(|f| f.rows);
        lock(&self.world).late.extend(sent);
    }
}

impl Operator for Writing {
    fn on_batch(&mut self, port: InPort, batch: Batch, out: &mut Output) -> Result<()> {
        self.upsert.on_batch(port, batch, out)?;
        let world = self.world.clone();
        self.act(&mut lock(&world));
        Ok(())
    }
    fn on_watermark(&mut self, watermark: Watermark, out: &mut Output) -> Result<()> {
        self.settle();
        self.upsert.on_watermark(watermark, out)
    }
    fn snapshot(&mut self, whole: bool) -> Result<Snapshot> {
        self.upsert.snapshot(whole)
    }
    fn restore(&mut self, tables: Vec<StateTable>, watermark: Watermark) -> Result<()> {
        self.upsert.restore(tables, watermark)
    }
}

fn lock(world: &Mutex<World>) -> MutexGuard<'_, World> {
    world.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn upserts(workers: &[Writing]) -> Vec<&Upsert> {
    workers.iter().map(|w| &w.upsert).collect()
}

/// What there was at the newest boundary.
struct Boundary<'a> {
    kind: Kind,
    /// By step.
    events: &'a [Vec<Event>],
    steps: usize,
    unwritten: BTreeSet<String>,
    /// As far as writes had reached it.
    store: Store,
}

impl Watch<Writing> for Boundary<'_> {
    fn freezing(&mut self, steps: usize, workers: &[Writing]) {
        self.steps = steps;
        self.unwritten = unwritten(&upserts(workers));
        self.store = lock(&workers[0].world).store.clone();
    }
    fn restored(&mut self, mut workers: Vec<Writing>) {
        assert_eq!(unwritten(&upserts(&workers)), self.unwritten, "these are dirty, and no others");
        let counted = |of: fn(&Upsert) -> usize| workers.iter().map(|w| of(&w.upsert)).sum::<usize>();
        assert_eq!((counted(Upsert::dirty_len), counted(Upsert::in_flight_len)), (self.unwritten.len(), 0));
        let mut store = self.store.clone();
        for worker in &mut workers {
            drain(&mut worker.upsert, &mut store, 2);
        }
        assert_eq!(store.table(), fold(self.kind, &self.events[..self.steps].concat()), "that was all it lacked");
    }
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        1 => Just(Act::Wait),
        4 => (1..5_usize, any::<bool>()).prop_map(|(count, reaches)| Act::Take(count, reaches)),
        3 => any::<bool>().prop_map(Act::Answer),
        1 => Just(Act::Lose),
        1 => Just(Act::Haunt),
    ]
}

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
    fn crashes_change_no_row_no_transition_and_nothing_in_the_store(
        drawn in steps(), kind in prop_oneof![Just(Kind::Owned), Just(Kind::Latest), Just(Kind::LatestNulls)],
        horizon in 0..60_i64, longer in 0..400_i64, acts in prop::collection::vec(act(), 0..12),
    ) {
        let (mut newest, mut events) = (0, Vec::new());
        let steps: Vec<Step> = drawn
            .into_iter()
            .map(|(mut of_step, moves_on, snapshot, crash)| {
                newest += 10 * of_step.len() as i64;
                of_step.iter_mut().for_each(|e| e.at = newest - e.at.min(horizon));
                let batches = of_step.chunk_by(|a, b| a.input == b.input).map(|run| (InPort(run[0].input), batch(run)));
                let watermark = moves_on.then_some(Watermark(EventTime(newest)));
                let step = Step { batches: batches.collect(), watermark, snapshot, crash };
                events.push(of_step);
                step
            })
            .collect();
        let mut spec = spec(kind);
        spec.forget_after = Some(Duration::from_micros((horizon + longer) as u64));
        let spec = Arc::new(spec);
        let world = || Arc::new(Mutex::new(World { acts: acts.clone(), ..World::default() }));
        let (calm, shaken) = (world(), world());
        let seen = |outs: &[Output]| {
            let (mut entered, mut produced) = (BTreeSet::new(), 0);
            for out in outs {
                produced += out.counts.produced;
                entered.extend(transitions(out));
            }
            let counts = |of: fn(&Output) -> u64| outs.iter().map(of).sum::<u64>();
            (entered, produced, counts(|o| o.counts.merged), counts(|o| o.counts.duplicate))
        };
        let (unwritten, store) = (BTreeSet::new(), Store::default());
        let mut boundary = Boundary { kind, events: &events, steps: 0, unwritten, store };
        let new = || Writing::new(&spec, &shaken);
        let (mut steady, mut workers) =
            survive(&steps, &[0], Writing::new(&spec, &calm), new, seen, &mut boundary);
        prop_assert_eq!(memory(&upserts(&workers)), memory(&[&steady.upsert]));
        steady.settle();
        workers.iter_mut().for_each(Writing::settle);
        let (all, calm, mut shaken) = (fold(kind, &events.concat()), lock(&calm), lock(&shaken));
        prop_assert_eq!(calm.store.table(), all.clone());
        prop_assert_eq!(shaken.store.table(), all.clone());
        for rows in std::mem::take(&mut shaken.late) {
            shaken.store.put(&rows);
        }
        prop_assert_eq!(shaken.store.table(), all, "what comes too late changes nothing");
    }
}
