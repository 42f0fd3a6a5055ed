//! CloudWatch.

use millstream_core::EventTime;
use millstream_core::metrics::{Metric, Unit};
use millstream_services::client::{action, elements};
use millstream_services::{self as services, Fault, Proxy, Rule};
use serde_json::json;

use super::connector;

fn metric(name: &'static str, node: Option<String>, values: Vec<(f64, u64)>) -> Metric {
    Metric { name, node, unit: Unit::Count, values, at: EventTime(1_767_225_600_000_000) }
}

#[tokio::test(flavor = "multi_thread")]
async fn at_most_a_thousand_data_a_call() {
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
}

#[test]
fn what_was_put_is_there_to_be_read() {
    let pipeline = services::name("shop");
    let cloudwatch = connector("cloudwatch", services::cloudwatch(), json!({}));
    // The service forgets what is old.
    let at = millstream_core::clock::system().now();
    let of_lag = metric("EventTimeLag", Some("rides".into()), vec![(2.0, 3)]);
    let all = [metric("RecordsIn", None, vec![(17.0, 1)]), of_lag].map(|metric| Metric { at, ..metric });
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let mut store = cloudwatch.metrics(&pipeline).await.unwrap();
        store.put(&all).await.unwrap();
    });
    let namespace = format!("Millstream/{pipeline}");
    let asked = |action_of: &str, more: &[(&str, &str)]| {
        let fields = [("Action", action_of), ("Version", "2010-08-01"), ("Namespace", &namespace)];
        action(services::cloudwatch(), "monitoring", &[fields.as_slice(), more].concat())
    };
    let listed = asked("ListMetrics", &[]);
    let mut names = elements(&listed, "MetricName");
    names.sort();
    assert_eq!(names, ["EventTimeLag", "RecordsIn"], "{listed}");
    assert_eq!(elements(&listed, "Value"), ["rides"], "{listed}");
    let around = [-3_600_000_000, 3_600_000_000].map(|micros| EventTime(at.0 + micros).to_string());
    let of_day = [("StartTime", around[0].as_str()), ("EndTime", around[1].as_str()), ("Period", "86400")];
    let sum = asked(
        "GetMetricStatistics",
        &[&of_day[..], &[("MetricName", "RecordsIn"), ("Statistics.member.1", "Sum")]].concat(),
    );
    let sums: Vec<f64> = elements(&sum, "Sum").iter().map(|text| text.parse().unwrap()).collect();
    assert_eq!(sums, [17.0], "{sum}");
    let of_node = [
        ("MetricName", "EventTimeLag"),
        ("Statistics.member.1", "SampleCount"),
        ("Dimensions.member.1.Name", "Node"),
        ("Dimensions.member.1.Value", "rides"),
    ];
    let counted = asked("GetMetricStatistics", &[&of_day[..], &of_node].concat());
    let counts: Vec<f64> = elements(&counted, "SampleCount").iter().map(|text| text.parse().unwrap()).collect();
    assert_eq!(counts, [3.0], "values have counts: {counted}");
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
