//! What the pipeline needs at the services, made and looked at by a client of its own.

use std::collections::BTreeMap;
use std::io::Read as _;

use flate2::read::MultiGzDecoder;
use millstream_services::client::{action, ask, call, elements};
use millstream_services::{self as services, name};
use serde_json::{Value, json};

use crate::until;

/// The account of the local servers.
const ACCOUNT: &str = "000000000000";

/// A Kinesis stream.
pub(crate) struct Stream {
    pub(crate) name: String,
}

impl Stream {
    pub(crate) fn new(of: &str, shards: u32) -> Self {
        let stream = Self { name: name(of) };
        stream.call("CreateStream", &json!({ "ShardCount": shards }));
        stream.settle();
        stream
    }
    fn call(&self, operation: &str, more: &Value) -> Value {
        let mut request = json!({ "StreamName": self.name });
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        call(services::kinesis(), &format!("Kinesis_20131202.{operation}"), &request)
    }
    fn settle(&self) {
        until("the stream is active", || {
            self.call("DescribeStreamSummary", &json!({}))["StreamDescriptionSummary"]["StreamStatus"] == "ACTIVE"
        });
    }
    /// Shards that take records, in the order of their hash ranges: id, first and last hash.
    fn open(&self) -> Vec<(String, u128, u128)> {
        let shards = self.call("ListShards", &json!({}))["Shards"].as_array().unwrap().clone();
        let open = shards.iter().filter(|s| s["SequenceNumberRange"]["EndingSequenceNumber"].is_null());
        let hash = |shard: &Value, end: &str| shard["HashKeyRange"][end].as_str().unwrap().parse().unwrap();
        let mut open: Vec<(String, u128, u128)> = open
            .map(|s| {
                let id = s["ShardId"].as_str().unwrap().to_owned();
                (id, hash(s, "StartingHashKey"), hash(s, "EndingHashKey"))
            })
            .collect();
        open.sort_by_key(|(_, first, _)| *first);
        open
    }
    /// Splits its first shard in the middle.
    pub(crate) fn split(&self) {
        let (id, first, last) = self.open().remove(0);
        let middle = (first + (last - first) / 2).to_string();
        self.call("SplitShard", &json!({ "ShardToSplit": id, "NewStartingHashKey": middle }));
        self.settle();
    }
    /// Merges its first two shards.
    pub(crate) fn merge(&self) {
        let open = self.open();
        self.call("MergeShards", &json!({ "ShardToMerge": open[0].0, "AdjacentShardToMerge": open[1].0 }));
        self.settle();
    }
}

/// A DynamoDB table whose key is `trip_id`.
pub(crate) struct Table {
    pub(crate) name: String,
}

/// An item without the attributes that are the engine's: numbers and texts as text.
pub(crate) type Item = BTreeMap<String, String>;

impl Table {
    pub(crate) fn new(of: &str) -> Self {
        let table = Self { name: name(of) };
        let attribute = json!([{ "AttributeName": "trip_id", "AttributeType": "S" }]);
        let key = json!([{ "AttributeName": "trip_id", "KeyType": "HASH" }]);
        let request = json!({ "TableName": table.name, "BillingMode": "PAY_PER_REQUEST",
            "AttributeDefinitions": attribute, "KeySchema": key });
        call(services::dynamodb(), "DynamoDB_20120810.CreateTable", &request);
        table
    }
    /// Writes an item as another program would.
    pub(crate) fn put(&self, item: &Value) {
        let request = json!({ "TableName": self.name, "Item": item });
        call(services::dynamodb(), "DynamoDB_20120810.PutItem", &request);
    }
    fn scan(&self, mut each: impl FnMut(&Value)) {
        let mut request = json!({ "TableName": self.name, "ConsistentRead": true });
        loop {
            let page = call(services::dynamodb(), "DynamoDB_20120810.Scan", &request);
            page["Items"].as_array().unwrap().iter().for_each(&mut each);
            match page.get("LastEvaluatedKey") {
                Some(last) if last.is_object() => request["ExclusiveStartKey"] = last.clone(),
                _ => return,
            }
        }
    }
    /// How many items there are.
    pub(crate) fn count(&self) -> usize {
        let mut count = 0;
        self.scan(|_| count += 1);
        count
    }
    /// How many items have a status.
    pub(crate) fn of_status(&self, status: &str) -> usize {
        let mut count = 0;
        self.scan(|item| count += usize::from(item["status"]["S"] == status));
        count
    }
    /// All items by their keys.
    pub(crate) fn items(&self) -> BTreeMap<String, Item> {
        let mut items = BTreeMap::new();
        self.scan(|item| {
            let attributes = item.as_object().unwrap().iter().filter(|(name, _)| !name.starts_with('_'));
            let item: Item = attributes.map(|(name, value)| (name.clone(), of_attribute(value))).collect();
            items.insert(item["trip_id"].clone(), item);
        });
        items
    }
}

/// `{"S": ".."}`, `{"N": ".."}`
fn of_attribute(value: &Value) -> String {
    match (value.get("S"), value.get("N")) {
        (Some(text), _) => text.as_str().unwrap().to_owned(),
        (None, Some(number)) => plain(number.as_str().unwrap()),
        _ => value.to_string(),
    }
}

