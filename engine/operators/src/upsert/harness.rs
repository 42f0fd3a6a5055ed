//! A small upsert, its inputs, a store, and a model of all three, for the tests of this module.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{
    Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray, UInt64Array,
};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use millstream_core::Batch;
use millstream_core::batch::hidden_fields;
use millstream_core::operator::{InPort, Operator, OutPort, Output};
use millstream_core::table::{PutOutcome, StoredRow};

use super::{DirtyRows, InputSpec, StatusSpec, Upsert, UpsertSpec};
use crate::testing::Check;

/// An event of input 0 (sets a, shared?) or 1 (sets b, shared?) of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Event {
    pub(super) key: u8,
    pub(super) input: usize,
    /// What the input sets: `a1, a2` or `b1, b2`.
    pub(super) values: [Option<i64>; 2],
    /// What both set, and by which the latest wins, where the spec says so.
    pub(super) shared: Option<i64>,
    pub(super) at: i64,
}

pub(super) const A: usize = 0;
pub(super) const B: usize = 1;

pub(super) fn event(key: u8, input: usize, v1: impl Into<Option<i64>>, v2: impl Into<Option<i64>>, at: i64) -> Event {
    Event { key, input, values: [v1.into(), v2.into()], shared: None, at }
}

/// How the inputs merge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Each input owns its columns.
    Owned,
    /// By the latest `at`; `shared` is set by both.
    Latest,
    /// The same, and input 1 writes nulls.
    LatestNulls,
}

pub(super) const COLUMNS: [&str; 7] = ["id", "a1", "a2", "b1", "b2", "shared", "status"];

/// `id`, then `a1 a2 b1 b2 shared` and `status`.
pub(super) fn spec(kind: Kind) -> UpsertSpec {
    let mut fields = vec![Field::new("id", DataType::Utf8, false)];
    fields.extend(COLUMNS[1..6].iter().map(|c| Field::new(*c, DataType::Int64, false)));
    fields.push(Field::new("status", DataType::Utf8, true));
    let latest = kind != Kind::Owned;
    let input = |first: usize, write_nulls| InputSpec {
        columns: [(1, first), (2, first + 1)].into_iter().chain(latest.then_some((3, 5))).collect(),
        key: vec![0],
        latest_by: latest.then_some(4),
        write_nulls,
    };
    let status = |name: &str, reads: &'static [&'static str], columns: Vec<usize>, port| StatusSpec {
        name: name.into(),
        predicate: Check::present(reads),
        reads: reads.iter().filter_map(|r| COLUMNS.iter().position(|c| c == r)).collect(),
        columns,
        port: OutPort(port),
        wanted: true,
    };
    UpsertSpec {
        id: "u".into(),
        table: Arc::new(Schema::new(fields)),
        key: vec![0],
        inputs: vec![input(1, false), input(3, kind == Kind::LatestNulls)],
        statuses: vec![
            status("DONE", &["a1", "b1"], vec![0, 1, 2, 3, 4], 0),
            status("A", &["a1"], vec![0, 1, 2], 1),
            status("B", &["b1"], vec![0, 3, 4], 2),
        ],
        status_column: Some(6),
        forget_after: Some(Duration::from_secs(100)),
        truncate: Vec::new(),
        failed: OutPort(3),
    }
}

pub(super) fn upsert(kind: Kind) -> Upsert {
    Upsert::new(Arc::new(spec(kind))).unwrap()
}

/// Events of one input as a batch.
pub(super) fn batch(events: &[Event]) -> Batch {
    let mut fields = vec![Field::new("id", DataType::Utf8, true)];
    fields.extend(["v1", "v2", "shared", "at"].map(|c| Field::new(c, DataType::Int64, true)));
    fields.extend(hidden_fields(DataType::UInt64));
    let times: ArrayRef = Arc::new(TimestampMicrosecondArray::from_iter_values(events.iter().map(|e| e.at)));
    let ints = |f: fn(&Event) -> Option<i64>| -> ArrayRef { Arc::new(Int64Array::from_iter(events.iter().map(f))) };
    let columns = vec![
        Arc::new(StringArray::from_iter_values(events.iter().map(|e| format!("key {}", e.key)))) as ArrayRef,
        ints(|e| e.values[0]),
        ints(|e| e.values[1]),
        ints(|e| e.shared),
        ints(|e| Some(e.at)),
        times.clone(),
        times,
        Arc::new(UInt64Array::from_iter_values(0..events.len() as u64)),
    ];
    Batch::new(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap())
}

/// Gives events in this order, cut where the input changes and after every `cut`.
pub(super) fn feed(upsert: &mut Upsert, events: &[Event], cut: usize) -> Output {
    let mut out = Output::default();
    for run in events.chunk_by(|a, b| a.input == b.input).flat_map(|run| run.chunks(cut.max(1))) {
        out.counts.input += run.len() as u64;
        upsert.on_batch(InPort(run[0].input), batch(run), &mut out).unwrap();
    }
    assert!(out.counts.adds_up(), "{:?}", out.counts);
    out
}

