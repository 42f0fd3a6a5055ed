//! Which operation of which service a request asks for.

use hyper::http::request::Parts;

/// How a service speaks, and so how its errors look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// JSON with `X-Amz-Target`: Kinesis, DynamoDB, SQS.
    Json,
    /// A form with `Action`, XML back: SNS, CloudWatch.
    Query,
    /// CBOR under `/service/NAME/operation/NAME`: CloudWatch.
    Cbor,
    /// Methods and paths, XML back: S3.
    Rest,
}

/// An operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Operation {
    pub(crate) protocol: Protocol,
    /// What stands before the operation in `X-Amz-Target`; empty elsewhere.
    pub(crate) target: String,
    /// Its name as the service's model has it: `PutRecords`.
    pub(crate) name: String,
}

impl Operation {
    /// The operation of a request.
    pub(crate) fn of(head: &Parts, body: &[u8]) -> Self {
        let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
        if let Some((target, name)) = header("x-amz-target").and_then(|value| value.rsplit_once('.')) {
            return Self { protocol: Protocol::Json, target: target.to_owned(), name: name.to_owned() };
        }
        if let Some((_, name)) = head.uri.path().rsplit_once("/operation/") {
            return Self { protocol: Protocol::Cbor, target: String::new(), name: name.to_owned() };
        }
        let form = header("content-type").is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
        let action = form_urlencoded::parse(body).find(|(key, _)| form && key == "Action");
        if let Some((_, name)) = action {
            return Self { protocol: Protocol::Query, target: String::new(), name: name.into_owned() };
        }
        Self { protocol: Protocol::Rest, target: String::new(), name: of_s3(head).to_owned() }
    }
}

/// S3 names operations by method, by whether there is a key, and by the query.
fn of_s3(head: &Parts) -> &'static str {
    let has = |name: &str| {
        let query = head.uri.query().unwrap_or_default();
        form_urlencoded::parse(query.as_bytes()).any(|(key, _)| key == name)
    };
    let key = head.uri.path().trim_start_matches('/').split_once('/').is_some_and(|(_, key)| !key.is_empty());
    match (head.method.as_str(), key) {
        ("PUT", true) if has("uploadId") => "UploadPart",
        ("PUT", true) if head.headers.contains_key("x-amz-copy-source") => "CopyObject",
        ("PUT", true) => "PutObject",
        ("PUT", false) => "CreateBucket",
        ("POST", true) if has("uploads") => "CreateMultipartUpload",
        ("POST", true) if has("uploadId") => "CompleteMultipartUpload",
        ("POST", false) if has("delete") => "DeleteObjects",
        ("GET", true) if has("uploadId") => "ListParts",
        ("GET", true) => "GetObject",
        ("GET", false) if has("uploads") => "ListMultipartUploads",
        ("GET", false) if has("list-type") => "ListObjectsV2",
        ("GET", false) if head.uri.path() == "/" => "ListBuckets",
        ("HEAD", true) => "HeadObject",
        ("HEAD", false) => "HeadBucket",
        ("DELETE", true) if has("uploadId") => "AbortMultipartUpload",
        ("DELETE", true) => "DeleteObject",
        ("DELETE", false) => "DeleteBucket",
        _ => "Unknown",
    }
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    fn of(request: hyper::http::request::Builder, body: &str) -> Operation {
        Operation::of(&request.body(()).unwrap().into_parts().0, body.as_bytes())
    }

    #[test]
    fn each_protocol_names_its_operation() {
        let put = of(Request::post("/").header("X-Amz-Target", "Kinesis_20131202.PutRecords"), "{}");
        assert_eq!((put.protocol, put.name.as_str()), (Protocol::Json, "PutRecords"));
        assert_eq!(put.target, "Kinesis_20131202");
        let form = Request::post("/").header("Content-Type", "application/x-www-form-urlencoded");
        let publish = of(form, "Version=2010-03-31&Action=PublishBatch");
        assert_eq!((publish.protocol, publish.name.as_str()), (Protocol::Query, "PublishBatch"));
        let metric = of(Request::post("/service/GraniteServiceVersion20100801/operation/PutMetricData"), "");
        assert_eq!((metric.protocol, metric.name.as_str()), (Protocol::Cbor, "PutMetricData"));
    }

    #[test]
    fn s3_names_by_method_path_and_query() {
        for (method, path, name) in [
            ("PUT", "/b/a/key", "PutObject"),
            ("PUT", "/b/key?partNumber=1&uploadId=u", "UploadPart"),
            ("PUT", "/b", "CreateBucket"),
            ("POST", "/b/key?uploads", "CreateMultipartUpload"),
            ("POST", "/b/key?uploadId=u", "CompleteMultipartUpload"),
            ("DELETE", "/b/key?uploadId=u", "AbortMultipartUpload"),
            ("GET", "/b/key", "GetObject"),
            ("GET", "/b/?list-type=2&prefix=x", "ListObjectsV2"),
            ("GET", "/b?uploads", "ListMultipartUploads"),
            ("HEAD", "/b/key", "HeadObject"),
            ("POST", "/b/?delete", "DeleteObjects"),
        ] {
            let operation = of(Request::builder().method(method).uri(path), "");
            assert_eq!((operation.protocol, operation.name.as_str()), (Protocol::Rest, name), "{method} {path}");
        }
    }
}
