//! An aggregate UDF: its function is called once per group, with all of the group's values in order.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result as DfResult, not_impl_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDFImpl, GroupsAccumulator, Signature, Volatility};
use millstream_udf::Udf;

use super::groups::{Collected, OneGroup};
use super::scalar::declared;

/// See the [module](self).
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct AggregateFunction {
    udf: Udf,
    signature: Signature,
}

impl AggregateFunction {
    pub(crate) fn new(udf: Udf) -> Self {
        Self { udf, signature: Signature::user_defined(Volatility::Immutable) }
    }

    pub(crate) fn udf(&self) -> &Udf {
        &self.udf
    }

    fn collected(&self, args: &AccumulatorArgs<'_>) -> DfResult<Collected> {
        if args.is_distinct {
            return not_impl_err!("DISTINCT in `{}`: let its function leave out what it has seen", self.udf.name());
        }
        Ok(Collected::new(self.udf.clone()))
    }
}

impl AggregateUDFImpl for AggregateFunction {
    fn name(&self) -> &str {
        self.udf.name()
    }
    fn signature(&self) -> &Signature {
        &self.signature
    }
    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok(self.udf.signature().returns.arrow())
    }
    fn coerce_types(&self, given: &[DataType]) -> DfResult<Vec<DataType>> {
        Ok(declared(&self.udf, given))
    }
    /// One list per argument, of equal length: the group's values.
    fn state_fields(&self, args: StateFieldsArgs<'_>) -> DfResult<Vec<FieldRef>> {
        let field = |(i, a): (usize, &millstream_udf::Arg)| {
            let item = Arc::new(Field::new("item", a.data_type.arrow(), true));
            Arc::new(Field::new(format!("{}[{i}]", args.name), DataType::List(item), true)) as FieldRef
        };
        Ok(self.udf.signature().args.iter().enumerate().map(field).collect())
    }
    fn accumulator(&self, args: AccumulatorArgs<'_>) -> DfResult<Box<dyn Accumulator>> {
        Ok(Box::new(OneGroup(self.collected(&args)?)))
    }
    fn create_sliding_accumulator(&self, _: AccumulatorArgs<'_>) -> DfResult<Box<dyn Accumulator>> {
        not_impl_err!(
            "`{}` over a frame that slides: let the frame begin at UNBOUNDED PRECEDING, or group the rows before",
            self.udf.name()
        )
    }
    fn groups_accumulator_supported(&self, _: AccumulatorArgs<'_>) -> bool {
        true
    }
    fn create_groups_accumulator(&self, args: AccumulatorArgs<'_>) -> DfResult<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(self.collected(&args)?))
    }
}
