//! The calls of S3 that this connector makes, in its terms: conditions that do not hold are values, not errors, and
//! what only reads is tried several times.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::Builder;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::ServerSideEncryption;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_types::timeout::TimeoutConfig;
use bytes::Bytes;
use millstream_core::{Error, ErrorKind, EventTime, Result};
use tokio::sync::OnceCell;

use super::config::{Encryption, S3Config};
use crate::access::Access;
use crate::answer::Call;

/// How often a call that only reads is made before its error counts.
const ATTEMPTS: u32 = 5;
/// Before its second attempt; doubles.
const PAUSE: Duration = Duration::from_millis(50);
/// How long a call may take, besides its bytes.
const PATIENCE: Duration = Duration::from_secs(30);
/// The slowest an upload may be: bytes a second.
const SLOWEST: u64 = 128 << 10;

/// A bucket and what the keys in it begin with.
#[derive(Debug)]
pub(super) struct Bucket {
    access: Access,
    client: OnceCell<Client>,
    name: String,
    /// Empty, or ends with a slash.
    root: String,
    sse: Option<ServerSideEncryption>,
    kms_key: Option<String>,
}

/// On what condition an object is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum If {
    /// There is none of its key.
    Absent,
    /// The one that is there has this ETag.
    Is(String),
    /// On none.
    Whatever,
}

impl If {
    /// For the headers `If-None-Match` and `If-Match`.
    pub(super) fn headers(&self) -> (Option<String>, Option<String>) {
        match self {
            Self::Absent => (Some("*".to_owned()), None),
            Self::Is(etag) => (None, Some(etag.clone())),
            Self::Whatever => (None, None),
        }
    }
}

/// What came of writing on a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wrote {
    /// It is written.
    Now,
    /// The condition does not hold; nothing was written.
    Not,
}

/// What stands beside an object.
pub(super) type Metadata = Vec<(String, String)>;

/// What an object is, without its bytes.
#[derive(Debug, Clone)]
pub(super) struct Head {
    pub(super) etag: String,
    pub(super) bytes: u64,
    pub(super) written: EventTime,
    pub(super) metadata: std::collections::HashMap<String, String>,
}

/// An object of a list.
#[derive(Debug, Clone)]
pub(super) struct Listed {
    /// Its key without the root.
    pub(super) name: String,
    pub(super) bytes: u64,
    pub(super) etag: Option<String>,
}

impl Bucket {
    pub(super) fn new(config: &S3Config) -> Self {
        let access = Access::new(config.region.as_deref(), config.endpoint.as_deref(), config.role_arn.as_deref());
        Self {
            access,
            client: OnceCell::new(),
            name: config.bucket.clone(),
            root: config.root(),
            sse: config.sse.map(|sse| match sse {
                Encryption::S3 => ServerSideEncryption::Aes256,
                Encryption::Kms => ServerSideEncryption::AwsKms,
            }),
            kms_key: config.kms_key.clone(),
        }
    }

    /// The client of the bucket's service. Another address than AWS's has buckets in the path: their names are no names
    /// of hosts there.
    pub(super) async fn client(&self) -> Result<&Client> {
        let make = async || -> Result<Client> {
            let config = self.access.config().await?;
            let elsewhere = config.endpoint_url().is_some() || std::env::var_os("AWS_ENDPOINT_URL_S3").is_some();
            Ok(Client::from_conf(Builder::from(config).force_path_style(elsewhere).build()))
        };
        self.client.get_or_try_init(make).await
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }
    /// What all keys begin with.
    pub(super) fn root(&self) -> &str {
        &self.root
    }
    /// The key of an object below the root.
    pub(super) fn key(&self, name: &str) -> String {
        format!("{}{name}", self.root)
    }
    /// An object below the root, for people.
    pub(super) fn url(&self, name: &str) -> String {
        format!("s3://{}/{}{name}", self.name, self.root)
    }
    /// How objects are encrypted: by what, with which key, with a key per bucket.
    pub(super) fn encryption(&self) -> (Option<ServerSideEncryption>, Option<String>, Option<bool>) {
        let per_bucket = (self.sse == Some(ServerSideEncryption::AwsKms)).then_some(true);
        (self.sse.clone(), self.kms_key.clone(), per_bucket)
    }

