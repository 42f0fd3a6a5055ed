//! Nanoseconds per event of the stateful operators, on taxi trips: starts (7 columns), then ends (9 columns), into
//! a table of 17 columns.
//!
//! Time is CPU time of the thread where the system tells it (Linux): the figures hold on a machine that is busy. Times
//! shorter than the steps in which it does are wall time.

#![expect(clippy::expect_used, reason = "a benchmark that cannot be set up has nothing to measure")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{
    ArrayRef, BooleanArray, Decimal128Array, Float64Array, Int32Array, RecordBatch, StringArray,
    TimestampMicrosecondArray, UInt64Array,
};
use arrow::compute::{and, is_not_null};
use arrow::datatypes::{DataType, Field, Schema};
use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use millstream_core::batch::{TIMESTAMP, hidden_fields};
use millstream_core::operator::{InPort, Operator, OutPort, Output, Predicate};
use millstream_core::table::PutOutcome;
use millstream_core::{Batch, Result, Watermark};
use millstream_operators::Dedup;
use millstream_operators::upsert::{InputSpec, StatusSpec, Upsert, UpsertSpec};

const BATCH: usize = 8192;
const TRIPS: usize = 25 * BATCH;
/// Rows of a snapshot.
const CHANGED: usize = 100_000;

/// All of these columns have values.
struct Present(Vec<usize>);

impl Predicate for Present {
    fn evaluate(&self, rows: &RecordBatch) -> Result<BooleanArray> {
        let mut present: Option<BooleanArray> = None;
        for c in &self.0 {
            let column = is_not_null(rows.column(*c))?;
            present = Some(match present {
                None => column,
                Some(p) => and(&p, &column)?,
            });
        }
        Ok(present.unwrap_or_else(|| BooleanArray::from(vec![true; rows.num_rows()])))
    }
}

fn column(data_type: &DataType, rows: &[usize], salt: i64) -> ArrayRef {
    let value = |i: &usize| (*i as i64).wrapping_mul(7919).wrapping_add(salt).rem_euclid(100_000);
    match data_type {
        DataType::Utf8 => Arc::new(StringArray::from_iter_values(rows.iter().map(|i| format!("{:08x}trip", i * 37)))),
        DataType::Int32 => Arc::new(Int32Array::from_iter_values(rows.iter().map(|i| value(i) as i32))),
        DataType::Float64 => Arc::new(Float64Array::from_iter_values(rows.iter().map(|i| value(i) as f64 / 7.0))),
        DataType::Decimal128(..) => Arc::new(
            Decimal128Array::from_iter_values(rows.iter().map(|i| i128::from(value(i))))
                .with_data_type(data_type.clone()),
        ),
        _ => Arc::new(TimestampMicrosecondArray::from_iter_values(rows.iter().map(|i| *i as i64 * 1000 + salt))),
    }
}

const MONEY: DataType = DataType::Decimal128(10, 2);

fn starts() -> Vec<(&'static str, DataType)> {
    vec![
        ("trip_id", DataType::Utf8),
        ("pickup_datetime", TIMESTAMP),
        ("pickup_location_id", DataType::Int32),
        ("dropoff_location_id", DataType::Int32),
        ("vendor_id", DataType::Int32),
        ("estimated_dropoff_datetime", TIMESTAMP),
        ("estimated_fare_amount", MONEY),
    ]
}

fn ends() -> Vec<(&'static str, DataType)> {
    vec![
        ("trip_id", DataType::Utf8),
        ("dropoff_datetime", TIMESTAMP),
        ("rate_code", DataType::Int32),
        ("passenger_count", DataType::Int32),
        ("trip_distance", DataType::Float64),
        ("fare_amount", MONEY),
        ("tip_amount", MONEY),
        ("payment_type", DataType::Int32),
        ("trip_type", DataType::Int32),
        ("extra", DataType::Int32),
    ]
}

