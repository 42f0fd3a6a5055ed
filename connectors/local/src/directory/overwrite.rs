//! Files that hold all current rows of their path: one per key, sorted by key, replaced whole at the checkpoint
//! that covers what changed.
//!
//! ```text
//! rows -> current rows -- prepare(n): changed files, complete, hidden; changed rows, state -- commit(n) --> visible
//! ```
//! One instance gets all rows, because rows of different keys, and so of different workers, may belong to one file.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use millstream_core::sink::{Outcome, Prepared, Sink, SinkOptions};
use millstream_core::snapshot::StateTable;
use millstream_core::{Batch, Error, Result};
use millstream_formats::encoder;
use serde_json::Value;

use super::append::encode_options;
use super::current::Current;
use super::entry::{Entry, Published};
use super::fence::Fence;
use super::paths::Paths;
use super::place::Place;
use super::staged::StagedFile;

/// Keeps files of current rows.
pub(crate) struct OverwriteSink {
    place: Place,
    options: SinkOptions,
    paths: Paths,
    current: Current,
    fence: Fence,
    /// Files that this process has made visible, for people.
    published: BTreeSet<String>,
}

impl OverwriteSink {
    pub(crate) fn new(place: Place, options: &SinkOptions, template: &str) -> Result<Self> {
        let paths = Paths::new(template, &options.schema, &options.pipeline, &options.id)?;
        Ok(Self {
            paths,
            current: Current::new(options)?,
            fence: Fence::new(&place.root, options, place.fsync),
            options: options.clone(),
            place,
            published: BTreeSet::new(),
        })
    }

    /// Writes a changed file, hidden; or says that it has no rows left.
    fn stage(&self, target: String, name: &str) -> Result<Entry> {
        let Some(rows) = self.current.file(&target)? else { return Ok(Entry::removal(target)) };
        let encoder = encoder(self.options.format, rows.schema_ref(), &encode_options(&self.options))?;
        let staged = self.place.staged(name);
        let mut file = StagedFile::create(self.place.root.join(&staged), encoder, self.options.compression)?;
        file.write(&rows)?;
        let complete = file.complete(self.place.fsync)?;
        Ok(Entry { staged: Some(staged), target, bytes: complete.bytes, xxh3: complete.xxh3 })
    }
}

#[async_trait]
impl Sink for OverwriteSink {
    async fn write(&mut self, batch: &Batch) -> Result<Vec<Outcome>> {
        if self.options.instance != 0 {
            let id = &self.options.id;
            return Err(Error::bug(format!("`{id}` overwrites files: its rows belong to its first instance")));
        }
        let groups = self.paths.group(batch)?;
        let mut paths = vec![String::new(); batch.num_rows()];
        for group in &groups {
            group.spread(std::iter::repeat_n(group.path.clone(), group.rows.num_rows()), &mut paths);
        }
        self.current.take(batch, &paths)?;
        Ok(vec![Outcome::Done; batch.num_rows()])
    }

    async fn prepare(&mut self, checkpoint: u64, whole: bool) -> Result<Prepared> {
        self.current.begin(checkpoint);
        let mut entries = Vec::new();
        for (i, target) in self.current.changed_files().into_iter().enumerate() {
            // The same name when it is prepared again: nothing is left over.
            let name = format!("{checkpoint:06}-{i:06}");
            entries.push(self.stage(target, &name)?);
        }
        if !entries.is_empty() {
            self.place.sync(&self.place.staging())?;
        }
        let prepared = Prepared { staged: Entry::token(&entries)?, state: self.current.snapshot(whole)? };
        self.current.give(checkpoint);
        Ok(prepared)
    }

    async fn commit(&mut self, checkpoint: u64, staged: &Value) -> Result<()> {
        let entries = Entry::of_token(staged, &self.options.id)?;
        if let Some(_turn) = self.fence.turn(checkpoint).await? {
            let mut folders = BTreeSet::new();
            for entry in entries {
                let now = entry.publish_over(&self.place)? == Published::Now;
                folders.extend(self.place.root.join(&entry.target).parent().map(Path::to_owned));
                if now && entry.staged.is_some() && self.published.insert(entry.target) {
                    self.place.files.fetch_add(1, Ordering::Relaxed);
                }
            }
            for folder in folders.iter().filter(|folder| folder.exists()) {
                self.place.sync(folder)?;
            }
        }
        self.current.committed(checkpoint);
        self.place.tidy();
        Ok(())
    }

    async fn restore(&mut self, tables: Vec<StateTable>) -> Result<()> {
        self.current.restore(&tables)
    }

    async fn clean(&mut self) -> Result<()> {
        self.place.clean()
    }

    fn summary(&self) -> Option<String> {
        (self.options.instance == 0).then(|| self.place.summary())
    }
}
