//! Snapshots and restores by hand: what is in them, what is taken back, and into which queries.

use std::time::Duration;

use millstream_core::operator::{InPort, Output};
use millstream_core::snapshot::{Snapshot, StateLayout};
use millstream_core::{EventTime, Watermark};
use millstream_sql::{Emit, PlannedQuery, StageContext, plan_query};

use crate::harness::{DAY, HOUR, Trip, Workers, batch, catalog, lines, oracle, plan, planned, rows_of, table, text};
use crate::remembered::Layers;

const ZONES: &str = "SELECT zone, window_start, COUNT(*) AS n, SUM(fare) AS s \
                     FROM tumble(trips.completed, at, INTERVAL '1 day') GROUP BY zone, window_start";

fn late(hours: i64) -> Emit {
    Emit { early: None, allowed_lateness: Duration::from_micros((hours * HOUR).unsigned_abs()) }
}

fn after(trip: Trip, hours: i64) -> Trip {
    Trip { event_time: trip.at.unwrap() + hours * HOUR, ..trip }
}

fn trip(zone: i32, at: i64) -> Trip {
    Trip::new("a", zone, at, 100)
}

#[test]
fn changes_are_the_groups_that_rows_came_to() {
    let query = planned(ZONES, &late(0), 0);
    let (mut workers, mut layers) = (Workers::new(&query, 2), Layers::none());
    assert_eq!(layers.add(&mut workers, false, i64::MIN), 0);
    let many: Vec<Trip> = (0..20).map(|z| trip(z, HOUR)).collect();
    workers.give(0, 0, batch(&many));
    assert_eq!(layers.add(&mut workers, false, i64::MIN), 20);
    assert_eq!(layers.add(&mut workers, false, i64::MIN), 0);
    workers.give(0, 1, batch(&[trip(3, 2 * HOUR), trip(99, 2 * HOUR), trip(3, 3 * HOUR)]));
    assert_eq!(layers.add(&mut workers, false, i64::MIN), 2);
    assert_eq!(layers.add(&mut workers, true, i64::MIN), 21);
    // Groups that were forgotten since are not spoken of, also where their slots have other groups now.
    workers.give(0, 0, batch(&many));
    workers.watermark(DAY + 1);
    assert_eq!(layers.clone().add(&mut workers, false, DAY + 1), 0);
    workers.give(0, 0, batch(&[trip(1, 2 * DAY)]));
    assert_eq!(layers.add(&mut workers, false, DAY + 1), 1);
    // What was taken back counts as saved.
    let mut restored = layers.restored(&query, 3);
    assert_eq!(restored.groups(), 1);
    assert_eq!(layers.add(&mut restored, false, DAY + 1), 0);
    assert_eq!(layers.add(&mut restored, true, DAY + 1), 1);
}

#[test]
fn later_layers_replace_groups_and_settled_windows_stay_away() {
    let query = planned(ZONES, &late(6), 0);
    let (mut workers, mut layers) = (Workers::new(&query, 1), Layers::none());
    workers.give(0, 0, batch(&[trip(1, HOUR), trip(2, HOUR), trip(1, DAY)]));
    layers.add(&mut workers, true, i64::MIN);
    workers.give(0, 0, batch(&[trip(1, 2 * HOUR), trip(1, DAY + HOUR)]));
    layers.add(&mut workers, false, i64::MIN);
    for count in 1..5 {
        let mut restored = layers.restored(&query, count);
        assert_eq!((restored.groups(), restored.open_windows() >= 2), (3, true));
        restored.complete();
        let mut found = lines(&rows_of(&restored.results));
        found.sort();
        assert_eq!(
            found,
            ["1|1970-01-01T00:00:00|2|2.00", "1|1970-01-02T00:00:00|2|2.00", "2|1970-01-01T00:00:00|1|1.00"]
        );
    }
    let groups_at = |watermark: i64| Layers { watermark, ..layers.clone() }.restored(&query, 2).groups();
    assert_eq!(groups_at(DAY + 6 * HOUR), 3);
    assert_eq!(groups_at(DAY + 6 * HOUR + 1), 1);
    assert_eq!(groups_at(i64::MAX), 0);
}

