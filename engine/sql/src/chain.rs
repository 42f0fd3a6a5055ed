//! A chain of steps over the rows of one stream, compiled and vectorised: scan, project, filter, unnest, assign a
//! window.
//!
//! Rows on their way through a chain are the visible columns of the plan's node, followed by the [`tail`]: arrival,
//! event time, position, and the index of the input row that the row comes from.
//!
//! Invariant: what a row becomes does not depend on the rows beside it. Where a step fails, the rows are halved
//! until the failing row stands alone; it is reported and the others go on.

use std::sync::Arc;

use arrow::array::AsArray;
use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, UInt32Array, new_null_array};
use arrow::compute::{filter_record_batch, prep_null_mask_filter};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimestampMicrosecondType};
use datafusion::common::{DataFusionError, Result as DfResult, UnnestOptions, exec_datafusion_err};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::unnest::{ListUnnest, UnnestExec};
use millstream_core::batch::{TIMESTAMP, hidden};
use millstream_core::{Batch, Error, Result};
use millstream_udf::Udf;

use crate::hidden::View;
use crate::session;
use crate::window::length::Length;

/// The columns behind the visible ones.
pub(crate) mod tail {
    /// How many there are.
    pub(crate) const LEN: usize = 4;
    /// Index within the tail: when the record reached the stream.
    pub(crate) const ARRIVED_AT: usize = 0;
    /// Index within the tail: the greatest event time that went into the row.
    pub(crate) const EVENT_TIME: usize = 1;
    /// Index within the tail: where the record stood in its split.
    pub(crate) const POSITION: usize = 2;
    /// Index within the tail: which row of the input batch it comes from.
    pub(crate) const ROW: usize = 3;
    /// Name of the last one.
    pub(crate) const ROW_NAME: &str = "__row";
}

/// The fields of the tail.
pub(crate) fn tail_fields(position: &DataType) -> [FieldRef; tail::LEN] {
    [
        Arc::new(Field::new(hidden::ARRIVED_AT, TIMESTAMP, false)),
        Arc::new(Field::new(hidden::EVENT_TIME, TIMESTAMP, true)),
        Arc::new(Field::new(hidden::POSITION, position.clone(), true)),
        Arc::new(Field::new(tail::ROW_NAME, DataType::UInt32, false)),
    ]
}

/// A schema of visible fields and the tail.
pub(crate) fn with_tail(visible: impl IntoIterator<Item = FieldRef>, position: &DataType) -> SchemaRef {
    Arc::new(Schema::new(visible.into_iter().chain(tail_fields(position)).collect::<Vec<_>>()))
}

/// How many columns of a schema with a tail are visible.
pub(crate) fn visible(schema: &Schema) -> usize {
    schema.fields().len().saturating_sub(tail::LEN)
}

/// The tail's column `which` of rows in a chain.
pub(crate) fn tail_column(rows: &RecordBatch, which: usize) -> DfResult<&ArrayRef> {
    rows.columns().get(visible(rows.schema_ref()) + which).ok_or_else(|| exec_datafusion_err!("rows without a tail"))
}

/// For each row in a chain, the input row it comes from.
pub(crate) fn input_rows(rows: &RecordBatch) -> DfResult<&UInt32Array> {
    let column = tail_column(rows, tail::ROW)?;
    column.as_any().downcast_ref().ok_or_else(|| exec_datafusion_err!("rows without their input's indices"))
}

/// Rows of a schema from columns of equal length.
pub(crate) fn rows_of(schema: &SchemaRef, columns: Vec<ArrayRef>, len: usize) -> DfResult<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(len));
    Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &options)?)
}

/// How a batch of a stream becomes rows of a chain.
#[derive(Debug, Clone)]
pub(crate) struct Scan {
    /// What the query sees of the stream.
    pub(crate) view: View,
    /// The columns of the view that it uses.
    pub(crate) used: Vec<usize>,
    /// Those columns, then the tail.
    pub(crate) schema: SchemaRef,
    /// Where the stream's schema has the hidden columns.
    pub(crate) arrived_at: usize,
    /// See `arrived_at`; a stream may have no event time.
    pub(crate) event_time: Option<usize>,
    /// See `arrived_at`.
    pub(crate) position: Option<usize>,
}

