//! Which keys a query asks for: a table in a store far away is then asked for these rows instead of all.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Expr, LogicalPlan, Operator, TableScan};
use datafusion::optimizer::Optimizer;
use datafusion::optimizer::push_down_filter::PushDownFilter;
use datafusion::optimizer::simplify_expressions::SimplifyExpressions;
use datafusion::scalar::ScalarValue;

use crate::functions::Functions;
use crate::logical;
use crate::relation::WindowRelations;
use crate::session;

/// More keys than this are no lookup.
const MOST: usize = 1000;

/// A table that could be asked by key.
#[derive(Debug, Clone)]
pub struct Keyed {
    /// Its name in the query.
    pub name: String,
    /// Its columns.
    pub schema: SchemaRef,
    /// The columns of its key; empty where it has none.
    pub key: Vec<String>,
}

/// By table, the keys of all the rows that a query can have any use for; a table that is not named here is needed whole.
/// Wrong SQL asks for no keys: whoever runs it says what is wrong.
pub fn lookups(text: &str, tables: &[Keyed], functions: &Functions) -> BTreeMap<String, RecordBatch> {
    let schemas: BTreeMap<&str, SchemaRef> = tables.iter().map(|t| (t.name.as_str(), t.schema.clone())).collect();
    let Ok(logical) = logical::plan(text, &schemas, functions, WindowRelations::Batch, false) else {
        return BTreeMap::new();
    };
    static OPTIMIZER: LazyLock<Optimizer> = LazyLock::new(|| {
        Optimizer::with_rules(vec![Arc::new(SimplifyExpressions::new()), Arc::new(PushDownFilter::new())])
    });
    let Ok(plan) = OPTIMIZER.optimize(logical.plan, session::state(), |_, _| {}) else { return BTreeMap::new() };
    let of = |table: &Keyed| Some((table.name.clone(), keys_of(&plan, table)?));
    tables.iter().filter(|t| !t.key.is_empty()).filter_map(of).collect()
}

/// The keys that every scan of a table is restricted to.
fn keys_of(plan: &LogicalPlan, table: &Keyed) -> Option<RecordBatch> {
    let mut keys: Vec<Vec<ScalarValue>> = Vec::new();
    let (mut scans, mut whole) = (0, false);
    let is_scan = |plan: &LogicalPlan| matches!(plan, LogicalPlan::TableScan(s) if is_of(s, table));
    let walked = plan.apply_with_subqueries(|node| {
        match node {
            LogicalPlan::Filter(filter) if is_scan(&filter.input) => {
                scans += 1;
                match restricted(&filter.predicate, &table.key) {
                    Some(found) => keys.extend(found),
                    None => whole = true,
                }
            }
            node if is_scan(node) => {
                // Every scan is met; those below a filter have been counted there.
                scans -= 1;
            }
            _ => {}
        }
        Ok(TreeNodeRecursion::Continue)
    });
    let restricted_scans = scans == 0 && !keys.is_empty();
    if walked.is_err() || whole || !restricted_scans || keys.len() > MOST {
        return None;
    }
    keys.sort_by_key(|key| key.iter().map(ToString::to_string).collect::<Vec<_>>());
    keys.dedup();
    let fields: Vec<Field> =
        table.key.iter().map(|k| table.schema.field_with_name(k).cloned()).collect::<Result<_, _>>().ok()?;
    let columns = (0..fields.len()).map(|i| ScalarValue::iter_to_array(keys.iter().filter_map(|k| k.get(i).cloned())));
    let columns = columns.collect::<Result<Vec<_>, _>>().ok()?;
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).ok()
}

fn is_of(scan: &TableScan, table: &Keyed) -> bool {
    scan.table_name.to_string() == table.name
}

/// The keys a condition leaves: every key column equals one of some literals.
fn restricted(predicate: &Expr, key: &[String]) -> Option<Vec<Vec<ScalarValue>>> {
    let mut keys: Vec<Vec<ScalarValue>> = vec![Vec::new()];
    for column in key {
        let values = split_conjunction(predicate).into_iter().find_map(|e| values_of(e, column))?;
        keys = keys
            .into_iter()
            .flat_map(|key| values.iter().map(move |v| key.iter().cloned().chain([v.clone()]).collect()))
            .collect();
        if keys.len() > MOST {
            return None;
        }
    }
    Some(keys)
}

