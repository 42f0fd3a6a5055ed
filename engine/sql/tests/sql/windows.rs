//! Windowed queries by hand: when results come, what is late, what is forgotten.

use std::time::Duration;

use millstream_sql::{Emit, QueryKind, SqlErrorKind};

use crate::harness::{DAY, HOUR, Trip, Workers, batch, lines, oracle, plan, planned, rows_of, table, text};

const KPIS: &str = "SELECT CAST(window_start AS DATE) AS date, SUM(fare) AS total_fare, COUNT(*) AS trip_count, \
                    AVG(fare) AS average_fare, MAX(fare) AS max_fare, MIN(fare) AS min_fare \
                    FROM tumble(trips.completed, at, INTERVAL '1 day') GROUP BY window_start, window_end";

fn emit(early: Option<u64>, lateness: i64) -> Emit {
    Emit { early: early.map(Duration::from_millis), allowed_lateness: Duration::from_micros(lateness.unsigned_abs()) }
}

#[test]
fn kpis_come_when_the_watermark_passes_their_day() {
    let query = plan(KPIS);
    assert_eq!(query.kind(), QueryKind::Windowed);
    assert_eq!(query.key(), ["date"]);
    let mut workers = Workers::new(&query, 2);
    let trips = [Trip::new("a", 1, HOUR, 1000), Trip::new("b", 2, 2 * HOUR, 2001), Trip::new("c", 3, DAY + HOUR, 500)];
    workers.give(0, 0, batch(&trips[..2]));
    workers.give(0, 1, batch(&trips[2..]));
    workers.watermark(DAY - 1);
    assert!(workers.results.is_empty());
    workers.watermark(DAY);
    assert_eq!(lines(&rows_of(&workers.results)), ["1970-01-01|30.01|2|15.005000|20.01|10.00"]);
    workers.complete();
    assert_eq!(table(&workers.results, query.key()), oracle(KPIS, &trips));
    assert_eq!(workers.groups(), 0);
    assert!(workers.counts.adds_up(), "{:?}", workers.counts);
    assert_eq!((workers.counts.merged, workers.counts.produced), (3, 2));
}

#[test]
fn a_row_is_late_by_its_own_event_time_only() {
    let query = planned(KPIS, &emit(None, 6 * HOUR), 0);
    let ends = |event_time: i64| Trip { event_time, ..Trip::new("x", 1, HOUR, 100) };
    let mut workers = Workers::new(&query, 1);
    workers.give(0, 0, batch(&[ends(DAY + 6 * HOUR), ends(DAY + 6 * HOUR + 1)]));
    workers.complete();
    assert_eq!((workers.counts.merged, workers.counts.late), (1, 1));
    assert_eq!(text(&workers.late, "rules"), ["[late]"]);
    assert_eq!(
        text(&workers.late, "reasons"),
        ["[the window 1970-01-01T00:00:00Z to 1970-01-02T00:00:00Z over at takes rows until 1970-01-02T06:00:00Z; \
          this row's event time is 1970-01-02T06:00:00.000001Z]"]
    );
    assert!(workers.counts.adds_up());
}

#[test]
fn accepted_rows_revise_a_fired_window_until_it_is_settled() {
    let query = planned(KPIS, &emit(None, 6 * HOUR), HOUR.unsigned_abs());
    let mut workers = Workers::new(&query, 1);
    let late = Trip { event_time: DAY + HOUR, ..Trip::new("b", 1, HOUR, 200) };
    workers.give(0, 0, batch(&[Trip::new("a", 1, HOUR, 100)]));
    workers.watermark(DAY);
    workers.tick(1);
    workers.give(0, 0, batch(&[late.clone(), late]));
    workers.tick(2);
    workers.tick(3);
    assert_eq!(lines(&rows_of(&workers.results)).len(), 2, "the final result, then one revision");
    assert_eq!(workers.groups(), 1);
    workers.watermark(DAY + 7 * HOUR);
    assert_eq!(workers.groups(), 1, "a row with the boundary's own event time may still come");
    workers.watermark(DAY + 7 * HOUR + 1);
    assert_eq!(workers.groups(), 0);
    assert!(lines(&rows_of(&workers.results))[1].contains("|5.00|3|"));
}

