//! The same SQL over all rows at once: the oracle of every streaming query, and what runs at the end of bounded
//! inputs.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DataFusionError, Result as DfResult};
use datafusion::datasource::{MemTable, provider_as_source};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::collect;

use crate::error::SqlError;
use crate::findings::findings;
use crate::functions::Functions;
use crate::hidden::View;
use crate::logical;
use crate::normal::normalised;
use crate::relation::WindowRelations;
use crate::session;

/// Runs any SQL over tables: name (`trips.completed` or plain), schema, rows. Schemas may have hidden columns
/// behind the user's; SQL names them as it does those of streams.
///
/// # Errors
/// What is wrong with the SQL, or the value that made it fail.
pub async fn run_batch(
    text: &str,
    tables: Vec<(String, SchemaRef, Vec<RecordBatch>)>,
) -> Result<Vec<RecordBatch>, Vec<SqlError>> {
    run_batch_with(text, tables, &Functions::new()).await
}

/// The same, with functions of the user's.
///
/// # Errors
/// As [`run_batch`].
pub async fn run_batch_with(
    text: &str,
    tables: Vec<(String, SchemaRef, Vec<RecordBatch>)>,
    functions: &Functions,
) -> Result<Vec<RecordBatch>, Vec<SqlError>> {
    let schemas: BTreeMap<&str, SchemaRef> = tables.iter().map(|(n, s, _)| (n.as_str(), s.clone())).collect();
    let mut logical = logical::plan(text, &schemas, functions, WindowRelations::Batch, false)?;
    let plan = match normalised(logical.plan.clone(), true) {
        Ok(plan) => plan,
        Err(e) => return Err(vec![e]),
    };
    logical.plan = plan;
    let rows = |stream: &String, view: &View| -> DfResult<RecordBatch> {
        let table = tables.iter().find(|(n, ..)| n == stream);
        let batches = table.map(|(.., batches)| batches.as_slice()).unwrap_or_default();
        let viewed = batches.iter().map(|b| view.rows(b, None).map_err(|e| DataFusionError::Execution(e.to_string())));
        Ok(concat_batches(&view.schema, &viewed.collect::<DfResult<Vec<_>>>()?)?)
    };
    let found = |e: DataFusionError| findings(&e, &logical.text, &logical.names);
    let filled: DfResult<BTreeMap<_, _>> = logical.views.iter().map(|(n, v)| Ok((n.clone(), rows(n, v)?))).collect();
    let plan = filled.and_then(|tables| fill_plan(&logical.plan, &tables)).map_err(found)?;
    execute(plan).await.map_err(found)
}

/// A plan over streams with their rows put in.
pub(crate) fn fill_plan(plan: &LogicalPlan, rows: &BTreeMap<String, RecordBatch>) -> DfResult<LogicalPlan> {
    let mut tables = BTreeMap::new();
    for (stream, rows) in rows {
        let table = MemTable::try_new(rows.schema(), vec![vec![rows.clone()]])?;
        tables.insert(stream.as_str(), provider_as_source(Arc::new(table)));
    }
    let filled = plan.clone().transform_up_with_subqueries(|node| match node {
        LogicalPlan::TableScan(mut scan) => match tables.get(scan.table_name.to_string().as_str()) {
            Some(table) if scan.source.is::<logical::StreamSource>() => {
                scan.source = table.clone();
                Ok(Transformed::yes(LogicalPlan::TableScan(scan)))
            }
            _ => Ok(Transformed::no(LogicalPlan::TableScan(scan))),
        },
        other => Ok(Transformed::no(other)),
    })?;
    Ok(filled.data)
}

/// Runs a plan; at least one batch, possibly empty, so that the schema is known.
pub(crate) async fn execute(plan: LogicalPlan) -> DfResult<Vec<RecordBatch>> {
    let mut state = session::state().clone();
    state.mark_start_execution();
    let physical = state.create_physical_plan(&plan).await?;
    let schema = physical.schema();
    let mut batches = collect(physical, state.task_ctx()).await?;
    batches.retain(|b| b.num_rows() > 0);
    if batches.is_empty() {
        batches.push(RecordBatch::new_empty(schema));
    }
    Ok(batches)
}
