//! Stage 1 of a windowed query: partial aggregates merged into state, results given by watermark and time.
//!
//! ```text
//! partial batch -> Groups            on_watermark: windows that ended -> final results, changed ones again
//!                                    on_tick:      changed groups of fired windows; early results
//! ```

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, TimestampMicrosecondArray, UInt32Array, new_null_array};
use arrow::compute::take;
use arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef, TimestampMicrosecondType};
use arrow::row::{RowConverter, SortField};
use datafusion::common::{Result as DfResult, exec_datafusion_err};
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};
use millstream_core::operator::{InPort, Operator, Output, StateSize};
use millstream_core::snapshot::{Layer, Snapshot, StateLayout, StateTable};
use millstream_core::{Batch, Error, ErrorKind, Result, Tick, Watermark};

use super::groups::Groups;
use super::plan::{GroupColumn, WindowPlan};
use crate::chain::{Failure, rows_of, run_steps, visible};
use crate::output::Finish;
use crate::query::port;
use crate::refuse::{Why, refuse};

/// The most rows of one result batch.
const BATCH: usize = 8192;

/// The operator.
pub(crate) struct MergeWindow {
    plan: Arc<WindowPlan>,
    finish: Finish,
    component: String,
    tick: Duration,
    groups: Groups,
    /// Empty between results, kept for its memory.
    accumulators: Vec<Box<dyn GroupsAccumulator>>,
    watermark: Watermark,
    /// In which of the periods between early results the last tick was.
    period: Option<u128>,
}

impl MergeWindow {
    pub(crate) fn new(plan: Arc<WindowPlan>, finish: Finish, component: String, tick: Duration) -> DfResult<Self> {
        Ok(Self {
            groups: Groups::new(&plan)?,
            accumulators: super::aggregate::accumulators(&plan.aggregates)?,
            plan,
            finish,
            component,
            tick,
            watermark: Watermark::START,
            period: None,
        })
    }

    /// Gives what is due: final results of windows that ended, and changed results of those that had.
    fn settle(&mut self, out: &mut Output) -> Result<()> {
        let mut slots = self.groups.take_changed(|w| w.fired);
        let (plan, watermark) = (Arc::clone(&self.plan), self.watermark);
        slots.extend(self.groups.fire(|start| plan.is_due(start, watermark)));
        self.give(&slots, true, out)
    }

    /// Gives the results of some groups. Where an expression above the aggregate fails on one, that one is refused;
    /// of an early result nothing is said, because the final one will tell.
    fn give(&mut self, slots: &[usize], is_final: bool, out: &mut Output) -> Result<()> {
        if slots.is_empty() {
            return Ok(());
        }
        let state = self.groups.gather(slots).and_then(|s| sorted(&self.plan, s)).map_err(|e| self.broken(e))?;
        let mut at = 0;
        while at < slots.len() {
            let len = BATCH.min(slots.len() - at);
            let slice: Vec<ArrayRef> = state.iter().map(|c| c.slice(at, len)).collect();
            self.give_slice(&slice, is_final, out)?;
            at += len;
        }
        Ok(())
    }

    /// Halves the groups until one whose aggregate cannot be evaluated stands alone.
    fn give_slice(&mut self, state: &[ArrayRef], is_final: bool, out: &mut Output) -> Result<()> {
        let len = state.first().map_or(0, |c| c.len());
        let (mut results, mut failures, mut why) = (Vec::new(), Vec::<Failure>::new(), Vec::new());
        let whole = match self.evaluate(state) {
            Ok(rows) => rows,
            Err(_) if len > 1 => {
                let halves = [(0, len / 2), (len / 2, len - len / 2)];
                return halves.into_iter().try_for_each(|(from, len)| {
                    let half: Vec<ArrayRef> = state.iter().map(|c| c.slice(from, len)).collect();
                    self.give_slice(&half, is_final, out)
                });
            }
            Err(e) => {
                why.push(Why { row: 0, rule: "expression", text: crate::findings::reason(&e) });
                self.groups_only(state).map_err(|e| self.broken(e))?
            }
        };
        if why.is_empty() {
            run_steps(&self.plan.above, whole.clone(), &mut results, &mut failures);
        }
        for rows in results {
            let batch = Batch::new(self.finish.rows(rows)?);
            out.counts.produced += batch.num_rows() as u64;
            out.give(port::RESULTS, batch);
        }
        why.extend(failures.into_iter().map(|(row, text)| Why { row, rule: "expression", text }));
        if is_final && !why.is_empty() {
            let refused = refuse(&self.component, "failed", &Batch::new(self.named(whole)?), why)?;
            out.counts.produced += refused.num_rows() as u64;
            out.give(port::FAILED, refused);
        }
        Ok(())
    }

