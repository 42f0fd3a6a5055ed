//! The proxy over real HTTP, before a service that notes what gets to it.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body, Frame, Incoming};
use hyper::{Request, Response};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

use super::*;

const KINESIS: &str = "Kinesis_20131202";
const DYNAMODB: &str = "DynamoDB_20120810";
const SQS: &str = "AmazonSQS";

/// One event, and then a stream that stays open.
struct Endless(Option<Bytes>);

impl Body for Endless {
    type Data = Bytes;
    type Error = Infallible;
    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.take().map_or(Poll::Pending, |event| Poll::Ready(Some(Ok(Frame::data(event)))))
    }
}

/// A service and the bodies that got to it.
struct Service {
    url: String,
    got: Arc<Mutex<Vec<String>>>,
}

impl Service {
    /// Answers with what `answer` makes of a request's body.
    async fn start<B>(answer: fn(&str) -> B) -> Self
    where
        B: Body<Data = Bytes, Error = Infallible> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let got = Arc::new(Mutex::new(Vec::new()));
        let noted = got.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let noted = noted.clone();
                let service = service_fn(move |request: Request<Incoming>| {
                    let noted = noted.clone();
                    async move {
                        let body = request.into_body().collect().await.unwrap().to_bytes();
                        let body = String::from_utf8(body.to_vec()).unwrap();
                        let answer = answer(&body);
                        noted.lock().unwrap().push(body);
                        Ok::<_, Infallible>(Response::new(answer))
                    }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { url, got }
    }
    fn got(&self) -> Vec<String> {
        self.got.lock().unwrap().clone()
    }
    fn got_json(&self) -> Vec<Value> {
        self.got().iter().map(|body| serde_json::from_str(body).unwrap()).collect()
    }
}

fn full(text: impl Into<String>) -> Full<Bytes> {
    Full::new(Bytes::from(text.into()))
}

/// Asks for an operation of a JSON service: the status and the body, or how the connection broke.
async fn ask(proxy: &Proxy, target: &str, operation: &str, body: &Value) -> Result<(u16, Value), String> {
    let request = Request::post(proxy.url())
        .header("x-amz-target", format!("{target}.{operation}"))
        .header("content-type", "application/x-amz-json-1.1");
    let (status, body) = send(request.body(full(body.to_string())).unwrap()).await?;
    Ok((status, serde_json::from_str(&body).unwrap_or(Value::String(body))))
}

async fn send(request: Request<Full<Bytes>>) -> Result<(u16, String), String> {
    let client: Client<HttpConnector, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let answer = client.request(request).await.map_err(|e| format!("no answer: {e:?}"))?;
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.map_err(|e| format!("no body: {e:?}"))?.to_bytes();
    Ok((status, String::from_utf8(body.to_vec()).unwrap()))
}

fn seen(operation: &str, fault: Option<Kind>) -> Seen {
    Seen { operation: operation.to_owned(), fault }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_rules_nothing_changes() {
    let service = Service::start(|body| full(format!("[{body}]"))).await;
    let proxy = Proxy::start(&service.url, 1);
    assert_eq!(ask(&proxy, KINESIS, "ListShards", &json!({})).await, Ok((200, json!([{}]))));
    assert_eq!(proxy.seen(), [seen("ListShards", None)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_throttled_request_never_gets_there_and_looks_like_the_services_own() {
    let service = Service::start(|_| full("{}")).await;
    let proxy = Proxy::start(&service.url, 1);
    proxy.rule(Rule::on("*", Fault::Throttle));
    for (target, operation, code) in [
        (KINESIS, "GetRecords", "ProvisionedThroughputExceededException"),
        (KINESIS, "ListShards", "LimitExceededException"),
        (DYNAMODB, "UpdateItem", "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException"),
        (SQS, "SendMessageBatch", "com.amazonaws.sqs#RequestThrottled"),
    ] {
        let (status, body) = ask(&proxy, target, operation, &json!({})).await.unwrap();
        assert_eq!((status, &body["__type"]), (400, &json!(code)));
    }
    let put = Request::put(format!("{}/bucket/key", proxy.url())).body(full("x")).unwrap();
    let (status, body) = send(put).await.unwrap();
    assert_eq!(status, 503);
    assert!(body.contains("<Code>SlowDown</Code>"), "{body}");
    assert_eq!(service.got(), Vec::<String>::new());
    assert_eq!(proxy.faults(Kind::Throttle), 5);
    proxy.heal();
    assert_eq!(ask(&proxy, KINESIS, "GetRecords", &json!({})).await, Ok((200, json!({}))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_was_done_and_a_dropped_request_was_not() {
    let service = Service::start(|_| full("{}")).await;
    let proxy = Proxy::start(&service.url, 1);
    proxy.rule(Rule::on("UpdateItem", Fault::Lose).times(1)).rule(Rule::on("UpdateItem", Fault::Drop).times(1));
    let lost = ask(&proxy, DYNAMODB, "UpdateItem", &json!({ "n": 1 })).await;
    assert!(lost.is_err(), "{lost:?}");
    assert_eq!(service.got_json(), [json!({ "n": 1 })]);
    let dropped = ask(&proxy, DYNAMODB, "UpdateItem", &json!({ "n": 2 })).await;
    assert!(dropped.is_err(), "{dropped:?}");
    assert_eq!(service.got_json(), [json!({ "n": 1 })]);
    assert_eq!(ask(&proxy, DYNAMODB, "UpdateItem", &json!({ "n": 3 })).await, Ok((200, json!({}))));
    assert_eq!(
        proxy.seen(),
        [seen("UpdateItem", Some(Kind::Lose)), seen("UpdateItem", Some(Kind::Drop)), seen("UpdateItem", None)]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_cut_in_the_middle() {
    let service = Service::start(|_| full("x".repeat(1_000))).await;
    let proxy = Proxy::start(&service.url, 1);
    proxy.rule(Rule::on("GetObject", Fault::Cut { after: 400 }).times(1));
    let get = || Request::get(format!("{}/bucket/key", proxy.url())).body(full("")).unwrap();
    let client: Client<HttpConnector, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let answer = client.request(get()).await.unwrap();
    assert_eq!(answer.headers()["content-length"], "1000");
    let (mut body, mut bytes) = (answer.into_body(), 0);
    let end = loop {
        match body.frame().await {
            Some(Ok(frame)) => bytes += frame.into_data().unwrap().len(),
            end => break end,
        }
    };
    assert!(matches!(end, Some(Err(_))), "{end:?}");
    assert_eq!(bytes, 400);
    assert_eq!(send(get()).await.unwrap().1.len(), 1_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_events_ends_in_good_order() {
    let service = Service::start(|_| Endless(Some(Bytes::from("\"event\"")))).await;
    let proxy = Proxy::start(&service.url, 1);
    proxy.rule(Rule::on("SubscribeToShard", Fault::EndStream(Duration::from_millis(200))));
    assert_eq!(ask(&proxy, KINESIS, "SubscribeToShard", &json!({})).await, Ok((200, json!("event"))));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_comes_late_or_is_another() {
    let service = Service::start(|_| full("{}")).await;
    let proxy = Proxy::start(&service.url, 1);
    let late = Duration::from_millis(150);
    let other = Fault::Answer { forward: true, status: 200, body: "{\"Error\":1}".to_owned() };
    proxy
        .rule(Rule::on("GetRecords", Fault::Delay(late)).times(1))
        .rule(Rule::on("GetRecords", Fault::Hold(late)).times(1))
        .rule(Rule::on("GetRecords", Fault::Gateway(502)).times(1))
        .rule(Rule::on("GetRecords", Fault::refuse(400, "ExpiredIteratorException")).times(1))
        .rule(Rule::on("GetRecords", other));
    for got in 1..=2 {
        let began = Instant::now();
        assert_eq!(ask(&proxy, KINESIS, "GetRecords", &json!({})).await, Ok((200, json!({}))));
        assert!(began.elapsed() >= late);
        assert_eq!(service.got().len(), got);
    }
    assert_eq!(ask(&proxy, KINESIS, "GetRecords", &json!({})).await.unwrap().0, 502);
    let expired = ask(&proxy, KINESIS, "GetRecords", &json!({})).await.unwrap();
    assert_eq!((expired.0, &expired.1["__type"]), (400, &json!("ExpiredIteratorException")));
    assert_eq!(service.got().len(), 2);
    assert_eq!(ask(&proxy, KINESIS, "GetRecords", &json!({})).await, Ok((200, json!({ "Error": 1 }))));
    assert_eq!(service.got().len(), 3);
}

/// What Kinesis answers: a sequence number for each record, named after its data.
fn put(body: &str) -> Full<Bytes> {
    let request: Value = serde_json::from_str(body).unwrap();
    let records = request["Records"].as_array().unwrap();
    let done: Vec<Value> = records.iter().map(|r| json!({ "SequenceNumber": r["Data"] })).collect();
    full(json!({ "FailedRecordCount": 0, "Records": done }).to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_records_never_get_there_and_stand_in_their_places() {
    let service = Service::start(put).await;
    let proxy = Proxy::start(&service.url, 3);
    proxy.rule(Rule::on("PutRecords", Fault::Partial { share: 0.5 }).times(1));
    let data = |n: usize| json!({ "Data": format!("r{n}"), "PartitionKey": "k" });
    let all: Vec<Value> = (0..20).map(data).collect();
    let (_, answer) = ask(&proxy, KINESIS, "PutRecords", &json!({ "StreamName": "s", "Records": all })).await.unwrap();
    let answers = answer["Records"].as_array().unwrap();
    assert_eq!(answers.len(), 20);
    let (mut done, mut failed) = (Vec::new(), 0);
    for (n, entry) in answers.iter().enumerate() {
        match entry.get("ErrorCode") {
            Some(code) => {
                assert_eq!(code, "ProvisionedThroughputExceededException");
                failed += 1;
            }
            None => {
                assert_eq!(entry["SequenceNumber"], format!("r{n}"));
                done.push(data(n));
            }
        }
    }
    assert!(failed > 0 && failed < 20, "{failed}");
    assert_eq!(answer["FailedRecordCount"], failed);
    assert_eq!(service.got_json(), [json!({ "StreamName": "s", "Records": done })]);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_every_entry_fails_nothing_is_forwarded() {
    let service = Service::start(|_| full("{}")).await;
    let proxy = Proxy::start(&service.url, 1);
    proxy.rule(Rule::on("*", Fault::Partial { share: 1.0 }));
    let records = json!({ "Records": [{ "Data": "a" }, { "Data": "b" }] });
    let (_, answer) = ask(&proxy, KINESIS, "PutRecords", &records).await.unwrap();
    assert_eq!((&answer["FailedRecordCount"], answer["Records"].as_array().unwrap().len()), (&json!(2), 2));
    let entries = json!({ "Entries": [{ "Id": "1" }, { "Id": "2" }] });
    let (_, answer) = ask(&proxy, SQS, "SendMessageBatch", &entries).await.unwrap();
    assert_eq!((&answer["Successful"], answer["Failed"].as_array().unwrap().len()), (&json!([]), 2));
    assert_eq!(answer["Failed"][1]["Id"], "2");
    let writes = json!({ "RequestItems": { "t": [{ "PutRequest": { "Item": {} } }] } });
    let (_, answer) = ask(&proxy, DYNAMODB, "BatchWriteItem", &writes).await.unwrap();
    assert_eq!(answer["UnprocessedItems"], writes["RequestItems"]);
    assert_eq!(service.got(), Vec::<String>::new());
    assert_eq!(proxy.faults(Kind::Partial), 3);
    // Not a batch: as it is.
    assert_eq!(ask(&proxy, DYNAMODB, "PutItem", &json!({})).await, Ok((200, json!({}))));
    assert_eq!(proxy.seen().last(), Some(&seen("PutItem", None)));
}

#[tokio::test(flavor = "multi_thread")]
async fn dynamodb_says_what_it_has_not_done() {
    let service = Service::start(|_| full(r#"{"UnprocessedItems":{},"Responses":{"t":[]}}"#)).await;
    let proxy = Proxy::start(&service.url, 5);
    proxy.rule(Rule::on("*", Fault::Partial { share: 0.5 }));
    let writes: Vec<Value> =
        (0..10).map(|n| json!({ "DeleteRequest": { "Key": { "id": { "N": n.to_string() } } } })).collect();
    let request = json!({ "RequestItems": { "t": writes } });
    let (_, answer) = ask(&proxy, DYNAMODB, "BatchWriteItem", &request).await.unwrap();
    let (left, done) = (answer["UnprocessedItems"]["t"].clone(), service.got_json()[0]["RequestItems"]["t"].clone());
    let (left, done) = (left.as_array().unwrap(), done.as_array().unwrap());
    assert!(!left.is_empty() && !done.is_empty() && left.len() + done.len() == 10);
    assert!(writes.iter().all(|write| left.contains(write) != done.contains(write)));
    let keys: Vec<Value> = (0..10).map(|n| json!({ "id": { "N": n.to_string() } })).collect();
    let request = json!({ "RequestItems": { "t": { "Keys": keys, "ConsistentRead": true } } });
    let (_, answer) = ask(&proxy, DYNAMODB, "BatchGetItem", &request).await.unwrap();
    let (left, asked) = (&answer["UnprocessedKeys"]["t"], &service.got_json()[1]["RequestItems"]["t"]);
    assert_eq!((&left["ConsistentRead"], &asked["ConsistentRead"]), (&json!(true), &json!(true)));
    assert_eq!(left["Keys"].as_array().unwrap().len() + asked["Keys"].as_array().unwrap().len(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn forms_and_xml_are_taken_apart_too() {
    let service = Service::start(|_| {
        full(
            "<PublishBatchResponse><PublishBatchResult><Successful><member><Id>x</Id></member></Successful><Failed/>\
             </PublishBatchResult></PublishBatchResponse>",
        )
    })
    .await;
    let proxy = Proxy::start(&service.url, 9);
    proxy.rule(Rule::on("*", Fault::Partial { share: 0.5 }));
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("Action", "PublishBatch").append_pair("TopicArn", "arn");
    for n in 1..=8 {
        let member = format!("PublishBatchRequestEntries.member.{n}");
        form.append_pair(&format!("{member}.Id"), &format!("id{n}"));
        form.append_pair(&format!("{member}.Message"), &format!("ä & {n}"));
    }
    let publish = Request::post(proxy.url()).header("content-type", "application/x-www-form-urlencoded");
    let (_, answer) = send(publish.body(full(form.finish())).unwrap()).await.unwrap();
    let got = service.got();
    let done: Vec<(String, String)> = form_urlencoded::parse(got[0].as_bytes()).into_owned().collect();
    let failed = answer.matches("<Code>InternalFailure</Code>").count();
    assert!(failed > 0 && failed < 8 && answer.matches("<Failed").count() == 1, "{answer}");
    assert_eq!(done.len(), 2 + 2 * (8 - failed), "{done:?}");
    assert_eq!(done[2].0, "PublishBatchRequestEntries.member.1.Id");
    for n in 1..=8 {
        let is_done = done.iter().any(|(key, value)| key.ends_with(".Id") && *value == format!("id{n}"));
        let has_failed = answer.contains(&format!("<Id>id{n}</Id><SenderFault>false"));
        assert!(is_done != has_failed, "{n}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_that_are_not_deleted_are_told() {
    let service =
        Service::start(|_| full("<DeleteResult xmlns=\"s3\"><Deleted><Key>k</Key></Deleted></DeleteResult>")).await;
    let proxy = Proxy::start(&service.url, 4);
    proxy.rule(Rule::on("DeleteObjects", Fault::Partial { share: 0.5 }));
    let objects: String = (0..8).map(|n| format!("<Object><Key>k{n}</Key></Object>")).collect();
    let delete = Request::post(format!("{}/bucket/?delete", proxy.url()));
    let (_, answer) = send(delete.body(full(format!("<Delete>{objects}</Delete>"))).unwrap()).await.unwrap();
    let got = service.got().remove(0);
    for n in 0..8 {
        assert!(got.contains(&format!("<Key>k{n}</Key>")) != answer.contains(&format!("<Error><Key>k{n}</Key>")));
    }
    assert!(got.contains("<Object>") && answer.contains("</Error></DeleteResult>"), "{got} {answer}");
}
