//! What `check --online` and `resources` learn of streams, buckets, queues, topics and namespaces. (Of DynamoDB: see there.)

use std::sync::Arc;

use millstream_core::connector::{Connector, SourceOptions};
use millstream_core::refusal;
use millstream_core::resource::{Obstacle, Presence, Resource, Use};
use millstream_core::schema::{ExtraFields, SourceSchema};
use millstream_core::sink::{SinkOptions, WriteMode};
use millstream_local::conformance;
use millstream_services::{self as services, Fault, Proxy, Rule, name};
use serde_json::{Value, json};

use crate::queues::{self, connector};

/// A kind of connector over something of a test's own, at the service or at a proxy before it.
struct Needed {
    kind: &'static str,
    service: &'static str,
    options: Value,
}

impl Needed {
    fn at(&self, endpoint: &str) -> Arc<dyn Connector> {
        connector(self.kind, endpoint, self.options.clone())
    }
    fn here(&self) -> Arc<dyn Connector> {
        self.at(self.service)
    }
    /// What stands in the way where each of these operations is denied in turn: the actions that are named.
    async fn denied(&self, of: &Use<'_>, operations: &[&str]) -> Vec<(String, bool)> {
        let mut actions = Vec::new();
        for operation in operations {
            let proxy = Proxy::start(self.service, 7);
            proxy.rule(Rule::on(operation, Fault::refuse(403, "AccessDenied")));
            for obstacle in self.at(proxy.url()).online(of).await {
                assert!(!obstacle.message.is_empty());
                let action = obstacle.action.unwrap_or_else(|| panic!("{operation}: {}", obstacle.message));
                assert!(obstacle.help.unwrap().contains(&action));
                actions.push((action, obstacle.fatal));
            }
        }
        actions
    }
}

fn stream() -> Needed {
    Needed { kind: "kinesis", service: services::kinesis(), options: json!({ "stream": name("needed") }) }
}

fn bucket() -> Needed {
    Needed { kind: "s3", service: services::s3(), options: json!({ "bucket": name("needed"), "prefix": "lake" }) }
}

fn queue() -> Needed {
    Needed { kind: "sqs", service: services::sqs(), options: json!({ "queue_url": name("needed") }) }
}

fn topic() -> Needed {
    let arn = format!("arn:aws:sns:{}:000000000000:{}", services::REGION, name("needed"));
    Needed { kind: "sns", service: services::sns(), options: json!({ "topic_arn": arn }) }
}

fn source() -> SourceOptions {
    let schema = SourceSchema { columns: Vec::new(), extra: ExtraFields::Ignore };
    SourceOptions { id: "s".into(), pipeline: "p".into(), schema: schema.into() }
}

fn sink(mode: WriteMode) -> SinkOptions {
    SinkOptions { mode, ..queues::rows(1).0 }
}

fn letters() -> SinkOptions {
    conformance::sink_options("letters", &refusal::schema())
}

