//! What a call costs: a scalar UDF against the Arrow kernels that DataFusion compiles the same SQL expression to, by rows
//! per batch; and how many async calls of a millisecond come back a second.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, reason = "a benchmark")]

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, Scalar};
use arrow::compute::cast;
use arrow::compute::kernels::{cmp, numeric, zip::zip};
use arrow::datatypes::{DataType, Float64Type};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use millstream_udf::{Calling, Calls, Udf, compile, source};

fn load(folder: &str, calling: Option<Calling>) -> Udf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(folder);
    let declared = source::read(&folder).expect("a source");
    let library = compile::library(&folder, &compile::cache()).expect("a library");
    let calling = calling.unwrap_or(declared.calling);
    Udf::load(&declared.name, declared.signature, calling, &library).expect("a UDF")
}

/// `CASE WHEN r < 1.2 THEN 1.0 WHEN r < 2.0 THEN 1.5 WHEN r < 3.0 THEN 2.0 ELSE 2.5 END` over
/// `CAST(demand AS DOUBLE) / CAST(greatest(supply, 1) AS DOUBLE)`.
fn built_in(demand: &ArrayRef, supply: &ArrayRef) -> ArrayRef {
    let scalar = |v: f64| Scalar::new(Float64Array::from(vec![v]));
    let one = Scalar::new(Int64Array::from(vec![1]));
    let supply = zip(&cmp::lt(supply, &one).unwrap(), &one, supply).unwrap();
    let double = |c: &ArrayRef| cast(c, &DataType::Float64).unwrap();
    let ratio = numeric::div(&double(demand), &double(&supply)).unwrap();
    let mut result = zip(&cmp::lt(&ratio, &scalar(3.0)).unwrap(), &scalar(2.0), &scalar(2.5)).unwrap();
    for (below, multiplier) in [(2.0, 1.5), (1.2, 1.0)] {
        result = zip(&cmp::lt(&ratio, &scalar(below)).unwrap(), &scalar(multiplier), &result).unwrap();
    }
    result
}

fn scalars(c: &mut Criterion) {
    let surge = load("udfs/surge_multiplier", None);
    let mut group = c.benchmark_group("scalar");
    for rows in [1_i64, 64, 1024, 8192] {
        let column = |f: fn(i64) -> i64| Arc::new(Int64Array::from_iter_values((0..rows).map(f))) as ArrayRef;
        let (demand, supply) = (column(|i| i * 7 % 40), column(|i| i * 3 % 12));
        let found = surge.call(&[demand.clone(), supply.clone()]).expect("a result");
        assert_eq!(found.as_primitive::<Float64Type>(), built_in(&demand, &supply).as_primitive::<Float64Type>());
        group.throughput(Throughput::Elements(rows as u64));
        group.bench_with_input(BenchmarkId::new("udf", rows), &rows, |b, _| {
            b.iter(|| black_box(surge.call(&[demand.clone(), supply.clone()]).expect("a result")));
        });
        group.bench_with_input(BenchmarkId::new("built in", rows), &rows, |b, _| {
            b.iter(|| black_box(built_in(&demand, &supply)));
        });
    }
    group.finish();
}

fn asynchronous(c: &mut Criterion) {
    let mut group = c.benchmark_group("async, 1 ms");
    group.sample_size(10);
    for in_flight in [1_u32, 100, 1000, 4000] {
        let rows = if in_flight == 1 { 200_i64 } else { 20_000 };
        let slowly = load("tests/udfs/slowly", Some(Calling { max_in_flight: in_flight, ..Calling::default() }));
        let calls = Calls::start(&slowly, || {}).expect("a driver");
        let ms: ArrayRef = Arc::new(Int64Array::from(vec![1; usize::try_from(rows).unwrap_or_default()]));
        group.throughput(Throughput::Elements(rows as u64));
        group.bench_with_input(BenchmarkId::new("in flight", in_flight), &in_flight, |b, _| {
            b.iter(|| {
                calls.call(0, std::slice::from_ref(&ms));
                let answers = calls.wait();
                assert!(answers.len() == ms.len() && answers.iter().all(|(_, a)| a.is_ok()));
            });
        });
    }
    group.finish();
}

criterion_group!(benches, scalars, asynchronous);
criterion_main!(benches);
