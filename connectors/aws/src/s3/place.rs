//! Where the objects of a sink are: uploads that nobody sees, and the objects they become.
//!
//! 1. A new object is written on the condition that there is none of its key; where there is one, it must have the same
//!    contents: a commit is repeated.
//! 2. An object that is replaced tells the run and the checkpoint that wrote it. It is replaced on the condition that it
//!    is still the one that was looked at, and never where it tells a later checkpoint.
//! 3. A path that has no rows any more keeps an object without rows: what tells of its checkpoint must stay.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures::StreamExt as _;
use millstream_core::sink::{SinkOptions, WriteMode};
use millstream_core::{Error, Result};
use millstream_files::naming;
use millstream_files::store::{NewFile, Published, Store, Visible};
use millstream_files::writer;
use xxhash_rust::xxh3::Xxh3;

use super::batch_id::{self, BatchName};
use super::bucket::{Head, If, Metadata, Shared, Wrote};
use super::config::S3Config;
use super::entry::Entry;
use super::fence::Fence;
use super::file::{Budget, ObjectFile};
use super::notes::Notes;
use super::uploads::{Completed, Open};

/// How many objects are completed or published at once.
const AT_ONCE: usize = 16;
/// How often an object that others write, too, is looked at again.
const ATTEMPTS: usize = 20;
/// What an object says of the run that wrote it.
const RUN: &str = "millstream-run";
/// What an object says of the checkpoint that covers it.
const CHECKPOINT: &str = "millstream-checkpoint";

/// What all instances of a sink in this process share.
#[derive(Debug, Default)]
pub(super) struct Own {
    /// Targets and ids of uploads, by the name of their file.
    uploads: Mutex<HashMap<String, (String, String)>>,
    instances: Mutex<HashSet<usize>>,
    /// How often it was opened.
    opened: AtomicU64,
    pub(super) visible: Visible,
}

impl Own {
    /// Adds the upload of a file; gives the one that it had before.
    pub(super) fn add(&self, hidden: &str, target: &str, upload: &str) -> Option<(String, String)> {
        let mut uploads = self.uploads.lock().unwrap_or_else(PoisonError::into_inner);
        uploads.insert(hidden.to_owned(), (target.to_owned(), upload.to_owned()))
    }
    fn remove(&self, upload: &str) {
        self.uploads.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, (_, id)| id != upload);
    }
    fn has(&self, upload: &str) -> bool {
        self.uploads.lock().unwrap_or_else(PoisonError::into_inner).values().any(|(_, id)| id == upload)
    }
    fn has_instance(&self, instance: usize) -> bool {
        self.instances.lock().unwrap_or_else(PoisonError::into_inner).contains(&instance)
    }
}

/// Where one instance of a sink writes.
#[derive(Debug)]
pub(super) struct Place {
    bucket: Shared,
    template: String,
    options: SinkOptions,
    part_size: usize,
    inline: u64,
    budget: Arc<Budget>,
    own: Arc<Own>,
    fence: Fence,
    notes: Notes,
    /// Which of those that were opened it is.
    number: u64,
}

impl Place {
    pub(super) fn new(bucket: Shared, config: &S3Config, options: &SinkOptions, own: Arc<Own>) -> Self {
        own.instances.lock().unwrap_or_else(PoisonError::into_inner).insert(options.instance);
        Self {
            fence: Fence::new(bucket.clone(), options),
            notes: Notes::new(bucket.clone(), options),
            bucket,
            template: naming::template(options),
            options: options.clone(),
            number: own.opened.fetch_add(1, Ordering::Relaxed),
            part_size: usize::try_from(config.part_size.0).unwrap_or(usize::MAX),
            inline: config.inline_size.0,
            budget: Arc::default(),
            own,
        }
    }

    fn metadata(&self, checkpoint: u64) -> Metadata {
        vec![(RUN.to_owned(), self.options.run.clone()), (CHECKPOINT.to_owned(), checkpoint.to_string())]
    }

