//! The last projection of every query: columns cast to the types of the pipeline language.

use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, cast};

use crate::error::{SqlError, SqlErrorKind};
use crate::types::{is_zoned, language_type, utc};
use millstream_core::schema::type_name;

/// The same plan with columns of the language's types. `lenient`: columns of other types stay as they are.
pub(crate) fn normalised(plan: LogicalPlan, lenient: bool) -> Result<LogicalPlan, SqlError> {
    let mut changed = false;
    let mut exprs = Vec::with_capacity(plan.schema().fields().len());
    for (qualifier, field) in plan.schema().iter() {
        let column = Expr::Column(datafusion::common::Column::new(qualifier.cloned(), field.name()));
        if field.name().starts_with(millstream_core::batch::hidden::PREFIX) && !lenient {
            return Err(SqlError::new(
                SqlErrorKind::Planning,
                format!("`{}` begins like a hidden column", field.name()),
            )
            .help("give it a name without the two underscores".to_owned()));
        }
        let Some(wanted) = language_type(field.data_type()) else {
            if lenient {
                exprs.push(column);
                continue;
            }
            let message =
                format!("`{}` is of type {}, which no stream has", field.name(), type_name(field.data_type()));
            return Err(SqlError::new(SqlErrorKind::Planning, message)
                .help("CAST it, for example to VARCHAR or BIGINT".to_owned()));
        };
        if wanted == *field.data_type() {
            exprs.push(column);
            continue;
        }
        changed = true;
        let source = if is_zoned(field.data_type()) { cast(column, utc()) } else { column };
        exprs.push(cast(source, wanted).alias_qualified(qualifier.cloned(), field.name()));
    }
    if !changed {
        return Ok(plan);
    }
    let failed = |e: datafusion::common::DataFusionError| SqlError::new(SqlErrorKind::Planning, e.strip_backtrace());
    LogicalPlanBuilder::from(plan).project(exprs).and_then(LogicalPlanBuilder::build).map_err(failed)
}
