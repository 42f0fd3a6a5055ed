//! The one configuration of DataFusion that everything is planned and run with.

use std::sync::{Arc, LazyLock};

use arrow::datatypes::SchemaRef;
use datafusion::catalog::cte_worktable::CteWorkTable;
use datafusion::common::config::ConfigOptions;
use datafusion::common::{DFSchema, Result as DfResult, TableReference, plan_datafusion_err};
use datafusion::datasource::provider_as_source;
use datafusion::execution::SessionState;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::planner::{ContextProvider, ExprPlanner, RelationPlanner, TypePlanner};
use datafusion::logical_expr::{
    AggregateUDF, Expr, HigherOrderUDF, LogicalPlan, ScalarUDF, TableSource, Volatility, WindowUDF,
};
use datafusion::optimizer::Optimizer;
use datafusion::optimizer::optimize_projections::OptimizeProjections;
use datafusion::optimizer::optimize_unions::OptimizeUnions;
use datafusion::optimizer::replace_distinct_aggregate::ReplaceDistinctWithAggregate;
use datafusion::optimizer::simplify_expressions::SimplifyExpressions;
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};
use datafusion::prelude::SessionConfig;

use crate::functions::Functions;
use crate::relation::WindowRelations;

/// Names as written, decimals for literals with a point, plain strings, exact places in errors; one partition,
/// so that results come in one order.
fn config() -> SessionConfig {
    let mut config = SessionConfig::new().with_target_partitions(1).with_information_schema(false);
    let parser = &mut config.options_mut().sql_parser;
    parser.enable_ident_normalization = false;
    parser.collect_spans = true;
    parser.map_string_types_to_utf8view = false;
    parser.parse_float_as_decimal = true;
    config
}

/// The session: functions and rules, no tables.
pub(crate) fn state() -> &'static SessionState {
    static STATE: LazyLock<SessionState> =
        LazyLock::new(|| SessionStateBuilder::new().with_config(config()).with_default_features().build());
    &STATE
}

/// Types checked and coerced, then only those rewrites that keep the plan's shape recognisable.
pub(crate) fn prepare(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    static OPTIMIZER: LazyLock<Optimizer> = LazyLock::new(|| {
        Optimizer::with_rules(vec![
            Arc::new(OptimizeUnions::new()),
            Arc::new(SimplifyExpressions::new()),
            Arc::new(ReplaceDistinctWithAggregate::new()),
            Arc::new(OptimizeProjections::new()),
        ])
    });
    OPTIMIZER.optimize(plan, state(), |_, _| {})
}

/// Types checked and coerced.
pub(crate) fn analyze(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    state().analyzer().execute_and_check(plan, state().config_options(), |_, _| {})
}

/// An expression compiled over rows of a schema.
pub(crate) fn compile(expr: &Expr, schema: &DFSchema) -> DfResult<Arc<dyn PhysicalExpr>> {
    let compiled = create_physical_expr(expr, schema, state().execution_props(), &PhysicalPlanningContext::default())?;
    crate::checked::checked(compiled)
}

/// Whether a function's result depends on when, or how often, it is called.
pub(crate) fn is_volatile(name: &str) -> bool {
    state().scalar_functions().get(name).is_some_and(|f| f.signature().volatility != Volatility::Immutable)
}

/// Whether there is a function of this name (lower case) of any kind.
pub(crate) fn is_function(name: &str) -> bool {
    let state = state();
    name == "unnest"
        || state.scalar_functions().contains_key(name)
        || state.aggregate_functions().contains_key(name)
        || state.window_functions().contains_key(name)
        || state.higher_order_functions().contains_key(name)
}

/// All functions' names.
pub(crate) fn functions() -> Vec<&'static str> {
    let state = state();
    let mut names: Vec<_> = (state.scalar_functions().keys())
        .chain(state.aggregate_functions().keys())
        .chain(state.window_functions().keys())
        .map(String::as_str)
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Names of relations that take arguments: ours and DataFusion's.
pub(crate) fn relations() -> Vec<&'static str> {
    let mut names: Vec<_> = crate::relation::NAMES.to_vec();
    names.extend(state().table_functions().keys().map(String::as_str));
    names.sort_unstable();
    names
}

/// What the planner may look up: tables by name, the session's functions, and our relations.
pub(crate) struct Provider<'a> {
    tables: &'a dyn Fn(&str) -> Option<Arc<dyn TableSource>>,
    functions: &'a Functions,
    relations: Vec<Arc<dyn RelationPlanner>>,
}

impl<'a> Provider<'a> {
    pub(crate) fn new(
        tables: &'a dyn Fn(&str) -> Option<Arc<dyn TableSource>>,
        functions: &'a Functions,
        windows: WindowRelations,
    ) -> Self {
        Self { tables, functions, relations: vec![Arc::new(windows)] }
    }
}

impl ContextProvider for Provider<'_> {
    fn get_table_source(&self, name: TableReference) -> DfResult<Arc<dyn TableSource>> {
        let name = name.to_string();
        (self.tables)(&name).ok_or_else(|| plan_datafusion_err!("no stream named `{name}`"))
    }
    fn get_table_function_source(&self, name: &str, args: Vec<Expr>) -> DfResult<Arc<dyn TableSource>> {
        let function = state().table_functions().get(name);
        let function = function.ok_or_else(|| plan_datafusion_err!("no relation named `{name}`"))?;
        let args = datafusion::catalog::TableFunctionArgs::new(&args, state());
        Ok(provider_as_source(function.create_table_provider_with_args(args)?))
    }
    fn create_cte_work_table(&self, name: &str, schema: SchemaRef) -> DfResult<Arc<dyn TableSource>> {
        Ok(provider_as_source(Arc::new(CteWorkTable::new(name, schema))))
    }
    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        state().expr_planners()
    }
    fn get_relation_planners(&self) -> &[Arc<dyn RelationPlanner>] {
        &self.relations
    }
    fn get_type_planner(&self) -> Option<Arc<dyn TypePlanner>> {
        None
    }
    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        self.functions.scalar(name)
    }
    fn get_higher_order_meta(&self, name: &str) -> Option<Arc<HigherOrderUDF>> {
        state().higher_order_functions().get(name).cloned()
    }
    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        self.functions.aggregate(name)
    }
    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        state().window_functions().get(name).cloned()
    }
    fn get_variable_type(&self, _: &[String]) -> Option<arrow::datatypes::DataType> {
        None
    }
    fn options(&self) -> &ConfigOptions {
        state().config_options()
    }
    fn udf_names(&self) -> Vec<String> {
        state().scalar_functions().keys().cloned().collect()
    }
    fn higher_order_function_names(&self) -> Vec<String> {
        state().higher_order_functions().keys().cloned().collect()
    }
    fn udaf_names(&self) -> Vec<String> {
        state().aggregate_functions().keys().cloned().collect()
    }
    fn udwf_names(&self) -> Vec<String> {
        state().window_functions().keys().cloned().collect()
    }
}