impl Scan {
    /// A scan of the `used` columns of a view over a stream.
    pub(crate) fn new(view: View, used: Vec<usize>, stream: &SchemaRef) -> DfResult<Self> {
        let missing = || exec_datafusion_err!("the stream has no column {}", hidden::ARRIVED_AT);
        let (arrived_at, _) = stream.column_with_name(hidden::ARRIVED_AT).ok_or_else(missing)?;
        let position = stream.column_with_name(hidden::POSITION);
        let fields: Vec<FieldRef> = used.iter().filter_map(|&i| view.schema.fields().get(i).cloned()).collect();
        let position_type = position.map_or(DataType::Utf8, |(_, f)| f.data_type().clone());
        Ok(Self {
            schema: with_tail(fields, &position_type),
            used,
            arrived_at,
            event_time: stream.column_with_name(hidden::EVENT_TIME).map(|(i, _)| i),
            position: position.map(|(i, _)| i),
            view,
        })
    }

    fn rows(&self, batch: &Batch) -> Result<RecordBatch> {
        let len = batch.num_rows();
        let origin = batch.origin.as_deref();
        let mut columns: Vec<ArrayRef> =
            self.used.iter().map(|&i| self.view.column(i, &batch.rows, origin)).collect::<Result<_>>()?;
        let at = |i: usize| batch.rows.columns().get(i).cloned();
        let fields = self.schema.fields();
        let null = |which: usize| {
            let data_type = fields.get(columns.len() + which).map_or(DataType::Null, |f| f.data_type().clone());
            new_null_array(&data_type, len)
        };
        let arrived = at(self.arrived_at).ok_or_else(|| Error::bug("a batch lacks its arrival times"))?;
        let event_time = self.event_time.and_then(at).unwrap_or_else(|| null(tail::EVENT_TIME));
        let position = self.position.and_then(at).unwrap_or_else(|| null(tail::POSITION));
        let index: ArrayRef = Arc::new(UInt32Array::from_iter_values((0_u32..).take(len)));
        columns.extend([arrived, event_time, position, index]);
        rows_of(&self.schema, columns, len).map_err(|e| Error::bug("a batch does not fit its stream").caused_by(e))
    }
}

/// One step.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// Computes the visible columns anew.
    Project {
        /// One expression per visible column.
        exprs: Vec<Arc<dyn PhysicalExpr>>,
        /// The rows behind it.
        schema: SchemaRef,
    },
    /// Keeps rows where the predicate is true.
    Filter(Arc<dyn PhysicalExpr>),
    /// One row per item of a list, or the fields of a struct as columns.
    Unnest {
        /// The lists.
        lists: Vec<ListUnnest>,
        /// The structs.
        structs: Vec<usize>,
        /// What becomes of nulls.
        options: UnnestOptions,
        /// The rows behind it.
        schema: SchemaRef,
    },
    /// Waits for the answer of an async function: its arguments, the last columns, become its result.
    Call {
        /// The function.
        udf: Udf,
        /// How many arguments.
        args: usize,
        /// The rows behind it.
        schema: SchemaRef,
    },
    /// Adds the start and the end of each row's window.
    Window {
        /// Index of the time column.
        time: usize,
        /// How long windows are.
        length: Length,
        /// The rows behind it.
        schema: SchemaRef,
    },
}

impl Step {
    fn run(&self, rows: RecordBatch) -> DfResult<RecordBatch> {
        match self {
            Self::Project { exprs, schema } => project(&rows, exprs, schema),
            Self::Filter(predicate) => keep(rows, predicate),
            Self::Unnest { lists, structs, options, schema } => unnest(rows, lists, structs, options, schema),
            // Chains are split here before they run.
            Self::Call { udf, .. } => Err(exec_datafusion_err!("`{}` is not waited for here", udf.name())),
            Self::Window { time, length, schema } => assign(&rows, *time, *length, schema),
        }
    }
}

fn project(rows: &RecordBatch, exprs: &[Arc<dyn PhysicalExpr>], schema: &SchemaRef) -> DfResult<RecordBatch> {
    let len = rows.num_rows();
    let mut columns = Vec::with_capacity(exprs.len() + tail::LEN);
    for expr in exprs {
        columns.push(expr.evaluate(rows)?.into_array(len)?);
    }
    columns.extend(rows.columns().iter().skip(visible(rows.schema_ref())).cloned());
    rows_of(schema, columns, len)
}

