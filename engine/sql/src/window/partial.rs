//! Stage 0 of a windowed query: rows to windows, late rows out, one partial aggregate per batch.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, TimestampMicrosecondArray, new_null_array};
use arrow::datatypes::{DataType, Schema, TimestampMicrosecondType};
use datafusion::common::{Result as DfResult, exec_datafusion_err};
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};
use datafusion::physical_plan::aggregates::group_values::{GroupValues, new_group_values};
use datafusion::physical_plan::aggregates::order::GroupOrdering;
use millstream_core::operator::{InPort, Operator, Output};
use millstream_core::snapshot::StateTable;
use millstream_core::{Batch, Error, EventTime, Result, Watermark};

use super::aggregate::accumulators;
use super::plan::WindowPlan;
use crate::chain::{Chain, boolean, input_rows, tail, tail_column};
use crate::fates::{Fate, Fates};
use crate::query::port;
use crate::refuse::{Why, refuse};

/// The operator.
pub(crate) struct PartialWindow {
    plan: Arc<WindowPlan>,
    /// Per input port, its chains.
    chains: Arc<Vec<Vec<Chain>>>,
    component: String,
    watermark: Watermark,
    /// Empty between batches, kept for its memory.
    accumulators: Vec<Box<dyn GroupsAccumulator>>,
    groups: Grouper,
}

impl PartialWindow {
    pub(crate) fn new(plan: Arc<WindowPlan>, chains: Arc<Vec<Vec<Chain>>>, component: String) -> DfResult<Self> {
        let accumulators = accumulators(&plan.aggregates)?;
        let groups = Grouper::new(&plan)?;
        Ok(Self { plan, chains, component, watermark: Watermark::START, accumulators, groups })
    }

    /// Judges rows, merges the accepted ones into a partial batch.
    fn take(
        &mut self,
        rows: RecordBatch,
        fates: &mut Fates,
        late: &mut Vec<Why>,
        failed: &mut Vec<Why>,
    ) -> Result<Option<Batch>> {
        let rows = self.judge(rows, fates, late, failed).map_err(broken)?;
        if rows.num_rows() == 0 {
            return Ok(None);
        }
        fates.mark(&rows, Fate::Merged).map_err(broken)?;
        self.aggregate(&rows).map(|b| Some(Batch::new(b))).map_err(|e| {
            Error::new(millstream_core::ErrorKind::BadRow, format!("{}: an aggregate failed", self.component))
                .caused_by(e)
        })
    }

    /// The rows that have a window which is open to them.
    fn judge(
        &self,
        rows: RecordBatch,
        fates: &mut Fates,
        late: &mut Vec<Why>,
        failed: &mut Vec<Why>,
    ) -> DfResult<RecordBatch> {
        let windows = timestamps(rows.columns().first())?;
        let event_times = timestamps(Some(tail_column(&rows, tail::EVENT_TIME)?))?;
        let inputs = input_rows(&rows)?;
        let mut refused: Vec<usize> = Vec::new();
        // Per window, not per row: neighbouring rows mostly share one.
        let (mut known, mut end, mut until, mut forgotten) = (i64::MIN, i64::MIN, i64::MIN, false);
        for (row, (&window, &event_time)) in windows.values().iter().zip(event_times.values()).enumerate() {
            if window != known || row == 0 {
                known = window;
                end = if self.plan.by_start { self.plan.length.end_of(window) } else { window };
                until = self.plan.accepted_until(end);
                forgotten = self.watermark.0.0 > self.plan.settled_behind(end);
            }
            let input = inputs.values().get(row).copied().unwrap_or_default();
            if windows.is_null(row) {
                failed.push(Why {
                    row: input,
                    rule: "no_time",
                    text: format!("{} is null: the row has no window", self.plan.time),
                });
                fates.set(input, Fate::Failed);
            } else if event_times.is_valid(row) && event_time > until {
                late.push(Why { row: input, rule: "late", text: self.too_late(end, event_time) });
                fates.set(input, Fate::Late);
            } else if forgotten {
                late.push(Why { row: input, rule: "late", text: self.gone(end) });
                fates.set(input, Fate::Late);
            } else {
                continue;
            }
            refused.push(row);
        }
        if refused.is_empty() {
            return Ok(rows);
        }
        let mut next = refused.iter().copied().peekable();
        let kept: BooleanArray = (0..rows.num_rows()).map(|row| Some(next.next_if_eq(&row).is_none())).collect();
        Ok(arrow::compute::filter_record_batch(&rows, &kept)?)
    }

    fn window_words(&self, end: i64) -> String {
        let start = EventTime(self.plan.length.start_before(end));
        format!("the window {start} to {} over {}", EventTime(end), self.plan.time)
    }

    fn too_late(&self, end: i64, event_time: i64) -> String {
        let until = EventTime(self.plan.accepted_until(end));
        format!(
            "{} takes rows until {until}; this row's event time is {}",
            self.window_words(end),
            EventTime(event_time)
        )
    }

    fn gone(&self, end: i64) -> String {
        format!("{} is settled: the watermark is {}", self.window_words(end), self.watermark.0)
    }