    /// Writes an entry's object on a condition.
    async fn write(&self, entry: &Entry, condition: &If) -> Result<Completed> {
        if let Some(upload) = &entry.upload {
            return self.bucket.complete_upload(&entry.target, upload, condition).await;
        }
        let metadata = self.metadata(entry.checkpoint);
        match self.bucket.put(&entry.target, entry.contents()?, condition, &metadata).await? {
            Wrote::Now => Ok(Completed::Now),
            Wrote::Not => Ok(Completed::Not),
        }
    }

    async fn publish_new(&self, entry: &Entry) -> Result<Published> {
        match self.write(entry, &If::Absent).await? {
            Completed::Now => {
                self.forget(entry);
                Ok(Published::Now)
            }
            Completed::Not | Completed::Gone => {
                match self.contents_at(entry).await? {
                    At::Same => {}
                    At::Nothing => return Err(self.lost(entry)),
                    At::Others => {
                        return Err(Error::environment(format!(
                            "`{}` exists already with other contents: another run has written the same objects, or \
                             somebody has changed it; move it away to get the rows of the checkpoint",
                            self.bucket.url(&entry.target)
                        )));
                    }
                }
                self.abandon(entry).await;
                Ok(Published::Before)
            }
        }
    }

    async fn publish_over(&self, checkpoint: u64, entry: &Entry) -> Result<Published> {
        for _ in 0..ATTEMPTS {
            let found = self.bucket.head(&entry.target).await?;
            let condition = match &found {
                None => If::Absent,
                Some(head) if self.is_newer(head, checkpoint).await? => {
                    self.abandon(entry).await;
                    return Ok(Published::Before);
                }
                Some(head) => If::Is(head.etag.clone()),
            };
            match self.write(entry, &condition).await? {
                Completed::Now => {
                    self.forget(entry);
                    return Ok(Published::Now);
                }
                // It has changed since it was looked at.
                Completed::Not => {}
                Completed::Gone => {
                    let now = self.bucket.head(&entry.target).await?;
                    let newer = match &now {
                        Some(head) => self.is_newer(head, checkpoint).await?,
                        None => false,
                    };
                    if newer || self.contents_at(entry).await? == At::Same {
                        self.forget(entry);
                        return Ok(Published::Before);
                    }
                    return Err(self.lost(entry));
                }
            }
        }
        let url = self.bucket.url(&entry.target);
        Err(Error::unavailable(format!("`{url}` is written by others again and again while it is to be replaced")))
    }

    /// Whether an object is of this checkpoint or a later one of this run.
    ///
    /// # Errors
    /// `Fenced` where it is of a run that has followed this one.
    async fn is_newer(&self, head: &Head, checkpoint: u64) -> Result<bool> {
        match head.metadata.get(RUN) {
            Some(run) if *run == self.options.run => {
                let theirs = head.metadata.get(CHECKPOINT).and_then(|n| n.parse::<u64>().ok());
                Ok(theirs.is_some_and(|theirs| theirs >= checkpoint))
            }
            Some(_) => self.fence.pass().await.map(|()| false),
            None => Ok(false),
        }
    }

    /// What is at an entry's target.
    async fn contents_at(&self, entry: &Entry) -> Result<At> {
        let Some(found) = self.bucket.stream(&entry.target, None, None).await? else { return Ok(At::Nothing) };
        if found.content_length.and_then(|n| u64::try_from(n).ok()) != Some(entry.bytes) {
            return Ok(At::Others);
        }
        let (mut body, mut hash) = (found.body, Xxh3::new());
        while let Some(bytes) = body.next().await {
            hash.update(&bytes.map_err(|e| self.bucket.broken(&entry.target).caused_by(e))?);
        }
        Ok(if writer::shown(&hash) == entry.xxh3 { At::Same } else { At::Others })
    }

    fn lost(&self, entry: &Entry) -> Error {
        Error::environment(format!(
            "`{}` was staged for a checkpoint and is not there, and its upload is gone: its rows are lost",
            self.bucket.url(&entry.target)
        ))
    }

    fn forget(&self, entry: &Entry) {
        if let Some(upload) = &entry.upload {
            self.own.remove(&upload.id);
        }
    }