#[test]
fn windows_that_have_fired_are_given_again_only_when_rows_come() {
    let query = planned(ZONES, &late(6), 0);
    let (mut workers, mut layers) = (Workers::new(&query, 1), Layers::none());
    workers.give(0, 0, batch(&[trip(1, HOUR), trip(2, HOUR), trip(1, DAY)]));
    workers.watermark(DAY);
    workers.tick(1);
    assert_eq!(workers.results.len(), 1);
    layers.add(&mut workers, false, DAY);
    let mut restored = layers.restored(&query, 2);
    assert_eq!(restored.open_windows(), 1);
    restored.tick(2);
    restored.watermark(DAY + 1);
    assert!(restored.results.is_empty());
    restored.give(0, 0, batch(&[after(trip(1, HOUR), 24)]));
    restored.tick(3);
    assert_eq!(lines(&rows_of(&restored.results)), ["1|1970-01-01T00:00:00|2|2.00"]);
    restored.complete();
    assert_eq!(lines(&rows_of(&restored.results))[1..], ["1|1970-01-02T00:00:00|1|1.00"]);
}

#[test]
fn filtered_results_of_windows_that_may_change_were_not_given() {
    let sql = format!("{ZONES} HAVING COUNT(*) > 1");
    let query = planned(&sql, &late(6), 0);
    let (mut workers, mut layers) = (Workers::new(&query, 1), Layers::none());
    workers.give(0, 0, batch(&[trip(1, HOUR), trip(2, HOUR)]));
    workers.watermark(DAY + HOUR);
    workers.tick(1);
    layers.add(&mut workers, false, DAY + HOUR);
    let mut restored = layers.restored(&query, 2);
    restored.give(0, 0, batch(&[after(trip(2, HOUR), 24)]));
    restored.tick(2);
    assert!(restored.results.is_empty());
    restored.watermark(DAY + 6 * HOUR + 1);
    assert_eq!(lines(&rows_of(&restored.results)), ["2|1970-01-01T00:00:00|2|2.00"]);
}

#[test]
fn changes_of_open_windows_are_given_early_once_more() {
    let query = planned(ZONES, &Emit { early: Some(Duration::from_secs(1)), ..late(0) }, 0);
    let (mut workers, mut layers) = (Workers::new(&query, 1), Layers::none());
    workers.tick(100);
    workers.give(0, 0, batch(&[trip(1, HOUR)]));
    workers.tick(150);
    layers.add(&mut workers, false, i64::MIN);
    let mut restored = layers.restored(&query, 1);
    restored.tick(160);
    assert!(restored.results.is_empty());
    restored.tick(200);
    assert_eq!(restored.results.len(), 1);
    restored.tick(300);
    assert_eq!(restored.results.len(), 1);
}

#[test]
fn a_row_for_a_window_that_was_settled_is_late_after_a_restore_too() {
    let query = planned(ZONES, &late(0), 0);
    let (mut workers, mut layers) = (Workers::new(&query, 2), Layers::none());
    workers.watermark(DAY + 1);
    layers.add(&mut workers, false, DAY + 1);
    let mut restored = layers.restored(&query, 1);
    restored.give(0, 0, batch(&[trip(1, HOUR)]));
    assert_eq!((restored.counts.late, restored.groups()), (1, 0));
    assert_eq!(
        text(&restored.late, "reasons"),
        ["[the window 1970-01-01T00:00:00Z to 1970-01-02T00:00:00Z over at is settled: the watermark is \
          1970-01-02T00:00:00.000001Z]"]
    );
}

