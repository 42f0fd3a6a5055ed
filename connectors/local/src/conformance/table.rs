//! What every table store promises.

use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{Schema, SchemaRef};
use futures::TryStreamExt as _;
use millstream_core::schema::ColumnType;
use millstream_core::table::{PutOutcome, TableRows, TableSchema, TableStore};

use super::rows::{every_type, json_lines};

/// The promises of `TableStore`. `open` opens the store of a schema; opened again, it has the same rows.
pub async fn table_store(open: impl AsyncFn(&TableSchema) -> Arc<dyn TableStore>) {
    every_type_comes_back(&open).await;
    the_greater_version_wins(&open).await;
    keys_of_several_columns(&open).await;
    large_puts_and_scans(&open).await;
}

fn schema(name: &str, key: &[&str], columns: SchemaRef) -> TableSchema {
    let key = key.iter().map(|k| (*k).to_owned()).collect();
    TableSchema { name: format!("conformance_{name}"), key, columns, ttl: None }
}

fn rows(rows: RecordBatch, version: u64) -> TableRows {
    let count = rows.num_rows();
    TableRows { rows, versions: vec![version; count], stamps: vec![None; count], truncated: vec![None; count] }
}

async fn scan(store: &dyn TableStore) -> Vec<RecordBatch> {
    store.scan().await.unwrap().try_collect().await.unwrap()
}

fn written(outcomes: &[PutOutcome]) -> usize {
    outcomes.iter().filter(|o| matches!(o, PutOutcome::Written)).count()
}

async fn every_type_comes_back(open: &impl AsyncFn(&TableSchema) -> Arc<dyn TableStore>) {
    let data = every_type(0, 20);
    let schema = schema("types", &["id"], data.schema());
    let store = open(&schema).await;
    let outcomes = store.put(&rows(data.clone(), 1)).await.unwrap();
    assert_eq!((outcomes.len(), written(&outcomes)), (20, 20), "one outcome per row, all written");
    drop(store);
    let store = open(&schema).await;
    let keys = data.project(&[0]).unwrap();
    for (i, found) in store.get(&keys).await.unwrap().into_iter().enumerate() {
        let found = found.expect("a row that was put is there");
        assert_eq!(found.row, data.slice(i, 1), "a row comes back exactly, with its types");
        assert_eq!(found.version, 1);
    }
    let scanned = scan(store.as_ref()).await;
    assert_eq!(json_lines(&scanned), json_lines(&[data]), "a scan gives every row once");
}

fn pairs(columns: &[(&str, Option<i64>)]) -> RecordBatch {
    let schema = Schema::new(vec![ColumnType::String.field("k", false), ColumnType::Bigint.field("v", true)]);
    let keys: StringArray = columns.iter().map(|(k, _)| Some(*k)).collect();
    let values: Int64Array = columns.iter().map(|(_, v)| *v).collect();
    RecordBatch::try_new(Arc::new(schema), vec![Arc::new(keys), Arc::new(values)]).unwrap()
}

async fn the_greater_version_wins(open: &impl AsyncFn(&TableSchema) -> Arc<dyn TableStore>) {
    let first = pairs(&[("a", Some(1)), ("b", Some(2))]);
    let schema = schema("versions", &["k"], first.schema());
    let store = open(&schema).await;
    let stamped = TableRows {
        rows: first.clone(),
        versions: vec![5, 5],
        stamps: vec![Some("{\"s\":1}".into()), None],
        truncated: vec![None; 2],
    };
    assert_eq!(written(&store.put(&stamped).await.unwrap()), 2);

    for version in [4, 5] {
        let outcomes = store.put(&rows(pairs(&[("a", Some(9)), ("c", Some(3))]), version)).await.unwrap();
        let PutOutcome::Stale(stored) = &outcomes[0] else { panic!("version {version} is stale: {outcomes:?}") };
        assert_eq!((stored.version, stored.stamps.as_deref()), (5, Some("{\"s\":1}")), "the stored row comes back");
        assert_eq!(stored.row, first.slice(0, 1));
        assert!(matches!(outcomes[1], PutOutcome::Written), "its neighbour is not held up");
    }
    // A greater version replaces the whole row, nulls and stamps included.
    assert_eq!(written(&store.put(&rows(pairs(&[("a", None)]), 6)).await.unwrap()), 1);
    let keys = pairs(&[("b", None), ("none", None), ("a", None)]).project(&[0]).unwrap();
    let found = store.get(&keys).await.unwrap();
    assert_eq!(found.len(), 3);
    assert_eq!(found[0].as_ref().unwrap().row, first.slice(1, 1), "rows come in the order of the keys");
    assert!(found[1].is_none());
    let a = found[2].as_ref().unwrap();
    assert_eq!((a.version, a.stamps.clone(), a.row.column(1).null_count()), (6, None, 1));
}

async fn keys_of_several_columns(open: &impl AsyncFn(&TableSchema) -> Arc<dyn TableStore>) {
    let columns = vec![
        ColumnType::Bigint.field("n", true),
        ColumnType::String.field("k2", false),
        ColumnType::Bigint.field("k1", false),
    ];
    let columns = Arc::new(Schema::new(columns));
    let make = |n: i64, k2: &str, k1: i64| {
        let columns_of: Vec<arrow::array::ArrayRef> = vec![
            Arc::new(Int64Array::from(vec![n])),
            Arc::new(StringArray::from(vec![k2])),
            Arc::new(Int64Array::from(vec![k1])),
        ];
        RecordBatch::try_new(columns.clone(), columns_of).unwrap()
    };
    let store = open(&schema("composite", &["k1", "k2"], columns.clone())).await;
    for (n, k2, k1) in [(1, "x", 1), (2, "x", 2), (3, "y", 1)] {
        assert_eq!(written(&store.put(&rows(make(n, k2, k1), 1)).await.unwrap()), 1);
    }
    let keys = make(0, "x", 2).project(&[2, 1]).unwrap();
    let found = store.get(&keys).await.unwrap();
    assert_eq!(found[0].as_ref().unwrap().row, make(2, "x", 2), "keys are in the order of the schema's key");
    assert_eq!(scan(store.as_ref()).await.iter().map(RecordBatch::num_rows).sum::<usize>(), 3);
}

async fn large_puts_and_scans(open: &impl AsyncFn(&TableSchema) -> Arc<dyn TableStore>) {
    let count = 30_000;
    let schema = schema("large", &["k"], pairs(&[]).schema());
    let store = open(&schema).await;
    let names: Vec<String> = (0..count).map(|i| format!("key-{i}")).collect();
    for version in 1..=3 {
        for part in names.chunks(7_000) {
            let part: Vec<_> = part.iter().map(|n| (n.as_str(), Some(version))).collect();
            let outcomes = store.put(&rows(pairs(&part), version as u64)).await.unwrap();
            assert_eq!(written(&outcomes), part.len());
        }
    }
    let expected: Vec<_> = names.iter().map(|n| (n.as_str(), Some(3))).collect();
    assert_eq!(json_lines(&scan(store.as_ref()).await), json_lines(&[pairs(&expected)]));
}
