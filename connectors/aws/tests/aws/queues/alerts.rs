//! The SNS sink, seen through subscribed queues.

use std::collections::BTreeSet;

use aws_sdk_sns::Client;
use aws_sdk_sns::config::{BehaviorVersion, Credentials, Region};
use millstream_core::Batch;
use millstream_core::format::Reason;
use millstream_core::refusal::{self, Refusal};
use millstream_core::sink::SinkOptions;
use millstream_core::{ErrorKind, EventTime};
use millstream_local::conformance;
use millstream_services::{self as services, Fault, Proxy, Rule};
use serde_json::{Value, json};

use super::{Fresh, attributes, connector, id, insist, rows};

fn client() -> Client {
    let config = aws_sdk_sns::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .credentials_provider(Credentials::for_tests())
        .region(Region::new(services::REGION))
        .endpoint_url(services::sns())
        .http_client(super::http());
    Client::from_conf(config.build())
}

/// A topic of a test's own.
struct Topic {
    arn: String,
    client: Client,
}

impl Topic {
    async fn new(fifo: bool) -> Self {
        let client = client();
        let name = services::name("alerts");
        let call = match fifo {
            true => client.create_topic().name(format!("{name}.fifo")).attributes("FifoTopic", "true"),
            false => client.create_topic().name(name),
        };
        let arn = call.send().await.unwrap().topic_arn.unwrap();
        Self { arn, client }
    }
    /// A queue that gets its messages as they were sent, those that pass the filter.
    async fn queue(&self, fifo: bool, filter: Option<Value>) -> Fresh {
        let queue = if fifo { Fresh::fifo("alerted").await } else { Fresh::standard("alerted").await };
        let arn = aws_sdk_sqs::types::QueueAttributeName::QueueArn;
        let call = queue.client.get_queue_attributes().queue_url(&queue.url).attribute_names(arn.clone());
        let arn = call.send().await.unwrap().attributes.unwrap()[&arn].clone();
        let mut call = self.client.subscribe().topic_arn(&self.arn).protocol("sqs").endpoint(arn);
        call = call.attributes("RawMessageDelivery", "true");
        if let Some(filter) = filter {
            call = call.attributes("FilterPolicy", filter.to_string());
        }
        call.send().await.unwrap();
        queue
    }
}

