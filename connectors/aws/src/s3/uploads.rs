//! Multipart uploads: parts that nobody sees until the upload is completed.

use aws_sdk_s3::error::ProvideErrorMetadata as _;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;
use millstream_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use super::bucket::{Bucket, If, Metadata, patiently, unmet, upload_timeout};

/// A part that was uploaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Part {
    etag: String,
    /// The service wants the checksums of parts back, where it has told them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    crc32: Option<String>,
}

/// An upload whose parts are all there, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Upload {
    pub(super) id: String,
    pub(super) parts: Vec<Part>,
}

/// What came of completing an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Completed {
    /// The object is there.
    Now,
    /// The condition does not hold; the upload is as it was.
    Not,
    /// There is no such upload: it was completed before, or aborted.
    Gone,
}

/// An upload that is not completed.
#[derive(Debug, Clone)]
pub(super) struct Open {
    /// Its key without the root.
    pub(super) name: String,
    pub(super) id: String,
}

impl Bucket {
    /// Begins an upload.
    pub(super) async fn begin_upload(&self, name: &str, metadata: &Metadata) -> Result<String> {
        let (sse, key, per_bucket) = self.encryption();
        let call = self
            .client()
            .await?
            .create_multipart_upload()
            .bucket(self.name())
            .key(self.key(name))
            .checksum_algorithm(ChecksumAlgorithm::Crc32)
            .set_metadata(Some(metadata.iter().cloned().collect()))
            .set_server_side_encryption(sse)
            .set_ssekms_key_id(key)
            .set_bucket_key_enabled(per_bucket);
        let begun = call.send().await.map_err(|e| self.failed("PutObject", name, e))?;
        begun.upload_id.ok_or_else(|| Error::unavailable(format!("an upload of `{}` has no id", self.url(name))))
    }

    /// Uploads a part; one that has this number already is replaced.
    pub(super) async fn upload_part(&self, name: &str, id: &str, number: usize, bytes: Bytes) -> Result<Part> {
        let timeout = upload_timeout(bytes.len() as u64);
        let call = self
            .client()
            .await?
            .upload_part()
            .bucket(self.name())
            .key(self.key(name))
            .upload_id(id)
            .part_number(part_number(number)?)
            .body(ByteStream::from(bytes));
        let part = call.customize().config_override(timeout).send().await;
        let part = part.map_err(|e| self.failed("PutObject", name, e))?;
        let etag = part.e_tag.ok_or_else(|| {
            Error::new(ErrorKind::Indeterminate, format!("a part of `{}` has no ETag", self.url(name)))
        })?;
        Ok(Part { etag, crc32: part.checksum_crc32 })
    }

    /// Makes an upload an object, on a condition.
    pub(super) async fn complete_upload(&self, name: &str, upload: &Upload, condition: &If) -> Result<Completed> {
        let (none_match, is_match) = condition.headers();
        let mut parts = Vec::with_capacity(upload.parts.len());
        for (i, part) in upload.parts.iter().enumerate() {
            let completed = CompletedPart::builder().part_number(part_number(i + 1)?).e_tag(&part.etag);
            parts.push(completed.set_checksum_crc32(part.crc32.clone()).build());
        }
        let call = self
            .client()
            .await?
            .complete_multipart_upload()
            .bucket(self.name())
            .key(self.key(name))
            .upload_id(&upload.id)
            .multipart_upload(CompletedMultipartUpload::builder().set_parts(Some(parts)).build())
            .set_if_none_match(none_match)
            .set_if_match(is_match);
        // The service may take minutes to put many parts together, and sends white space meanwhile.
        let timeout = upload_timeout(32 << 20);
        match call.customize().config_override(timeout).send().await {
            Ok(done) if done.e_tag.is_some() => Ok(Completed::Now),
            // The answer broke off.
            Ok(_) => Err(Error::new(
                ErrorKind::Indeterminate,
                format!("half an answer says whether the upload of `{}` is completed", self.url(name)),
            )),
            Err(e) if unmet(&e) => Ok(Completed::Not),
            Err(e) if e.code() == Some("NoSuchUpload") => Ok(Completed::Gone),
            Err(e) => Err(self.failed("PutObject", name, e)),
        }
    }

    /// Aborts an upload; one that is not there is aborted already.
    pub(super) async fn abort_upload(&self, name: &str, id: &str) -> Result<()> {
        patiently(|| async {
            let call = self.client().await?.abort_multipart_upload();
            match call.bucket(self.name()).key(self.key(name)).upload_id(id).send().await {
                Ok(_) => Ok(()),
                Err(e) if e.code() == Some("NoSuchUpload") => Ok(()),
                Err(e) => Err(self.failed("AbortMultipartUpload", name, e)),
            }
        })
        .await
    }

    /// The uploads that are not completed, of keys below the root that begin with `prefix`.
    pub(super) async fn uploads(&self, prefix: &str) -> Result<Vec<Open>> {
        let (mut found, mut after) = (Vec::new(), (None, None));
        loop {
            let page = patiently(|| async {
                let call = self.client().await?.list_multipart_uploads();
                let call = call.bucket(self.name()).prefix(self.key(prefix));
                let call = call.set_key_marker(after.0.clone()).set_upload_id_marker(after.1.clone());
                call.send().await.map_err(|e| self.failed("ListBucketMultipartUploads", prefix, e))
            })
            .await?;
            for upload in page.uploads() {
                let name = upload.key().and_then(|key| key.strip_prefix(self.root()));
                if let (Some(name), Some(id)) = (name, upload.upload_id()) {
                    found.push(Open { name: name.to_owned(), id: id.to_owned() });
                }
            }
            after = (page.next_key_marker, page.next_upload_id_marker);
            if page.is_truncated != Some(true) || after.0.is_none() {
                return Ok(found);
            }
        }
    }
}

fn part_number(number: usize) -> Result<i32> {
    // More than S3 takes: an upload of part_size can never become so large before it rolls, but a wrong roll can be
    // asked for.
    match i32::try_from(number) {
        Ok(number) if number <= 10_000 => Ok(number),
        _ => Err(Error::config("a file has more than 10,000 parts: give a larger `part_size`, or let it roll earlier")),
    }
}
