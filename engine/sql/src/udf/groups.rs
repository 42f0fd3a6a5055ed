//! The values of many groups, until an aggregate's function gets them.
//!
//! Values stay in the batches they came in; a group knows the places of its own. Two groups with the same values give
//! the function the same columns, in whatever order and parts the values came: they are sorted before the call.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, ListArray, UInt32Array};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{concat, interleave, take};
use arrow::datatypes::Field;
use arrow::row::{RowConverter, SortField};
use datafusion::common::{Result as DfResult, ScalarValue, exec_datafusion_err};
use datafusion::logical_expr::{Accumulator, EmitTo, GroupsAccumulator};
use millstream_udf::Udf;

use super::scalar::{exact, failed};

/// Where a value is: which batch, which row.
type Place = (usize, usize);

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Collected {
    udf: Udf,
    /// By batch, one column per argument.
    batches: Vec<Vec<ArrayRef>>,
    /// By group.
    groups: Vec<Vec<Place>>,
}

impl Collected {
    pub(crate) fn new(udf: Udf) -> Self {
        Self { udf, batches: Vec::new(), groups: Vec::new() }
    }

    fn grow(&mut self, groups: usize) {
        if self.groups.len() < groups {
            self.groups.resize_with(groups, Vec::new);
        }
    }

    fn put(&mut self, group: usize, places: impl Iterator<Item = Place>) -> DfResult<()> {
        let own = self.groups.get_mut(group).ok_or_else(|| exec_datafusion_err!("a group beyond their number"))?;
        own.extend(places);
        Ok(())
    }

    /// Takes the groups to be given out; the batches go once no group is left.
    fn emit(&mut self, emit_to: EmitTo) -> (Vec<Vec<Place>>, Vec<Vec<ArrayRef>>) {
        let groups = emit_to.take_needed(&mut self.groups);
        let batches = self.batches.clone();
        if self.groups.is_empty() {
            self.batches.clear();
        }
        (groups, batches)
    }

    /// What the function gives for groups, one value each.
    fn called(&self, groups: &[Vec<Place>], batches: &[Vec<ArrayRef>]) -> DfResult<ArrayRef> {
        let mut results: Vec<ArrayRef> = Vec::with_capacity(groups.len());
        for places in groups {
            let columns = sorted(self.gather(batches, places)?)?;
            results.push(self.udf.aggregate(&columns).map_err(failed)?);
        }
        if results.is_empty() {
            return Ok(arrow::array::new_empty_array(&self.udf.signature().returns.arrow()));
        }
        let results: Vec<&dyn Array> = results.iter().map(AsRef::as_ref).collect();
        Ok(concat(&results)?)
    }

    /// The values at some places, one column per argument.
    fn gather(&self, batches: &[Vec<ArrayRef>], places: &[Place]) -> DfResult<Vec<ArrayRef>> {
        let arg = |(i, a): (usize, &millstream_udf::Arg)| -> DfResult<ArrayRef> {
            let columns: Vec<&dyn Array> = batches.iter().filter_map(|b| b.get(i)).map(AsRef::as_ref).collect();
            if columns.is_empty() || places.is_empty() {
                return Ok(arrow::array::new_empty_array(&a.data_type.arrow()));
            }
            Ok(interleave(&columns, places)?)
        };
        self.udf.signature().args.iter().enumerate().map(arg).collect()
    }
}