/// The values that a column may have: `column = 'a'`, `'a' = column`, `column IN ('a', 'b')`, and ORs of these.
fn values_of(expr: &Expr, column: &str) -> Option<Vec<ScalarValue>> {
    let is_column = |e: &Expr| matches!(e, Expr::Column(c) if c.name == column);
    match expr {
        Expr::BinaryExpr(b) if b.op == Operator::Eq => match (b.left.as_ref(), b.right.as_ref()) {
            (left, Expr::Literal(value, _)) if is_column(left) && !value.is_null() => Some(vec![value.clone()]),
            (Expr::Literal(value, _), right) if is_column(right) && !value.is_null() => Some(vec![value.clone()]),
            _ => None,
        },
        Expr::BinaryExpr(b) if b.op == Operator::Or => {
            let mut values = values_of(&b.left, column)?;
            values.extend(values_of(&b.right, column)?);
            Some(values)
        }
        Expr::InList(list) if !list.negated && is_column(&list.expr) => {
            let value = |e: &Expr| match e {
                Expr::Literal(value, _) if !value.is_null() => Some(value.clone()),
                _ => None,
            };
            list.list.iter().map(value).collect()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use arrow::datatypes::{DataType, Int64Type};

    use super::*;

    fn asked(sql: &str) -> Option<RecordBatch> {
        let schema = Arc::new(Schema::new(vec![
            Field::new("id", DataType::Utf8, false),
            Field::new("fare", DataType::Int64, true),
        ]));
        let table = |name: &str, key: &[&str]| Keyed {
            name: name.into(),
            schema: schema.clone(),
            key: key.iter().map(|k| (*k).to_owned()).collect(),
        };
        lookups(sql, &[table("trips", &["id"]), table("others", &["fare", "id"])], &Functions::new()).remove("trips")
    }
    fn ids(sql: &str) -> Option<Vec<String>> {
        asked(sql).map(|keys| keys.column(0).as_string::<i32>().iter().flatten().map(str::to_owned).collect())
    }

    #[test]
    fn keys_are_found_where_every_scan_is_by_key() {
        let one = Some(vec!["t1".to_owned()]);
        assert_eq!(ids("SELECT * FROM trips WHERE id = 't1'"), one);
        assert_eq!(ids("SELECT count(*) FROM trips AS t WHERE 't1' = t.id AND fare > 5"), one);
        assert_eq!(ids("SELECT * FROM (SELECT id, fare FROM trips) WHERE id = 't1'"), one);
        let two = Some(vec!["t1".to_owned(), "t2".to_owned()]);
        assert_eq!(ids("SELECT fare FROM trips WHERE id IN ('t2', 't1', 't2')"), two);
        assert_eq!(ids("SELECT fare FROM trips WHERE id = 't1' OR id = 't2'"), two);
        let union = "SELECT fare FROM trips WHERE id = 't1' UNION ALL SELECT fare FROM trips WHERE id = 't2'";
        assert_eq!(ids(union), two);
    }

    #[test]
    fn anything_else_needs_the_whole_table() {
        for sql in [
            "SELECT * FROM trips",
            "SELECT * FROM trips WHERE id <> 't1'",
            "SELECT * FROM trips WHERE id NOT IN ('t1')",
            "SELECT * FROM trips WHERE fare = 5",
            "SELECT * FROM trips WHERE id = 't1' OR fare = 5",
            "SELECT * FROM trips WHERE upper(id) = 'T1'",
            "SELECT * FROM trips WHERE id = 't1' UNION ALL SELECT * FROM trips",
            "SELECT * FROM trips WHERE id = 't1' AND fare = (SELECT max(fare) FROM trips)",
            "SELECT nonsense FROM trips WHERE id = 't1'",
        ] {
            assert_eq!(ids(sql), None, "{sql}");
        }
    }

    #[test]
    fn composite_keys_are_found_in_their_order() {
        let schema: SchemaRef = Arc::new(Schema::new(vec![
            Field::new("id", DataType::Utf8, false),
            Field::new("n", DataType::Int64, false),
        ]));
        let table = Keyed { name: "t".into(), schema, key: vec!["n".into(), "id".into()] };
        let sql = "SELECT * FROM t WHERE id = 'a' AND n IN (1, 2)";
        let keys = lookups(sql, std::slice::from_ref(&table), &Functions::new()).remove("t").unwrap();
        assert_eq!(keys.column(0).as_primitive::<Int64Type>().values(), &[1, 2]);
        assert!(
            lookups("SELECT * FROM t WHERE id = 'a'", &[table], &Functions::new()).is_empty(),
            "half a key is none"
        );
    }
}