fn batches(columns: &[(&'static str, DataType)], order: &[usize]) -> Vec<Batch> {
    let mut fields: Vec<Field> = columns.iter().map(|(n, t)| Field::new(*n, t.clone(), true)).collect();
    fields.extend(hidden_fields(DataType::UInt64));
    let schema = Arc::new(Schema::new(fields));
    let batch = |rows: &[usize]| {
        let mut arrays: Vec<ArrayRef> =
            columns.iter().enumerate().map(|(i, (_, t))| column(t, rows, i as i64)).collect();
        arrays.push(column(&TIMESTAMP, rows, 5));
        arrays.push(column(&TIMESTAMP, rows, 0));
        arrays.push(Arc::new(UInt64Array::from_iter_values(rows.iter().map(|r| *r as u64))));
        Batch::new(RecordBatch::try_new(schema.clone(), arrays).expect("a batch"))
    };
    order.chunks(BATCH).map(batch).collect()
}

fn spec() -> Arc<UpsertSpec> {
    let columns: Vec<_> =
        starts().into_iter().chain(ends().into_iter().skip(1)).chain([("status", DataType::Utf8)]).collect();
    let table = Schema::new(columns.iter().map(|(n, t)| Field::new(*n, t.clone(), true)).collect::<Vec<_>>());
    let input = |columns| InputSpec { columns, key: vec![0], latest_by: None, write_nulls: false };
    let status = |name: &str, reads: Vec<usize>, columns: Vec<usize>, port, wanted| StatusSpec {
        name: name.into(),
        predicate: Arc::new(Present(reads.clone())),
        reads,
        columns,
        port: OutPort(port),
        wanted,
    };
    Arc::new(UpsertSpec {
        id: "trips".into(),
        table: Arc::new(table),
        key: vec![0],
        inputs: vec![input((1..7).map(|c| (c, c)).collect()), input((1..10).map(|c| (c, c + 6)).collect())],
        statuses: vec![
            status("COMPLETED", vec![1, 7], (0..16).collect(), 0, true),
            status("STARTED", vec![1], (0..7).collect(), 1, false),
            status("AWAITING_START", vec![7], [0].into_iter().chain(7..16).collect(), 2, false),
        ],
        status_column: Some(16),
        forget_after: Some(Duration::from_secs(48 * 3600)),
        truncate: Vec::new(),
        failed: OutPort(3),
    })
}

fn feed(operator: &mut dyn Operator, port: usize, batches: Vec<Batch>) {
    for batch in batches {
        let mut out = Output::default();
        operator.on_batch(InPort(port), batch, &mut out).expect("a batch that fits");
        black_box(out);
    }
}

/// The store takes all that is to be written.
fn write(upsert: &mut Upsert) {
    while let Some(rows) = upsert.take_dirty(BATCH).expect("rows") {
        let outcomes = (0..rows.len()).map(|_| PutOutcome::Written).collect();
        upsert.on_outcomes(rows, outcomes, &mut Output::default()).expect("an answer for each");
    }
}

/// The system counts CPU time in steps of at most this.
const STEP: Duration = Duration::from_millis(10);

/// CPU time of this thread.
struct CpuTime(WallTime);

impl CpuTime {
    fn nanos() -> Option<u64> {
        std::fs::read_to_string("/proc/thread-self/schedstat").ok()?.split(' ').next()?.parse().ok()
    }
}

impl Measurement for CpuTime {
    type Intermediate = (Option<u64>, <WallTime as Measurement>::Intermediate);
    type Value = Duration;

    fn start(&self) -> Self::Intermediate {
        (Self::nanos(), self.0.start())
    }
    fn end(&self, (cpu, wall): Self::Intermediate) -> Duration {
        let wall = self.0.end(wall);
        let cpu = cpu.zip(Self::nanos()).filter(|_| wall >= STEP);
        cpu.map_or(wall, |(from, to)| Duration::from_nanos(to - from))
    }
    fn add(&self, a: &Duration, b: &Duration) -> Duration {
        *a + *b
    }
    fn zero(&self) -> Duration {
        Duration::ZERO
    }
    fn to_f64(&self, value: &Duration) -> f64 {
        self.0.to_f64(value)
    }
    fn formatter(&self) -> &dyn ValueFormatter {
        self.0.formatter()
    }
}

/// The pause of a snapshot: of 100,000 trips among twice as many, each of 17 columns and 9 of state, all written or none,
/// and of their ids.
fn freezes(c: &mut Criterion<CpuTime>) {
    let order: Vec<usize> = (0..TRIPS).collect();
    let mut random = order.clone();
    random.sort_by_key(|i| (i * 2_654_435_761) % 4_294_967_291);
    random.truncate(CHANGED);
    let (start_batches, end_batches) = (batches(&starts(), &order), batches(&ends(), &random));
    let id_batches = batches(&starts(), &random);
    let ended = || {
        let mut u = Upsert::new(spec()).expect("a spec that fits");
        feed(&mut u, 0, start_batches.clone());
        write(&mut u);
        u.snapshot(false).expect("a snapshot");
        feed(&mut u, 1, end_batches.clone());
        u
    };
    let mut group = c.benchmark_group("freeze");
    group.throughput(Throughput::Elements(CHANGED as u64)).sample_size(20);
    group.bench_function("upsert", |b| {
        let setup = || {
            let mut u = ended();
            write(&mut u);
            u
        };
        b.iter_batched(setup, |mut u| (u.snapshot(false).expect("a snapshot"), u), BatchSize::PerIteration);
    });
    group.bench_function("upsert_unwritten", |b| {
        b.iter_batched(ended, |mut u| (u.snapshot(false).expect("a snapshot"), u), BatchSize::PerIteration);
    });
    group.bench_function("dedup", |b| {
        let setup = || {
            let mut d = Dedup::new(vec![0], Duration::from_secs(86_400), Duration::ZERO);
            feed(&mut d, 0, id_batches.clone());
            d
        };
        b.iter_batched(setup, |mut d| (d.snapshot(false).expect("a snapshot"), d), BatchSize::PerIteration);
    });
    group.bench_function("restore_upsert", |b| {
        let snapshot = ended().snapshot(false).expect("a snapshot");
        let setup = || (Upsert::new(spec()).expect("a spec that fits"), snapshot.tables.clone());
        let restore = |(mut u, tables): (Upsert, _)| {
            u.restore(tables, Watermark::START).expect("its own state");
            u
        };
        b.iter_batched(setup, restore, BatchSize::PerIteration);
    });
    group.finish();
}

fn benches(c: &mut Criterion<CpuTime>) {
    let order: Vec<usize> = (0..TRIPS).collect();
    // Ends come in another order than starts, up to a few thousand trips apart; and at random.
    let mut near = order.clone();
    near.sort_by_key(|i| i + (i * 2_654_435_761) % 4096);
    let mut random = order.clone();
    random.sort_by_key(|i| (i * 2_654_435_761) % 4_294_967_291);
    let start_batches = batches(&starts(), &order);
    let mut group = c.benchmark_group("events");
    group.throughput(Throughput::Elements(TRIPS as u64)).sample_size(10);
    group.bench_function("upsert_starts", |b| {
        let setup = || (Upsert::new(spec()).expect("a spec that fits"), start_batches.clone());
        b.iter_batched(
            setup,
            |(mut u, batches)| {
                feed(&mut u, 0, batches);
                u
            },
            BatchSize::PerIteration,
        );
    });
    for (name, order) in [("upsert_ends_near", &near), ("upsert_ends_random", &random)] {
        let end_batches = batches(&ends(), order);
        group.bench_function(name, |b| {
            let setup = || {
                let mut u = Upsert::new(spec()).expect("a spec that fits");
                feed(&mut u, 0, start_batches.clone());
                (u, end_batches.clone())
            };
            b.iter_batched(
                setup,
                |(mut u, batches)| {
                    feed(&mut u, 1, batches);
                    u
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.bench_function("upsert_take_dirty", |b| {
        let setup = || {
            let mut u = Upsert::new(spec()).expect("a spec that fits");
            feed(&mut u, 0, start_batches.clone());
            u
        };
        let take = |mut u: Upsert| {
            while let Some(rows) = u.take_dirty(BATCH).expect("rows") {
                black_box(rows);
            }
            u
        };
        b.iter_batched(setup, take, BatchSize::PerIteration);
    });
    group.bench_function("dedup", |b| {
        let setup = || (Dedup::new(vec![0], Duration::from_secs(86_400), Duration::ZERO), start_batches.clone());
        b.iter_batched(
            setup,
            |(mut d, batches)| {
                feed(&mut d, 0, batches);
                d
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group! {
    name = all;
    config = Criterion::default().with_measurement(CpuTime(WallTime)).warm_up_time(Duration::from_secs(1));
    targets = benches, freezes
}
criterion_main!(all);
