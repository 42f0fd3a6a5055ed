//! Stores and sinks that throttle, fail, refuse rows or lose their answers: nothing is lost, doubled or hidden.

use millstream_local::fault::Fault;
use millstream_tests::rows;

use crate::trips::{completed, kpis, table, trips};
use crate::world::{Arrival, Ran, World};

fn all_is_there(ran: &Ran, trips: &[crate::trips::Trip]) {
    assert_eq!(rows::bag(ran.table.clone()), table(trips));
    assert_eq!(ran.files("kpis/"), kpis(trips));
    assert_eq!(ran.rows("completed").len(), completed(trips).len());
    assert!(ran.rows("failed").is_empty());
}

#[test]
fn what_is_tried_again_arrives_once() {
    for (seed, profile) in [(61, "unordered"), (62, "embedded")] {
        let trips = trips(seed, 300);
        let mut world = World::new(profile);
        for binding in ["trip_table", "lake", "capture"] {
            let faults = world.faults(binding);
            for fault in [Fault::Throttled, Fault::Unavailable, Fault::Throttled] {
                faults.add(fault, 3);
            }
        }
        let ran = world.run(&trips, Arrival { seed, splits: 3, repeated: 20, run: 20, ordered: false }, 2);
        all_is_there(&ran, &trips);
        assert_eq!(world.faults.values().map(|f| f.left()).sum::<usize>(), 0, "every fault has happened");
    }
}

#[test]
fn a_store_that_loses_its_answer_has_each_row_once() {
    let trips = trips(63, 300);
    let mut world = World::new("embedded");
    world.faults("trip_table").add(Fault::AppliedButError, 5);
    let ran = world.run(&trips, Arrival { seed: 63, splits: 3, repeated: 20, run: 20, ordered: false }, 2);
    all_is_there(&ran, &trips);
}

#[test]
fn sources_that_cannot_be_read_for_a_while_lose_nothing() {
    let trips = trips(64, 300);
    let mut world = World::new("unordered");
    world.faults("start_stream").add(Fault::Unavailable, 4);
    world.faults("end_stream").add(Fault::Throttled, 4);
    let ran = world.run(&trips, Arrival { seed: 64, splits: 3, repeated: 0, run: 20, ordered: false }, 2);
    all_is_there(&ran, &trips);
}

#[test]
fn a_row_that_a_store_refuses_leaves_by_failed_with_its_reason() {
    let trips = trips(65, 300);
    let mut world = World::new("unordered");
    world.faults("trip_table").add(Fault::Refused, 1);
    let ran = world.run(&trips, Arrival { seed: 65, splits: 2, repeated: 0, run: 1000, ordered: false }, 1);
    let failed = ran.rows("failed");
    assert_eq!(failed.len(), 1, "{failed:?}");
    let row = &failed[0];
    assert_eq!((&row["component"], &row["port"]), (&"trip_state".into(), &"failed".into()));
    assert_eq!(row["reasons"][0], "refused on purpose");
    assert!(row["version"].as_u64().is_some_and(|v| v > 0), "{row:?}");
    // The refused row is absolute: with it the table would be whole, unless a later event has written it since.
    let mut all = rows::bag(ran.table.clone());
    let refused = rows::parse(&row["row"].to_string());
    let id = refused["trip_id"].to_string();
    if !all.keys().any(|row| row.contains(&id)) {
        *all.entry(serde_json::Value::Object(refused).to_string()).or_default() += 1;
    }
    assert_eq!(all, table(&trips));
    assert_eq!(ran.rows("completed").len(), completed(&trips).len(), "transitions do not depend on the store");
}

#[test]
fn a_row_that_a_sink_refuses_leaves_by_failed() {
    let trips = trips(66, 300);
    let mut world = World::new("unordered");
    world.faults("lake").add(Fault::Refused, 1);
    let ran = world.run(&trips, Arrival { seed: 66, splits: 1, repeated: 0, run: 1000, ordered: false }, 1);
    let failed = ran.rows("failed");
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert!(failed[0]["component"] == "kpi_files" || failed[0]["component"] == "hourly_files");
    assert_eq!(failed[0]["reasons"][0], "refused on purpose");
}

#[test]
fn an_outage_that_routes_gives_the_rows_up_and_an_outage_that_blocks_does_not() {
    let trips = trips(67, 200);
    let arrival = Arrival { seed: 67, splits: 2, repeated: 0, run: 50, ordered: false };
    let mut world = World::new("unordered");
    world.outage("route", "30ms");
    world.faults("trip_table").add(Fault::Unavailable, 1_000_000);
    let ran = world.run(&trips, arrival, 2);
    assert!(ran.table.is_empty());
    let failed = ran.rows("failed");
    // The absolute rows of all trips, some of them more than once as they grew.
    let last = rows::last_by(&["trip_id".to_owned()], newest_last(&failed));
    assert_eq!(rows::bag(last), table(&trips));
    assert!(failed.iter().all(|row| row["component"] == "trip_state"));
    assert_eq!(ran.files("kpis/"), kpis(&trips), "what does not need the table goes on");

    let mut world = World::new("unordered");
    world.faults("trip_table").add(Fault::Unavailable, 60);
    all_is_there(&world.run(&trips, arrival, 2), &trips);
}

/// The rows of refusals, by version.
fn newest_last(failed: &[rows::Row]) -> Vec<rows::Row> {
    let mut rows: Vec<(u64, rows::Row)> =
        failed.iter().map(|row| (row["version"].as_u64().unwrap(), rows::parse(&row["row"].to_string()))).collect();
    rows.sort_by_key(|(version, _)| *version);
    rows.into_iter().map(|(_, row)| row).collect()
}

#[test]
fn an_outage_that_fails_ends_the_run_and_names_the_node() {
    let mut world = World::new("unordered");
    world.outage("fail", "20ms");
    world.faults("trip_table").add(Fault::Unavailable, 1_000_000);
    let error = world.try_run(&trips(68, 50), Arrival::random(68, false), 2).expect_err("the store is down");
    assert_eq!(error.node, "trip_state");
    assert!(error.to_string().contains("down on purpose"), "{error}");
}

#[test]
fn a_refused_row_may_stop_the_run_or_be_dropped() {
    let trips = trips(69, 100);
    let arrival = Arrival { seed: 69, splits: 1, repeated: 0, run: 1000, ordered: false };
    let mut world = World::new("unordered");
    world.bad_row("fail");
    world.faults("trip_table").add(Fault::Refused, 1);
    let error = world.try_run(&trips, arrival, 2).expect_err("a row is refused");
    assert_eq!(error.node, "trip_state");
    assert!(error.to_string().contains("refused on purpose"), "{error}");

    let mut world = World::new("unordered");
    world.bad_row("drop");
    world.faults("trip_table").add(Fault::Refused, 1);
    let ran = world.run(&trips, arrival, 1);
    assert!(ran.rows("failed").is_empty());
    let (found, all) = (rows::bag(ran.table.clone()), table(&trips));
    assert!(found.iter().all(|(row, count)| all.get(row) == Some(count)));
    // A later event of the trip may have written its row after all.
    assert!(found.len() + 1 >= all.len(), "one row at most is missing");
}
