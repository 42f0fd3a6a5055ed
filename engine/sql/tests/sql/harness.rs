//! Drives the stages of a query by hand: several workers, any order of events.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, Decimal128Array, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
    UInt32Array, UInt64Array,
};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use millstream_core::batch::{TIMESTAMP, hidden_fields, user_columns};
use millstream_core::key::{hash_rows, worker_of};
use millstream_core::ledger::Counts;
use millstream_core::operator::{InPort, Operator, OutPort, Output};
use millstream_core::{Batch, EventTime, Origin, Tick, Watermark};
use millstream_sql::{Catalog, Emit, PlannedQuery, Port, Routing, StageContext, plan_query, port};

pub(crate) const MINUTE: i64 = 60_000_000;
pub(crate) const HOUR: i64 = 60 * MINUTE;
pub(crate) const DAY: i64 = 24 * HOUR;

/// One trip: `id, zone, at, fare, items` and its event time.
#[derive(Debug, Clone)]
pub(crate) struct Trip {
    pub(crate) id: String,
    pub(crate) zone: Option<i32>,
    pub(crate) at: Option<i64>,
    pub(crate) fare: Option<i128>,
    pub(crate) count: i64,
    pub(crate) event_time: i64,
}

impl Trip {
    pub(crate) fn new(id: &str, zone: i32, at: i64, cents: i128) -> Self {
        Self { id: id.into(), zone: Some(zone), at: Some(at), fare: Some(cents), count: 1, event_time: at }
    }
}

pub(crate) fn trip_schema() -> SchemaRef {
    let mut fields = vec![
        Field::new("id", DataType::Utf8, false),
        Field::new("zone", DataType::Int32, true),
        Field::new("at", TIMESTAMP, true),
        Field::new("fare", DataType::Decimal128(10, 2), true),
        Field::new("count", DataType::Int64, false),
    ];
    fields.extend(hidden_fields(DataType::UInt64));
    Arc::new(Schema::new(fields))
}

pub(crate) fn batch(trips: &[Trip]) -> Batch {
    let fare: Decimal128Array = trips.iter().map(|t| t.fare).collect();
    let times: TimestampMicrosecondArray = trips.iter().map(|t| Some(t.event_time)).collect();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(trips.iter().map(|t| &t.id))),
        Arc::new(trips.iter().map(|t| t.zone).collect::<Int32Array>()),
        Arc::new(trips.iter().map(|t| t.at).collect::<TimestampMicrosecondArray>()),
        Arc::new(fare.with_precision_and_scale(10, 2).unwrap()),
        Arc::new(trips.iter().map(|t| t.count).collect::<Int64Array>()),
        Arc::new(times.clone()),
        Arc::new(times),
        Arc::new(UInt64Array::from_iter_values(0..trips.len() as u64)),
    ];
    let origin = Origin { source: "trips".into(), split: "s0".into() };
    Batch { rows: RecordBatch::try_new(trip_schema(), columns).unwrap(), origin: Some(Arc::new(origin)) }
}

pub(crate) fn catalog(bounded: bool) -> Catalog {
    let port = || Port { schema: trip_schema(), key: vec!["id".into()], bounded };
    ["trips.completed", "other"].into_iter().map(|n| (n.to_owned(), port())).collect()
}

pub(crate) fn plan(sql: &str) -> PlannedQuery {
    planned(sql, &Emit::default(), 0)
}

pub(crate) fn planned(sql: &str, emit: &Emit, horizon_micros: u64) -> PlannedQuery {
    let horizon = std::time::Duration::from_micros(horizon_micros);
    plan_query(sql, &catalog(false), emit, horizon).unwrap_or_else(|e| panic!("{sql}: {e:#?}"))
}

/// A query's stages on some workers.
pub(crate) struct Workers {
    routings: Vec<Routing>,
    /// Per stage, per worker.
    pub(crate) operators: Vec<Vec<Box<dyn Operator>>>,
    pub(crate) results: Vec<Batch>,
    pub(crate) late: Vec<Batch>,
    pub(crate) failed: Vec<Batch>,
    pub(crate) counts: Counts,
}

impl Workers {
    pub(crate) fn new(query: &PlannedQuery, workers: usize) -> Self {
        let context = StageContext { component: "node".into(), ..StageContext::default() };
        let stages = query.stages();
        let make = |s: &millstream_sql::Stage| (0..workers).map(|_| s.operator(&context).unwrap()).collect();
        Self {
            operators: stages.iter().map(make).collect(),
            routings: stages.into_iter().map(|s| s.routing).collect(),
            results: Vec::new(),
            late: Vec::new(),
            failed: Vec::new(),
            counts: Counts::default(),
        }
    }

    pub(crate) fn give(&mut self, input: usize, worker: usize, batch: Batch) {
        self.counts.input += batch.num_rows() as u64;
        self.stage(0, worker, InPort(input), batch);
    }

    fn stage(&mut self, stage: usize, worker: usize, input: InPort, batch: Batch) {
        for (to, part) in route(&self.routings[stage], worker, self.operators[stage].len(), batch) {
            let mut out = Output::default();
            self.operators[stage][to].on_batch(input, part, &mut out).unwrap();
            self.take(stage, to, out);
        }
    }