fn keep(rows: RecordBatch, predicate: &Arc<dyn PhysicalExpr>) -> DfResult<RecordBatch> {
    let mask = predicate.evaluate(&rows)?.into_array(rows.num_rows())?;
    let mask = boolean(&mask)?;
    if mask.null_count() == 0 && mask.true_count() == mask.len() {
        return Ok(rows);
    }
    let mask = if mask.null_count() == 0 { mask.clone() } else { prep_null_mask_filter(mask) };
    Ok(filter_record_batch(&rows, &mask)?)
}

/// A predicate's result.
pub(crate) fn boolean(array: &ArrayRef) -> DfResult<&BooleanArray> {
    array.as_boolean_opt().ok_or_else(|| exec_datafusion_err!("a condition is not boolean but {}", array.data_type()))
}

/// DataFusion's own unnesting, driven to its end: over one batch in memory it never waits.
fn unnest(
    rows: RecordBatch,
    lists: &[ListUnnest],
    structs: &[usize],
    options: &UnnestOptions,
    schema: &SchemaRef,
) -> DfResult<RecordBatch> {
    let input = MemorySourceConfig::try_new_exec(&[vec![rows.clone()]], rows.schema(), None)?;
    let exec = UnnestExec::new(input, lists.to_vec(), structs.to_vec(), schema.clone(), options.clone())?;
    let stream = exec.execute(0, session::state().task_ctx())?;
    let batches = futures::executor::block_on(datafusion::physical_plan::common::collect(stream))?;
    Ok(arrow::compute::concat_batches(schema, &batches)?)
}

fn assign(rows: &RecordBatch, time: usize, length: Length, schema: &SchemaRef) -> DfResult<RecordBatch> {
    let times = (rows.columns().get(time))
        .and_then(|c| c.as_primitive_opt::<TimestampMicrosecondType>())
        .ok_or_else(|| exec_datafusion_err!("the time column of a window is not a timestamp"))?;
    // Neighbouring rows mostly share a window: the last one is tried before a new one is computed.
    let (mut start, mut end) = (i64::MAX, i64::MIN);
    let mut ends = Vec::with_capacity(times.len());
    let mut starts = Vec::with_capacity(times.len());
    for &t in times.values() {
        if !(start <= t && t < end) {
            start = length.start_of(t);
            end = length.end_of(start);
        }
        starts.push(start);
        ends.push(end);
    }
    let array = |values: Vec<i64>| -> ArrayRef {
        let values =
            arrow::array::PrimitiveArray::<TimestampMicrosecondType>::new(values.into(), times.nulls().cloned());
        Arc::new(values)
    };
    let added = visible(rows.schema_ref());
    let mut columns = rows.columns().to_vec();
    columns.splice(added..added, [array(starts), array(ends)]);
    rows_of(schema, columns, rows.num_rows())
}

/// A row that an expression failed on: its index in the input batch, and why.
pub(crate) type Failure = (u32, String);

/// A scan and its steps.
#[derive(Debug, Clone)]
pub(crate) struct Chain {
    /// How batches become rows.
    pub(crate) scan: Scan,
    /// In order.
    pub(crate) steps: Vec<Step>,
}

impl Chain {
    /// The rows behind the last step, and those that failed.
    pub(crate) fn run(&self, batch: &Batch, failed: &mut Vec<Failure>) -> Result<Vec<RecordBatch>> {
        let mut out = Vec::with_capacity(1);
        run_steps(&self.steps, self.scan.rows(batch)?, &mut out, failed);
        Ok(out)
    }
}

/// Runs steps over rows with a tail.
pub(crate) fn run_steps(steps: &[Step], rows: RecordBatch, out: &mut Vec<RecordBatch>, failed: &mut Vec<Failure>) {
    let result = steps.iter().try_fold(rows.clone(), |rows, step| step.run(rows));
    match result {
        Ok(rows) if rows.num_rows() == 0 => {}
        Ok(rows) => out.push(rows),
        Err(error) if rows.num_rows() <= 1 => failed.extend(failure(&rows, &error)),
        Err(_) => {
            let half = rows.num_rows() / 2;
            run_steps(steps, rows.slice(0, half), out, failed);
            run_steps(steps, rows.slice(half, rows.num_rows() - half), out, failed);
        }
    }
}

fn failure(rows: &RecordBatch, error: &DataFusionError) -> Option<Failure> {
    let index = input_rows(rows).ok()?.values().first().copied()?;
    Some((index, crate::findings::reason(error)))
}