    /// Aborts the upload of an entry that needs none any more.
    async fn abandon(&self, entry: &Entry) {
        if let Some(upload) = &entry.upload {
            match self.bucket.abort_upload(&entry.target, &upload.id).await {
                Ok(()) => self.own.remove(&upload.id),
                Err(error) => tracing::warn!(%error, "an upload that is not needed cannot be aborted now"),
            }
        }
    }

    /// Whether an upload of an appended object was begun by an earlier process and will never be completed.
    ///
    /// The first checkpoint of this process is claimed, and those before it are visible: what else was staged for them
    /// is lost. Later ones may be those of a successor, if this process was paused. Workers of the same pipeline may
    /// also be in other processes beside this one.
    fn is_orphan(&self, upload: &Open) -> bool {
        let options = &self.options;
        let name = BatchName::find(&upload.name, &batch_id::beginning(options));
        let Some(name) = name.filter(|_| !self.own.has(&upload.id)) else { return false };
        let elsewhere = name.instance < options.instances && !self.own.has_instance(name.instance);
        name.checkpoint < options.checkpoint || (name.checkpoint == options.checkpoint && !elsewhere)
    }

    /// What all keys of the sink begin with.
    fn literal(&self) -> &str {
        self.template.split(['{', '}']).next().unwrap_or_default()
    }
}

/// What is where an object is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Nothing,
    Same,
    Others,
}

/// Does something with each entry, several at once; all are tried, and the first error is told.
async fn each<F: Future<Output = Result<()>>>(work: impl Iterator<Item = F>) -> Result<()> {
    let done: Vec<Result<()>> = futures::stream::iter(work).buffer_unordered(AT_ONCE).collect().await;
    done.into_iter().collect()
}

#[async_trait]
impl Store for Place {
    type Entry = Entry;
    type File = ObjectFile;

    fn begin(&self, file: NewFile) -> Result<ObjectFile> {
        Ok(ObjectFile {
            bucket: self.bucket.clone(),
            hidden: format!("{}/{}", self.number, file.hidden),
            metadata: self.metadata(file.checkpoint),
            target: file.target,
            checkpoint: file.checkpoint,
            part_size: self.part_size,
            inline: self.inline,
            budget: self.budget.clone(),
            own: self.own.clone(),
            upload: None,
            parts: Vec::new(),
        })
    }

    fn at_once(&self) -> usize {
        AT_ONCE
    }

    fn is_own(&self, entry: &Entry) -> bool {
        entry.is_own()
    }

    async fn staged(&self, checkpoint: u64, entries: &[Entry]) -> Result<()> {
        if self.options.mode == WriteMode::Overwrite { self.notes.write(checkpoint, entries).await } else { Ok(()) }
    }

    async fn publish(&self, entries: Vec<Entry>) -> Result<()> {
        each(entries.into_iter().map(|entry| async move {
            if self.publish_new(&entry).await? == Published::Now {
                self.own.visible.new_file();
            }
            Ok(())
        }))
        .await
    }

    async fn replace(&self, checkpoint: u64, entries: Vec<Entry>) -> Result<()> {
        self.fence.pass_once().await?;
        let noted = entries.iter().any(|entry| entry.upload.is_some());
        each(entries.into_iter().map(|entry| async move {
            if self.publish_over(checkpoint, &entry).await? == Published::Now {
                self.own.visible.replaced(&entry.target);
            }
            Ok(())
        }))
        .await?;
        if noted { self.notes.remove(checkpoint).await } else { Ok(()) }
    }

    async fn discard(&self, entries: Vec<Entry>) {
        for entry in &entries {
            self.abandon(entry).await;
        }
    }

    async fn clean(&self) -> Result<()> {
        if self.options.mode == WriteMode::Overwrite {
            return self.notes.clean().await;
        }
        let mut orphans = self.bucket.uploads(self.literal()).await?;
        orphans.retain(|upload| self.is_orphan(upload));
        each(orphans.into_iter().map(|upload| async move { self.bucket.abort_upload(&upload.name, &upload.id).await }))
            .await
    }

    fn summary(&self) -> String {
        self.own.visible.below(self.bucket.url(&naming::fixed_part(&self.template)).trim_end_matches('/'))
    }
}
