//! Bodies that are too large for a message, kept in S3 in the form of the SQS Extended Client Libraries.

use std::sync::Arc;

use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use millstream_core::sink::Outcome;
use millstream_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

use super::config::SqsConfig;
use super::outgoing::{self, LIMIT};
use crate::access::Access;
use crate::answer::Call;
use crate::post::{Outgoing, may_pass};

/// What a pointer's list begins with; the second is the older name.
const POINTERS: [&str; 2] =
    ["software.amazon.payloadoffloading.PayloadS3Pointer", "com.amazon.sqs.javamessaging.MessageS3Pointer"];
/// The attribute that tells a pointer from a body, with the body's size.
pub(crate) const SIZE: &str = "ExtendedPayloadSize";
/// Environment variables that name another address of S3.
const ENDPOINTS: [&str; 2] = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"];

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pointer {
    #[serde(rename = "s3BucketName")]
    bucket: String,
    #[serde(rename = "s3Key")]
    key: String,
}

impl Pointer {
    /// The message's body in place of what it points to.
    pub(crate) fn body(&self) -> String {
        let [name, _] = POINTERS;
        serde_json::json!([name, self]).to_string()
    }
    /// The pointer that a message's body is, if it is one.
    pub(crate) fn of(body: &str) -> Option<Self> {
        if !POINTERS.iter().any(|name| body.contains(name)) {
            return None;
        }
        let (name, pointer): (String, Self) = serde_json::from_str(body).ok()?;
        POINTERS.contains(&name.as_str()).then_some(pointer)
    }
}

/// Whether a message can be sent.
#[derive(Debug)]
pub(crate) enum Fitted {
    Fits(Outgoing),
    Not(Outcome),
}

/// Where large bodies are kept.
#[derive(Debug, Clone)]
pub(crate) struct Payloads {
    access: Arc<Access>,
    bucket: Option<String>,
    prefix: String,
    client: Arc<OnceCell<Client>>,
}

impl Payloads {
    pub(crate) fn new(config: &SqsConfig) -> Self {
        let oversize = config.oversize.as_ref();
        let region = oversize.and_then(|o| o.region.as_deref()).or(config.region.as_deref());
        let endpoint = oversize.and_then(|o| o.endpoint.as_deref());
        Self {
            access: Arc::new(Access::new(region, endpoint, config.role_arn.as_deref())),
            bucket: oversize.map(|o| o.bucket.trim().to_owned()),
            prefix: oversize.map(|o| o.prefix().to_owned()).unwrap_or_default(),
            client: Arc::default(),
        }
    }

    async fn client(&self) -> Result<&Client> {
        let made = self.client.get_or_try_init(|| async {
            let config = self.access.config().await?;
            // Local servers have no names of buckets in their addresses.
            let local =
                config.endpoint_url().is_some() || ENDPOINTS.iter().any(|name| std::env::var_os(name).is_some());
            let config = aws_sdk_s3::config::Builder::from(config).force_path_style(local).build();
            Ok::<_, Error>(Client::from_conf(config))
        });
        made.await
    }

    /// Whether there is a place for large bodies.
    pub(crate) fn has_place(&self) -> bool {
        self.bucket.is_some()
    }

    /// Keeps a body under a name of its own; again is safe.
    ///
    /// # Errors
    /// As [`Call::error`].
    pub(crate) async fn put(&self, name: &str, body: &str) -> Result<Pointer> {
        let bucket = self.bucket.clone().ok_or_else(|| Error::bug("there is no bucket for large bodies"))?;
        let key = format!("{}{name}", self.prefix);
        let on = format!("bucket {bucket}");
        let body = ByteStream::from(body.as_bytes().to_vec());
        let put = self.client().await?.put_object().bucket(&bucket).key(&key).body(body).send().await;
        put.map_err(|e| Call { service: "s3", operation: "PutObject", on: &on }.error(e))?;
        Ok(Pointer { bucket, key })
    }

    /// A message that fits a call; the body of one that does not goes elsewhere, into an object in `folder`.
    ///
    /// # Errors
    /// What a person must fix.
    pub(crate) async fn fitted(&self, mut message: Outgoing, folder: &str) -> Result<Fitted> {
        let bytes = message.bytes();
        if bytes <= LIMIT {
            return Ok(Fitted::Fits(message));
        }
        if !self.has_place() {
            return Ok(Fitted::Not(Outcome::Refused(format!(
                "the message has {bytes} bytes, and SQS takes {LIMIT}: name a bucket for large ones with `oversize`"
            ))));
        }
        match self.put(&format!("{folder}/{}.json", message.id), &message.body).await {
            Ok(pointer) => {
                outgoing::pointing(&mut message, pointer.body());
                Ok(match message.bytes() {
                    small if small <= LIMIT => Fitted::Fits(message),
                    large => Fitted::Not(Outcome::Refused(format!(
                        "the attributes alone have {large} bytes, and SQS takes {LIMIT}"
                    ))),
                })
            }
            Err(e) if may_pass(&e) => Ok(Fitted::Not(Outcome::Retry(e.to_string()))),
            Err(e) => Err(e),
        }
    }

    /// What a pointer points to; `None` where that is gone.
    ///
    /// # Errors
    /// As [`Call::error`].
    pub(crate) async fn get(&self, pointer: &Pointer) -> Result<Option<String>> {
        let on = format!("object {} in bucket {}", pointer.key, pointer.bucket);
        let call = Call { service: "s3", operation: "GetObject", on: &on };
        let found = self.client().await?.get_object().bucket(&pointer.bucket).key(&pointer.key).send().await;
        let found = match found {
            Ok(found) => found,
            Err(e) if e.as_service_error().is_some_and(|e| e.is_no_such_key()) => return Ok(None),
            Err(e) => return Err(call.error(e)),
        };
        let bytes = found
            .body
            .collect()
            .await
            .map_err(|e| Error::new(ErrorKind::Unavailable, format!("GetObject on {on} broke off")).caused_by(e))?;
        let text = String::from_utf8(bytes.to_vec());
        text.map(Some).map_err(|e| Error::environment(format!("{on} is no text")).caused_by(e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_are_those_of_the_extended_clients() {
        let pointer = Pointer { bucket: "b".into(), key: "millstream/x.json".into() };
        let body = pointer.body();
        assert_eq!(
            body,
            r#"["software.amazon.payloadoffloading.PayloadS3Pointer",{"s3BucketName":"b","s3Key":"millstream/x.json"}]"#
        );
        assert_eq!(Pointer::of(&body), Some(pointer.clone()));
        assert_eq!(Pointer::of(&body.replace(POINTERS[0], POINTERS[1])), Some(pointer));
        assert_eq!(Pointer::of(r#"{"order":1}"#), None);
        assert_eq!(Pointer::of(&format!("{{\"text\":\"{}\"}}", POINTERS[0])), None);
    }
}
