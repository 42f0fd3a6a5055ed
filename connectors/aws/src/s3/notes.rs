//! Which uploads of replaced objects a process has begun: their keys tell no checkpoint, so a note beside them does,
//! from before the checkpoint is claimed until it is visible.

use bytes::Bytes;
use millstream_core::sink::SinkOptions;
use millstream_core::stager::Stager;
use millstream_core::{Error, Result};
use serde::{Deserialize, Serialize};

use super::bucket::{If, Shared};
use super::entry::Entry;

/// The folder of notes below a connector's prefix.
const FOLDER: &str = ".staging";
/// Stands between the process that wrote a note and the checkpoint.
const SEPARATOR: &str = "~~";

/// An upload, as a note has it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Begun {
    target: String,
    upload: String,
}

/// The notes of a sink.
#[derive(Debug)]
pub(super) struct Notes {
    bucket: Shared,
    folder: String,
    stager: Stager,
}

impl Notes {
    pub(super) fn new(bucket: Shared, options: &SinkOptions) -> Self {
        let folder = format!("{FOLDER}/{}/{}/", options.pipeline, options.id);
        Self { bucket, folder, stager: Stager::of(options) }
    }

    fn name(&self, checkpoint: u64) -> String {
        format!("{}{}{SEPARATOR}{checkpoint:012}", self.folder, self.stager)
    }

    /// Notes the uploads of a checkpoint, in the place of what was noted for it before.
    pub(super) async fn write(&self, checkpoint: u64, entries: &[Entry]) -> Result<()> {
        let begun = entries.iter().filter_map(|entry| {
            let upload = entry.upload.as_ref()?.id.clone();
            Some(Begun { target: entry.target.clone(), upload })
        });
        let begun: Vec<Begun> = begun.collect();
        if begun.is_empty() {
            return Ok(());
        }
        let text =
            serde_json::to_vec(&begun).map_err(|e| Error::bug("a note of uploads cannot be written").caused_by(e))?;
        self.bucket.put(&self.name(checkpoint), text.into(), &If::Whatever, &Vec::new()).await?;
        Ok(())
    }

    /// The uploads of a checkpoint are objects now.
    pub(super) async fn remove(&self, checkpoint: u64) -> Result<()> {
        self.bucket.delete(&self.name(checkpoint)).await
    }

    /// Aborts what earlier processes have begun and will never complete.
    pub(super) async fn clean(&self) -> Result<()> {
        for note in self.bucket.list(&self.folder).await? {
            let stager = note.name.strip_prefix(&self.folder).and_then(|name| name.split_once(SEPARATOR));
            let stager = stager.and_then(|(stager, _)| stager.parse::<Stager>().ok());
            if !stager.is_some_and(|stager| self.stager.supersedes(&stager)) {
                continue;
            }
            let text: Bytes = self.bucket.get(&note.name, None, None).await?.unwrap_or_default();
            // A note that cannot be read costs no rows: a rule of the bucket's life cycle aborts what it was of.
            for Begun { target, upload } in serde_json::from_slice::<Vec<Begun>>(&text).unwrap_or_default() {
                self.bucket.abort_upload(&target, &upload).await?;
            }
            self.bucket.delete(&note.name).await?;
        }
        Ok(())
    }
}
