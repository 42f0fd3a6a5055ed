//! Golden plans.

use std::time::Duration;

use millstream_sql::{Emit, plan_query};

use crate::harness::{catalog, planned};

#[test]
fn the_kpis_of_a_day() {
    let sql = "SELECT CAST(window_start AS DATE) AS date, SUM(fare) AS total_fare, COUNT(*) AS trip_count, \
               AVG(fare) AS average_fare FROM tumble(trips.completed, at, INTERVAL '1 day') \
               WHERE zone BETWEEN 1 AND 265 GROUP BY window_start, window_end";
    let emit = Emit { early: Some(Duration::from_secs(60)), allowed_lateness: Duration::from_secs(6 * 3600) };
    insta::assert_snapshot!(planned(sql, &emit, 21_600_000_000).explain());
}

#[test]
fn rows_by_themselves() {
    let sql = "WITH far AS (SELECT id, zone, fare + 1.00 AS fare FROM trips.completed WHERE zone > 100) \
               SELECT id, fare, 'far' AS kind FROM far UNION ALL SELECT id, fare, 'any' FROM other";
    insta::assert_snapshot!(planned(sql, &Emit::default(), 0).explain());
}

#[test]
fn groups_filtered() {
    let sql = "SELECT zone, window_end, COUNT(*) * 2 AS twice FROM tumble(trips.completed, at, INTERVAL '15 minutes') \
               GROUP BY zone, window_end HAVING COUNT(*) > 10";
    insta::assert_snapshot!(planned(sql, &Emit::default(), 0).explain());
}

#[test]
fn all_rows_at_the_end() {
    let sql = "SELECT zone, SUM(fare) AS s FROM trips.completed GROUP BY zone ORDER BY s DESC LIMIT 3";
    let query = plan_query(sql, &catalog(true), &Emit::default(), Duration::ZERO).unwrap();
    insta::assert_snapshot!(query.explain());
}