/// A number as `query` writes it, too: DynamoDB leaves out zeros at the end.
pub(crate) fn plain(number: &str) -> String {
    number.parse::<f64>().map_or_else(|_| number.to_owned(), |n| n.to_string())
}

/// An S3 bucket.
pub(crate) struct Bucket {
    pub(crate) name: String,
}

impl Bucket {
    pub(crate) fn new(of: &str) -> Self {
        let bucket = Self { name: name(of) };
        let _ = ask("PUT", &bucket.url(""), &[], "").done();
        bucket
    }
    fn url(&self, path: &str) -> String {
        format!("{}/{}{path}", services::s3(), self.name)
    }
    /// Every object whose key begins so, by its key.
    pub(crate) fn objects(&self, prefix: &str) -> BTreeMap<String, Vec<u8>> {
        let (mut objects, mut token) = (BTreeMap::new(), None::<String>);
        loop {
            let from = token.map(|token| format!("&continuation-token={token}")).unwrap_or_default();
            let page = ask("GET", &self.url(&format!("?list-type=2&prefix={prefix}{from}")), &[], "").done().text();
            for key in elements(&page, "Key") {
                let object = ask("GET", &self.url(&format!("/{key}")), &[], "").done();
                objects.insert(key, object.body);
            }
            token = elements(&page, "NextContinuationToken").pop();
            if token.is_none() {
                return objects;
            }
        }
    }
    /// The lines of all objects whose keys begin so, and the key of each; `.gz` is unpacked.
    pub(crate) fn lines(&self, prefix: &str) -> Vec<(String, String)> {
        let mut lines = Vec::new();
        for (key, bytes) in self.objects(prefix) {
            let mut text = String::new();
            if key.ends_with(".gz") {
                MultiGzDecoder::new(bytes.as_slice()).read_to_string(&mut text).unwrap();
            } else {
                text = String::from_utf8(bytes).unwrap();
            }
            lines.extend(text.lines().map(|line| (key.clone(), line.to_owned())));
        }
        lines
    }
}

/// An SQS queue.
pub(crate) struct Queue {
    pub(crate) url: String,
}

impl Queue {
    /// The address of one that nobody has made yet.
    pub(crate) fn named(of: &str) -> Self {
        Self { url: format!("{}/{ACCOUNT}/{}", services::sqs(), name(of)) }
    }
    pub(crate) fn new(of: &str) -> Self {
        let made = call(services::sqs(), "AmazonSQS.CreateQueue", &json!({ "QueueName": name(of) }));
        Self { url: made["QueueUrl"].as_str().unwrap().to_owned() }
    }
    fn attribute(&self, name: &str) -> String {
        let request = json!({ "QueueUrl": self.url, "AttributeNames": [name] });
        let answer = call(services::sqs(), "AmazonSQS.GetQueueAttributes", &request);
        answer["Attributes"][name].as_str().unwrap().to_owned()
    }
    /// How many messages wait.
    pub(crate) fn waiting(&self) -> usize {
        self.attribute("ApproximateNumberOfMessages").parse().unwrap()
    }
    /// Takes all messages out.
    pub(crate) fn take(&self) -> Vec<Value> {
        let mut all = Vec::new();
        loop {
            let request = json!({ "QueueUrl": self.url, "MaxNumberOfMessages": 10, "MessageAttributeNames": ["All"] });
            let answer = call(services::sqs(), "AmazonSQS.ReceiveMessage", &request);
            let Some(messages) = answer["Messages"].as_array().filter(|m| !m.is_empty()) else { return all };
            for message in messages {
                let request = json!({ "QueueUrl": self.url, "ReceiptHandle": message["ReceiptHandle"] });
                call(services::sqs(), "AmazonSQS.DeleteMessage", &request);
            }
            all.extend(messages.iter().cloned());
        }
    }
}

/// An SNS topic, and a queue that gets what is published to it.
pub(crate) struct Topic {
    pub(crate) arn: String,
    pub(crate) queue: Queue,
}

impl Topic {
    /// The address of one that nobody has made yet.
    pub(crate) fn named(of: &str) -> Self {
        let arn = format!("arn:aws:sns:{}:{ACCOUNT}:{}", services::REGION, name(of));
        Self { arn, queue: Queue::named(of) }
    }
    pub(crate) fn new(of: &str) -> Self {
        let sns = |fields: &[(&str, &str)]| action(services::sns(), "sns", fields);
        let made = sns(&[("Action", "CreateTopic"), ("Version", "2010-03-31"), ("Name", &name(of))]);
        let arn = elements(&made, "TopicArn").remove(0);
        let queue = Queue::new(of);
        sns(&[
            ("Action", "Subscribe"),
            ("Version", "2010-03-31"),
            ("TopicArn", &arn),
            ("Protocol", "sqs"),
            ("Endpoint", &queue.attribute("QueueArn")),
        ]);
        Self { arn, queue }
    }
    /// Takes all that was published: SNS's envelopes.
    pub(crate) fn take(&self) -> Vec<Value> {
        let messages = self.queue.take();
        messages.iter().map(|m| serde_json::from_str(m["Body"].as_str().unwrap()).unwrap()).collect()
    }
}
