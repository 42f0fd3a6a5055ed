//! Errors as the services say them.

use bytes::Bytes;
use hyper::Response;
use serde_json::json;

use crate::proxy::operation::{Operation, Protocol};

/// The error a service gives for too many requests: HTTP status, code, message.
fn throttled(operation: &Operation) -> (u16, &'static str, &'static str) {
    match (operation.protocol, operation.target.split('_').next().unwrap_or_default()) {
        (Protocol::Json, "Kinesis") => match operation.name.as_str() {
            "GetRecords" | "PutRecord" | "PutRecords" | "GetShardIterator" => {
                (400, "ProvisionedThroughputExceededException", "Rate exceeded for shard")
            }
            _ => (400, "LimitExceededException", "Rate exceeded"),
        },
        (Protocol::Json, "DynamoDB") => match operation.name.as_str() {
            "CreateTable" | "DescribeTable" | "UpdateTable" | "DeleteTable" | "ListTables" => {
                (400, "ThrottlingException", "Rate exceeded")
            }
            _ => (
                400,
                "ProvisionedThroughputExceededException",
                "The level of configured provisioned throughput for the table was exceeded.",
            ),
        },
        (Protocol::Json, "AmazonSQS") => (400, "RequestThrottled", "The request was denied due to request throttling."),
        (Protocol::Json | Protocol::Cbor, _) => (400, "ThrottlingException", "Rate exceeded"),
        (Protocol::Query, _) => (400, "Throttling", "Rate exceeded"),
        (Protocol::Rest, _) => (503, "SlowDown", "Please reduce your request rate."),
    }
}

/// The service's answer to too many requests.
pub(crate) fn throttle(operation: &Operation) -> Response<Bytes> {
    let (status, code, message) = throttled(operation);
    refusal(operation, status, code, message)
}

/// An error in the shape of the operation's service.
pub(crate) fn refusal(operation: &Operation, status: u16, code: &str, message: &str) -> Response<Bytes> {
    let answer = Response::builder().status(status).header("x-amzn-requestid", "fault-proxy");
    let sender = if status < 500 { "Sender" } else { "Receiver" };
    let (kind, body) = match operation.protocol {
        Protocol::Json => {
            let space = match operation.target.as_str() {
                "AmazonSQS" => "com.amazonaws.sqs#",
                target if target.starts_with("DynamoDB") => "com.amazonaws.dynamodb.v20120810#",
                _ => "",
            };
            let kind = if operation.target.starts_with("Kinesis") { "1.1" } else { "1.0" };
            let body = json!({ "__type": format!("{space}{code}"), "message": message });
            (format!("application/x-amz-json-{kind}"), body.to_string().into_bytes())
        }
        Protocol::Query => (
            "text/xml".to_owned(),
            format!(
                "<ErrorResponse><Error><Type>{sender}</Type><Code>{code}</Code><Message>{message}</Message></Error>\
                 <RequestId>fault-proxy</RequestId></ErrorResponse>"
            )
            .into_bytes(),
        ),
        Protocol::Cbor => ("application/cbor".to_owned(), cbor(&[("__type", code), ("message", message)])),
        Protocol::Rest => (
            "application/xml".to_owned(),
            format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>{message}</Message>\
                 <RequestId>fault-proxy</RequestId></Error>"
            )
            .into_bytes(),
        ),
    };
    let mut answer = answer.header("content-type", kind);
    if operation.target == "AmazonSQS" {
        answer = answer.header("x-amzn-query-error", format!("{code};{sender}"));
    }
    if operation.protocol == Protocol::Cbor {
        answer = answer.header("smithy-protocol", "rpc-v2-cbor");
    }
    answer.body(Bytes::from(body)).unwrap()
}

/// A CBOR map of short texts (RFC 8949, major types 5 and 3).
fn cbor(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = vec![0xA0 | u8::try_from(fields.len()).unwrap()];
    for text in fields.iter().flat_map(|(key, value)| [key, value]) {
        bytes.extend([0x78, u8::try_from(text.len()).unwrap()]);
        bytes.extend_from_slice(text.as_bytes());
    }
    bytes
}