    /// The aggregate's rows: group columns, values, tail.
    fn evaluate(&mut self, state: &[ArrayRef]) -> DfResult<RecordBatch> {
        // After an error an accumulator may be half full.
        let result = self.evaluate_with(state);
        if result.is_err() {
            self.accumulators = super::aggregate::accumulators(&self.plan.aggregates)?;
        }
        result
    }

    fn evaluate_with(&mut self, state: &[ArrayRef]) -> DfResult<RecordBatch> {
        let len = state.first().map_or(0, |c| c.len());
        let mut columns = group_columns(&self.plan, state)?;
        let all: Vec<usize> = (0..len).collect();
        let mut states = state.iter().skip(self.plan.group_columns());
        for (aggregate, accumulator) in self.plan.aggregates.iter().zip(&mut self.accumulators) {
            let own: Vec<ArrayRef> = states.by_ref().take(aggregate.state.len()).cloned().collect();
            accumulator.merge_batch(&own, &all, len)?;
            columns.push(accumulator.evaluate(EmitTo::All)?);
        }
        finish_rows(&self.plan.results, columns, states, len)
    }

    /// The group's columns alone, for the refusal of one that cannot be evaluated.
    fn groups_only(&self, state: &[ArrayRef]) -> DfResult<RecordBatch> {
        let len = state.first().map_or(0, |c| c.len());
        let columns = group_columns(&self.plan, state)?;
        let schema = &self.plan.results;
        let tail = visible(schema);
        let fields: Vec<FieldRef> = schema
            .fields()
            .iter()
            .enumerate()
            .filter(|(i, _)| *i < columns.len() || *i >= tail)
            .map(|(_, f)| f.clone())
            .collect();
        let times = state.iter().skip(state.len().saturating_sub(2));
        finish_rows(&(Arc::new(Schema::new(fields)) as SchemaRef), columns, times, len)
    }

    /// The aggregate's rows under the names that the user knows.
    fn named(&self, rows: RecordBatch) -> Result<RecordBatch> {
        let schema = rows.schema();
        let own = visible(&schema);
        let name = |(i, field): (usize, &FieldRef)| match self.plan.names.get(i).filter(|_| i < own) {
            Some(name) => Arc::new(field.as_ref().clone().with_name(name)),
            None => Arc::clone(field),
        };
        let fields: Vec<FieldRef> = schema.fields().iter().enumerate().map(name).collect();
        let schema: SchemaRef = Arc::new(Schema::new(fields));
        rows_of(&schema, rows.columns().to_vec(), rows.num_rows()).map_err(|e| self.broken(e))
    }

    fn broken(&self, e: datafusion::common::DataFusionError) -> Error {
        Error::new(ErrorKind::Bug, format!("the state of {} is broken", self.component)).caused_by(e)
    }

    /// The time between early results; those of HAVING would be given back later.
    fn early(&self) -> Option<Duration> {
        self.plan.emit.early.filter(|e| !e.is_zero() && !self.plan.having)
    }

    /// Whether a tick begins a new period between early results.
    fn is_early(&mut self, tick: Tick) -> bool {
        let Some(early) = self.early() else { return false };
        let period = self.tick.as_nanos().saturating_mul(u128::from(tick.0)) / early.as_nanos();
        self.period.replace(period).is_some_and(|last| last != period)
    }
}

/// Appends arrival, event time, no position, and each row's own index.
fn finish_rows<'a>(
    schema: &SchemaRef,
    mut columns: Vec<ArrayRef>,
    times: impl Iterator<Item = &'a ArrayRef>,
    len: usize,
) -> DfResult<RecordBatch> {
    columns.extend(times.take(2).cloned());
    columns.push(new_null_array(&DataType::Utf8, len));
    columns.push(Arc::new(UInt32Array::from_iter_values((0_u32..).take(len))));
    rows_of(schema, columns, len)
}

