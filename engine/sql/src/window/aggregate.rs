//! One aggregate function of a windowed query: its compiled arguments, its state's columns, its accumulators.

use std::sync::Arc;

use arrow::datatypes::FieldRef;
use datafusion::common::{DFSchema, Result as DfResult};
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Expr, GroupsAccumulator};
use datafusion::physical_expr::GroupsAccumulatorAdapter;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::{AggregateFunctionExpr, LoweredAggregateBuilder};

use crate::checked::checked;
use crate::session;

/// An aggregate function over its arguments.
#[derive(Debug, Clone)]
pub(crate) struct Aggregate {
    function: Arc<AggregateFunctionExpr>,
    /// Its arguments over the rows of the aggregate's input.
    pub(crate) args: Vec<Arc<dyn PhysicalExpr>>,
    /// `FILTER (WHERE ..)`.
    pub(crate) filter: Option<Arc<dyn PhysicalExpr>>,
    /// The columns of its state.
    pub(crate) state: Vec<FieldRef>,
}

impl Aggregate {
    pub(crate) fn new(expr: &Expr, input: &DFSchema) -> DfResult<Self> {
        let planning = PhysicalPlanningContext::default();
        let props = session::state().execution_props();
        let lowered = LoweredAggregateBuilder::new(expr, input, input.as_arrow(), props, &planning).build()?;
        let function = lowered.aggregate;
        Ok(Self {
            args: function.expressions().into_iter().map(checked).collect::<DfResult<_>>()?,
            filter: lowered.filter.map(checked).transpose()?,
            state: function.state_fields()?,
            function,
        })
    }

    /// The result's field.
    pub(crate) fn field(&self) -> FieldRef {
        self.function.field()
    }

    /// Whether it can fail on a group: a function of the user's may panic.
    pub(crate) fn can_fail(&self) -> bool {
        self.function.fun().inner().downcast_ref::<crate::udf::aggregate::AggregateFunction>().is_some()
    }

    /// A fresh accumulator for many groups.
    pub(crate) fn accumulator(&self) -> DfResult<Box<dyn GroupsAccumulator>> {
        if self.function.groups_accumulator_supported() {
            return self.function.create_groups_accumulator();
        }
        let function = Arc::clone(&self.function);
        Ok(Box::new(GroupsAccumulatorAdapter::new(move || function.create_accumulator())))
    }
}

/// One fresh accumulator per aggregate.
pub(crate) fn accumulators(aggregates: &[Aggregate]) -> DfResult<Vec<Box<dyn GroupsAccumulator>>> {
    aggregates.iter().map(Aggregate::accumulator).collect()
}
