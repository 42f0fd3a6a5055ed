//! Windowed queries that are killed at random and go on from their snapshots give what an undisturbed run gives.

use std::time::Duration;

use millstream_core::Batch;
use millstream_sql::{Emit, PlannedQuery};
use proptest::prelude::*;

use crate::harness::{HOUR, Trip, Workers, batch, lines, planned, rows_of, table, text};
use crate::oracle::{QUERIES, input};
use crate::remembered::Layers;

/// Beside those of the oracle: kinds of state and of keys, and what HAVING does to both.
const MORE: [&str; 5] = [
    "SELECT window_start, id, AVG(fare) AS a, COUNT(DISTINCT fare) AS fares, SUM(DISTINCT fare) AS s, MIN(id) AS least \
     FROM tumble(trips.completed, at, INTERVAL '3 hours') GROUP BY window_start, id",
    "SELECT window_start, zone, id, median(fare) AS m, COUNT(DISTINCT id) AS ids, MAX(upper(id)) AS top \
     FROM tumble(trips.completed, at, INTERVAL '6 hours') GROUP BY window_start, zone, id HAVING COUNT(*) > 1",
    "SELECT window_end, CAST(zone AS DOUBLE) / 2 AS half, approx_distinct(id) AS about, bool_and(fare > 2) AS every, \
     bit_xor(count) AS bits FROM tumble(trips.completed, at, INTERVAL '1 hour') GROUP BY 2, window_end",
    "SELECT window_start, fare, at, COUNT(*) AS n FROM tumble(trips.completed, at, INTERVAL '1 month') \
     GROUP BY window_start, fare, at HAVING SUM(count) < 5",
    "SELECT window_start, COUNT(DISTINCT at) AS times, percentile_cont(fare, 0.9) AS most, COUNT(*) FILTER (WHERE zone = 2) AS two \
     FROM tumble(trips.completed, at, INTERVAL '1 day') GROUP BY window_start",
];

#[derive(Debug, Clone)]
enum Event {
    Give {
        split: usize,
        rows: Vec<Trip>,
    },
    Watermark(i64),
    /// Ends with a boundary: a snapshot may be taken behind it.
    Tick(u64),
    Complete,
}

/// What happens at a boundary.
#[derive(Debug, Clone, Copy)]
enum Disturbance {
    Nothing,
    Snapshot { whole: bool },
    Crash { workers: usize },
}

fn disturbance() -> impl Strategy<Value = Disturbance> {
    prop_oneof![
        3 => Just(Disturbance::Nothing),
        4 => any::<bool>().prop_map(|whole| Disturbance::Snapshot { whole }),
        2 => (1..5_usize).prop_map(|workers| Disturbance::Crash { workers }),
    ]
}

/// A run: batches of the given sizes, splits in the given order, watermarks no further than the horizon ahead of what
/// is still to come, and a tick behind all or only some of them.
fn script(splits: &[Vec<Trip>], cuts: &[usize], order: &[usize]) -> Vec<Event> {
    let mut rests: Vec<&[Trip]> = splits.iter().map(Vec::as_slice).collect();
    let (mut events, mut turn, mut watermark) = (Vec::new(), 0, i64::MIN);
    while rests.iter().any(|r| !r.is_empty()) {
        let first = order[turn % order.len()] % rests.len();
        let split = (0..rests.len()).map(|i| (first + i) % rests.len()).find(|&s| !rests[s].is_empty()).unwrap();
        let (head, rest) = rests[split].split_at(cuts[turn % cuts.len()].min(rests[split].len()));
        rests[split] = rest;
        events.push(Event::Give { split, rows: head.to_vec() });
        turn += 1;
        if order[(turn * 7) % order.len()] == 0 {
            continue;
        }
        let least = rests.iter().flat_map(|r| r.iter()).map(|t| t.event_time).min();
        if let Some(least) = least.map(|l| l.saturating_add(2 * HOUR)).filter(|l| *l > watermark) {
            watermark = least;
            events.push(Event::Watermark(watermark));
        }
        events.push(Event::Tick(1_000 + 60 * turn as u64));
    }
    events.extend([Event::Complete, Event::Tick(1_000 + 60 * (turn as u64 + 1))]);
    events
}