/// Rows in the order of their values, the first argument first; nulls first.
fn sorted(columns: Vec<ArrayRef>) -> DfResult<Vec<ArrayRef>> {
    let fields = columns.iter().map(|c| SortField::new(c.data_type().clone())).collect();
    let rows = RowConverter::new(fields)?.convert_columns(&columns)?;
    let mut order: Vec<(arrow::row::Row<'_>, u32)> = rows.iter().zip(0_u32..).collect();
    order.sort_unstable();
    let order = UInt32Array::from_iter_values(order.into_iter().map(|(_, i)| i));
    columns.iter().map(|c| Ok(take(c, &order, None)?)).collect()
}

impl GroupsAccumulator for Collected {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> DfResult<()> {
        self.grow(total_num_groups);
        let batch = self.batches.len();
        self.batches.push(exact(&self.udf, values)?);
        for (row, &group) in group_indices.iter().enumerate() {
            if filter.is_none_or(|f| f.is_valid(row) && f.value(row)) {
                self.put(group, std::iter::once((batch, row)))?;
            }
        }
        Ok(())
    }

    fn merge_batch(&mut self, values: &[ArrayRef], group_indices: &[usize], total_num_groups: usize) -> DfResult<()> {
        self.grow(total_num_groups);
        let list =
            |c: &ArrayRef| c.as_list_opt::<i32>().cloned().ok_or_else(|| exec_datafusion_err!("a state is no list"));
        let lists = values.iter().map(list).collect::<DfResult<Vec<ListArray>>>()?;
        let Some(first) = lists.first() else { return Ok(()) };
        let batch = self.batches.len();
        // Lists of one row have one length, and their items may begin at different places.
        let items = |list: &ListArray| -> DfResult<ArrayRef> {
            let offsets = list.value_offsets();
            let (from, to) = (offsets.first().copied().unwrap_or(0), offsets.last().copied().unwrap_or(0));
            Ok(list.values().slice(from as usize, (to - from) as usize))
        };
        self.batches.push(lists.iter().map(items).collect::<DfResult<_>>()?);
        let base = first.value_offsets().first().copied().unwrap_or(0);
        for (row, (&group, ends)) in group_indices.iter().zip(first.value_offsets().windows(2)).enumerate() {
            if let (true, &[from, to]) = (first.is_valid(row), ends) {
                self.put(group, ((from - base) as usize..(to - base) as usize).map(|at| (batch, at)))?;
            }
        }
        Ok(())
    }

    fn state(&mut self, emit_to: EmitTo) -> DfResult<Vec<ArrayRef>> {
        let (groups, batches) = self.emit(emit_to);
        let places: Vec<Place> = groups.iter().flatten().copied().collect();
        let offsets = OffsetBuffer::<i32>::from_lengths(groups.iter().map(Vec::len));
        let list = |items: ArrayRef| -> DfResult<ArrayRef> {
            let field = Arc::new(Field::new("item", items.data_type().clone(), true));
            Ok(Arc::new(ListArray::try_new(field, offsets.clone(), items, None)?))
        };
        self.gather(&batches, &places)?.into_iter().map(list).collect()
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> DfResult<ArrayRef> {
        let (groups, batches) = self.emit(emit_to);
        self.called(&groups, &batches)
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> DfResult<Vec<ArrayRef>> {
        let rows = values.first().map_or(0, |v| v.len());
        let mut each = Self::new(self.udf.clone());
        each.update_batch(values, &(0..rows).collect::<Vec<_>>(), filter, rows)?;
        each.state(EmitTo::All)
    }

    fn size(&self) -> usize {
        let columns = self.batches.iter().flatten().map(|c| c.get_array_memory_size()).sum::<usize>();
        columns + self.groups.iter().map(|g| g.capacity() * size_of::<Place>()).sum::<usize>()
    }
}

/// The values of one group.
#[derive(Debug)]
pub(crate) struct OneGroup(pub(crate) Collected);

impl Accumulator for OneGroup {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        let rows = values.first().map_or(0, |v| v.len());
        GroupsAccumulator::update_batch(&mut self.0, values, &vec![0; rows], None, 1)
    }
    fn merge_batch(&mut self, states: &[ArrayRef]) -> DfResult<()> {
        let rows = states.first().map_or(0, |v| v.len());
        GroupsAccumulator::merge_batch(&mut self.0, states, &vec![0; rows], 1)
    }
    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        self.0.grow(1);
        // More values may come: over ordered rows it is evaluated at each.
        ScalarValue::try_from_array(&self.0.called(&self.0.groups, &self.0.batches)?, 0)
    }
    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        self.0.grow(1);
        let states = GroupsAccumulator::state(&mut self.0, EmitTo::All)?;
        states.iter().map(|s| ScalarValue::try_from_array(s, 0)).collect()
    }
    fn size(&self) -> usize {
        size_of::<Self>() + GroupsAccumulator::size(&self.0)
    }
}
