//! Golden findings: each mistake with its place.

use std::fmt::Write as _;
use std::time::Duration;

use millstream_sql::{Emit, plan_query};

use crate::harness::catalog;

fn findings(sql: &str) -> String {
    let errors = plan_query(sql, &catalog(false), &Emit::default(), Duration::ZERO).err().unwrap_or_default();
    let mut out = format!("{sql}\n");
    for e in errors {
        let place = e.range.clone().map_or("?", |r| &sql[r]);
        let _ = write!(out, "  {:?} at <{place}>: {}", e.kind, e.message);
        let _ = e.label.map(|l| write!(out, "\n    label: {l}"));
        let _ = e.help.map(|h| write!(out, "\n    help: {h}"));
        out.push('\n');
    }
    out
}

#[test]
fn every_kind_of_mistake() {
    let mut all = String::new();
    for sql in [
        "SELECT id FROM",
        "SELEC id FROM other",
        "SELECT id FROM other WHERE 'a",
        "INSERT INTO other VALUES (1)",
        "SELECT 1; SELECT 2",
        "SELECT id FROM trips.complete",
        "SELECT id FROM othr",
        "SELECT idd, fare + zoen, tip FROM trips.completed WHERE farre > 1",
        "SELECT o.idd FROM other AS o",
        "SELECT sume(fare), idd FROM other",
        "SELECT id, now() AS t FROM other WHERE at < CURRENT_TIMESTAMP",
        "SELECT Id FROM other",
        "SELECT zone, SUM(fare) FROM other GROUP BY zone",
        "SELECT zone, SUM(fare) AS s FROM tumble(other, at, INTERVAL '1 day') GROUP BY zone",
        "SELECT a.id FROM other a JOIN trips.completed b ON a.id = b.id",
        "SELECT id FROM other ORDER BY id",
        "SELECT id FROM other WHERE zone IN (SELECT zone FROM trips.completed)",
        "SELECT SUM(CAST(fare AS DECIMAL(38,2))) AS s, window_start FROM tumble(other, at, INTERVAL '1 day') GROUP BY window_start",
        "SELECT SUM(CAST(id AS DECIMAL(38,2))) AS s, window_start FROM tumble(other, at, INTERVAL '1 day') GROUP BY window_start",
        "SELECT CAST(id AS DECIMAL(30,2)) * CAST(id AS DECIMAL(20,2)) AS x FROM other",
        "SELECT COUNT(*) AS n, window_start FROM tumble(other, id, INTERVAL '1 day') GROUP BY window_start",
        "SELECT COUNT(*) AS n, window_start FROM tumble(other, at_, INTERVAL '1 day') GROUP BY window_start",
        "SELECT COUNT(*) AS n, window_start FROM tumble(other, at, '1 day') GROUP BY window_start",
        "SELECT COUNT(*) AS n, window_start FROM tumbel(other, at, INTERVAL '1 day') GROUP BY window_start",
        "SELECT COUNT(*) AS n, window_start FROM hop(other, at, INTERVAL '1 day', INTERVAL '2 days') GROUP BY window_start",
        "SELECT COUNT(*) AS n, window_start FROM session(other, at, INTERVAL '1 day') GROUP BY window_start",
        "SELECT fare, fare FROM other",
        "SELECT id, zone AS id FROM other",
        "SELECT zone, id, COUNT(*) AS n FROM tumble(other, at, INTERVAL '1 day') GROUP BY zone, window_start",
        "SELECT at - at AS d FROM other",
        "SELECT abs(id) AS d FROM other",
        "SELECT 1 AS one",
        "SELECT id FROM other WHERE fare",
        "SELECT\n  idd,\n  zone\nFROM other -- é\nWHERE é = 1",
    ] {
        all.push_str(&findings(sql));
    }
    insta::assert_snapshot!(all);
}