    /// One row per group of `rows`: the group's columns and the aggregates' states.
    fn aggregate(&mut self, rows: &RecordBatch) -> DfResult<RecordBatch> {
        let group_columns = self.plan.group_columns();
        let (indices, mut columns) = self.groups.group(&self.plan, rows)?;
        let groups = columns.first().map_or(0, |c| c.len());
        let mut inputs = rows.columns().iter().skip(group_columns);
        for (aggregate, accumulator) in self.plan.aggregates.iter().zip(&mut self.accumulators) {
            let args: Vec<ArrayRef> = inputs.by_ref().take(aggregate.args.len()).cloned().collect();
            let filter = if aggregate.filter.is_some() { inputs.next() } else { None };
            let filter = filter.map(boolean).transpose()?;
            accumulator.update_batch(&args, indices, filter, groups)?;
            columns.extend(accumulator.state(EmitTo::All)?);
        }
        columns.push(greatest(tail_column(rows, tail::ARRIVED_AT)?, indices, groups)?);
        columns.push(greatest(tail_column(rows, tail::EVENT_TIME)?, indices, groups)?);
        columns.push(new_null_array(&DataType::Utf8, groups));
        Ok(RecordBatch::try_new(self.plan.partial.clone(), columns)?)
    }
}

fn broken(e: datafusion::common::DataFusionError) -> Error {
    Error::bug("rows do not fit the plan of their query").caused_by(e)
}

fn timestamps(column: Option<&ArrayRef>) -> DfResult<&TimestampMicrosecondArray> {
    column
        .and_then(|c| c.as_primitive_opt::<TimestampMicrosecondType>())
        .ok_or_else(|| exec_datafusion_err!("a column that must be a timestamp is not"))
}

/// Per group, the greatest of a timestamp column.
#[expect(clippy::indexing_slicing, reason = "hot; group indices are below the number of groups by contract")]
pub(crate) fn greatest(column: &ArrayRef, indices: &[usize], groups: usize) -> DfResult<ArrayRef> {
    let times = timestamps(Some(column))?;
    let mut greatest: Vec<Option<i64>> = vec![None; groups];
    for (row, &group) in indices.iter().enumerate() {
        if times.is_valid(row) {
            let time = Some(times.value(row));
            if time > greatest[group] {
                greatest[group] = time;
            }
        }
    }
    Ok(Arc::new(TimestampMicrosecondArray::from(greatest)))
}

/// Numbers the groups of a batch.
struct Grouper {
    /// None where the window is the whole group.
    values: Option<Box<dyn GroupValues>>,
    indices: Vec<usize>,
}

impl Grouper {
    fn new(plan: &WindowPlan) -> DfResult<Self> {
        let values = if plan.keys.is_empty() {
            None
        } else {
            let fields: Vec<_> = plan.partial.fields().iter().take(plan.group_columns()).cloned().collect();
            Some(new_group_values(Arc::new(Schema::new(fields)), &GroupOrdering::None)?)
        };
        Ok(Self { values, indices: Vec::new() })
    }

    /// For each row the number of its group, and the groups' columns.
    fn group(&mut self, plan: &WindowPlan, rows: &RecordBatch) -> DfResult<(&[usize], Vec<ArrayRef>)> {
        let windows = timestamps(rows.columns().first())?;
        let starts = |w: &TimestampMicrosecondArray| -> TimestampMicrosecondArray {
            if plan.by_start { w.clone() } else { w.unary(|end| plan.length.start_before(end)) }
        };
        self.indices.clear();
        let Some(values) = &mut self.values else {
            let distinct = number(windows, &mut self.indices);
            return Ok((&self.indices, vec![Arc::new(starts(&distinct.into())) as ArrayRef]));
        };
        let mut columns: Vec<ArrayRef> = vec![Arc::new(starts(windows))];
        columns.extend(rows.columns().iter().skip(1).take(plan.keys.len()).cloned());
        values.intern(&columns, &mut self.indices)?;
        let groups = values.emit(EmitTo::All)?;
        // Emitting leaves the numbers of the groups behind.
        values.clear_shrink(rows.num_rows());
        Ok((&self.indices, groups))
    }
}

/// Numbers equal values in the order they come; the distinct values.
fn number(values: &TimestampMicrosecondArray, indices: &mut Vec<usize>) -> Vec<i64> {
    let mut distinct: Vec<i64> = Vec::new();
    let mut numbers: hashbrown::HashMap<i64, usize> = hashbrown::HashMap::new();
    let mut last: Option<(i64, usize)> = None;
    for &value in values.values() {
        let number = match last {
            Some((known, number)) if known == value => number,
            _ => *numbers.entry(value).or_insert_with(|| {
                distinct.push(value);
                distinct.len() - 1
            }),
        };
        last = Some((value, number));
        indices.push(number);
    }
    distinct
}

impl Operator for PartialWindow {
    fn on_batch(&mut self, InPort(input): InPort, batch: Batch, out: &mut Output) -> Result<()> {
        let mut fates = Fates::new(batch.num_rows());
        let (mut late, mut failed, mut failures) = (Vec::new(), Vec::new(), Vec::new());
        let chains = Arc::clone(&self.chains);
        for chain in chains.get(input).into_iter().flatten() {
            for rows in chain.run(&batch, &mut failures)? {
                if let Some(partial) = self.take(rows, &mut fates, &mut late, &mut failed)? {
                    out.give(port::RESULTS, partial);
                }
            }
        }
        for (row, text) in failures {
            fates.set(row, Fate::Failed);
            failed.push(Why { row, rule: "expression", text });
        }
        if !late.is_empty() {
            let refused = refuse(&self.component, "late", &batch, late)?;
            fates.refused(Fate::Late, refused.num_rows());
            out.give(port::LATE, refused);
        }
        if !failed.is_empty() {
            let refused = refuse(&self.component, "failed", &batch, failed)?;
            fates.refused(Fate::Failed, refused.num_rows());
            out.give(port::FAILED, refused);
        }
        fates.count(&mut out.counts);
        Ok(())
    }

    fn on_watermark(&mut self, watermark: Watermark, _: &mut Output) -> Result<()> {
        self.watermark = watermark;
        Ok(())
    }

    fn restore(&mut self, _: Vec<StateTable>, watermark: Watermark) -> Result<()> {
        self.watermark = watermark;
        Ok(())
    }
}
