//! Batches and predicates for the tests of this crate.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
    UInt64Array,
};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, UInt64Type};
use millstream_core::batch::{Origin, hidden_fields};
use millstream_core::key::{hash_rows, worker_of};
use millstream_core::operator::{InPort, Operator, Output, Predicate};
use millstream_core::snapshot::{HASH, LATEST, Layer, Snapshot, StateTable};
use millstream_core::{Batch, Error, ErrorKind, Result, Watermark};

/// A batch of `id: string, n: bigint?` from split `s0`: id, n, event time; arrived at the same time, positions 0, 1, ..
pub(crate) fn batch(rows: &[(&str, Option<i64>, i64)]) -> Batch {
    let mut fields = vec![Field::new("id", DataType::Utf8, false), Field::new("n", DataType::Int64, true)];
    fields.extend(hidden_fields(DataType::UInt64));
    let times: TimestampMicrosecondArray = rows.iter().map(|r| Some(r.2)).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(rows.iter().map(|r| r.0))),
        Arc::new(Int64Array::from_iter(rows.iter().map(|r| r.1))),
        Arc::new(times.clone()),
        Arc::new(times),
        Arc::new(UInt64Array::from_iter_values(0..rows.len() as u64)),
    ];
    let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
    Batch { rows, origin: Some(Arc::new(Origin { source: "src".into(), split: "s0".into() })) }
}

/// One batch through an operator, with the input counted.
pub(crate) fn run(operator: &mut dyn Operator, batch: Batch) -> Output {
    let mut out = Output::default();
    out.counts.input = batch.num_rows() as u64;
    operator.on_batch(InPort(0), batch, &mut out).unwrap();
    assert!(out.counts.adds_up(), "{:?}", out.counts);
    out
}

/// The texts of a column.
pub(crate) fn text_of(batch: &Batch, column: &str) -> Vec<String> {
    let column = batch.column(column).unwrap().as_string::<i32>();
    column.iter().map(|v| v.unwrap_or("null").to_owned()).collect()
}

type Answer = Box<dyn Fn(&RecordBatch, usize) -> Result<Option<bool>> + Send + Sync>;

/// A predicate from a function over row numbers.
pub(crate) struct Check(Answer);

impl Check {
    pub(crate) fn by(f: impl Fn(&RecordBatch, usize) -> Option<bool> + Send + Sync + 'static) -> Arc<dyn Predicate> {
        Arc::new(Self(Box::new(move |rows, row| Ok(f(rows, row)))))
    }
    /// True, and fails where `n` is zero.
    pub(crate) fn dividing() -> Arc<dyn Predicate> {
        Arc::new(Self(Box::new(|rows, row| match Self::int(rows, "n", row) {
            Some(0) => Err(Error::new(ErrorKind::BadRow, "division by zero")),
            _ => Ok(Some(true)),
        })))
    }
    /// True where all of these columns have values.
    pub(crate) fn present(columns: &'static [&'static str]) -> Arc<dyn Predicate> {
        Self::by(|rows, row| Some(columns.iter().all(|c| rows.column_by_name(c).unwrap().is_valid(row))))
    }
    pub(crate) fn int(rows: &RecordBatch, column: &str, row: usize) -> Option<i64> {
        let column = rows.column_by_name(column).unwrap().as_primitive::<Int64Type>();
        column.is_valid(row).then(|| column.value(row))
    }
}

impl Predicate for Check {
    fn evaluate(&self, rows: &RecordBatch) -> Result<BooleanArray> {
        (0..rows.num_rows()).map(|row| (self.0)(rows, row)).collect()
    }
}

/// The rows of these tables that a worker owns.
pub(crate) fn owned_by(tables: &[StateTable], worker: usize, workers: usize) -> Vec<StateTable> {
    let owned = |rows: &RecordBatch| {
        let hashes = rows.column_by_name(HASH).unwrap().as_primitive::<UInt64Type>();
        let mine: BooleanArray = hashes.values().iter().map(|h| Some(worker_of(*h, workers) == worker)).collect();
        filter_record_batch(rows, &mine).unwrap()
    };
    tables.iter().map(|t| StateTable { name: t.name.clone(), rows: t.rows.iter().map(owned).collect() }).collect()
}