    fn take(&mut self, stage: usize, worker: usize, out: Output) {
        self.counts += out.counts;
        let last = stage + 1 == self.operators.len();
        for (port, batch) in out.batches {
            assert!(batch.num_rows() > 0);
            match port {
                port::RESULTS if !last => self.stage(stage + 1, worker, InPort(0), batch),
                port::RESULTS => self.results.push(batch),
                port::LATE => self.late.push(batch),
                port::FAILED => self.failed.push(batch),
                OutPort(other) => panic!("no port {other}"),
            }
        }
    }

    pub(crate) fn watermark(&mut self, to: i64) {
        self.everywhere(|o, out| o.on_watermark(Watermark(EventTime(to)), out).unwrap());
    }

    pub(crate) fn tick(&mut self, tick: u64) {
        self.everywhere(|o, out| o.on_tick(Tick(tick), out).unwrap());
    }

    /// The pipeline is stopped.
    pub(crate) fn end(&mut self) {
        self.everywhere(|o, out| o.on_end(out).unwrap());
    }

    pub(crate) fn complete(&mut self) {
        self.watermark(i64::MAX);
    }

    fn everywhere(&mut self, act: impl Fn(&mut dyn Operator, &mut Output)) {
        for stage in 0..self.operators.len() {
            for worker in 0..self.operators[stage].len() {
                let mut out = Output::default();
                act(self.operators[stage][worker].as_mut(), &mut out);
                self.take(stage, worker, out);
            }
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.operators[0].len()
    }

    pub(crate) fn open_windows(&self) -> usize {
        self.operators.iter().flatten().map(|o| o.state_size().open_windows).sum()
    }

    pub(crate) fn groups(&self) -> usize {
        self.operators.iter().flatten().map(|o| o.state_size().keys).sum()
    }
}

fn route(routing: &Routing, worker: usize, workers: usize, batch: Batch) -> Vec<(usize, Batch)> {
    match routing {
        Routing::Local => vec![(worker, batch)],
        Routing::Single => vec![(0, batch)],
        Routing::Keys(columns) => {
            let mut parts: BTreeMap<usize, Vec<u32>> = BTreeMap::new();
            for (row, hash) in hash_rows(&batch.rows, columns).unwrap().into_iter().enumerate() {
                parts.entry(worker_of(hash, workers)).or_default().push(row as u32);
            }
            parts.into_iter().map(|(w, rows)| (w, batch.take(&UInt32Array::from(rows)).unwrap())).collect()
        }
    }
}

/// The user columns of batches as text, row by row.
pub(crate) fn lines(batches: &[RecordBatch]) -> Vec<String> {
    let mut lines = Vec::new();
    for rows in batches {
        let users = user_columns(rows.schema_ref());
        let options = FormatOptions::new().with_null("NULL");
        let columns: Vec<_> =
            rows.columns()[..users].iter().map(|c| ArrayFormatter::try_new(c, &options).unwrap()).collect();
        for row in 0..rows.num_rows() {
            lines.push(columns.iter().map(|c| c.value(row).to_string()).collect::<Vec<_>>().join("|"));
        }
    }
    lines
}

pub(crate) fn rows_of(batches: &[Batch]) -> Vec<RecordBatch> {
    batches.iter().map(|b| b.rows.clone()).collect()
}

/// The last row of each key, as a keyed table has them, sorted.
pub(crate) fn table(batches: &[Batch], key: &[String]) -> Vec<String> {
    assert!(!key.is_empty(), "results without a key");
    let Some(first) = batches.first() else { return Vec::new() };
    let all = concat_batches(&first.rows.schema(), &rows_of(batches)).unwrap();
    let columns: Vec<usize> = key.iter().map(|k| all.schema().index_of(k).unwrap()).collect();
    let keys = lines(&[all.project(&columns).unwrap()]);
    let rows: BTreeMap<String, String> = keys.into_iter().zip(lines(&[all])).collect();
    let mut rows: Vec<String> = rows.into_values().collect();
    rows.sort();
    rows
}

/// What the oracle says of trips.
pub(crate) fn oracle(sql: &str, trips: &[Trip]) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let table = |n: &str| (n.to_owned(), trip_schema(), vec![batch(trips).rows]);
    let tables = vec![table("trips.completed"), table("other")];
    let result = runtime.block_on(millstream_sql::run_batch(sql, tables));
    let mut rows = lines(&result.unwrap_or_else(|e| panic!("{sql}: {e:#?}")));
    rows.sort();
    rows
}

pub(crate) fn text(batches: &[Batch], column: &str) -> Vec<String> {
    let of = |b: &Batch| {
        let column = b.column(column).unwrap().clone();
        let formatter = ArrayFormatter::try_new(&column, &FormatOptions::new().with_null("NULL")).unwrap();
        (0..column.len()).map(|r| formatter.value(r).to_string()).collect::<Vec<_>>()
    };
    batches.iter().flat_map(of).collect()
}
