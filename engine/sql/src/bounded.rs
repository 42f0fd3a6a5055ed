//! The operator of queries that need all rows: keeps them until the inputs have ended, then runs the SQL once.
//!
//! Rows are sorted by content first, so that the result does not depend on how they arrived.

mod remember;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, TimestampMicrosecondArray, UInt32Array, new_null_array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::DataType;
use arrow::row::{RowConverter, SortField};
use datafusion::common::{DataFusionError, Result as DfResult};
use datafusion::logical_expr::LogicalPlan;
use millstream_core::operator::{InPort, Operator, Output, StateSize};
use millstream_core::snapshot::{Snapshot, StateLayout, StateTable};
use millstream_core::{Batch, Error, ErrorKind, Result, Watermark};

use crate::batch::execute;
use crate::hidden::View;
use crate::output::{Finish, fit};
use crate::query::port;

/// What the operator needs to know of the query.
#[derive(Debug)]
pub(crate) struct BoundedPlan {
    /// Per input port, the stream and what the query sees of it.
    pub(crate) inputs: Vec<(String, View)>,
    /// Puts rows in and gives the plan to run.
    pub(crate) plan: LogicalPlan,
    /// What results look like.
    pub(crate) finish: Finish,
}

/// The operator.
pub(crate) struct Bounded {
    plan: Arc<BoundedPlan>,
    component: String,
    /// Per input port, what came.
    rows: Vec<Vec<RecordBatch>>,
    /// Per input port, how many batches the last snapshot had.
    saved: Vec<usize>,
    arrived_at: Option<i64>,
    event_time: Option<i64>,
}

impl Bounded {
    pub(crate) fn new(plan: Arc<BoundedPlan>, component: String) -> Self {
        let inputs = plan.inputs.len();
        Self {
            plan,
            component,
            rows: vec![Vec::new(); inputs],
            saved: vec![0; inputs],
            arrived_at: None,
            event_time: None,
        }
    }

    fn run(&mut self) -> Result<Vec<RecordBatch>> {
        self.saved.fill(0);
        let mut tables = std::collections::BTreeMap::new();
        for ((stream, view), batches) in self.plan.inputs.iter().zip(&mut self.rows) {
            tables.insert(
                stream.clone(),
                canonical(view, std::mem::take(batches)).map_err(|e| failed(&self.component, e))?,
            );
        }
        let plan = crate::batch::fill_plan(&self.plan.plan, &tables).map_err(|e| failed(&self.component, e))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .map_err(|e| Error::environment("cannot start a runtime for SQL").caused_by(e))?;
        runtime.block_on(execute(plan)).map_err(|e| failed(&self.component, e))
    }

    /// Result rows behind the greatest times of all input.
    fn finish(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        let len = rows.num_rows();
        let times = |t: Option<i64>| -> ArrayRef { Arc::new(TimestampMicrosecondArray::from(vec![t; len])) };
        let fields = self.plan.finish.schema().fields();
        let mut columns = rows.columns().iter().zip(fields).map(fit).collect::<Result<Vec<_>>>()?;
        columns.push(times(Some(self.arrived_at.unwrap_or_default())));
        columns.push(times(self.event_time));
        columns.push(new_null_array(&DataType::Utf8, len));
        RecordBatch::try_new(self.plan.finish.schema().clone(), columns)
            .map_err(|e| Error::bug("rows do not fit the schema of their query").caused_by(e))
    }
}

fn failed(component: &str, e: DataFusionError) -> Error {
    Error::new(ErrorKind::BadRow, format!("{component}: {}", crate::findings::reason(&e)))
}

/// All rows in one batch, sorted by content.
fn canonical(view: &View, batches: Vec<RecordBatch>) -> DfResult<RecordBatch> {
    let rows = concat_batches(&view.schema, &batches)?;
    drop(batches);
    let fields: Vec<SortField> = rows.columns().iter().map(|c| SortField::new(c.data_type().clone())).collect();
    if rows.num_columns() == 0 || !RowConverter::supports_fields(&fields) {
        return Ok(rows);
    }
    let sortable = RowConverter::new(fields)?.convert_columns(rows.columns())?;
    let mut order: Vec<(arrow::row::Row<'_>, u32)> = sortable.iter().zip(0_u32..).collect();
    order.sort_unstable();
    let order = UInt32Array::from_iter_values(order.into_iter().map(|(_, i)| i));
    Ok(take_record_batch(&rows, &order)?)
}

impl Operator for Bounded {
    fn on_batch(&mut self, InPort(input): InPort, batch: Batch, out: &mut Output) -> Result<()> {
        self.see_times(|name| batch.column(name));
        let plan = Arc::clone(&self.plan);
        if let (Some((_, view)), Some(rows)) = (plan.inputs.get(input), self.rows.get_mut(input)) {
            rows.push(view.rows(&batch.rows, batch.origin.as_deref())?);
        }
        out.counts.merged += batch.num_rows() as u64;
        Ok(())
    }

    fn on_watermark(&mut self, watermark: Watermark, out: &mut Output) -> Result<()> {
        // All rows come to one worker; the others have nothing to run the query over. Where no row came at all, no
        // worker gives a result.
        if !watermark.is_complete() || self.arrived_at.is_none() {
            return Ok(());
        }
        for rows in self.run()? {
            let batch = Batch::new(self.finish(&rows)?);
            out.counts.produced += batch.num_rows() as u64;
            out.give(port::RESULTS, batch);
        }
        Ok(())
    }

    fn layout(&self) -> Option<StateLayout> {
        Some(remember::layout(&self.plan))
    }

    fn snapshot(&mut self, whole: bool) -> Result<Snapshot> {
        self.remembered(whole)
    }

    fn restore(&mut self, tables: Vec<StateTable>, watermark: Watermark) -> Result<()> {
        self.take_back(tables, watermark)
    }

    fn state_size(&self) -> StateSize {
        let batches = || self.rows.iter().flatten();
        StateSize {
            // Not their buffers: restored batches are slices of one.
            bytes: batches().map(|rows| Batch::new(rows.clone()).bytes()).sum(),
            keys: batches().map(RecordBatch::num_rows).sum(),
            open_windows: 0,
        }
    }
}
