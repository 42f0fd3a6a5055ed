//! The sink that replaces items.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int8Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use millstream_core::Batch;
use millstream_core::batch::{hidden, hidden_fields};
use millstream_core::connector::Connector;
use millstream_core::resource::Use;
use millstream_core::sink::{Commitment, Outcome, Sink, SinkOptions, WriteMode};
use millstream_local::conformance::sink_options;
use millstream_services::proxy::Kind;
use millstream_services::{self as services, Fault, Proxy, Rule};
use serde_json::json;

use super::{AttributeValue, Item, client, connector, n, s};

/// `day` (text), `total` (whole number), and their diffs.
fn schema() -> SchemaRef {
    let fields = vec![Field::new("day", DataType::Utf8, false), Field::new("total", DataType::Int64, true)];
    Arc::new(Schema::new(fields))
}

fn options() -> SinkOptions {
    SinkOptions { key: vec!["day".into()], mode: WriteMode::Overwrite, ..sink_options("kpis", &schema()) }
}

fn batch(rows: &[(&str, i64, i8)]) -> Batch {
    let mut fields: Vec<Field> = schema().fields().iter().map(|f| f.as_ref().clone()).collect();
    fields.extend(hidden_fields(DataType::Utf8));
    fields.push(Field::new(hidden::DIFF, DataType::Int8, false));
    let times: ArrayRef = Arc::new(rows.iter().map(|_| Some(0)).collect::<TimestampMicrosecondArray>());
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|r| Some(r.0)).collect::<StringArray>()),
        Arc::new(rows.iter().map(|r| Some(r.1)).collect::<Int64Array>()),
        times.clone(),
        times,
        Arc::new(rows.iter().map(|_| None::<&str>).collect::<StringArray>()),
        Arc::new(rows.iter().map(|r| Some(r.2)).collect::<Int8Array>()),
    ];
    Batch::new(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap())
}

struct Kpis {
    table: String,
    sink: Box<dyn Sink>,
}

impl Kpis {
    async fn open(endpoint: &str) -> Self {
        let table = services::name("kpis");
        let made: Arc<dyn Connector> = connector(services::dynamodb(), &table, json!({}));
        made.create(&Use::Sink(&options())).await.unwrap();
        let sink = connector(endpoint, &table, json!({})).sink(&options()).await.unwrap();
        Self { table, sink }
    }
    async fn items(&self) -> Vec<Item> {
        let mut items = client().scan().table_name(&self.table).send().await.unwrap().items.unwrap();
        items.sort_by_key(|item| item["day"].as_s().unwrap().clone());
        items
    }
    async fn totals(&self) -> Vec<(String, String)> {
        let text = |item: &Item| (item["day"].as_s().unwrap().clone(), item["total"].as_n().unwrap().clone());
        self.items().await.iter().map(text).collect()
    }
}

fn totals(of: &[(&str, &str)]) -> Vec<(String, String)> {
    of.iter().map(|(day, total)| ((*day).to_owned(), (*total).to_owned())).collect()
}

#[tokio::test]
async fn an_update_is_a_retraction_and_a_row_in_any_order() {
    let mut kpis = Kpis::open(services::dynamodb()).await;
    let foreign = Item::from([("day".into(), s("mon")), ("total".into(), n("0")), ("theirs".into(), s("goes"))]);
    client().put_item().table_name(&kpis.table).set_item(Some(foreign)).send().await.unwrap();
    let first = batch(&[("mon", 1, 1), ("tue", 2, 1), ("wed", 3, 1)]);
    assert_eq!(kpis.sink.write(&first).await.unwrap(), vec![Outcome::Done; 3]);
    assert!(!kpis.items().await[0].contains_key("theirs"), "items are replaced whole");
    let second = batch(&[("mon", 5, 1), ("mon", 1, -1), ("tue", 2, -1), ("wed", 3, -1), ("wed", 6, 1), ("wed", 7, 1)]);
    assert_eq!(kpis.sink.write(&second).await.unwrap(), vec![Outcome::Done; 6]);
    assert_eq!(kpis.totals().await, totals(&[("mon", "5"), ("wed", "7")]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_unprocessed_is_given_back() {
    let proxy = Proxy::start(services::dynamodb(), 11);
    let mut kpis = Kpis::open(proxy.url()).await;
    proxy.rule(Rule::on("BatchWriteItem", Fault::Partial { share: 0.5 }).times(6));
    let days: Vec<String> = (0..60).map(|i| format!("day-{i:02}")).collect();
    let mut left: Vec<(&str, i64, i8)> = days.iter().map(|day| (day.as_str(), 1, 1)).collect();
    let mut calls = 0;
    while !left.is_empty() {
        let outcomes = kpis.sink.write(&batch(&left)).await.unwrap();
        assert!(outcomes.iter().all(|o| matches!(o, Outcome::Done | Outcome::Retry(_))), "{outcomes:?}");
        let mut outcomes = outcomes.into_iter();
        left.retain(|_| matches!(outcomes.next(), Some(Outcome::Retry(_))));
        calls += 1;
    }
    assert!(calls > 1 && proxy.faults(Kind::Partial) > 0);
    assert_eq!(kpis.items().await.len(), 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_row_is_refused_alone_and_deletes_send_keys_only() {
    let proxy = Proxy::start(services::dynamodb(), 12);
    let mut kpis = Kpis::open(proxy.url()).await;
    let outcomes = kpis.sink.write(&batch(&[("mon", 1, 1), ("", 2, 1), ("tue", 3, 1)])).await.unwrap();
    assert!(matches!(&outcomes[1], Outcome::Refused(r) if r.contains("`day` is empty")), "{outcomes:?}");
    assert_eq!((&outcomes[0], &outcomes[2]), (&Outcome::Done, &Outcome::Done));
    // A service that refuses a whole call for one item: each is then sent alone.
    proxy.rule(Rule::on("BatchWriteItem", Fault::refuse(400, "ValidationException")).times(2));
    let outcomes = kpis.sink.write(&batch(&[("wed", 1, 1), ("thu", 2, 1), ("mon", 9, -1)])).await.unwrap();
    let refused = outcomes.iter().filter(|o| matches!(o, Outcome::Refused(_))).count();
    assert_eq!(refused, 1, "{outcomes:?}");
    assert!(matches!(outcomes[0], Outcome::Refused(_)), "{outcomes:?}");
    assert_eq!(
        kpis.totals().await,
        totals(&[("thu", "2"), ("tue", "3")]),
        "a delete with other values in its row works"
    );
}

#[test]
fn only_keyed_rows_are_taken() {
    let connector = connector("http://127.0.0.1:1", "t", json!({}));
    assert_eq!(connector.commitment(&options()), Commitment::Keyed);
    assert_eq!(connector.sink_problem(&options()), None);
    let (option, message) = connector.sink_problem(&SinkOptions { mode: WriteMode::Append, ..options() }).unwrap();
    assert!(option == "mode" && message.contains("mode: overwrite"), "{message}");
    let with_path = SinkOptions { path: Some("x".into()), ..options() };
    assert_eq!(connector.sink_problem(&with_path).unwrap().0, "path");
    let wide = SinkOptions { key: vec!["day".into(), "total".into(), "day".into()], ..options() };
    assert!(connector.sink_problem(&wide).unwrap().1.contains("3 columns"));
    let _ = AttributeValue::Null(true);
}
