//! The table store against a server that does what it should.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Float64Array, Int64Array, ListArray, RecordBatch, StringArray, StructArray,
};
use arrow::datatypes::{DataType, Field, Int32Type};
use futures::TryStreamExt as _;
use millstream_core::ErrorKind;
use millstream_core::item::{LIMIT, oversized};
use millstream_core::resource::Use;
use millstream_core::table::{PutOutcome, TableRows, UNVERSIONED, VERSION};
use millstream_local::conformance;
use millstream_services as services;
use serde_json::json;

use super::{AttributeValue, Fresh, client, connector, n, rows, s, schema, versioned, written};

#[tokio::test(flavor = "multi_thread")]
async fn it_keeps_the_promises_of_table_stores() {
    let prefix = services::name("suite");
    conformance::table_store(async |schema| {
        let connector = connector(services::dynamodb(), &format!("{prefix}-{}", schema.name), json!({}));
        connector.create(&Use::Table(schema)).await.unwrap();
        connector.table(schema).await.unwrap()
    })
    .await;
}

#[tokio::test]
async fn items_of_other_programs_are_never_overwritten_unseen() {
    let table = Fresh::new().await;
    table.put_item(&[("id", s("a")), ("n", n("7")), ("theirs", s("stays")), ("note", s("old"))]).await;

    let first = table.store.put(&versioned(rows(&[("a", Some(1), None)]), 1)).await.unwrap();
    let PutOutcome::Stale(stored) = &first[0] else { panic!("{first:?}") };
    assert_eq!((stored.version, &stored.row), (UNVERSIONED, &rows(&[("a", Some(7), Some("old"))])));
    assert_eq!(table.item("a").await.unwrap()["n"], n("7"), "it is unchanged");

    let merged = table.store.put(&versioned(rows(&[("a", Some(1), None)]), 2)).await.unwrap();
    assert_eq!(written(&merged), 1);
    let item = table.item("a").await.unwrap();
    assert_eq!((&item["n"], &item[VERSION], &item["theirs"]), (&n("1"), &n("2"), &s("stays")));
    assert!(!item.contains_key("note"), "a null is an absent attribute: {item:?}");
}

