//! A file on its way into an object: parts of an upload as it grows, or nothing but memory as long as it is small.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use millstream_core::Result;
use millstream_files::store::Hidden;
use millstream_files::writer::Contents;

use super::bucket::{Metadata, Shared};
use super::entry::Entry;
use super::place::Own;
use super::uploads::{Part, Upload};

/// How much of a worker's small files one checkpoint keeps.
const KEPT: u64 = 1 << 20;

/// What is left of [`KEPT`] for the checkpoint of this number.
#[derive(Debug, Default)]
pub(super) struct Budget(Mutex<(u64, u64)>);

impl Budget {
    /// Takes so many bytes for a checkpoint, if they are left.
    fn take(&self, checkpoint: u64, bytes: u64) -> bool {
        let mut spent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if spent.0 != checkpoint {
            *spent = (checkpoint, 0);
        }
        let fits = spent.1 + bytes <= KEPT;
        spent.1 += if fits { bytes } else { 0 };
        fits
    }
}

/// An object being written.
pub(super) struct ObjectFile {
    pub(super) bucket: Shared,
    /// Its name within the process.
    pub(super) hidden: String,
    pub(super) target: String,
    pub(super) checkpoint: u64,
    pub(super) metadata: Metadata,
    pub(super) part_size: usize,
    /// Up to this size a file stands in the checkpoint.
    pub(super) inline: u64,
    pub(super) budget: Arc<Budget>,
    pub(super) own: Arc<Own>,
    /// The upload, as soon as there is one, and the parts it has.
    pub(super) upload: Option<String>,
    pub(super) parts: Vec<Part>,
}

impl ObjectFile {
    /// Uploads the next part.
    async fn part(&mut self, bytes: Bytes) -> Result<()> {
        let id = match &self.upload {
            Some(id) => id.clone(),
            None => {
                let id = self.bucket.begin_upload(&self.target, &self.metadata).await?;
                // An earlier try of the same file has failed in the middle.
                if let Some((target, upload)) = self.own.add(&self.hidden, &self.target, &id)
                    && let Err(error) = self.bucket.abort_upload(&target, &upload).await
                {
                    tracing::warn!(%error, "an upload that is not needed cannot be aborted now");
                }
                self.upload.insert(id).clone()
            }
        };
        self.parts.push(self.bucket.upload_part(&self.target, &id, self.parts.len() + 1, bytes).await?);
        Ok(())
    }
}

#[async_trait]
impl Hidden for ObjectFile {
    type Entry = Entry;

    fn chunk(&self) -> usize {
        self.part_size
    }

    async fn append(&mut self, bytes: &mut Vec<u8>) -> Result<()> {
        while bytes.len() >= self.part_size {
            let rest = bytes.split_off(self.part_size);
            let part = Bytes::from(std::mem::replace(bytes, rest));
            if let Err(error) = self.part(part.clone()).await {
                let rest = std::mem::replace(bytes, part.into());
                bytes.extend(rest);
                return Err(error);
            }
        }
        Ok(())
    }

    async fn complete(&mut self, bytes: &mut Vec<u8>, contents: Contents) -> Result<Entry> {
        self.append(bytes).await?;
        let (target, checkpoint) = (self.target.clone(), self.checkpoint);
        if self.upload.is_none() {
            let size = bytes.len() as u64;
            // There is no upload without bytes.
            if size == 0 || (size <= self.inline && self.budget.take(checkpoint, size)) {
                return Ok(Entry::kept(target, checkpoint, &std::mem::take(bytes), contents.xxh3));
            }
        }
        if !bytes.is_empty() {
            let part = Bytes::from(std::mem::take(bytes));
            if let Err(error) = self.part(part.clone()).await {
                *bytes = part.into();
                return Err(error);
            }
        }
        let upload = Upload { id: self.upload.clone().unwrap_or_default(), parts: self.parts.clone() };
        Ok(Entry::uploaded(target, checkpoint, contents.bytes, contents.xxh3, upload))
    }
}
