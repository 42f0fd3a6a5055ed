//! CloudWatch.

use aws_sdk_cloudwatch::Client;
use aws_sdk_cloudwatch::config::{BehaviorVersion, Credentials, Region};
use millstream_core::EventTime;
use millstream_core::metrics::{Metric, Unit};
use millstream_services::{self as services, Fault, Proxy, Rule};
use serde_json::json;

use super::connector;

fn client() -> Client {
    let config = aws_sdk_cloudwatch::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .credentials_provider(Credentials::for_tests())
        .region(Region::new(services::REGION))
        .endpoint_url(services::cloudwatch())
        .http_client(super::http());
    Client::from_conf(config.build())
}

fn metric(name: &'static str, node: Option<String>, values: Vec<(f64, u64)>) -> Metric {
    Metric { name, node, unit: Unit::Count, values, at: EventTime(1_767_225_600_000_000) }
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_come_under_the_namespace_of_the_pipeline_with_their_node() {
    let pipeline = services::name("shop");
    let proxy = Proxy::start(services::cloudwatch(), 1);
    let cloudwatch = connector("cloudwatch", proxy.url(), json!({ "dimensions": { "Environment": "test" } }));
    let mut store = cloudwatch.metrics(&pipeline).await.unwrap();
    // 200 different values, and more metrics than one call holds.
    let wide = metric("MillisBehindLatest", Some("rides".into()), (0..200).map(|v| (f64::from(v), 2)).collect());
    let many = (0..1200).map(|n| metric("RecordsIn", Some(format!("node-{n}")), vec![(1.0, 1)]));
    let all: Vec<Metric> = [wide, metric("RecordsIn", None, vec![(17.0, 1)])].into_iter().chain(many).collect();
    store.put(&all).await.unwrap();
    assert_eq!(proxy.requests("PutMetricData"), 2, "at most 1000 data a call");
    let namespace = format!("Millstream/{pipeline}");
    let listed = client().list_metrics().namespace(&namespace).metric_name("MillisBehindLatest").send().await.unwrap();
    let found = listed.metrics.unwrap_or_default();
    assert!(!found.is_empty(), "nothing under {namespace}");
    let dimensions: Vec<(&str, &str)> =
        found[0].dimensions().iter().map(|d| (d.name().unwrap(), d.value().unwrap())).collect();
    assert_eq!(dimensions, [("Environment", "test"), ("Node", "rides")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_wrong_is_an_error_and_no_more() {
    let proxy = Proxy::start(services::cloudwatch(), 1);
    proxy.rule(Rule::on("PutMetricData", Fault::refuse(403, "AccessDenied")));
    let cloudwatch = connector("cloudwatch", proxy.url(), json!({}));
    let mut store = cloudwatch.metrics("shop").await.unwrap();
    let error = store.put(&[metric("RecordsIn", None, vec![(1.0, 1)])]).await.unwrap_err();
    assert!(error.to_string().contains("PutMetricData on namespace Millstream/shop"), "{error}");
}

#[tokio::test]
async fn options_that_cloudwatch_would_refuse_are_told() {
    let problem = |more| connector("cloudwatch", "http://127.0.0.1:1", more).problems().join("; ");
    assert!(problem(json!({ "namespace": "AWS/Mine" })).contains("AWS's own"));
    assert!(problem(json!({ "namespace": "a|b" })).contains("letters"));
    assert!(problem(json!({ "dimensions": { "": "x" } })).contains("a name and a value"));
    assert!(problem(json!({ "namespace": "Mine/rides" })).is_empty());
}
