//! What is asked of the service when objects are to be encrypted: local servers have no keys, so the requests are read.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use millstream_core::sink::SinkOptions;
use serde_json::{Value, json};

use super::{options, rows};
use crate::credentials;

/// A service that says yes to everything; the heads of its requests.
fn yes() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let heads = Arc::new(Mutex::new(Vec::new()));
    let told = heads.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let (mut head, mut line, mut length) = (String::new(), String::new(), 0);
            while reader.read_line(&mut line).is_ok_and(|n| n > 2) {
                line.make_ascii_lowercase();
                if let Some(n) = line.strip_prefix("content-length:") {
                    length = n.trim().parse().unwrap();
                }
                head.push_str(&line);
                line.clear();
            }
            let _ = reader.take(length).read_to_end(&mut Vec::new());
            let body = match head.contains("?uploads") {
                true => "<InitiateMultipartUploadResult><UploadId>u1</UploadId></InitiateMultipartUploadResult>",
                false if head.starts_with("post") => {
                    "<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>"
                }
                false => "",
            };
            told.lock().unwrap().push(head);
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 200 OK\r\nETag: \"e\"\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            );
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    (url, heads)
}

/// The heads of all requests of a sink with these options that writes one row.
async fn asked(more: Value) -> Vec<String> {
    credentials::set();
    let (url, heads) = yes();
    let mut config = json!({ "bucket": "lake", "endpoint": url });
    for (name, value) in more.as_object().unwrap() {
        config[name] = value.clone();
    }
    let kind = millstream_aws::kinds().into_iter().find(|kind| kind.name == "s3").unwrap();
    let connector = (kind.parse)(config).unwrap();
    let options: SinkOptions = options("s");
    let mut sink = connector.sink(&options).await.unwrap();
    sink.write(&rows(&options, &[("a", 1)])).await.unwrap();
    let staged = sink.prepare(1, false).await.unwrap().staged.unwrap();
    sink.commit(1, &staged).await.unwrap();
    heads.lock().unwrap().clone()
}

#[tokio::test]
async fn every_object_is_asked_to_be_encrypted_as_was_said() {
    for inline in ["0", "64KiB"] {
        let writes = async |sse: Value| {
            let mut more = sse;
            more["inline_size"] = json!(inline);
            let mut heads = asked(more).await;
            // Parts and completion go by what their upload was begun with.
            heads.retain(|head| !head.contains("uploadid="));
            assert_eq!(heads.len(), 1, "{heads:?}");
            heads.remove(0)
        };
        assert!(!writes(json!({})).await.contains("x-amz-server-side-encryption"), "what the bucket says");
        let head = writes(json!({ "sse": "s3" })).await;
        assert!(head.contains("x-amz-server-side-encryption: aes256"), "{head}");
        let head = writes(json!({ "sse": "kms", "kms_key": "alias/lake" })).await;
        for line in ["encryption: aws:kms\r", "-aws-kms-key-id: alias/lake\r", "-bucket-key-enabled: true\r"] {
            assert!(head.contains(line), "{line} {head}");
        }
        let head = writes(json!({ "sse": "kms" })).await;
        assert!(head.contains("encryption: aws:kms\r") && !head.contains("kms-key-id"), "{head}");
    }
}

#[tokio::test]
async fn new_objects_are_written_on_the_condition_that_there_is_none() {
    for inline in ["0", "64KiB"] {
        let heads = asked(json!({ "inline_size": inline })).await;
        let last = heads.last().unwrap();
        assert!(last.contains("if-none-match: *\r"), "{heads:?}");
        assert!(last.contains(" /lake/s/"), "at another address buckets stand in the path: {last}");
    }
}
