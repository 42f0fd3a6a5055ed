//! `s3` against a local object store.

mod append;
mod checkpoints;
mod encryption;
mod faults;
mod overwrite;
mod source;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{Schema, SchemaRef};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_s3::primitives::ByteStream;
use millstream_core::Batch;
use millstream_core::connector::Connector;
use millstream_core::schema::ColumnType;
use millstream_core::sink::{Sink, SinkOptions};
use millstream_local::conformance;
use millstream_services as services;
use serde_json::{Value, json};

use crate::credentials;

/// The bucket of all tests: a server has room for some hundreds only.
const BUCKET: &str = "millstream-tests";

/// A part of a bucket of its own for each test.
pub(crate) struct Bucket {
    /// What all keys begin with, without a slash behind it.
    root: String,
    pub(crate) client: Client,
}

impl Bucket {
    pub(crate) async fn new(of: &str) -> Self {
        credentials::set();
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .endpoint_url(services::s3())
            .region(Region::new(services::REGION))
            .credentials_provider(Credentials::new("test", "test", None, None, "test"))
            .force_path_style(true)
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .build();
        let client = Client::from_conf(config);
        // Several tests make it at once, over which the server stumbles.
        let mut attempts = 0;
        while client.head_bucket().bucket(BUCKET).send().await.is_err() {
            let made = client.create_bucket().bucket(BUCKET).send().await;
            assert!(made.is_ok() || attempts < 100, "{made:?}");
            attempts += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Self { root: services::name(of), client }
    }

    /// Where it is.
    pub(crate) fn url(&self) -> String {
        format!("s3://{BUCKET}/{}", self.root)
    }

    /// The connector over it, with more options, at an address of its own where one is given. `prefix` is below it.
    pub(crate) fn connector(&self, more: Value) -> Arc<dyn Connector> {
        let mut options = json!({ "bucket": BUCKET, "endpoint": services::s3() });
        for (name, value) in more.as_object().unwrap() {
            options[name] = value.clone();
        }
        let below = options["prefix"].as_str().unwrap_or_default().trim_start_matches('/').to_owned();
        options["prefix"] = json!(format!("{}/{below}", self.root));
        let kind = millstream_aws::kinds().into_iter().find(|kind| kind.name == "s3").unwrap();
        (kind.parse)(options).unwrap()
    }

    fn key(&self, key: &str) -> String {
        format!("{}/{key}", self.root)
    }

    pub(crate) async fn put(&self, key: &str, bytes: impl Into<Vec<u8>>) {
        let body = ByteStream::from(bytes.into());
        self.client.put_object().bucket(BUCKET).key(self.key(key)).body(body).send().await.unwrap();
    }

    pub(crate) async fn get(&self, key: &str) -> Vec<u8> {
        let found = self.client.get_object().bucket(BUCKET).key(self.key(key)).send().await.unwrap();
        found.body.collect().await.unwrap().to_vec()
    }

    pub(crate) async fn metadata(&self, key: &str) -> HashMap<String, String> {
        let found = self.client.head_object().bucket(BUCKET).key(self.key(key)).send().await.unwrap();
        found.metadata.unwrap_or_default()
    }

    pub(crate) async fn delete(&self, key: &str) {
        self.client.delete_object().bucket(BUCKET).key(self.key(key)).send().await.unwrap();
    }

    pub(crate) async fn abort(&self, key: &str, upload: &str) {
        let abort = self.client.abort_multipart_upload().bucket(BUCKET).key(self.key(key)).upload_id(upload);
        abort.send().await.unwrap();
    }

    /// All objects that are not hidden, with their contents as text.
    pub(crate) async fn objects(&self) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        let listed = self.client.list_objects_v2().bucket(BUCKET).prefix(self.key("")).send().await.unwrap();
        for object in listed.contents() {
            let key = object.key().unwrap()[self.root.len() + 1..].to_owned();
            if !key.starts_with('.') {
                let text = String::from_utf8_lossy(&self.get(&key).await).into_owned();
                found.insert(key, text);
            }
        }
        found
    }

    /// The keys of uploads that are neither completed nor aborted.
    pub(crate) async fn uploads(&self) -> Vec<String> {
        let listed = self.client.list_multipart_uploads().bucket(BUCKET).prefix(self.key("")).send().await.unwrap();
        listed.uploads().iter().map(|upload| upload.key().unwrap()[self.root.len() + 1..].to_owned()).collect()
    }
}

pub(crate) fn columns() -> SchemaRef {
    Arc::new(Schema::new(vec![ColumnType::String.field("k", false), ColumnType::Bigint.field("v", true)]))
}

pub(crate) fn options(id: &str) -> SinkOptions {
    conformance::sink_options(id, &columns())
}

/// Rows of `options`, which has the columns `k` and `v`.
pub(crate) fn rows(options: &SinkOptions, rows: &[(&str, i64)]) -> Batch {
    let keys: StringArray = rows.iter().map(|(k, _)| Some(*k)).collect();
    let values: Int64Array = rows.iter().map(|(_, v)| Some(*v)).collect();
    let rows = RecordBatch::try_new(columns(), vec![Arc::new(keys), Arc::new(values)]).unwrap();
    conformance::batch(options, &rows)
}

/// Rows that are long enough, in bytes of JSON, to need several parts.
pub(crate) fn long_rows(options: &SinkOptions, bytes: usize) -> Batch {
    let line = "{\"k\":\"\",\"v\":1}\n".len();
    let count = bytes / (1_000 + line) + 1;
    let text = "x".repeat(1_000);
    let list: Vec<(&str, i64)> = (0..count).map(|_| (text.as_str(), 1)).collect();
    rows(options, &list)
}

/// A batch id of a sink: which checkpoint, worker and file it is.
pub(crate) fn batch_id(options: &SinkOptions, which: &str) -> String {
    let state = xxhash_rust::xxh3::xxh3_64(options.state.as_bytes()) >> 32;
    format!("{}-{}-{state:08x}-{}-{which}", options.pipeline, options.id, options.run)
}

/// A checkpoint of one sink.
pub(crate) async fn checkpoint(sink: &mut dyn Sink, number: u64) {
    if let Some(staged) = sink.prepare(number, false).await.unwrap().staged {
        sink.commit(number, &staged).await.unwrap();
    }
}

/// How many rows there are.
pub(crate) fn count(batches: &[RecordBatch]) -> usize {
    batches.iter().map(|batch| batch.column(0).len()).sum()
}