/// What the sinks got.
#[derive(Debug, Default, Clone)]
struct Given {
    results: Vec<Batch>,
    late: Vec<Batch>,
    failed: Vec<Batch>,
}

impl Given {
    fn take(&mut self, workers: &mut Workers) {
        self.results.append(&mut workers.results);
        self.late.append(&mut workers.late);
        self.failed.append(&mut workers.failed);
    }

    /// All of it with its times, in any order.
    fn all(&self) -> Vec<String> {
        let results = lines(&rows_of(&self.results)).into_iter();
        let times = text(&self.results, "__event_time").into_iter().zip(text(&self.results, "__arrived_at"));
        let mut all: Vec<String> = results.zip(times).map(|(row, (e, a))| format!("{row} of {e}, {a}")).collect();
        all.extend(lines(&rows_of(&self.late)));
        all.extend(lines(&rows_of(&self.failed)));
        all.sort();
        all
    }
}

fn act(workers: &mut Workers, inputs: usize, event: &Event, watermark: &mut i64) {
    match event {
        Event::Give { split, rows } => {
            let worker = split % workers.count();
            (0..inputs).for_each(|input| workers.give(input, worker, batch(rows)));
        }
        Event::Watermark(to) => {
            *watermark = *to;
            workers.watermark(*to);
        }
        Event::Tick(tick) => workers.tick(*tick),
        Event::Complete => {
            *watermark = i64::MAX;
            workers.complete();
        }
    }
}

fn undisturbed(query: &PlannedQuery, events: &[Event]) -> Given {
    let (mut workers, mut given, mut watermark) = (Workers::new(query, 1), Given::default(), i64::MIN);
    events.iter().for_each(|e| act(&mut workers, query.inputs().len(), e, &mut watermark));
    given.take(&mut workers);
    given
}

/// The same with disturbances: what was given since the last snapshot goes down with the workers.
fn disturbed(query: &PlannedQuery, events: &[Event], disturbances: &[Disturbance], count: usize) -> Given {
    let mut workers = Workers::new(query, count);
    let mut disturbances = disturbances.iter();
    let (mut layers, mut committed, mut committed_at) = (Layers::none(), Given::default(), 0);
    let (mut at, mut watermark) = (0, i64::MIN);
    while let Some(event) = events.get(at) {
        act(&mut workers, query.inputs().len(), event, &mut watermark);
        at += 1;
        if !matches!(event, Event::Tick(_)) {
            continue;
        }
        match disturbances.next().copied().unwrap_or(Disturbance::Nothing) {
            Disturbance::Nothing => {}
            Disturbance::Snapshot { whole } => {
                let groups = workers.groups();
                let rows = layers.add(&mut workers, whole, watermark);
                assert!(rows <= groups && (!whole || rows == groups), "{rows} rows of {groups} groups");
                committed.take(&mut workers);
                committed_at = at;
            }
            Disturbance::Crash { workers: count } => {
                workers = layers.restored(query, count);
                (at, watermark) = (committed_at, layers.watermark);
            }
        }
    }
    committed.take(&mut workers);
    committed
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn a_run_with_crashes_gives_each_result_once(
        (splits, cuts, order) in input(),
        which in 0..QUERIES.len() + MORE.len(),
        (lateness, early) in (prop::sample::select(vec![0, 1, 6, 48_u64]), any::<bool>()),
        disturbances in prop::collection::vec(disturbance(), 0..40),
        count in 1..5_usize,
    ) {
        let sql = QUERIES.iter().chain(&MORE).nth(which).unwrap();
        let emit = Emit {
            early: early.then_some(Duration::from_secs(1)),
            allowed_lateness: Duration::from_secs(lateness * 3600),
        };
        let query = planned(sql, &emit, (2 * HOUR).unsigned_abs());
        let events = script(&splits, &cuts, &order);
        let (expected, found) = (undisturbed(&query, &events), disturbed(&query, &events, &disturbances, count));
        if !early {
            prop_assert_eq!(found.all(), expected.all(), "{}", sql);
        } else if !query.key().is_empty() {
            // Early results may come once more: what a keyed table ends with may not.
            prop_assert_eq!(table(&found.results, query.key()), table(&expected.results, query.key()), "{}", sql);
        }
    }
}
