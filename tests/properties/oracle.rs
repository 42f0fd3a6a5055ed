//! The streaming result of every SQL node over bounded inputs is what the same SQL says as one batch query over the
//! rows that were accepted.

use std::collections::BTreeSet;

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use millstream_spec::model::TransformKind;
use millstream_sql::run_batch;
use millstream_tests::check::{Reading, check};
use millstream_tests::rows::{self, Row};
use millstream_tests::run::block_on;

use crate::trips::{Trip, trips};
use crate::world::{Arrival, PIPELINE, Ran, World};

/// The SQL of a node of the pipeline.
fn sql(node: &str) -> String {
    let reading = Reading { profile: Some("unordered".into()), ..Reading::default() };
    let pipeline = check(PIPELINE, &reading).parsed.pipeline.expect("the pipeline can be read");
    let found = pipeline.transforms.iter().find(|(id, _)| id.value == node);
    match found.map(|(_, t)| &t.kind) {
        Some(TransformKind::Sql(text)) => text.value.text.clone(),
        other => panic!("{node} is {other:?}"),
    }
}

fn batch(node: &str, stream: &str, rows: Vec<RecordBatch>) -> Vec<Row> {
    let schema = rows.first().expect("some rows").schema();
    let result = block_on(run_batch(&sql(node), vec![(stream.to_owned(), schema, rows)]));
    rows::of(&result.unwrap_or_else(|e| panic!("{e:?}")))
}

fn without(batches: Vec<RecordBatch>, late: &BTreeSet<String>) -> Vec<RecordBatch> {
    let keep = |batch: RecordBatch| {
        let ids = batch.column_by_name("trip_id").unwrap().as_string::<i32>().clone();
        let mask: BooleanArray = ids.iter().map(|id| Some(!late.contains(id.unwrap()))).collect();
        filter_record_batch(&batch, &mask).unwrap()
    };
    batches.into_iter().map(keep).collect()
}

fn equals_the_batch(ran: &Ran, trips: &[Trip]) {
    let late: BTreeSet<String> = trips.iter().filter(|t| t.late_for_its_day()).map(|t| t.id.clone()).collect();
    assert!(!late.is_empty() && late.len() < trips.len());
    let refused = ran.rows("late");
    let found: BTreeSet<String> = refused
        .iter()
        .filter(|r| r["component"] == "daily_kpis")
        .map(|r| r["row"]["trip_id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(found, late, "late for the KPIs of their day");
    assert_eq!(refused.len(), late.len(), "nothing else is late: {refused:?}");

    let daily = batch("daily_kpis", "trips.completed", without(ran.batches("completed"), &late));
    assert_eq!(rows::bag(rows::of_files(&ran.files("kpis/"))), rows::bag(daily));
    let hourly = batch("hourly", "starts", ran.batches("accepted_starts"));
    assert!(hourly.len() > 50);
    assert_eq!(rows::bag(rows::of_files(&ran.files("hourly/"))), rows::bag(hourly));
    let busy = batch("busy_hours", "ends", ran.batches("accepted_ends"));
    assert!(busy.len() > 5);
    assert_eq!(rows::bag(ran.rows("busy")), rows::bag(busy));
    let costly = batch("costly", "ends", ran.batches("accepted_ends"));
    assert!(costly.len() > 50);
    assert_eq!(rows::bag(ran.rows("costly_ends")), rows::bag(costly));
}

#[test]
fn every_query_equals_its_batch() {
    for seed in 31..=32 {
        let trips = trips(seed, 500);
        let workers = 1 + seed as usize % 3;
        let ran = World::new("unordered").run(&trips, Arrival::random(seed, false), workers);
        equals_the_batch(&ran, &trips);
    }
}

#[test]
fn also_where_watermarks_move_along() {
    for seed in 41..=41 {
        let trips = trips(seed, 500);
        let ran = World::new("ordered").run(&trips, Arrival::random(seed, true), 2);
        equals_the_batch(&ran, &trips);
    }
}