fn refused(rules: &[&[&str]]) -> (SinkOptions, Batch) {
    let refusal = |rules: &&[&str]| {
        let reasons = rules.iter().map(|r| Reason { rule: (*r).into(), text: format!("because of {r}") }).collect();
        let refusal = Refusal::new("valid", "rejected", reasons, EventTime(0));
        Refusal { row: Some("{}".into()), source: Some("orders".into()), ..refusal }
    };
    let schema = refusal::schema();
    let options = SinkOptions { schema: schema.clone(), ..conformance::sink_options("alerts", &schema) };
    (options, refusal::batch(&rules.iter().map(refusal).collect::<Vec<_>>()).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_have_the_message_of_the_file_and_attributes_to_filter_by() {
    let topic = Topic::new(false).await;
    let all = topic.queue(false, None).await;
    let zones = topic.queue(false, Some(json!({ "rule": ["zone_known"] }))).await;
    let (mut options, batch) = refused(&[&["fare_positive"], &["zone_known"], &["fare_positive", "zone_known"]]);
    options.subject = Some("{component} of {pipeline}".into());
    options.message = Some("{port} by {sink}: {row}".into());
    let sns = connector("sns", services::sns(), json!({ "topic_arn": topic.arn }));
    let mut sink = sns.sink(&options).await.unwrap();
    insist(sink.as_mut(), &id(1, 0), &batch).await;
    let messages = all.drain().await;
    assert_eq!(messages.len(), 3);
    assert!(messages.iter().all(|m| m.body.as_deref() == Some("rejected by alerts: {}")), "{messages:?}");
    let first = attributes(&messages[0]);
    assert_eq!((first["component"].as_str(), first["pipeline"].as_str()), ("valid", "conformance"));
    let of_rules: BTreeSet<String> = messages.iter().map(|m| attributes(m)["rule"].clone()).collect();
    let expected = ["fare_positive", "zone_known", r#"["fare_positive","zone_known"]"#];
    assert_eq!(of_rules, expected.map(str::to_owned).into());
    assert_eq!(zones.drain().await.len(), 2, "the filter sees single rules and lists of them");
    assert!(sink.summary().unwrap().starts_with("3 messages to topic alerts-"));
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_that_fail_in_a_call_that_succeeds_are_sent_again_alone() {
    let topic = Topic::new(false).await;
    let queue = topic.queue(false, None).await;
    let proxy = Proxy::start(services::sns(), 9);
    proxy.rule(Rule::on("PublishBatch", Fault::Partial { share: 0.4 }));
    proxy.rule(Rule::on("Publish", Fault::Throttle).times(2));
    let (options, batch) = rows(40);
    let mut sink = connector("sns", proxy.url(), json!({ "topic_arn": topic.arn })).sink(&options).await.unwrap();
    assert!(insist(sink.as_mut(), &id(1, 0), &batch).await > 1);
    let ids: Vec<String> = queue.drain().await.iter().map(|m| attributes(m)["id"].clone()).collect();
    assert_eq!(ids.len(), 40);
    assert_eq!(ids.into_iter().collect::<BTreeSet<_>>(), (0..40).map(|row| id(1, 0).row(row)).collect());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fifo_topic_keeps_order_and_drops_what_is_sent_twice() {
    let topic = Topic::new(true).await;
    let queue = topic.queue(true, None).await;
    let proxy = Proxy::start(services::sns(), 2);
    proxy.rule(Rule::on("Publish", Fault::Lose).times(2));
    let (options, batch) = rows(12);
    let mut sink = connector("sns", proxy.url(), json!({ "topic_arn": topic.arn })).sink(&options).await.unwrap();
    insist(sink.as_mut(), &id(1, 0), &batch).await;
    let ids: Vec<String> = queue.drain().await.iter().map(|m| attributes(m)["id"].clone()).collect();
    assert_eq!(ids, (0..12).map(|row| id(1, 0).row(row)).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_text_is_cut_to_what_a_message_holds() {
    let topic = Topic::new(false).await;
    let queue = topic.queue(false, None).await;
    let (options, mut batch) = refused(&[&["a"]]);
    let row = Some(json!({ "text": "é".repeat(300_000) }).to_string());
    let long = Refusal { row, ..Refusal::new("valid", "rejected", vec![], EventTime(0)) };
    batch = Batch::new(
        arrow::compute::concat_batches(&batch.rows.schema(), [&batch.rows, &refusal::batch(&[long]).unwrap().rows])
            .unwrap(),
    );
    let mut sink = connector("sns", services::sns(), json!({ "topic_arn": topic.arn })).sink(&options).await.unwrap();
    insist(sink.as_mut(), &id(1, 0), &batch).await;
    let messages = queue.drain().await;
    let cut: Vec<_> = messages.iter().filter(|m| attributes(m).contains_key("cut_from_bytes")).collect();
    assert_eq!((messages.len(), cut.len()), (2, 1));
    assert!(cut[0].body.as_ref().unwrap().len() <= 256 << 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_topic_is_told() {
    let problem =
        |topic: &str| connector("sns", "http://127.0.0.1:1", json!({ "topic_arn": topic })).problems().join("; ");
    assert!(problem("alerts").contains("no ARN"));
    assert!(problem("arn:aws:sns:eu-west-1:123456789012:alerts").is_empty());
    let absent = "arn:aws:sns:us-east-1:000000000000:not-there";
    let (options, batch) = rows(1);
    let sns = connector("sns", services::sns(), json!({ "topic_arn": absent }));
    let mut sink = sns.sink(&options).await.unwrap();
    let error = sink.send(&id(1, 0), &[0], &batch).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Environment, "{error}");
    assert!(error.to_string().contains("Publish on topic not-there"), "{error}");
}
