//! Kinesis: shards and what follows what, exact resume, aggregates, the sink, and what goes wrong.

mod fan_out;
mod faults;
mod reading;
mod reshard;
mod sink;

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{PutRecordsRequestEntry, StreamStatus};
use millstream_core::connector::{Connector, SourceOptions};
use millstream_core::schema::{ExtraFields, SourceSchema};
use millstream_core::source::{Read, SplitReader, SplitSource};
use millstream_services as services;
use serde_json::{Value, json};

use crate::credentials;

/// The connector over `stream` at `endpoint`, with more options.
fn connector(endpoint: &str, stream: &str, more: Value) -> Arc<dyn Connector> {
    credentials::set();
    let mut options = json!({ "stream": stream, "endpoint": endpoint, "region": services::REGION });
    options.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let kind = millstream_aws::kinds().into_iter().find(|k| k.name == "kinesis").unwrap();
    (kind.parse)(options).unwrap()
}

/// A source that asks often: the servers allow it.
async fn source(endpoint: &str, stream: &str, more: Value) -> Box<dyn SplitSource> {
    let mut options = json!({ "poll_interval": "10ms" });
    options.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let schema = Arc::new(SourceSchema { columns: Vec::new(), extra: ExtraFields::Ignore });
    let of = SourceOptions { id: "s".into(), pipeline: "p".into(), schema };
    connector(endpoint, stream, options).source(&of).await.unwrap()
}

/// A client of its own, to look at what is really there.
fn client(endpoint: &str) -> Client {
    let config = aws_sdk_kinesis::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .credentials_provider(Credentials::new("test", "test", None, None, "tests"))
        .region(Region::new(services::REGION))
        .endpoint_url(endpoint)
        .http_client(
            aws_smithy_http_client::Builder::new()
                .tls_provider(aws_smithy_http_client::tls::Provider::Rustls(
                    aws_smithy_http_client::tls::rustls_provider::CryptoMode::Ring,
                ))
                .build_https(),
        );
    Client::from_conf(config.build())
}

/// Waits until the stream takes calls again.
async fn active(client: &Client, stream: &str) {
    let wait = async {
        loop {
            let summary = client.describe_stream_summary().stream_name(stream).send().await.unwrap();
            if *summary.stream_description_summary().unwrap().stream_status() == StreamStatus::Active {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.unwrap();
}

/// A stream that no other test has.
async fn stream(client: &Client, of: &str, shards: i32) -> String {
    let name = services::name(of);
    client.create_stream().stream_name(&name).shard_count(shards).send().await.unwrap();
    active(client, &name).await;
    name
}

/// Puts records of these keys and texts.
async fn put(client: &Client, stream: &str, records: &[(String, String)]) {
    for chunk in records.chunks(100) {
        let entries = chunk.iter().map(|(key, data)| {
            let entry = PutRecordsRequestEntry::builder().partition_key(key).data(Blob::new(data.as_bytes()));
            entry.build().unwrap()
        });
        let put = client.put_records().stream_name(stream).set_records(Some(entries.collect()));
        assert_eq!(put.send().await.unwrap().failed_record_count(), Some(0));
    }
}

/// Numbered records of `keys` keys.
fn numbered(from: usize, to: usize, keys: usize) -> Vec<(String, String)> {
    (from..to).map(|i| (format!("key-{}", i % keys), format!(r#"{{"n":{i}}}"#))).collect()
}

/// Texts of records up to where the shard is caught up or ends (then `true`).
async fn read(reader: &mut dyn SplitReader) -> (Vec<String>, bool) {
    let mut texts = Vec::new();
    let work = async {
        loop {
            match reader.next().await.unwrap() {
                Read::Records { records, .. } => {
                    let text = |i: usize| String::from_utf8(records.bytes(i).to_vec()).unwrap();
                    texts.extend((0..records.records.len()).map(text));
                }
                Read::Idle => return false,
                Read::Behind(_) => {}
                Read::Finished => return true,
            }
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(60), work).await.unwrap();
    (texts, ended)
}

fn sorted(mut texts: Vec<String>) -> Vec<String> {
    texts.sort();
    texts
}

fn texts(records: &[(String, String)]) -> Vec<String> {
    sorted(records.iter().map(|(_, data)| data.clone()).collect())
}