#[test]
fn many_groups_come_back_from_many_layers() {
    let sql = "SELECT id, window_start, COUNT(DISTINCT zone) AS zones, AVG(fare) AS a \
               FROM tumble(trips.completed, at, INTERVAL '1 day') GROUP BY id, window_start";
    let query = plan(sql);
    let (mut workers, mut layers) = (Workers::new(&query, 2), Layers::none());
    let mut trips = Vec::new();
    for layer in 0..90 {
        let some: Vec<Trip> = (0..300)
            .map(|i| Trip::new(&format!("id{}", (i * 37 + layer * 101) % 10_007), (i + layer) % 5, HOUR, i.into()))
            .collect();
        workers.give(0, layer as usize % 2, batch(&some));
        trips.extend(some);
        layers.add(&mut workers, false, i64::MIN);
    }
    let expected = oracle(sql, &trips);
    assert!(expected.len() > 8192, "more than one batch: {}", expected.len());
    for count in [1, 3] {
        let mut restored = layers.restored(&query, count);
        let mut whole = Layers::none();
        assert_eq!(whole.add(&mut restored, true, i64::MIN), expected.len());
        restored.complete();
        assert_eq!(table(&restored.results, query.key()), expected);
        let mut again = whole.restored(&query, 4);
        again.complete();
        assert_eq!(table(&again.results, query.key()), expected);
    }
}

#[test]
fn the_query_at_the_end_sees_the_rows_of_all_layers() {
    let sql = "SELECT a.zone, COUNT(*) AS n, SUM(b.fare) AS s, MAX(a.arrived_at) AS last \
               FROM trips.completed a JOIN other b ON a.zone = b.zone GROUP BY a.zone";
    let query = bounded(sql);
    let trips: Vec<Trip> = (0..12).map(|i| trip(i % 4, i64::from(i) * HOUR)).collect();
    let (mut workers, mut layers) = (Workers::new(&query, 2), Layers::none());
    for (round, part) in trips.chunks(3).enumerate() {
        (0..2).for_each(|input| workers.give(input, round % 2, batch(part)));
        let rows = layers.add(&mut workers, round == 2, i64::MIN);
        assert_eq!(rows, if round == 2 { 2 * 9 + 1 } else { 2 * 3 + 1 });
        assert_eq!(layers.add(&mut workers, false, i64::MIN), 0);
    }
    let mut restored = layers.restored(&query, 3);
    assert_eq!(layers.add(&mut restored, false, i64::MIN), 0);
    restored.complete();
    let mut found = lines(&rows_of(&restored.results));
    found.sort();
    assert_eq!(found, oracle(sql, &trips));
    workers.complete();
    for times in ["__event_time", "__arrived_at"] {
        assert_eq!(text(&restored.results, times), text(&workers.results, times));
    }
    // Where the inputs had ended, it has run.
    let mut over = Layers { watermark: i64::MAX, ..layers }.restored(&query, 1);
    over.complete();
    assert!(over.results.is_empty());
}

#[test]
fn rows_alone_are_not_remembered() {
    let query = plan("SELECT id, fare * 2 AS twice FROM trips.completed");
    let mut operator = query.stages()[0].operator(&StageContext::default()).unwrap();
    operator.on_batch(InPort(0), batch(&[trip(1, HOUR)]), &mut Output::default()).unwrap();
    assert_eq!((operator.layout(), operator.snapshot(true).unwrap()), (None, Snapshot::default()));
    operator.restore(Vec::new(), Watermark(EventTime(DAY))).unwrap();
}

#[test]
fn tables_of_another_operator_are_refused() {
    let (windows, rows) = (plan(ZONES), bounded("SELECT COUNT(*) AS n FROM other"));
    let made = |query: &PlannedQuery| query.stages().pop().unwrap().operator(&StageContext::default()).unwrap();
    let (mut of_rows, mut layers) = (Workers::new(&rows, 1), Layers::none());
    of_rows.give(0, 0, batch(&[trip(1, HOUR)]));
    layers.add(&mut of_rows, true, i64::MIN);
    assert!(made(&windows).restore(layers.stages[0].clone(), Watermark::START).is_err());
    let (mut of_windows, mut layers) = (Workers::new(&windows, 1), Layers::none());
    of_windows.give(0, 0, batch(&[trip(1, HOUR)]));
    layers.add(&mut of_windows, true, i64::MIN);
    assert!(made(&rows).restore(layers.stages[1].clone(), Watermark::START).is_err());
    let other = plan(&ZONES.replace("COUNT(*)", "AVG(fare)"));
    assert!(made(&other).restore(layers.stages[1].clone(), Watermark::START).is_err());
}