    /// A failed call, as an error; `operation` is the action that a policy would allow.
    pub(super) fn failed<E>(&self, operation: &'static str, name: &str, error: SdkError<E, HttpResponse>) -> Error
    where
        E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
    {
        let kind = match error.code() {
            // Another write of the key was on its way.
            Some("ConditionalRequestConflict" | "OperationAborted" | "SlowDown") => Some(ErrorKind::Unavailable),
            // Also in the body of an answer with the status 200.
            Some("InternalError" | "RequestTimeout") => Some(ErrorKind::Indeterminate),
            // Half of an answer, or none.
            None if status(&error).is_some_and(|status| status < 300) => Some(ErrorKind::Indeterminate),
            _ => None,
        };
        let error = Call { service: "s3", operation, on: &self.url(name) }.error(error);
        match kind {
            Some(kind) => Error::new(kind, error.to_string()),
            None => error,
        }
    }

    /// Writes an object on a condition.
    pub(super) async fn put(&self, name: &str, bytes: Bytes, condition: &If, metadata: &Metadata) -> Result<Wrote> {
        let (none_match, is_match) = condition.headers();
        let (sse, key, per_bucket) = self.encryption();
        let timeout = upload_timeout(bytes.len() as u64);
        let call = self
            .client()
            .await?
            .put_object()
            .bucket(&self.name)
            .key(self.key(name))
            .set_if_none_match(none_match)
            .set_if_match(is_match)
            .set_metadata(Some(metadata.iter().cloned().collect()))
            .set_server_side_encryption(sse)
            .set_ssekms_key_id(key)
            .set_bucket_key_enabled(per_bucket)
            .body(ByteStream::from(bytes));
        match call.customize().config_override(timeout).send().await {
            Ok(_) => Ok(Wrote::Now),
            Err(e) if unmet(&e) => Ok(Wrote::Not),
            Err(e) => Err(self.failed("PutObject", name, e)),
        }
    }

    /// What an object is; `None` where there is none.
    pub(super) async fn head(&self, name: &str) -> Result<Option<Head>> {
        patiently(|| async {
            let call = self.client().await?.head_object().bucket(&self.name).key(self.key(name));
            match call.send().await {
                Ok(found) => Ok(Some(Head {
                    bytes: found.content_length.and_then(|n| u64::try_from(n).ok()).unwrap_or(0),
                    written: instant(found.last_modified.as_ref()),
                    etag: found.e_tag.unwrap_or_default(),
                    metadata: found.metadata.unwrap_or_default(),
                })),
                Err(e) if absent(&e) => Ok(None),
                Err(e) => Err(self.failed("GetObject", name, e)),
            }
        })
        .await
    }

    /// An object or a range of its bytes, as a stream; `None` where there is none. With `etag`, only while it has that.
    pub(super) async fn stream(
        &self,
        name: &str,
        range: Option<Range<u64>>,
        etag: Option<&str>,
    ) -> Result<Option<GetObjectOutput>> {
        patiently(|| self.stream_once(name, range.clone(), etag)).await
    }

    async fn stream_once(
        &self,
        name: &str,
        range: Option<Range<u64>>,
        etag: Option<&str>,
    ) -> Result<Option<GetObjectOutput>> {
        let range = range.map(|range| match range.end {
            u64::MAX => format!("bytes={}-", range.start),
            end => format!("bytes={}-{}", range.start, end.saturating_sub(1)),
        });
        let call = self.client().await?.get_object().bucket(&self.name).key(self.key(name));
        match call.set_range(range).set_if_match(etag.map(str::to_owned)).send().await {
            Ok(found) => Ok(Some(found)),
            Err(e) if absent(&e) => Ok(None),
            // The range begins at the object's end.
            Err(e) if e.code() == Some("InvalidRange") || status(&e) == Some(416) => {
                Ok(Some(GetObjectOutput::builder().body(ByteStream::from_static(b"")).build()))
            }
            Err(e) if unmet(&e) => Err(Error::environment(format!(
                "`{}` has changed while it was read: start again when nobody writes it any more",
                self.url(name)
            ))),
            Err(e) => Err(self.failed("GetObject", name, e)),
        }
    }

    /// The bytes of an object, or of a range of it; `None` where there is none.
    pub(super) async fn get(&self, name: &str, range: Option<Range<u64>>, etag: Option<&str>) -> Result<Option<Bytes>> {
        let range = &range;
        patiently(|| async {
            let Some(found) = self.stream_once(name, range.clone(), etag).await? else { return Ok(None) };
            Ok(Some(self.collect(name, found.body).await?))
        })
        .await
    }

    /// The bytes of an object and its ETag; `None` where there is none.
    pub(super) async fn get_with_etag(&self, name: &str) -> Result<Option<(Bytes, String)>> {
        patiently(|| async {
            let Some(found) = self.stream_once(name, None, None).await? else { return Ok(None) };
            let etag = found.e_tag.unwrap_or_default();
            Ok(Some((self.collect(name, found.body).await?, etag)))
        })
        .await
    }

    async fn collect(&self, name: &str, body: ByteStream) -> Result<Bytes> {
        let collected = body.collect().await.map_err(|e| self.broken(name).caused_by(e))?;
        Ok(collected.into_bytes())
    }

    /// The bytes of an answer stopped coming.
    pub(super) fn broken(&self, name: &str) -> Error {
        Error::unavailable(format!("the answer with `{}` broke off", self.url(name)))
    }

    /// The objects below the root whose names begin with `prefix`, by name.
    pub(super) async fn list(&self, prefix: &str) -> Result<Vec<Listed>> {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = patiently(|| async {
                let call = self.client().await?.list_objects_v2().bucket(&self.name).prefix(self.key(prefix));
                let page = call.set_continuation_token(after.clone()).send().await;
                page.map_err(|e| self.failed("ListBucket", prefix, e))
            })
            .await?;
            for object in page.contents.unwrap_or_default() {
                let name = object.key.as_deref().and_then(|key| key.strip_prefix(&self.root)).map(str::to_owned);
                if let Some(name) = name {
                    let bytes = u64::try_from(object.size.unwrap_or(0)).unwrap_or(0);
                    found.push(Listed { name, bytes, etag: object.e_tag });
                }
            }
            after = page.next_continuation_token;
            if after.is_none() || page.is_truncated == Some(false) {
                break;
            }
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        found.dedup_by(|a, b| a.name == b.name);
        Ok(found)
    }

    /// Deletes an object; one that is not there is deleted already.
    pub(super) async fn delete(&self, name: &str) -> Result<()> {
        patiently(|| async {
            let call = self.client().await?.delete_object().bucket(&self.name).key(self.key(name));
            match call.send().await {
                Ok(_) => Ok(()),
                Err(e) if absent(&e) => Ok(()),
                Err(e) => Err(self.failed("DeleteObject", name, e)),
            }
        })
        .await
    }
}

/// Time for an upload of so many bytes.
pub(super) fn upload_timeout(bytes: u64) -> Builder {
    let patience = PATIENCE + Duration::from_secs(bytes / SLOWEST);
    aws_sdk_s3::config::Config::builder()
        .timeout_config(TimeoutConfig::builder().operation_attempt_timeout(patience).build())
}

/// Makes a call that may be made as often as one likes; what does not pass by itself is told at once.
pub(super) async fn patiently<T, F: Future<Output = Result<T>>>(call: impl Fn() -> F) -> Result<T> {
    let (mut attempt, mut pause) = (1, PAUSE);
    loop {
        let error = match call().await {
            Err(e) if matches!(e.kind(), ErrorKind::Unavailable | ErrorKind::Indeterminate) => e,
            done => return done,
        };
        if attempt >= ATTEMPTS {
            // Whether it happened does not matter: it changes nothing.
            return Err(Error::new(ErrorKind::Unavailable, error.to_string()));
        }
        attempt += 1;
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
}

fn status<E>(error: &SdkError<E, HttpResponse>) -> Option<u16> {
    error.raw_response().map(|raw| raw.status().as_u16())
}

/// The condition of a request does not hold.
pub(super) fn unmet<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    error.code() == Some("PreconditionFailed") || status(error) == Some(412)
}

/// There is no such object (a bucket that is not there is another matter).
fn absent<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    match error.code() {
        Some(code) => matches!(code, "NoSuchKey" | "NotFound"),
        None => status(error) == Some(404),
    }
}

/// A time of the service as an instant of the engine.
pub(super) fn instant(time: Option<&aws_sdk_s3::primitives::DateTime>) -> EventTime {
    let micros = time.map_or(0, |t| t.as_nanos() / 1_000);
    EventTime(i64::try_from(micros).unwrap_or(i64::MAX))
}

/// A bucket that tasks and threads share.
pub(super) type Shared = Arc<Bucket>;