#[tokio::test]
async fn items_of_other_programs_are_read_as_far_as_they_fit() {
    let table = Fresh::new().await;
    table.put_item(&[("id", s("text")), ("n", s("5.0")), ("note", n("1.50"))]).await;
    table.put_item(&[("id", s("null")), ("n", AttributeValue::Null(true))]).await;
    let set = AttributeValue::Ss(vec!["x".into()]);
    table.put_item(&[("id", s("set")), ("note", set)]).await;
    let found = table.get(&["text", "null", "set"]).await;
    let row = |i: usize| found[i].as_ref().unwrap().row.clone();
    assert_eq!(row(0), rows(&[("text", Some(5), Some("1.5"))]));
    assert_eq!(row(1), rows(&[("null", None, None)]));
    assert_eq!(row(2), rows(&[("set", None, Some("[\"x\"]"))]));

    table.put_item(&[("id", s("bad")), ("n", s("many"))]).await;
    let outcomes =
        table.store.put(&versioned(rows(&[("bad", Some(1), None), ("ok", Some(1), None)]), 1)).await.unwrap();
    let PutOutcome::Refused(reason) = &outcomes[0] else { panic!("{outcomes:?}") };
    assert!(reason.contains("`n` is \"many\", which is no bigint"), "{reason}");
    assert!(matches!(outcomes[1], PutOutcome::Written), "its neighbour is not held up");
    let error = table.store.get(&rows(&[("bad", None, None)]).project(&[0]).unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Environment);
    assert!(error.to_string().contains(r#"{"id":{"S":"bad"}}"#), "{error}");
}

#[tokio::test]
async fn expired_items_are_not_there() {
    let hour = Duration::from_secs(3600);
    let table = Fresh::with(services::dynamodb(), Some(hour), json!({ "ttl_attribute": "expiry" })).await;
    for (id, at) in [("past", "1700000000"), ("future", "9700000000")] {
        table.put_item(&[("id", s(id)), ("n", n("1")), ("expiry", n(at)), (VERSION, n("9"))]).await;
    }
    table.put_item(&[("id", s("never")), ("n", n("1"))]).await;
    let found = table.get(&["past", "future", "never"]).await;
    assert_eq!(found.iter().map(Option::is_some).collect::<Vec<_>>(), [false, true, true]);
    let all: Vec<RecordBatch> = table.store.scan().await.unwrap().try_collect().await.unwrap();
    let expected = rows(&[("future", Some(1), None), ("never", Some(1), None)]);
    assert_eq!(conformance::json_lines(&all), conformance::json_lines(&[expected]));

    let outcomes = table.store.put(&versioned(rows(&[("past", Some(2), None)]), 1)).await.unwrap();
    assert_eq!(written(&outcomes), 1, "a first put goes over an item that is not there any more");
    let item = table.item("past").await.unwrap();
    let at: i64 = item["expiry"].as_n().unwrap().parse().unwrap();
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs() as i64;
    assert!((now + 3590..=now + 3600).contains(&at), "epoch seconds, an hour from now: {at}");
    let expiry = client().describe_time_to_live().table_name(&table.table).send().await.unwrap();
    let attribute = expiry.time_to_live_description.unwrap().attribute_name;
    assert_eq!(attribute.as_deref(), Some("expiry"), "`create` has enabled it");
}

#[tokio::test]
async fn names_are_never_taken_for_words_of_the_language() {
    let names = ["status", "date", "a.b", "#x", ":y", "size", "with space", "näme", "_under"];
    let mut columns: Vec<(&str, ArrayRef)> = vec![("key", Arc::new(StringArray::from(vec!["k"])))];
    columns.extend(names.iter().map(|name| (*name, Arc::new(StringArray::from(vec!["v"])) as ArrayRef)));
    let data = RecordBatch::try_from_iter(columns).unwrap();
    let schema = schema("t", &["key"], &data, None);
    let table = services::name("names");
    let connector = connector(services::dynamodb(), &table, json!({}));
    connector.create(&Use::Table(&schema)).await.unwrap();
    let store = connector.table(&schema).await.unwrap();
    for version in [1, 2] {
        assert_eq!(written(&store.put(&versioned(data.clone(), version)).await.unwrap()), 1);
    }
    let all: Vec<RecordBatch> = store.scan().await.unwrap().try_collect().await.unwrap();
    assert_eq!(all, [data]);
}

#[tokio::test]
async fn empty_values_are_fine_except_in_keys() {
    let id: ArrayRef = Arc::new(StringArray::from(vec!["a", ""]));
    let text: ArrayRef = Arc::new(StringArray::from(vec!["", ""]));
    let bytes: ArrayRef = Arc::new(BinaryArray::from(vec![&b""[..], b""]));
    let list: ArrayRef =
        Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>([Some(Vec::new()), Some(vec![Some(1), None])]));
    let inner = (
        Arc::new(Field::new("x", DataType::Utf8, true)),
        Arc::new(StringArray::from(vec![None::<&str>; 2])) as ArrayRef,
    );
    let of_struct: ArrayRef = Arc::new(StructArray::from(vec![inner]));
    let flag: ArrayRef = Arc::new(BooleanArray::from(vec![Some(false), None]));
    let data = RecordBatch::try_from_iter_with_nullable([
        ("id", id, false),
        ("text", text, true),
        ("bytes", bytes, true),
        ("list", list, true),
        ("struct", of_struct, true),
        ("flag", flag, true),
    ])
    .unwrap();
    let schema = schema("t", &["id"], &data, None);
    let table = services::name("empty");
    let connector = connector(services::dynamodb(), &table, json!({}));
    connector.create(&Use::Table(&schema)).await.unwrap();
    let store = connector.table(&schema).await.unwrap();
    let outcomes = store.put(&versioned(data.clone(), 1)).await.unwrap();
    assert!(matches!(outcomes[0], PutOutcome::Written), "{outcomes:?}");
    let PutOutcome::Refused(reason) = &outcomes[1] else { panic!("{outcomes:?}") };
    assert!(reason.contains("the key `id` is empty"), "{reason}");
    let all: Vec<RecordBatch> = store.scan().await.unwrap().try_collect().await.unwrap();
    assert_eq!(all, [data.slice(0, 1)], "empty values come back as such, not as nulls");
}

#[tokio::test]
async fn rows_that_dynamodb_cannot_hold_are_refused_alone() {
    let id: ArrayRef = Arc::new(StringArray::from(vec!["nan", "huge", "fine"]));
    let d: ArrayRef = Arc::new(Float64Array::from(vec![f64::NAN, 1e200, 0.1]));
    let data = RecordBatch::try_from_iter_with_nullable([("id", id, false), ("d", d, true)]).unwrap();
    let schema = schema("t", &["id"], &data, None);
    let table = services::name("doubles");
    let connector = connector(services::dynamodb(), &table, json!({}));
    connector.create(&Use::Table(&schema)).await.unwrap();
    let store = connector.table(&schema).await.unwrap();
    let outcomes = store.put(&versioned(data.clone(), 1)).await.unwrap();
    assert!(matches!(&outcomes[0], PutOutcome::Refused(r) if r.contains("`d` is NaN")), "{outcomes:?}");
    assert!(matches!(&outcomes[1], PutOutcome::Refused(r) if r.contains("9.99E+125")), "{outcomes:?}");
    assert!(matches!(outcomes[2], PutOutcome::Written));
}

#[tokio::test]
async fn what_the_engine_lets_through_the_service_takes_and_one_that_is_larger_it_refuses() {
    let table = Fresh::new().await;
    let of_size = |size: usize| versioned(rows(&[("large", Some(1), Some(&"x".repeat(size)))]), 1);
    let mut fits = LIMIT;
    while !oversized(&of_size(fits)).unwrap().is_empty() {
        fits -= 1;
    }
    assert!(fits > LIMIT - 100, "{fits}");
    // Past the engine's own check: what the service says of it.
    let outcomes = table.store.put(&of_size(400 * 1024 + 1)).await.unwrap();
    assert!(matches!(&outcomes[0], PutOutcome::Refused(r) if r.contains("size")), "{outcomes:?}");
    let outcomes = table.store.put(&of_size(fits)).await.unwrap();
    assert!(matches!(outcomes[0], PutOutcome::Written), "it takes {fits}: {outcomes:?}");
}

#[tokio::test]
async fn versions_of_any_size_fit_and_truncations_are_recorded() {
    let table = Fresh::new().await;
    let put = TableRows {
        stamps: vec![Some("[]".into())],
        truncated: vec![Some("note".into())],
        ..versioned(rows(&[("a", None, None)]), u64::MAX)
    };
    assert_eq!(written(&table.store.put(&put).await.unwrap()), 1);
    let item = table.item("a").await.unwrap();
    assert_eq!((&item[VERSION], &item["_truncated"]), (&n("18446744073709551615"), &s("note")));
    let stored = table.get(&["a"]).await.remove(0).unwrap();
    assert_eq!((stored.version, stored.stamps.as_deref()), (u64::MAX, Some("[]")));
}

#[tokio::test]
async fn keys_are_compared_when_a_table_is_opened() {
    let table = Fresh::new().await;
    let wrong = |key: &[&str]| {
        let schema = schema("trip_state", key, &rows(&[]), None);
        let connector = connector(services::dynamodb(), &table.table, json!({}));
        async move { connector.table(&schema).await.err().unwrap() }
    };
    for (key, says) in [
        (&["id", "n"][..], "has the key id (S), the pipeline says id (S), n (N)"),
        (&["note"][..], "name the table's key in `key:`"),
    ] {
        let error = wrong(key).await;
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
        assert!(error.to_string().contains(says) && error.to_string().contains("`trip_state`"), "{error}");
    }
    let nowhere = connector(services::dynamodb(), &services::name("nowhere"), json!({}));
    let error = nowhere.table(&table.schema).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Environment, "{error}");
    assert!(error.to_string().contains("does not exist") && error.to_string().contains("--create"), "{error}");
}