#[test]
fn early_results_are_of_changed_groups_once_per_period() {
    let query = planned(KPIS, &emit(Some(1000), 0), 0);
    let mut workers = Workers::new(&query, 1);
    workers.tick(100);
    workers.give(0, 0, batch(&[Trip::new("a", 1, HOUR, 100), Trip::new("b", 1, DAY + HOUR, 100)]));
    workers.tick(199);
    assert!(workers.results.is_empty(), "no second has passed");
    workers.tick(200);
    assert_eq!(lines(&rows_of(&workers.results)).len(), 2);
    workers.give(0, 0, batch(&[Trip::new("c", 1, HOUR, 100)]));
    workers.tick(300);
    assert_eq!(lines(&rows_of(&workers.results)).len(), 3, "only the first day has changed");
    workers.tick(400);
    assert_eq!(lines(&rows_of(&workers.results)).len(), 3);
    assert_eq!(workers.open_windows(), 2);
}

#[test]
fn a_stop_gives_early_results_of_what_has_changed() {
    let mut workers = Workers::new(&planned(KPIS, &emit(Some(1000), 0), 0), 1);
    workers.give(0, 0, batch(&[Trip::new("a", 1, HOUR, 100)]));
    workers.end();
    assert_eq!(lines(&rows_of(&workers.results)).len(), 1);
    workers.end();
    assert_eq!(lines(&rows_of(&workers.results)).len(), 1, "nothing has changed since");
    assert_eq!(workers.open_windows(), 1);
    let mut workers = Workers::new(&planned(KPIS, &emit(None, 0), 0), 1);
    workers.give(0, 0, batch(&[Trip::new("a", 1, HOUR, 100)]));
    workers.end();
    assert!(workers.results.is_empty(), "nobody asked for early results");
}

#[test]
fn filtered_results_come_once_when_they_are_settled() {
    let sql = "SELECT zone, window_start, COUNT(*) AS n FROM tumble(trips.completed, at, INTERVAL '1 day') \
               GROUP BY zone, window_start HAVING COUNT(*) < 3";
    let query = planned(sql, &emit(Some(1000), 6 * HOUR), 0);
    assert_eq!(query.warnings().len(), 1);
    let mut workers = Workers::new(&query, 1);
    workers.give(0, 0, batch(&[Trip::new("a", 1, HOUR, 1), Trip::new("b", 1, HOUR, 1), Trip::new("c", 2, HOUR, 1)]));
    workers.watermark(DAY);
    assert!(workers.results.is_empty());
    workers.give(0, 0, batch(&[Trip { event_time: DAY + 1, ..Trip::new("d", 1, HOUR, 1) }]));
    workers.watermark(DAY + 6 * HOUR + 1);
    assert_eq!(lines(&rows_of(&workers.results)), ["2|1970-01-01T00:00:00|1"]);
}

#[test]
fn rows_without_a_time_or_with_a_failing_expression_are_refused_and_the_others_counted() {
    let sql = "SELECT window_start, SUM(100 / zone) AS s FROM tumble(trips.completed, at, INTERVAL '1 hour') \
               WHERE fare > 0 GROUP BY window_start, window_end";
    let query = plan(sql);
    let mut workers = Workers::new(&query, 1);
    let mut trips: Vec<Trip> = (1..=9).map(|i| Trip::new(&format!("t{i}"), i, 0, 100)).collect();
    trips[3].at = None;
    trips[5].zone = Some(0);
    trips[7].fare = Some(0);
    workers.give(0, 0, batch(&trips));
    workers.complete();
    let c = workers.counts;
    assert_eq!((c.merged, c.failed, c.filtered), (6, 2, 1), "{c:?}");
    assert!(c.adds_up());
    let mut reasons = text(&workers.failed, "reasons");
    reasons.sort();
    assert_eq!(reasons, ["[at is null: the row has no window]", "[divide by zero error]"]);
    assert_eq!(text(&workers.failed, "source"), ["trips", "trips"]);
    let kept: Vec<Trip> =
        trips.iter().enumerate().filter(|(i, _)| ![3, 5].contains(i)).map(|(_, t)| t.clone()).collect();
    assert_eq!(lines(&rows_of(&workers.results)), oracle(sql, &kept));
}