fn bounded(sql: &str) -> PlannedQuery {
    plan_query(sql, &catalog(true), &Emit::default(), Duration::ZERO).unwrap_or_else(|e| panic!("{sql}: {e:#?}"))
}

fn layout(query: &PlannedQuery) -> StateLayout {
    let context = StageContext::default();
    query.stages().iter().find_map(|s| s.operator(&context).unwrap().layout()).unwrap()
}

fn words(layout: &StateLayout) -> String {
    assert!(layout.columns.is_empty());
    let fixed: Vec<String> = layout.fixed.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    format!("{}\n{}", layout.kind, fixed.join("\n"))
}

#[test]
fn groups_fit_only_where_nothing_below_their_results_has_changed() {
    let base = layout(&planned(ZONES, &late(6), 0));
    insta::assert_snapshot!(words(&base));
    let differences = |sql: &str, emit: &Emit, horizon: u64| layout(&planned(sql, emit, horizon)).differences(&base);
    let of = |from: &str, to: &str| {
        assert!(ZONES.contains(from), "{from}");
        differences(&ZONES.replace(from, to), &late(6), 0)
    };
    let none: [&str; 0] = [];
    // What is not stored may change.
    assert_eq!(differences(ZONES, &Emit { early: Some(Duration::from_secs(9)), ..late(6) }, 0), none);
    assert_eq!(of("SUM(fare) AS s", "SUM(fare) AS total, COUNT(*) + 1 AS more"), none);
    assert_eq!(of("SELECT zone, window_start", "SELECT zone * 2 AS z, window_start"), none);
    // All else may not.
    assert_eq!(of("'1 day'", "'2 days'").len(), 2);
    assert_eq!(of("SUM(fare)", "SUM(fare + 1)").len(), 1);
    assert_eq!(of("SUM(fare)", "SUM(fare) FILTER (WHERE zone > 1)").len(), 1);
    assert_eq!(of("COUNT(*) AS n, SUM(fare)", "SUM(fare) AS x, COUNT(*)").len(), 2);
    assert_eq!(
        of("SUM(fare) AS s", "SUM(fare) AS s, MIN(fare) AS lo"),
        ["its aggregate 3 is min(trips.completed.fare), kept as Decimal128(10, 2) and was not there"]
    );
    assert_eq!(of("trips.completed", "other").len(), 3);
    assert_eq!(of("GROUP BY", "WHERE zone > 1 GROUP BY").len(), 1);
    assert_eq!(of("GROUP BY zone, window_start", "GROUP BY zone, window_start, id").len(), 2);
    assert_eq!(of("GROUP BY zone, window_start", "GROUP BY zone, window_start HAVING COUNT(*) > 1").len(), 1);
    assert_eq!(differences(ZONES, &late(7), 0), ["its allowed lateness was 6 hours and is 7 hours"]);
    assert_eq!(differences(ZONES, &late(6), 1_000_000), ["its horizon was 0 days and is 1 second"]);
    // A new version of an aggregate keeps another state.
    let mut newer = base.clone();
    let sum = newer.fixed.get_mut("aggregate 2").unwrap();
    *sum = sum.replace("Decimal128(20, 2)", "Decimal128(38, 2)");
    assert_eq!(newer.differences(&base).len(), 1);
}

#[test]
fn rows_kept_for_the_end_fit_where_the_query_sees_the_same_columns() {
    let base = layout(&bounded("SELECT COUNT(*) AS n FROM trips.completed"));
    insta::assert_snapshot!(words(&base));
    let differences = |sql: &str| layout(&bounded(sql)).differences(&base);
    assert_eq!(differences("SELECT SUM(fare) AS s FROM trips.completed"), Vec::<String>::new());
    assert_eq!(differences("SELECT COUNT(*) AS n FROM other").len(), 2);
    assert_eq!(differences("SELECT MAX(arrived_at) AS n FROM trips.completed").len(), 1);
    assert_eq!(differences(ZONES_AT_THE_END).len(), 0);
    assert_eq!(layout(&plan(ZONES)).differences(&base), ["it was `bounded` and is `window`"]);
}

const ZONES_AT_THE_END: &str = "SELECT zone, COUNT(*) AS n FROM trips.completed GROUP BY zone";
