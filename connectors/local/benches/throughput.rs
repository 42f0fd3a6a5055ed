//! How fast the connectors are that measurements of the engine stand on: they must not be what is measured.

#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark")]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Decimal128Array, Int32Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::Schema;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use millstream_core::connector::{Connector, SourceOptions};
use millstream_core::schema::{ColumnType, ExtraFields, SourceSchema};
use millstream_core::source::Read;
use millstream_core::table::{TableRows, TableSchema};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

fn connector(kind: &str, options: Value) -> Arc<dyn Connector> {
    let kinds = millstream_local::kinds();
    let kind = kinds.iter().find(|k| k.name == kind).unwrap();
    (kind.parse)(options).unwrap()
}

async fn read_all(connector: &dyn Connector) -> u64 {
    let schema = Arc::new(SourceSchema { columns: Vec::new(), extra: ExtraFields::Ignore });
    let source = connector.source(&SourceOptions { id: "s".into(), pipeline: "p".into(), schema }).await.unwrap();
    let mut count = 0;
    for split in source.discover(&BTreeSet::new()).await.unwrap() {
        let mut reader = source.open(&split, None).await.unwrap();
        while let Read::Records { records, .. } = reader.next().await.unwrap() {
            count += records.records.len() as u64;
        }
    }
    count
}

fn sources(c: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let mut group = c.benchmark_group("read");
    group.sample_size(10).throughput(Throughput::Elements(200_000));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("lines.jsonl");
    let line = format!("{{\"trip_id\":\"{}\"}}\n", "x".repeat(210));
    std::fs::write(&path, line.repeat(200_000)).unwrap();
    for (name, kind, options) in [
        ("generate starts", "generate", json!({ "part": "starts", "trips": 198_000 })),
        ("generate ends", "generate", json!({ "part": "ends", "trips": 198_000 })),
        ("file", "file", json!({ "path": path.to_str().unwrap() })),
    ] {
        let connector = connector(kind, options);
        group.bench_function(name, |b| b.iter(|| runtime.block_on(read_all(connector.as_ref()))));
    }
    group.finish();
}

/// Rows like those of the flagship's table.
fn trips(from: usize, count: usize) -> RecordBatch {
    let ids = from..from + count;
    let scattered = |i: usize| (i as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 24;
    let time = |salt: i64| -> ArrayRef {
        Arc::new(
            ids.clone()
                .map(|i| Some(1_716_000_000_000_000 + salt + i as i64 * 1_000_000))
                .collect::<TimestampMicrosecondArray>(),
        )
    };
    let int =
        |n: i32| -> ArrayRef { Arc::new(ids.clone().map(|i| Some((i as i32 + n) % 265)).collect::<Int32Array>()) };
    let money = || -> ArrayRef {
        let values: Decimal128Array = ids.clone().map(|i| Some(i as i128 % 10_000)).collect();
        Arc::new(values.with_precision_and_scale(10, 2).unwrap())
    };
    let columns: Vec<(&str, ColumnType, ArrayRef)> = vec![
        (
            "trip_id",
            ColumnType::String,
            Arc::new(ids.clone().map(|i| Some(format!("{:010x}", scattered(i)))).collect::<StringArray>()),
        ),
        ("status", ColumnType::String, Arc::new(ids.clone().map(|_| Some("COMPLETED")).collect::<StringArray>())),
        ("pickup_datetime", ColumnType::Timestamp, time(0)),
        ("dropoff_datetime", ColumnType::Timestamp, time(1_000_000)),
        ("pickup_location_id", ColumnType::Int, int(1)),
        ("dropoff_location_id", ColumnType::Int, int(2)),
        ("vendor_id", ColumnType::Int, int(3)),
        ("rate_code", ColumnType::Int, int(4)),
        ("passenger_count", ColumnType::Int, int(5)),
        ("payment_type", ColumnType::Int, int(6)),
        ("trip_type", ColumnType::Int, int(7)),
        ("estimated_fare_amount", ColumnType::Decimal(10, 2), money()),
        ("fare_amount", ColumnType::Decimal(10, 2), money()),
        ("tip_amount", ColumnType::Decimal(10, 2), money()),
    ];
    let fields: Vec<_> = columns.iter().enumerate().map(|(i, (n, t, _))| t.field(n, i > 0)).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns.into_iter().map(|c| c.2).collect()).unwrap()
}

fn tables(c: &mut Criterion) {
    const ROWS: usize = 200_000;
    let runtime = Runtime::new().unwrap();
    let mut group = c.benchmark_group("put");
    group.sample_size(10).throughput(Throughput::Elements(ROWS as u64));
    let schema = TableSchema {
        name: "trips".into(),
        key: vec!["trip_id".into()],
        columns: trips(0, 1).schema(),
        ttl: Some(std::time::Duration::from_secs(30 * 86_400)),
    };
    let batches: Vec<RecordBatch> = (0..ROWS).step_by(8_000).map(|from| trips(from, 8_000)).collect();
    let put_all = async |connector: &dyn Connector, versions: u64| {
        let table = connector.table(&schema).await.unwrap();
        for version in 1..=versions {
            for rows in &batches {
                let count = rows.num_rows();
                let rows = TableRows {
                    rows: rows.clone(),
                    versions: vec![version; count],
                    stamps: vec![None; count],
                    truncated: vec![None; count],
                };
                table.put(&rows).await.unwrap();
            }
        }
    };
    for (name, versions) in [("insert", 1), ("insert and update", 2)] {
        group.throughput(Throughput::Elements(ROWS as u64 * versions));
        group.bench_function(format!("memory {name}"), |b| {
            b.iter(|| runtime.block_on(put_all(connector("memory", json!({})).as_ref(), versions)));
        });
        group.bench_function(format!("embedded {name}"), |b| {
            b.iter_batched(
                || tempfile::tempdir().unwrap(),
                |dir: tempfile::TempDir| {
                    let path = |dir: &Path| dir.join("t.db").to_str().unwrap().to_owned();
                    runtime.block_on(put_all(
                        connector("embedded", json!({ "path": path(dir.path()) })).as_ref(),
                        versions,
                    ));
                    dir
                },
                criterion::BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, sources, tables);
criterion_main!(benches);
