//! A plain client of the services, for tests to prepare and to look: another one than that of the connectors.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Method, Request};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

/// An answer of a service.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
    /// The same, of a request that must have succeeded.
    #[must_use]
    #[track_caller]
    pub fn done(self) -> Self {
        assert!((200..300).contains(&self.status), "{}: {}", self.status, self.text());
        self
    }
}

/// Sends one request and waits for its answer.
pub fn ask(method: &str, url: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
    let mut request = Request::builder().method(Method::from_bytes(method.as_bytes()).unwrap()).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(body.into())).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client: Client<HttpConnector, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
        let answer = client.request(request).await.unwrap_or_else(|e| panic!("{method} {url}: {e:?}"));
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap_or_else(|e| panic!("{method} {url}: {e:?}"));
        Answer { status, body: body.to_bytes().to_vec() }
    })
}

/// Whom a request comes from, and for which service it is; no server looks at the signature.
fn credentials(service: &str) -> String {
    let scope = format!("test/20260101/{}/{service}/aws4_request", crate::REGION);
    format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host;x-amz-date, Signature=0")
}

/// Calls an operation of a service that speaks JSON, by its full name such as `Kinesis_20131202.PutRecords`.
///
/// # Panics
/// Where it is refused.
#[track_caller]
pub fn call(url: &str, operation: &str, request: &Value) -> Value {
    let answer = try_call(url, operation, request);
    assert!(answer.status == 200, "{operation} {request}: {}: {}", answer.status, answer.text());
    serde_json::from_slice(&answer.body).unwrap_or(Value::Null)
}

/// The same, whatever the answer.
pub fn try_call(url: &str, operation: &str, request: &Value) -> Answer {
    let service = match operation.split(['_', '.']).next() {
        Some("Kinesis") => "kinesis",
        Some("DynamoDB") => "dynamodb",
        _ => "sqs",
    };
    let kind = if service == "kinesis" { "application/x-amz-json-1.1" } else { "application/x-amz-json-1.0" };
    let headers = [
        ("x-amz-target", operation),
        ("content-type", kind),
        ("x-amz-date", "20260101T000000Z"),
        ("authorization", &credentials(service)),
    ];
    ask("POST", url, &headers, request.to_string())
}

/// Calls an action of a service that speaks forms and XML: the answer's text.
///
/// # Panics
/// Where it is refused.
#[track_caller]
pub fn action(url: &str, service: &str, fields: &[(&str, &str)]) -> String {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.extend_pairs(fields);
    let headers = [
        ("content-type", "application/x-www-form-urlencoded"),
        ("x-amz-date", "20260101T000000Z"),
        ("authorization", &credentials(service)),
    ];
    let answer = ask("POST", url, &headers, form.finish());
    assert!(answer.status == 200, "{fields:?}: {}: {}", answer.status, answer.text());
    answer.text()
}

/// The texts of all elements of this name.
pub fn elements(xml: &str, name: &str) -> Vec<String> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let texts = xml.split(&open).skip(1).filter_map(|rest| rest.split_once(&close));
    texts
        .map(|(text, _)| text.replace("&quot;", "\"").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
        .collect()
}
