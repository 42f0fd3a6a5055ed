//! Stateless and bounded queries by hand.

use millstream_sql::{Emit, QueryKind, plan_query};

use crate::harness::{DAY, HOUR, Trip, Workers, batch, catalog, lines, oracle, plan, rows_of, text};

fn trips() -> Vec<Trip> {
    (0..10).map(|i| Trip::new(&format!("t{i}"), i, i64::from(i) * HOUR, i128::from(i) * 100)).collect()
}

fn run(sql: &str) -> Workers {
    let query = plan(sql);
    assert_eq!(query.kind(), QueryKind::Stateless);
    let mut workers = Workers::new(&query, 1);
    for input in 0..query.inputs().len() {
        workers.give(input, 0, batch(&trips()));
    }
    workers.complete();
    assert!(workers.counts.adds_up(), "{:?}", workers.counts);
    workers
}

#[test]
fn each_row_by_itself_equals_the_oracle() {
    for sql in [
        "SELECT * FROM trips.completed",
        "SELECT id, fare * 1.5 AS more, CASE WHEN zone > 3 THEN 'far' ELSE 'near' END AS where_to FROM trips.completed WHERE zone % 2 = 0",
        "SELECT c.id, upper(c.id) AS big FROM trips.completed AS c WHERE c.at >= '1970-01-01T03:00:00'",
        "WITH a AS (SELECT id, zone FROM trips.completed WHERE zone < 5) SELECT zone FROM a UNION ALL SELECT zone FROM trips.completed",
        "SELECT id, unnest([zone, zone + 1]) AS z FROM trips.completed WHERE zone < 3",
        "SELECT id, window_start FROM tumble(trips.completed, at, INTERVAL '3 hours')",
        "SELECT id, date_trunc('day', at) AS day, CAST(at AS DATE) AS d, to_char(at, '%Y') AS y FROM trips.completed",
        "SELECT * EXCLUDE (id), arrived_at, position FROM trips.completed WHERE arrived_at > TIMESTAMP '1970-01-01T01:00:00'",
    ] {
        let workers = run(sql);
        let mut found = lines(&rows_of(&workers.results));
        found.sort();
        assert_eq!(found, oracle(sql, &trips()), "{sql}");
    }
}

#[test]
fn hidden_columns_go_along_and_the_origin_stays() {
    let workers = run("SELECT id, source, split, position AS p FROM trips.completed WHERE zone = 4");
    assert_eq!(lines(&rows_of(&workers.results)), ["t4|trips|s0|4"]);
    assert_eq!(text(&workers.results, "__event_time"), ["1970-01-01T04:00:00"]);
    assert_eq!(text(&workers.results, "__position"), ["4"]);
    assert_eq!(workers.results[0].origin.as_ref().unwrap().split, "s0");
    assert_eq!((workers.counts.out, workers.counts.filtered), (1, 9));
}

#[test]
fn failing_rows_are_refused_alone() {
    let workers = run("SELECT id, 10 / (zone - 4) AS x, CAST(id AS VARCHAR) AS y FROM trips.completed");
    assert_eq!((workers.counts.out, workers.counts.failed), (9, 1));
    assert_eq!(text(&workers.failed, "reasons"), ["[divide by zero error]"]);
    assert_eq!(text(&workers.failed, "position"), ["4"]);
    let overflow = run("SELECT zone * 2147483647 * 4294967298 AS x FROM trips.completed");
    assert!(overflow.counts.failed >= 8, "{:?}", overflow.counts);
}

#[test]
fn more_rows_than_came_in_are_produced() {
    let workers = run("SELECT unnest([zone, zone]) AS z FROM trips.completed WHERE zone > 7");
    let c = workers.counts;
    assert_eq!((c.input, c.out, c.filtered, c.produced), (10, 2, 8, 2));
}

#[test]
fn keys_go_through_under_their_new_names() {
    assert_eq!(plan("SELECT id AS trip, fare FROM trips.completed WHERE zone > 1").key(), ["trip"]);
    assert_eq!(plan("SELECT upper(id) AS id FROM trips.completed").key(), Vec::<String>::new());
    assert_eq!(plan("SELECT zone FROM trips.completed").key(), Vec::<String>::new());
}

#[test]
fn any_sql_runs_at_the_end_of_bounded_inputs() {
    for sql in [
        "SELECT zone % 3 AS z, SUM(fare) AS s, array_agg(id ORDER BY id) AS ids FROM trips.completed GROUP BY 1 ORDER BY 1",
        "SELECT a.id, b.fare FROM trips.completed a JOIN other b ON a.zone = b.zone + 1 WHERE a.fare > (SELECT AVG(fare) FROM other)",
        "SELECT id, row_number() OVER (ORDER BY fare DESC) AS rank FROM trips.completed LIMIT 3",
        "SELECT window_start, COUNT(*) AS n FROM hop(trips.completed, at, INTERVAL '1 hour', INTERVAL '3 hours') GROUP BY window_start",
        "SELECT DISTINCT zone FROM trips.completed EXCEPT SELECT 3",
        "SELECT COUNT(*) AS n, MAX(arrived_at) AS last, MIN(position) AS first FROM trips.completed",
    ] {
        let query = plan_query(sql, &catalog(true), &Emit::default(), std::time::Duration::ZERO);
        let query = query.unwrap_or_else(|e| panic!("{sql}: {e:#?}"));
        assert_eq!(query.kind(), QueryKind::Bounded, "{sql}");
        let mut workers = Workers::new(&query, 3);
        for input in 0..query.inputs().len() {
            for (worker, part) in trips().chunks(4).enumerate() {
                workers.give(input, worker, batch(part));
            }
        }
        assert!(workers.results.is_empty());
        workers.complete();
        let mut found = lines(&rows_of(&workers.results));
        found.sort();
        assert_eq!(found, oracle(sql, &trips()), "{sql}");
        assert!(workers.counts.adds_up());
        assert!(plan_query(sql, &catalog(false), &Emit::default(), std::time::Duration::ZERO).is_err(), "{sql}");
    }
}

#[test]
fn hopping_windows_overlap() {
    let rows = [Trip::new("a", 1, DAY + 90 * 60_000_000, 1)];
    let sql = "SELECT window_start, window_end FROM hop(other, at, INTERVAL '1 hour', INTERVAL '2 hours')";
    assert_eq!(
        oracle(sql, &rows),
        ["1970-01-02T00:00:00|1970-01-02T02:00:00", "1970-01-02T01:00:00|1970-01-02T03:00:00"]
    );
}
