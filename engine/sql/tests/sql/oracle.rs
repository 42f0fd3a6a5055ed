//! Streaming equals batch: random rows, cuts, interleavings, workers.

use millstream_core::Batch;
use millstream_sql::Emit;
use proptest::prelude::*;

use crate::harness::{DAY, HOUR, MINUTE, Trip, Workers, batch, lines, oracle, planned, rows_of, table};

pub(crate) const QUERIES: [&str; 8] = [
    "SELECT window_start, SUM(fare) AS s, COUNT(*) AS n, AVG(fare) AS a, MAX(fare) AS hi, MIN(fare) AS lo \
     FROM tumble(trips.completed, at, INTERVAL '1 day') GROUP BY window_start, window_end",
    "SELECT zone, window_start, window_end, COUNT(fare) AS n, SUM(count) AS c \
     FROM tumble(trips.completed, at, INTERVAL '1 hour') WHERE fare > 1 OR fare IS NULL GROUP BY zone, window_start, window_end",
    "SELECT upper(id) AS who, window_end, COUNT(DISTINCT zone) AS zones, MAX(at) AS last \
     FROM tumble(trips.completed, at, INTERVAL '15 minutes') GROUP BY 1, window_end",
    "SELECT CAST(window_start AS DATE) AS d, zone % 2 AS odd, median(fare) AS m, bool_or(fare > 5) AS any \
     FROM tumble(trips.completed, at, INTERVAL '1 month') GROUP BY window_start, zone % 2",
    "SELECT w.window_start, SUM(w.fare) FILTER (WHERE zone = 1) AS one, SUM(w.fare * 2) AS twice \
     FROM tumble(trips.completed, at, INTERVAL '6 hours') AS w GROUP BY w.window_start HAVING COUNT(*) > 1",
    "WITH big AS (SELECT zone, at, fare FROM trips.completed WHERE fare >= 2 UNION ALL SELECT zone, at, fare FROM other) \
     SELECT window_start, zone, COUNT(*) AS n FROM tumble(big, at, INTERVAL '2 hours') GROUP BY window_start, zone",
    "SELECT DISTINCT window_start, zone FROM tumble(trips.completed, at, INTERVAL '1 hour')",
    "SELECT window_start, n / 2 AS half FROM (SELECT window_start, COUNT(*) AS n, id \
     FROM tumble(trips.completed, at, INTERVAL '1 week') GROUP BY window_start, id) WHERE id <> 'a'",
];

fn trip() -> impl Strategy<Value = Trip> {
    let at = prop_oneof![0..3 * DAY, (0..72_i64).prop_map(|h| h * HOUR), -DAY..0];
    ("[a-d]", prop::option::of(1..4_i32), at, prop::option::of(0..1000_i128), 0..5_i64, 0..30 * HOUR).prop_map(
        |(id, zone, at, fare, count, after)| Trip { id, zone, at: Some(at), fare, count, event_time: at + after },
    )
}

/// Splits of rows, each cut into batches, and the order in which the batches of the splits come.
pub(crate) fn input() -> impl Strategy<Value = (Vec<Vec<Trip>>, Vec<usize>, Vec<usize>)> {
    let splits = prop::collection::vec(prop::collection::vec(trip(), 0..40), 1..4);
    (splits, prop::collection::vec(1..17_usize, 1..6), prop::collection::vec(0..4_usize, 64))
}

/// Gives all rows: batches of the given sizes, splits taken in the given order, watermarks behind what was given.
fn drive(workers: &mut Workers, inputs: usize, splits: &[Vec<Trip>], cuts: &[usize], order: &[usize], late: i64) {
    let mut rests: Vec<&[Trip]> = splits.iter().map(Vec::as_slice).collect();
    let (mut cut, mut turn, mut tick) = (0, 0, 1_000);
    let mut watermark = i64::MIN;
    while rests.iter().any(|r| !r.is_empty()) {
        let split = order[turn % order.len()] % rests.len();
        turn += 1;
        let split = (0..rests.len()).map(|i| (split + i) % rests.len()).find(|&s| !rests[s].is_empty()).unwrap();
        let (head, rest) = rests[split].split_at(cuts[cut % cuts.len()].min(rests[split].len()));
        cut += 1;
        rests[split] = rest;
        let count = workers.count();
        for input in 0..inputs {
            workers.give(input, split % count, batch(head));
        }
        tick += 60;
        workers.tick(tick);
        // As a source would: no row still to come is further behind than it may be.
        let least = rests.iter().flat_map(|r| r.iter()).map(|t| t.event_time).min();
        if let Some(least) = least.map(|l| l.saturating_add(late)).filter(|l| *l > watermark) {
            watermark = least;
            workers.watermark(watermark);
        }
    }
    workers.complete();
}

fn accepted(splits: &[Vec<Trip>], length: i64, lateness: i64) -> Vec<Trip> {
    let open = |t: &&Trip| {
        let at = t.at.unwrap();
        t.event_time <= at - at.rem_euclid(length) + length + lateness
    };
    splits.iter().flatten().filter(open).cloned().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn every_windowed_query_equals_the_oracle((splits, cuts, order) in input(), which in 0..QUERIES.len()) {
        let sql = QUERIES[which];
        // All rows are accepted: the allowed lateness is more than any row's delay.
        let emit = Emit { early: None, allowed_lateness: std::time::Duration::from_secs(48 * 3600) };
        let query = planned(sql, &emit, (2 * HOUR).unsigned_abs());
        let trips: Vec<Trip> = splits.iter().flatten().cloned().collect();
        let expected = oracle(sql, &trips);
        for count in [1, 2, 4] {
            let mut workers = Workers::new(&query, count);
            drive(&mut workers, query.inputs().len(), &splits, &cuts, &order, 2 * HOUR);
            prop_assert!(workers.counts.adds_up(), "{:?}", workers.counts);
            prop_assert_eq!(workers.counts.late, 0);
            let found = if query.key().is_empty() {
                let mut all = lines(&rows_of(&workers.results));
                all.sort();
                all.dedup();
                all
            } else {
                table(&workers.results, query.key())
            };
            if query.key().is_empty() {
                // Revisions of results without a key cannot be told from results: the last ones are among them.
                for row in &expected {
                    prop_assert!(found.contains(row), "{} workers, {}: {} is missing from {:?}", count, sql, row, found);
                }
            } else {
                prop_assert_eq!(&found, &expected, "{} workers, {}", count, sql);
            }
        }
    }

    #[test]
    fn late_rows_are_the_same_however_rows_come((splits, cuts, order) in input(), lateness in 0..12_i64) {
        let sql = QUERIES[0];
        let lateness = lateness * HOUR + MINUTE;
        let emit = Emit {
            early: Some(std::time::Duration::from_secs(1)),
            allowed_lateness: std::time::Duration::from_micros(lateness.unsigned_abs()),
        };
        let query = planned(sql, &emit, 0);
        let kept = accepted(&splits, DAY, lateness);
        let all = splits.iter().map(Vec::len).sum::<usize>();
        for count in [1, 2, 4] {
            let mut workers = Workers::new(&query, count);
            drive(&mut workers, 1, &splits, &cuts, &order, 0);
            prop_assert_eq!(workers.counts.late as usize, all - kept.len());
            prop_assert_eq!(rows(&workers.late), all - kept.len());
            prop_assert_eq!(table(&workers.results, query.key()), oracle(sql, &kept));
        }
    }
}

fn rows(batches: &[Batch]) -> usize {
    batches.iter().map(Batch::num_rows).sum()
}
