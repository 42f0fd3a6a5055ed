//! Batches and predicates for the tests of this crate.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
    UInt64Array,
};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use millstream_core::batch::{Origin, hidden_fields};
use millstream_core::operator::{InPort, Operator, Output, Predicate};
use millstream_core::{Batch, Error, ErrorKind, Result};

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