#[test]
fn results_carry_the_greatest_times_that_went_into_them() {
    let mut workers = Workers::new(&plan(KPIS), 2);
    workers.give(0, 0, batch(&[Trip { event_time: DAY, ..Trip::new("a", 1, HOUR, 100) }]));
    workers.give(0, 1, batch(&[Trip::new("b", 1, 5 * HOUR, 100)]));
    workers.complete();
    assert_eq!(text(&workers.results, "__event_time"), ["1970-01-02T00:00:00"]);
    assert_eq!(text(&workers.results, "__position"), ["NULL"]);
}

#[test]
fn keys_are_known_only_where_they_identify_a_result() {
    let key = |select: &str, size: &str, group: &str| {
        let sql = format!(
            "SELECT {select}, COUNT(*) AS n FROM tumble(trips.completed, at, INTERVAL '{size}') GROUP BY {group}"
        );
        plan(&sql).key().to_vec()
    };
    assert_eq!(key("window_start, zone", "1 hour", "window_start, zone"), ["window_start", "zone"]);
    assert_eq!(key("CAST(window_start AS DATE) AS d", "1 hour", "window_start"), Vec::<String>::new());
    assert_eq!(key("CAST(window_end AS DATE) AS d", "1 day", "window_end"), ["d"]);
    assert_eq!(key("date_trunc('hour', window_start) AS h", "1 hour", "window_start, window_end"), ["h"]);
    assert_eq!(key("window_start", "1 hour", "window_start, zone"), Vec::<String>::new());
    assert_eq!(key("zone + 1 AS z, window_end", "1 month", "window_end, zone + 1"), ["z", "window_end"]);
    assert_eq!(key("CAST(window_start AS DATE) AS d", "1 day", "CAST(window_start AS DATE)"), ["d"]);
}

#[test]
fn what_depends_on_order_is_refused_or_warned_of() {
    let kinds = |aggregate: &str| {
        let sql = format!(
            "SELECT {aggregate} AS x, window_start FROM tumble(trips.completed, at, INTERVAL '1 day') GROUP BY window_start"
        );
        let planned =
            millstream_sql::plan_query(&sql, &crate::harness::catalog(false), &Emit::default(), Duration::ZERO);
        let found = planned.map_or_else(|e| e, |q| q.warnings().to_vec());
        found.into_iter().map(|e| (e.kind, e.warning, sql[e.range.unwrap()].to_owned())).collect::<Vec<_>>()
    };
    assert_eq!(
        kinds("SUM(CAST(fare AS DOUBLE))"),
        [(SqlErrorKind::OrderDependent, true, "SUM(CAST(fare AS DOUBLE))".into())]
    );
    assert_eq!(kinds("array_agg(zone)"), [(SqlErrorKind::OrderDependent, false, "array_agg(zone)".into())]);
    assert_eq!(kinds("SUM(fare)"), []);
}

#[test]
fn many_groups_through_many_small_batches() {
    let sql = "SELECT id, window_start, SUM(fare) AS s, COUNT(fare) AS n, MAX(zone) AS z \
               FROM tumble(trips.completed, at, INTERVAL '1 hour') GROUP BY id, window_start";
    let query = planned(sql, &emit(None, HOUR), 0);
    let mut trips = Vec::new();
    let mut workers = Workers::new(&query, 1);
    // A fixed sequence that looks random: of 300 ids in windows that move on and are forgotten behind it.
    let mut x: u64 = 7;
    for step in 0..400_i64 {
        let some: Vec<Trip> = (0..30)
            .map(|_| {
                x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let at = step * HOUR / 50 + i64::try_from(x >> 40).unwrap() % HOUR;
                let mut trip =
                    Trip::new(&format!("id{}", (x >> 33) % 300), i32::try_from((x >> 50) % 99).unwrap(), at, 100);
                trip.fare = (!x.is_multiple_of(5)).then_some(i128::from(x >> 54));
                trip
            })
            .collect();
        workers.give(0, 0, batch(&some));
        trips.extend(some);
        workers.watermark(step * HOUR / 50);
    }
    workers.complete();
    assert_eq!(workers.counts.late, 0);
    assert_eq!(table(&workers.results, query.key()), oracle(sql, &trips));
}
