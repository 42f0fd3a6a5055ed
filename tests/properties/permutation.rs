//! However the records arrive and however many workers there are: the same tables and files, byte for byte, and the
//! same rows elsewhere.

use std::collections::BTreeMap;

use millstream_tests::rows;

use crate::trips::{completed, kpis, table, trips};
use crate::world::{Arrival, Ran, World};

const TRIPS: usize = 300;

/// Everything that must not depend on luck.
#[derive(Debug, PartialEq)]
struct Results {
    table: BTreeMap<String, usize>,
    files: BTreeMap<String, Vec<u8>>,
    elsewhere: BTreeMap<&'static str, BTreeMap<String, usize>>,
    rejected: Vec<String>,
}

fn results(ran: &Ran) -> Results {
    let sinks = ["busy", "costly_ends", "accepted_starts", "accepted_ends", "completed", "started"];
    Results {
        table: rows::bag(ran.table.clone()),
        files: ran.files.clone(),
        elsewhere: sinks.into_iter().map(|sink| (sink, rows::bag(ran.rows(sink)))).collect(),
        // A record that comes twice is refused twice, before it can be known as a repetition.
        rejected: ran.refused("rejected"),
    }
}

fn same_in_any_order(profile: &'static str, ordered: bool, seed: u64) {
    let trips = trips(seed, TRIPS);
    let plain = Arrival { seed, splits: 1, repeated: 0, run: 1000, ordered };
    let first = World::new(profile).run(&trips, plain, 1);
    let expected = results(&first);
    assert_eq!(expected.table, table(&trips), "seed {seed}");
    assert_eq!(first.files("kpis/"), kpis(&trips), "seed {seed}");
    assert_eq!(expected.elsewhere["completed"].len(), completed(&trips).len());
    for (i, workers) in [1, 2, 4].into_iter().enumerate() {
        let arrival = Arrival::random(seed.wrapping_mul(100) + i as u64, ordered);
        let found = results(&World::new(profile).run(&trips, arrival, workers));
        assert_eq!(found.table, expected.table, "seed {seed}, {workers} workers, {arrival:?}");
        assert_eq!(found, expected, "seed {seed}, {workers} workers, {arrival:?}");
    }
}

#[test]
fn splits_in_any_order() {
    for seed in 1..=2 {
        same_in_any_order("unordered", false, seed);
    }
}

#[test]
fn splits_in_event_time_order_interleaved_in_any_way() {
    for seed in 11..=12 {
        same_in_any_order("ordered", true, seed);
    }
}

#[test]
fn an_embedded_table() {
    same_in_any_order("embedded", false, 21);
}

/// `SEEDS=1000..1100 cargo test -p millstream-tests --test properties -- --ignored many_seeds`
#[test]
#[ignore = "long: by hand"]
fn many_seeds() {
    let seeds = std::env::var("SEEDS").unwrap_or_else(|_| "1000..1020".to_owned());
    let (from, to) = seeds.split_once("..").expect("a range such as 1000..1020");
    for seed in from.parse().unwrap()..to.parse().unwrap() {
        let (profile, ordered) = if seed % 2 == 0 { ("unordered", false) } else { ("ordered", true) };
        same_in_any_order(profile, ordered, seed);
    }
}