/// A row as texts, in the order of its columns.
pub(super) type Row = Vec<String>;

/// The rows of a batch by the text of their first column.
pub(super) fn rows_of(rows: &RecordBatch) -> BTreeMap<String, Row> {
    let text = |c: &ArrayRef, row: usize| match c.is_null(row) {
        true => "-".to_owned(),
        false => arrow::util::display::array_value_to_string(c, row).unwrap(),
    };
    (0..rows.num_rows())
        .map(|row| {
            let row: Row = rows.columns().iter().map(|c| text(c, row)).collect();
            (row[0].clone(), row)
        })
        .collect()
}

/// Transitions: port and row.
pub(super) fn transitions(out: &Output) -> BTreeSet<(usize, Row)> {
    let mut all = BTreeSet::new();
    for (port, batch) in out.batches.iter().filter(|(p, _)| p.0 < 3) {
        for row in 0..batch.num_rows() {
            let (_, row) = rows_of(&batch.rows.slice(row, 1)).pop_first().unwrap();
            assert!(all.insert((port.0, row)), "a transition came twice");
        }
    }
    all
}

/// The table that these events make, in any order: per column, the greatest event that sets it.
pub(super) fn fold(kind: Kind, events: &[Event]) -> BTreeMap<String, Row> {
    let mut winners: BTreeMap<(u8, usize), (i64, u64, Option<i64>)> = BTreeMap::new();
    let mut keys = BTreeSet::new();
    let layout = super::layout::Layout::new(&spec(kind)).unwrap();
    for event in events {
        keys.insert(event.key);
        let rows = batch(&[*event]).rows;
        let input = &layout.inputs[event.input];
        let arrays: Vec<&ArrayRef> = input.columns.iter().map(|(_, from)| rows.column(*from)).collect();
        let hash = millstream_state::content::hash_arrays(arrays, 1, input.seed).unwrap()[0];
        for (column, from) in &input.columns {
            let value = rows.column(*from).as_primitive::<Int64Type>();
            let value = value.is_valid(0).then(|| value.value(0));
            if value.is_none() && !input.write_nulls {
                continue;
            }
            let order = if kind == Kind::Owned { 0 } else { event.at };
            let place = winners.entry((event.key, *column)).or_insert((order, hash, value));
            if (place.0, place.1) < (order, hash) {
                *place = (order, hash, value);
            }
        }
    }
    let row = |key: u8| {
        let value = |c: usize| winners.get(&(key, c)).and_then(|w| w.2);
        let status = match (value(1), value(3)) {
            (Some(_), Some(_)) => "DONE",
            (Some(_), None) => "A",
            (None, Some(_)) => "B",
            (None, None) => "-",
        };
        let id = format!("key {key}");
        let values = (1..6).map(|c| value(c).map_or("-".to_owned(), |v| v.to_string()));
        (id.clone(), [id].into_iter().chain(values).chain([status.to_owned()]).collect())
    };
    keys.into_iter().map(row).collect()
}

/// A store as the trait describes it.
#[derive(Debug, Default, Clone)]
pub(super) struct Store {
    rows: BTreeMap<String, StoredRow>,
    pub(super) puts: usize,
    /// It never lets a row be put over another, whatever the versions.
    pub(super) stuck: bool,
}

impl Store {
    pub(super) fn put(&mut self, rows: &DirtyRows) -> Vec<PutOutcome> {
        let rows = &rows.rows;
        (0..rows.versions.len())
            .map(|i| {
                self.puts += 1;
                let row = rows.rows.slice(i, 1);
                let id = row.column(0).as_string::<i32>().value(0).to_owned();
                match self.rows.get(&id) {
                    Some(stored) if stored.version >= rows.versions[i] || self.stuck => {
                        PutOutcome::Stale(Box::new(stored.clone()))
                    }
                    _ => {
                        let stored = StoredRow { row, version: rows.versions[i], stamps: rows.stamps[i].clone() };
                        self.rows.insert(id, stored);
                        PutOutcome::Written
                    }
                }
            })
            .collect()
    }
    pub(super) fn insert(&mut self, row: StoredRow) {
        self.rows.insert(row.row.column(0).as_string::<i32>().value(0).to_owned(), row);
    }
    pub(super) fn version(&self, key: u8) -> u64 {
        self.rows[&format!("key {key}")].version
    }
    pub(super) fn table(&self) -> BTreeMap<String, Row> {
        self.rows.values().flat_map(|r| rows_of(&r.row)).collect()
    }
}

/// Writes until nothing is dirty; what left by the failed port.
pub(super) fn drain(upsert: &mut Upsert, store: &mut Store, at_once: usize) -> Output {
    let mut out = Output::default();
    for _ in 0..100_000 {
        let Some(rows) = upsert.take_dirty(at_once.max(1)).unwrap() else { break };
        let outcomes = store.put(&rows);
        upsert.on_outcomes(rows, outcomes, &mut out).unwrap();
    }
    assert_eq!((upsert.dirty_len(), upsert.in_flight_len()), (0, 0), "writing does not come to rest");
    out
}