/// The tables of the layers that a restart needs: from the last whole one on, those named [`LATEST`] of the newest alone.
pub(crate) fn needed(layers: &[Snapshot]) -> Vec<StateTable> {
    let from = layers.iter().rposition(|l| l.layer == Layer::Whole).unwrap_or(0);
    let tables = layers.iter().enumerate().skip(from).flat_map(|(at, l)| l.tables.iter().map(move |t| (at, t)));
    let counts = |(at, t): &(usize, &StateTable)| !t.name.starts_with(LATEST) || at + 1 == layers.len();
    tables.filter(counts).map(|(_, t)| t.clone()).collect()
}

/// Per worker, the rows of a batch that it owns by the key in these columns.
pub(crate) fn dealt(batch: &Batch, key: &[usize], workers: usize) -> Vec<Batch> {
    let hashes = hash_rows(&batch.rows, key).unwrap();
    let part = |worker| {
        let mine: BooleanArray = hashes.iter().map(|h| Some(worker_of(*h, workers) == worker)).collect();
        batch.filter(&mine).unwrap()
    };
    (0..workers).map(part).collect()
}

/// A part of an operator's life.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) batches: Vec<(InPort, Batch)>,
    pub(crate) watermark: Option<Watermark>,
    /// A snapshot, whole or of changes.
    pub(crate) snapshot: Option<bool>,
    /// All workers are killed, and so many restored from the snapshots.
    pub(crate) crash: Option<usize>,
}

/// Looks at the workers of [`survive`] where they end and begin.
pub(crate) trait Watch<O> {
    /// They are about to be frozen, after so many steps.
    fn freezing(&mut self, steps: usize, workers: &[O]) {
        let _ = (steps, workers);
    }
    /// Such workers were restored from the newest boundary, and have taken nothing yet.
    fn restored(&mut self, workers: Vec<O>) {
        let _ = workers;
    }
}

impl<O> Watch<O> for () {}

/// Runs steps in `steady`, which lives on, and in workers that crash, restore and replay, and compares what comes of
/// each step as `seen` sees it. Gives `steady` and the workers.
pub(crate) fn survive<O: Operator, T: PartialEq + std::fmt::Debug>(
    steps: &[Step],
    key: &[usize],
    steady: O,
    new: impl Fn() -> O,
    seen: impl Fn(&[Output]) -> T,
    watch: &mut impl Watch<O>,
) -> (O, Vec<O>) {
    let play = |workers: &mut [O], step: &Step| {
        let mut outs: Vec<Output> = workers.iter().map(|_| Output::default()).collect();
        for (port, batch) in &step.batches {
            for (rows, (worker, out)) in
                dealt(batch, key, workers.len()).into_iter().zip(workers.iter_mut().zip(&mut outs))
            {
                if rows.num_rows() > 0 {
                    out.counts.input += rows.num_rows() as u64;
                    worker.on_batch(*port, rows, out).unwrap();
                }
            }
        }
        for (worker, out) in workers.iter_mut().zip(&mut outs) {
            if let Some(watermark) = step.watermark {
                worker.on_watermark(watermark, out).unwrap();
            }
            assert!(out.counts.adds_up(), "{:?}", out.counts);
        }
        seen(&outs)
    };
    let (mut steady, mut workers) = ([steady], vec![new()]);
    let (mut expected, mut layers, mut boundary, mut watermark) = (Vec::new(), Vec::new(), (0, Watermark::START), None);
    for (at, step) in steps.iter().enumerate() {
        expected.push(play(&mut steady, step));
        assert_eq!(play(&mut workers, step), expected[at], "step {at}");
        watermark = step.watermark.or(watermark);
        if let Some(whole) = step.snapshot {
            watch.freezing(at + 1, &workers);
            let parts: Vec<Snapshot> = workers.iter_mut().map(|w| w.snapshot(whole).unwrap()).collect();
            let layer = if whole { Layer::Whole } else { Layer::Changes };
            assert!(parts.iter().all(|p| p.layer == layer));
            layers.push(Snapshot { layer, tables: parts.into_iter().flat_map(|p| p.tables).collect() });
            boundary = (at + 1, watermark.unwrap_or(Watermark::START));
        }
        if let Some(count) = step.crash {
            let tables = needed(&layers);
            let restored = |worker| {
                let mut operator = new();
                operator.restore(owned_by(&tables, worker, count), boundary.1).unwrap();
                operator
            };
            workers = (0..count).map(restored).collect();
            watch.restored((0..count).map(restored).collect());
            for (at, step) in steps.iter().enumerate().take(at + 1).skip(boundary.0) {
                assert_eq!(play(&mut workers, step), expected[at], "step {at} again, in {count} workers");
            }
        }
    }
    let [steady] = steady;
    (steady, workers)
}