#[tokio::test]
async fn composite_keys_are_partition_then_sort_in_the_order_of_key() {
    let data = rows(&[]);
    let declared = schema("t", &["id", "n"], &data, None);
    let table = services::name("composite");
    let connector = connector(services::dynamodb(), &table, json!({}));
    connector.create(&Use::Table(&declared)).await.unwrap();
    let description = client().describe_table().table_name(&table).send().await.unwrap().table.unwrap();
    let key: Vec<_> = description.key_schema().iter().map(|k| (k.attribute_name(), k.key_type().as_str())).collect();
    assert_eq!(key, [("id", "HASH"), ("n", "RANGE")]);
    let swapped = connector.table(&schema("t", &["n", "id"], &data, None)).await.err().unwrap();
    assert!(swapped.to_string().contains("partition key first"), "{swapped}");
    let store = connector.table(&declared).await.unwrap();
    let put = versioned(rows(&[("a", Some(1), Some("x")), ("a", Some(2), Some("y")), ("b", Some(1), Some("z"))]), 1);
    assert_eq!(written(&store.put(&put).await.unwrap()), 3);
    let keys = rows(&[("a", Some(2), None), ("b", Some(2), None)]).project(&[0, 1]).unwrap();
    let found = store.get(&keys).await.unwrap();
    assert_eq!(found[0].as_ref().unwrap().row, put.rows.slice(1, 1));
    assert!(found[1].is_none());
}

#[tokio::test]
async fn a_key_of_decimals_is_found_however_its_digits_are_written() {
    let price: ArrayRef =
        Arc::new(arrow::array::Decimal128Array::from(vec![410, 400]).with_precision_and_scale(10, 2).unwrap());
    let v: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
    let data = RecordBatch::try_from_iter_with_nullable([("price", price, false), ("v", v, true)]).unwrap();
    let schema = schema("t", &["price"], &data, None);
    let connector = connector(services::dynamodb(), &services::name("decimals"), json!({}));
    connector.create(&Use::Table(&schema)).await.unwrap();
    let store = connector.table(&schema).await.unwrap();
    assert_eq!(written(&store.put(&versioned(data.clone(), 1)).await.unwrap()), 2);
    let found = store.get(&data.project(&[0]).unwrap()).await.unwrap();
    assert_eq!(found[0].as_ref().unwrap().row, data.slice(0, 1), "4.10 is stored as 4.1");
    assert_eq!(found[1].as_ref().unwrap().row, data.slice(1, 1));
}
