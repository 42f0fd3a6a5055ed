//! Queries of every kind over random rows, through the runtime: each gives what one batch query gives.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use chrono::DateTime;
use millstream_core::EventTime;
use millstream_local::memory;
use millstream_spec::model::TransformKind;
use millstream_sql::run_batch;
use millstream_tests::check::{Reading, check};
use millstream_tests::random::Random;
use millstream_tests::rows;
use millstream_tests::run::{block_on, run_and_account};

const QUERIES: &str = include_str!("queries.yaml");
/// 2024-05-20, in seconds since the epoch.
const FIRST: i64 = 1_716_163_200;

fn time(seconds: i64) -> String {
    format!("\"{}\"", DateTime::from_timestamp(seconds, 0).unwrap().format("%Y-%m-%dT%H:%M:%SZ"))
}

/// A reading at a time; every column but the required ones may be null.
fn reading(i: usize, at: i64, random: &mut Random) -> String {
    let mut fields = vec![format!(r#""id":"r{i}""#), format!(r#""at":{}"#, time(at))];
    let values = [
        ("shop", format!("\"{}\"", random.pick(&["a", "b", "c", "ab"]))),
        ("kind", random.below(9).to_string()),
        ("amount", format!("{}.{:02}", random.below(100), random.below(100))),
        ("weight", format!("{}.5", random.below(10))),
        ("n", (random.below(120) as i64 - 20).to_string()),
        ("flag", random.one_in(2).to_string()),
        ("day", format!("\"2024-05-{:02}\"", 1 + random.below(28))),
        ("seen", time(at - random.below(3 * 86_400) as i64)),
        ("tags", random.pick(&["[]", "[\"x\"]", "[\"x\",\"y\"]", "[\"y\",\"y\",\"z\"]"]).to_string()),
        ("place", random.pick(&["{\"x\":1}", "{\"x\":2,\"y\":3}", "{}"]).to_string()),
    ];
    fields.extend(values.into_iter().filter(|_| !random.one_in(5)).map(|(name, value)| format!("\"{name}\":{value}")));
    format!("{{{}}}", fields.join(","))
}

/// Feeds random readings in three splits.
fn feed(world: &str, seed: u64, count: usize, ordered: bool) {
    let random = &mut Random::new(seed);
    let memory = memory::handle(&format!("{world}-readings"));
    let mut times: Vec<i64> = (0..count).map(|_| FIRST + random.below(4 * 86_400) as i64).collect();
    if ordered {
        // In order up to less than max_delay; a few come later than late_after allows.
        times.sort_unstable();
        times.iter_mut().for_each(|t| *t -= random.below(500) as i64);
        times.iter_mut().filter(|_| random.one_in(40)).for_each(|t| *t -= 4 * 3600);
    }
    for split in 0..3 {
        memory.split(&format!("split-{split}"), &[]);
    }
    for (i, at) in times.into_iter().enumerate() {
        let split = format!("split-{}", random.below(3));
        memory.push_records(&split, [reading(i, at, random).as_str()], EventTime(1_800_000_000_000_000));
    }
    for split in 0..3 {
        memory.finish(&format!("split-{split}"));
    }
    memory.close();
}

fn check_all(profile: &str, seed: u64, workers: usize) {
    let world = format!("queries-{profile}-{seed}");
    feed(&world, seed, 600, profile == "ordered");
    let environment = vec![("WORLD".to_owned(), world.clone())];
    let reading = Reading { profile: Some(profile.to_owned()), run: true, environment, ..Reading::default() };
    let checked = check(QUERIES, &reading);
    let transforms = checked.parsed.pipeline.as_ref().expect("it can be read").transforms.clone();
    let graph = checked.graph("queries.yaml", QUERIES);
    let keys: BTreeMap<String, Vec<String>> =
        graph.nodes.iter().filter_map(|n| Some((n.id.clone(), n.ports.first()?.key.clone()))).collect();
    let snapshot = run_and_account(graph, workers);
    let capture = memory::handle(&format!("{world}-capture"));
    let captured =
        |sink: &str| -> Vec<RecordBatch> { capture.written(sink).into_iter().map(|batch| batch.rows).collect() };
    let accepted = captured("readings_rows");
    let read: u64 = snapshot.nodes.iter().filter(|n| n.kind == "source").map(|n| n.counts.input).sum();
    assert_eq!(read, 600);
    for (id, transform) in &transforms {
        let TransformKind::Sql(text) = &transform.kind else { panic!("{} is no query", id.value) };
        let schema = accepted.first().expect("some rows").schema();
        let batch = block_on(run_batch(&text.value.text, vec![("readings".to_owned(), schema, accepted.clone())]));
        let expected = rows::of(&batch.unwrap_or_else(|e| panic!("{}: {e:?}", id.value)));
        let found = rows::of(&captured(&format!("{}_rows", id.value)));
        let found = match keys[&id.value].is_empty() {
            true => found,
            false => rows::last_by(&keys[&id.value], found),
        };
        assert!(expected.len() > 3 || id.value == "monthly", "{} has only {} rows", id.value, expected.len());
        assert_eq!(rows::bag(found), rows::bag(expected), "{}, {profile}, seed {seed}, {workers} workers", id.value);
    }
    let refused = rows::of(&captured("refused"));
    let late = refused.iter().filter(|row| row["port"] == "late").count();
    assert_eq!(late, refused.len(), "nothing fails: {refused:?}");
    assert_eq!(late > 0, profile == "ordered", "some are late where rows have an order");
    assert_eq!(accepted.iter().map(RecordBatch::num_rows).sum::<usize>() + late, 600);
    memory::handle(&format!("{world}-readings")).clear();
}

#[test]
fn every_kind_of_query_equals_its_batch() {
    check_all("unordered", 71, 1);
    check_all("unordered", 72, 3);
}

#[test]
fn every_kind_of_query_equals_its_batch_where_watermarks_move_along() {
    check_all("ordered", 73, 2);
}