fn fatal(obstacles: &[Obstacle]) -> Vec<&str> {
    obstacles.iter().filter(|o| o.fatal).map(|o| o.message.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_made_is_made_once_and_nothing_is_wrong_with_it() {
    let (source, sink) = (source(), sink(WriteMode::Append));
    for (needed, uses) in [
        (stream(), vec![Use::Source(&source), Use::Sink(&sink)]),
        (bucket(), vec![Use::Source(&source), Use::Sink(&sink), Use::Checkpoints("p")]),
        (queue(), vec![Use::Source(&source), Use::Sink(&sink)]),
        (topic(), vec![Use::Sink(&sink)]),
    ] {
        let (kind, connector) = (needed.kind, needed.here());
        let missing = connector.online(&uses[0]).await;
        assert_eq!(fatal(&missing).len(), 1, "{kind}: {missing:?}");
        assert!(missing[0].message.contains("does not exist"), "{kind}: {missing:?}");
        assert_eq!(connector.create(&uses[0]).await.unwrap(), Presence::Created, "{kind}");
        assert_eq!(connector.create(&uses[0]).await.unwrap(), Presence::Exists, "{kind}");
        for of in uses {
            let found = needed.here().online(&of).await;
            assert_eq!(found, [], "{kind}: {}", of.place());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_action_on_a_stream_that_is_denied_is_named() {
    let (needed, source, sink) = (stream(), source(), sink(WriteMode::Append));
    needed.here().create(&Use::Source(&source)).await.unwrap();
    let operations = ["DescribeStreamSummary", "ListShards", "GetShardIterator", "GetRecords", "PutRecords"];
    let denied = needed.denied(&Use::Source(&source), &operations).await;
    let expected = operations[..4].iter().map(|o| (format!("kinesis:{o}"), true));
    assert_eq!(denied, expected.collect::<Vec<_>>());
    // Who writes need not be allowed to look.
    assert_eq!(needed.denied(&Use::Sink(&sink), &operations).await, [("kinesis:PutRecords".to_owned(), true)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_action_of_fan_out_that_is_denied_is_named() {
    let (mut needed, source) = (stream(), source());
    needed.service = services::ministack();
    needed.options = json!({ "stream": name("needed"), "read": "fan_out", "consumer": "c1" });
    let of = Use::Source(&source);
    needed.here().create(&of).await.unwrap();
    // A consumer that is not there yet is no obstacle: the pipeline registers it.
    assert_eq!(needed.here().online(&of).await, []);
    let named = needed.denied(&of, &["ListShards", "DescribeStreamConsumer"]).await;
    assert_eq!(
        named.iter().map(|(a, _)| a.as_str()).collect::<Vec<_>>(),
        ["kinesis:ListShards", "kinesis:DescribeStreamConsumer"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn each_action_on_a_bucket_that_is_denied_is_named() {
    let (needed, source, sink) = (bucket(), source(), sink(WriteMode::Append));
    needed.here().create(&Use::Source(&source)).await.unwrap();
    let operations =
        ["HeadBucket", "ListObjectsV2", "ListMultipartUploads", "GetObject", "PutObject", "AbortMultipartUpload"];
    let actions = async |of: &Use<'_>| {
        let denied = needed.denied(of, &operations).await;
        denied.into_iter().map(|(action, fatal)| (action.replace("s3:", ""), fatal)).collect::<Vec<_>>()
    };
    let all = |names: &[&str]| names.iter().map(|n| ((*n).to_owned(), true)).collect::<Vec<_>>();
    assert_eq!(actions(&Use::Source(&source)).await, all(&["ListBucket", "ListBucket", "GetObject"]));
    let writes =
        ["ListBucket", "ListBucket", "ListBucketMultipartUploads", "GetObject", "PutObject", "AbortMultipartUpload"];
    assert_eq!(actions(&Use::Sink(&sink)).await, all(&writes));
    assert_eq!(actions(&Use::Checkpoints("p")).await, all(&["ListBucket", "ListBucket", "GetObject", "PutObject"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_action_on_a_queue_that_is_denied_is_named() {
    let (needed, source, sink, letters) = (queue(), source(), sink(WriteMode::Append), letters());
    needed.here().create(&Use::Source(&source)).await.unwrap();
    let operations = ["SendMessageBatch", "ReceiveMessage", "DeleteMessageBatch", "ChangeMessageVisibilityBatch"];
    let actions = async |of: &Use<'_>| {
        let denied = needed.denied(of, &operations).await;
        denied.into_iter().map(|(action, _)| action.replace("sqs:", "")).collect::<Vec<_>>()
    };
    let taking = ["ReceiveMessage", "DeleteMessage", "ChangeMessageVisibility"];
    assert_eq!(actions(&Use::Source(&source)).await, taking);
    assert_eq!(actions(&Use::Sink(&sink)).await, ["SendMessage"]);
    // `replay` takes dead letters out again.
    assert_eq!(actions(&Use::Sink(&letters)).await, [&["SendMessage"], taking.as_slice()].concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bucket_of_large_bodies_is_asked_for_and_made_too() {
    let (mut needed, letters) = (queue(), letters());
    let bucket = name("large");
    needed.options["oversize"] = json!({ "bucket": bucket, "endpoint": services::s3() });
    let of = Use::Sink(&letters);
    let missing = needed.here().online(&of).await;
    assert!(fatal(&missing).iter().any(|m| m.contains(&bucket) && m.contains("does not exist")), "{missing:?}");
    assert_eq!(needed.here().create(&of).await.unwrap(), Presence::Created);
    assert_eq!(needed.here().create(&of).await.unwrap(), Presence::Exists);
    assert_eq!(needed.here().online(&of).await, []);
    let proxy = Proxy::start(services::s3(), 7);
    needed.options["oversize"]["endpoint"] = json!(proxy.url());
    for (operation, told) in [("PutObject", 1), ("ListObjectsV2", 0)] {
        proxy.rule(Rule::on(operation, Fault::refuse(403, "AccessDenied")));
        let found = needed.here().online(&of).await;
        assert_eq!(found.len(), told, "{operation}: {found:?}");
        proxy.heal();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn publishing_and_metrics_that_are_denied_are_named() {
    let (needed, sink) = (topic(), sink(WriteMode::Append));
    let of = Use::Sink(&sink);
    needed.here().create(&of).await.unwrap();
    assert_eq!(needed.denied(&of, &["GetTopicAttributes"]).await, [], "who publishes need not look");
    assert_eq!(needed.denied(&of, &["PublishBatch"]).await, [("sns:Publish".to_owned(), true)]);
    let metrics = Needed { kind: "cloudwatch", service: services::cloudwatch(), options: json!({}) };
    let named = metrics.denied(&Use::Metrics("shop"), &["PutMetricData"]).await;
    assert_eq!(named, [("cloudwatch:PutMetricData".to_owned(), false)], "it runs without metrics, too");
    assert_eq!(fatal(&metrics.here().online(&Use::Metrics("shop")).await), Vec::<&str>::new());
}

/// What a connector needs, without a service.
fn needs(kind: &str, options: Value, of: &Use<'_>) -> Resource {
    connector(kind, "http://127.0.0.1:1", options).resource(of).unwrap()
}

fn grants(resource: &Resource) -> Vec<(String, String)> {
    let grant = |g: &millstream_core::resource::Grant| (g.arns.join(" "), g.actions.join(" "));
    resource.grants.iter().map(grant).collect()
}

#[test]
fn what_is_needed_is_known_without_a_service() {
    let (source, append, overwrite, letters) =
        (source(), sink(WriteMode::Append), sink(WriteMode::Overwrite), letters());
    let grant = |arn: &str, actions: &str| (arn.to_owned(), actions.to_owned());
    let arn = "arn:aws:kinesis:us-east-1:{account}:stream/rides";

    let stream = needs("kinesis", json!({ "stream": "rides" }), &Use::Sink(&append));
    assert_eq!((stream.kind, stream.name.as_str()), ("Kinesis stream", "rides"));
    assert_eq!(grants(&stream), [grant(arn, "kinesis:PutRecords")]);
    let fan_out = json!({ "stream": "rides", "read": "fan_out", "consumer": "c1" });
    let fan_out = needs("kinesis", fan_out, &Use::Source(&source));
    let on_stream = "kinesis:DescribeStreamSummary kinesis:ListShards kinesis:RegisterStreamConsumer";
    let on_consumer = grant(&format!("{arn}/consumer/c1:*"), "kinesis:DescribeStreamConsumer kinesis:SubscribeToShard");
    assert_eq!(grants(&fan_out), [grant(arn, on_stream), on_consumer]);

    let lake = json!({ "bucket": "b", "prefix": "lake", "sse": "kms", "kms_key": "arn:aws:kms:eu-west-1:1:key/x" });
    let files = needs("s3", lake.clone(), &Use::Sink(&append));
    let key = grant("arn:aws:kms:eu-west-1:1:key/x", "kms:GenerateDataKey kms:Decrypt");
    let bucket = grant("arn:aws:s3:::b", "s3:ListBucket s3:ListBucketMultipartUploads");
    let objects = grant("arn:aws:s3:::b/lake/*", "s3:PutObject s3:GetObject s3:AbortMultipartUpload");
    assert_eq!(grants(&files), [objects, bucket, key]);
    assert!(grants(&needs("s3", lake.clone(), &Use::Sink(&overwrite)))[0].1.ends_with("s3:DeleteObject"));
    let read = needs("s3", json!({ "bucket": "b" }), &Use::Source(&source));
    assert_eq!(grants(&read), [grant("arn:aws:s3:::b/*", "s3:GetObject"), grant("arn:aws:s3:::b", "s3:ListBucket")]);

    let url = "https://sqs.eu-west-1.amazonaws.com/123456789012/letters.fifo";
    let queue = json!({ "queue_url": url, "region": null, "oversize": { "bucket": "large" } });
    let queue = needs("sqs", queue, &Use::Sink(&letters));
    assert_eq!(queue.properties, ["FIFO", "large bodies in the S3 bucket large"]);
    let taking = "sqs:SendMessage sqs:ReceiveMessage sqs:DeleteMessage sqs:ChangeMessageVisibility";
    let large = grant("arn:aws:s3:::large/millstream/*", "s3:PutObject s3:GetObject");
    assert_eq!(grants(&queue), [grant("arn:aws:sqs:eu-west-1:123456789012:letters.fifo", taking), large]);

    let topic = json!({ "topic_arn": "arn:aws:sns:eu-west-1:123456789012:alerts" });
    let topic = needs("sns", topic, &Use::Sink(&append));
    assert_eq!(grants(&topic), [grant("arn:aws:sns:eu-west-1:123456789012:alerts", "sns:Publish")]);

    let metrics = needs("cloudwatch", json!({}), &Use::Metrics("shop"));
    assert_eq!((metrics.name.as_str(), metrics.grants[0].arns.join(" ").as_str()), ("Millstream/shop", "*"));
    assert_eq!(
        metrics.grants[0].condition.as_ref().unwrap()["StringEquals"]["cloudwatch:namespace"],
        "Millstream/shop"
    );
}
