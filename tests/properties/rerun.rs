//! A run over the outputs of earlier ones, with fresh state, and over a table that another program has filled.

use std::collections::BTreeMap;

use millstream_tests::rows;
use rusqlite::Connection;

use crate::trips::{Fate, kpis, table, trips};
use crate::world::{Arrival, World};

#[test]
fn a_second_run_over_the_same_outputs_changes_nothing() {
    let trips = trips(51, 400);
    let world = World::new("embedded");
    let first = world.run(&trips, Arrival::random(1, false), 2);
    let second = world.run(&trips, Arrival::random(2, false), 1);
    assert_eq!(rows::bag(first.table.clone()), table(&trips));
    assert_eq!(rows::bag(second.table.clone()), table(&trips));
    assert_eq!(first.files, second.files);
    assert_eq!(second.files("kpis/"), kpis(&trips));
}

#[test]
fn a_later_run_completes_what_an_earlier_one_began() {
    let all = trips(52, 400);
    let only = |start: bool| {
        let mut trips = all.clone();
        trips.iter_mut().for_each(|t| if start { t.end = Fate::Missing } else { t.start = Fate::Missing });
        trips
    };
    let world = World::new("embedded");
    let first = world.run(&only(true), Arrival::random(3, false), 2);
    assert_eq!(rows::bag(first.table), table(&only(true)));
    let second = world.run(&only(false), Arrival::random(4, false), 2);
    assert_eq!(
        rows::bag(second.table.clone()),
        table(&all),
        "both runs' columns are in the table, and the status they make"
    );
}

#[test]
fn a_stopped_run_has_written_what_it_read_and_the_next_one_goes_on() {
    for (seed, workers) in [(54, 1), (55, 3)] {
        let all = trips(seed, 300);
        let world = World::new("embedded");
        // Streams that do not end have an order.
        let arrival = Arrival { seed, splits: 3, repeated: 0, run: 20, ordered: true };
        let stopped = world.run_stopped(&all[..200], arrival, workers);
        assert_eq!(rows::bag(stopped.table), table(&all[..200]), "seed {seed}");
        let second = world.run(&all, Arrival::random(seed, false), 2);
        assert_eq!(rows::bag(second.table.clone()), table(&all), "seed {seed}");
        assert_eq!(second.files("kpis/"), kpis(&all), "seed {seed}");
    }
}

#[test]
fn a_table_of_another_program_is_merged_into() {
    let trips = trips(53, 100);
    let world = World::new("embedded");
    let started = trips.iter().find(|t| t.start == Fate::Accepted && t.end == Fate::Missing).expect("an open trip");
    {
        let db = Connection::open(world.out.path().join("trips.db")).unwrap();
        db.execute_batch("CREATE TABLE trip_state (trip_id TEXT PRIMARY KEY, dropoff_at TEXT, fare TEXT, tip TEXT)")
            .unwrap();
        let insert = "INSERT INTO trip_state VALUES (?1, '2024-06-01T00:00:00Z', '12.50', NULL)";
        db.execute(insert, [&started.id]).unwrap();
        db.execute(insert, ["of-another-program"]).unwrap();
    }
    let ran = world.run(&trips, Arrival::random(5, false), 2);
    let by_id: BTreeMap<String, rows::Row> =
        ran.table.into_iter().map(|row| (row["trip_id"].as_str().unwrap().to_owned(), row)).collect();
    let merged = &by_id[&started.id];
    assert_eq!(merged["fare"], 12.5);
    assert!(merged.contains_key("pickup_at"), "{merged:?}");
    assert_eq!(merged["status"], "COMPLETED");
    assert_eq!(by_id["of-another-program"]["fare"], 12.5, "rows the pipeline knows nothing of stay");
    let others = by_id.into_iter().filter(|(id, _)| *id != started.id && id != "of-another-program");
    let mut expected = table(&trips);
    expected.retain(|row, _| !row.contains(&format!("{:?}", started.id)));
    assert_eq!(rows::bag(others.map(|(_, row)| row)), expected);
}
