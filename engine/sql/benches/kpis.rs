//! Rows per second through both stages of the flagship's KPI query, and through a filter with arithmetic.

#![expect(clippy::expect_used, reason = "a benchmark that cannot be set up has nothing to measure")]

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{
    ArrayRef, Decimal128Array, Int32Array, RecordBatch, StringArray, TimestampMicrosecondArray, UInt64Array,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use millstream_core::batch::{TIMESTAMP, hidden_fields};
use millstream_core::operator::{InPort, Operator, Output};
use millstream_core::{Batch, Watermark};
use millstream_sql::{Catalog, Emit, PlannedQuery, Port, StageContext, plan_query};

const ROWS: i64 = 8192;
const DAY: i64 = 86_400_000_000;

fn schema() -> SchemaRef {
    let mut fields = vec![
        Field::new("id", DataType::Utf8, false),
        Field::new("zone", DataType::Int32, true),
        Field::new("at", TIMESTAMP, true),
        Field::new("fare", DataType::Decimal128(10, 2), true),
    ];
    fields.extend(hidden_fields(DataType::UInt64));
    Arc::new(Schema::new(fields))
}

/// Rows spread over a week.
fn batch() -> Batch {
    let times = || (0..ROWS).map(|i| i * 7919 % (7 * DAY / 1_000_000) * 1_000_000);
    let fare: Decimal128Array = (0..ROWS).map(|i| Some(i128::from(i * 31 % 10_000))).collect();
    let time: ArrayRef = Arc::new(TimestampMicrosecondArray::from_iter_values(times()));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values((0..ROWS).map(|i| format!("trip-{i:08}")))),
        Arc::new(Int32Array::from_iter_values((0..ROWS).map(|i| i32::try_from(i % 265).unwrap_or_default()))),
        time.clone(),
        Arc::new(fare.with_precision_and_scale(10, 2).expect("digits")),
        time.clone(),
        time,
        Arc::new(UInt64Array::from_iter_values(0..ROWS.unsigned_abs())),
    ];
    Batch::new(RecordBatch::try_new(schema(), columns).expect("the schema's columns"))
}

fn plan(sql: &str) -> PlannedQuery {
    let port = Port { schema: schema(), key: Vec::new(), bounded: false };
    let catalog: Catalog = [("trips.completed".to_owned(), port)].into_iter().collect();
    plan_query(sql, &catalog, &Emit::default(), Duration::ZERO).expect("a plan")
}

fn operators(query: &PlannedQuery) -> Vec<Box<dyn Operator>> {
    let context = StageContext::default();
    query.stages().iter().map(|s| s.operator(&context).expect("an operator")).collect()
}

/// Gives a batch to the first stage and what comes of it to the next ones.
fn give(operators: &mut [Box<dyn Operator>], batch: Batch) -> usize {
    let Some((first, rest)) = operators.split_first_mut() else { return batch.num_rows() };
    let mut out = Output::default();
    first.on_batch(InPort(0), batch, &mut out).expect("an output");
    out.batches.into_iter().map(|(_, b)| give(rest, b)).sum()
}

fn queries(c: &mut Criterion) {
    let kpis = "SELECT CAST(window_start AS DATE) AS date, SUM(fare) AS total_fare, COUNT(*) AS trip_count, \
                AVG(fare) AS average_fare, MAX(fare) AS max_fare, MIN(fare) AS min_fare \
                FROM tumble(trips.completed, at, INTERVAL '1 day') GROUP BY window_start, window_end";
    let zones = "SELECT zone, window_start, COUNT(*) AS n, SUM(fare) AS s \
                 FROM tumble(trips.completed, at, INTERVAL '1 hour') GROUP BY zone, window_start";
    let rows = "SELECT id, fare * 2 AS twice, at FROM trips.completed WHERE zone BETWEEN 10 AND 200";
    let mut group = c.benchmark_group("sql");
    group.throughput(Throughput::Elements(ROWS.unsigned_abs()));
    let batch = batch();
    for (name, sql) in [("kpis", kpis), ("zones by hour", zones), ("filter", rows)] {
        let mut operators = operators(&plan(sql));
        group.bench_with_input(BenchmarkId::from_parameter(name), &batch, |b, batch| {
            b.iter(|| give(&mut operators, batch.clone()));
        });
        let mut out = Output::default();
        operators.iter_mut().for_each(|o| o.on_watermark(Watermark::COMPLETE, &mut out).expect("results"));
    }
    group.finish();
}

criterion_group!(benches, queries);
criterion_main!(benches);
