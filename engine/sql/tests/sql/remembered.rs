//! State that outlives the workers: their layers through Arrow IPC, and new workers with the rows of their key groups.

use std::io::Cursor;

use arrow::array::{AsArray, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::UInt64Type;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use millstream_core::key::worker_of;
use millstream_core::snapshot::{HASH, Layer, Snapshot, StateTable};
use millstream_core::{EventTime, Watermark};
use millstream_sql::PlannedQuery;

use crate::harness::Workers;

/// Per stage, all tables since the last whole layer, oldest first, and the watermark of the last layer.
#[derive(Clone)]
pub(crate) struct Layers {
    pub(crate) stages: Vec<Vec<StateTable>>,
    pub(crate) watermark: i64,
}

impl Layers {
    /// Of a run that has not begun.
    pub(crate) fn none() -> Self {
        Self { stages: vec![Vec::new(); 2], watermark: i64::MIN }
    }

    /// Takes a snapshot of all workers; how many rows it has.
    pub(crate) fn add(&mut self, workers: &mut Workers, whole: bool, watermark: i64) -> usize {
        let mut rows = 0;
        for (stage, operators) in workers.operators.iter_mut().enumerate() {
            let snapshots: Vec<Snapshot> = operators.iter_mut().map(|o| o.snapshot(whole).unwrap()).collect();
            if whole {
                self.stages[stage].clear();
            }
            for snapshot in snapshots {
                assert!(!whole || snapshot.num_rows() == 0 || snapshot.layer == Layer::Whole);
                rows += snapshot.num_rows();
                self.stages[stage].extend(snapshot.tables.iter().map(through_ipc));
            }
        }
        self.watermark = watermark;
        rows
    }

    /// New workers that have taken all back.
    pub(crate) fn restored(&self, query: &PlannedQuery, count: usize) -> Workers {
        let mut workers = Workers::new(query, count);
        for (operators, tables) in workers.operators.iter_mut().zip(&self.stages) {
            for (worker, operator) in operators.iter_mut().enumerate() {
                let own = |t: &StateTable| StateTable {
                    name: t.name.clone(),
                    rows: t.rows.iter().map(|rows| rows_of_worker(rows, worker, count)).collect(),
                };
                operator.restore(tables.iter().map(own).collect(), Watermark(EventTime(self.watermark))).unwrap();
            }
        }
        workers
    }
}

fn rows_of_worker(rows: &RecordBatch, worker: usize, workers: usize) -> RecordBatch {
    let Some(hashes) = rows.column_by_name(HASH) else {
        return if worker == 0 { rows.clone() } else { rows.slice(0, 0) };
    };
    let hashes = hashes.as_primitive::<UInt64Type>();
    let own = (0_u32..).zip(hashes.values()).filter(|(_, hash)| worker_of(**hash, workers) == worker);
    take_record_batch(rows, &own.map(|(row, _)| row).collect::<UInt32Array>()).unwrap()
}

fn through_ipc(table: &StateTable) -> StateTable {
    let through = |rows: &RecordBatch| {
        let mut writer = StreamWriter::try_new(Vec::new(), rows.schema_ref()).unwrap();
        writer.write(rows).unwrap();
        let bytes = writer.into_inner().unwrap();
        StreamReader::try_new(Cursor::new(bytes), None).unwrap().next().unwrap().unwrap()
    };
    StateTable { name: table.name.clone(), rows: table.rows.iter().map(through).collect() }
}
