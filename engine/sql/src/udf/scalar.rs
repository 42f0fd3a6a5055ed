//! A scalar UDF in expressions: called once per batch.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use datafusion::common::{DataFusionError, Result as DfResult, ScalarValue, exec_datafusion_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};
use millstream_udf::{Calls, Kind, Udf, UdfError};

/// See the [module](self). Of an async one, this is what stands in plans until its calls are cut out.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct ScalarFunction {
    udf: Udf,
    signature: Signature,
}

impl ScalarFunction {
    pub(crate) fn new(udf: Udf) -> Self {
        // The answer to the same question may be another one: it is not asked while a query is planned.
        let volatility = match udf.signature().kind {
            Kind::Async => Volatility::Volatile,
            Kind::Scalar | Kind::Aggregate => Volatility::Immutable,
        };
        Self { udf, signature: Signature::user_defined(volatility) }
    }

    pub(crate) fn udf(&self) -> &Udf {
        &self.udf
    }
}

/// The declared types, whatever is given: [`super::misuse`] has looked at that before.
pub(super) fn declared(udf: &Udf, given: &[DataType]) -> Vec<DataType> {
    let args = &udf.signature().args;
    if args.len() == given.len() { args.iter().map(|a| a.data_type.arrow()).collect() } else { given.to_vec() }
}

/// Columns as exactly the declared types.
pub(super) fn exact(udf: &Udf, columns: &[ArrayRef]) -> DfResult<Vec<ArrayRef>> {
    let wanted = udf.signature().args.iter().map(|a| a.data_type.arrow());
    let fit = |(column, wanted): (&ArrayRef, DataType)| -> DfResult<ArrayRef> {
        if *column.data_type() == wanted { Ok(Arc::clone(column)) } else { Ok(cast(column, &wanted)?) }
    };
    columns.iter().zip(wanted).map(fit).collect()
}

/// The error of a call, whose text becomes the reason of a refused row.
pub(super) fn failed(e: UdfError) -> DataFusionError {
    exec_datafusion_err!("{e}")
}

/// The answers to all rows: in a query over tables that are there, nothing else is to be done meanwhile. In streams the
/// calls were cut out.
fn waited_for(udf: &Udf, columns: &[ArrayRef]) -> DfResult<ArrayRef> {
    let calls = Calls::start(udf, || {}).map_err(failed)?;
    calls.call(0, columns);
    let answers = calls.wait().into_iter().map(|(_, answer)| answer.map_err(failed)).collect::<DfResult<Vec<_>>>()?;
    if answers.is_empty() {
        return Ok(arrow::array::new_empty_array(&udf.signature().returns.arrow()));
    }
    let answers: Vec<&dyn Array> = answers.iter().map(AsRef::as_ref).collect();
    Ok(arrow::compute::concat(&answers)?)
}

impl ScalarUDFImpl for ScalarFunction {
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
    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let constant = args.args.iter().all(|a| matches!(a, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { args.number_rows };
        let columns: Vec<ArrayRef> = args.args.into_iter().map(|a| a.into_array(rows)).collect::<DfResult<_>>()?;
        let columns = exact(&self.udf, &columns)?;
        let result = match self.udf.signature().kind {
            Kind::Async => waited_for(&self.udf, &columns)?,
            Kind::Scalar | Kind::Aggregate => self.udf.call(&columns).map_err(failed)?,
        };
        if constant {
            Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?))
        } else {
            Ok(ColumnarValue::Array(result))
        }
    }
}