/// The group's columns as results have them.
fn group_columns(plan: &WindowPlan, state: &[ArrayRef]) -> DfResult<Vec<ArrayRef>> {
    let missing = || exec_datafusion_err!("a group without its columns");
    let start = state.first().ok_or_else(missing)?;
    let starts = start.as_primitive_opt::<TimestampMicrosecondType>().ok_or_else(missing)?;
    let ends: TimestampMicrosecondArray = starts.unary(|s| plan.length.end_of(s));
    let end: ArrayRef = Arc::new(ends);
    let window = rows_of(&plan.window_schema, vec![start.clone(), end.clone()], start.len())?;
    let column = |group: &GroupColumn| match group {
        GroupColumn::Start => Ok(start.clone()),
        GroupColumn::End => Ok(end.clone()),
        GroupColumn::Key(i) => state.get(1 + i).cloned().ok_or_else(missing),
        GroupColumn::Derived(expr) => expr.evaluate(&window)?.into_array(start.len()),
    };
    plan.groups.iter().map(column).collect()
}

/// Groups in the order of their columns.
fn sorted(plan: &WindowPlan, state: Vec<ArrayRef>) -> DfResult<Vec<ArrayRef>> {
    let keys: Vec<ArrayRef> = state.iter().take(plan.group_columns()).cloned().collect();
    let fields = keys.iter().map(|k| SortField::new(k.data_type().clone())).collect();
    let rows = RowConverter::new(fields)?.convert_columns(&keys)?;
    let mut order: Vec<(arrow::row::Row<'_>, u32)> = rows.iter().zip(0_u32..).collect();
    order.sort_unstable();
    let order = UInt32Array::from_iter_values(order.into_iter().map(|(_, i)| i));
    state.iter().map(|c| Ok(take(c.as_ref(), &order, None)?)).collect()
}

impl Operator for MergeWindow {
    fn on_batch(&mut self, _: InPort, batch: Batch, _: &mut Output) -> Result<()> {
        self.groups.merge(&self.plan, &batch.rows).map_err(|e| self.broken(e))
    }

    fn on_watermark(&mut self, watermark: Watermark, out: &mut Output) -> Result<()> {
        self.watermark = watermark;
        self.settle(out)?;
        let plan = Arc::clone(&self.plan);
        self.groups.forget(|start| plan.is_settled(start, watermark)).map_err(|e| self.broken(e))
    }

    fn on_tick(&mut self, tick: Tick, out: &mut Output) -> Result<()> {
        let early = self.is_early(tick);
        if !self.groups.has_changed() {
            return Ok(());
        }
        self.settle(out)?;
        if early {
            let slots = self.groups.take_changed(|_| true);
            self.give(&slots, false, out)?;
        }
        Ok(())
    }

    /// Windows stay open: whoever looks at the results until the next start sees them as they are now.
    fn on_end(&mut self, out: &mut Output) -> Result<()> {
        if self.early().is_none() || !self.groups.has_changed() {
            return Ok(());
        }
        self.settle(out)?;
        let slots = self.groups.take_changed(|_| true);
        self.give(&slots, false, out)
    }

    fn layout(&self) -> Option<StateLayout> {
        Some(super::layout::layout(&self.plan))
    }

    fn snapshot(&mut self, whole: bool) -> Result<Snapshot> {
        let layer = if whole { Layer::Whole } else { Layer::Changes };
        let groups = self.groups.snapshot(&self.plan, whole).map_err(|e| self.broken(e))?;
        Ok(Snapshot { layer, tables: vec![groups] })
    }

    fn restore(&mut self, tables: Vec<StateTable>, watermark: Watermark) -> Result<()> {
        self.watermark = watermark;
        self.groups.restore(&self.plan, tables, watermark).map_err(|e| self.broken(e))
    }

    fn state_size(&self) -> StateSize {
        let open = self.groups.windows.values().filter(|w| !w.fired).count();
        StateSize { bytes: self.groups.bytes(), keys: self.groups.len(), open_windows: open }
    }
}
