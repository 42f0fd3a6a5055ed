//! Appended rows: new files only, one open per path, visible when the checkpoint that covers their rows is committed.
//!
//! ```text
//! rows -> open, one per path -- roll, prepare(n) --> complete, hidden -- commit(n) --> visible
//! ```
//! A visible name tells the run, the checkpoint, the worker and which of its files of that checkpoint it is, and
//! nothing of the process that wrote it: whoever commits a checkpoint, and however often, gives the same names.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use millstream_core::sink::{Outcome, Prepared, Sink, SinkOptions};
use millstream_core::{Batch, Error, ErrorKind, EventTime, Result};
use millstream_formats::{EncodeOptions, encoder};
use serde_json::Value;

use super::entry::{Entry, Published};
use super::paths::{Group, Paths};
use super::place::Place;
use super::staged::StagedFile;

struct Open {
    file: StagedFile,
    /// Its hidden and its visible path, below the sink's folder.
    staged: String,
    target: String,
    begun_at: EventTime,
    used: u64,
}

/// Writes rows to new files.
pub(crate) struct AppendSink {
    place: Place,
    options: SinkOptions,
    paths: Paths,
    open: HashMap<String, Open>,
    /// Complete files of rows that `checkpoint` covers.
    complete: Vec<Entry>,
    /// Files that could not be completed yet.
    stuck: Vec<Open>,
    /// The checkpoint that covers the rows written now.
    checkpoint: u64,
    /// Files begun since the last checkpoint.
    sequence: u64,
    /// Files begun at all: hidden names are used once.
    begun: u64,
    /// What the last checkpoint has staged, until it is committed: it may be asked for again.
    prepared: Option<(u64, Vec<Entry>)>,
    /// Counts uses, for finding the file that was idle longest.
    uses: u64,
}

impl AppendSink {
    pub(crate) fn new(place: Place, options: &SinkOptions, template: &str) -> Result<Self> {
        let paths = Paths::new(template, &options.schema, &options.pipeline, &options.id)?;
        Ok(Self {
            place,
            options: options.clone(),
            paths,
            open: HashMap::new(),
            complete: Vec::new(),
            stuck: Vec::new(),
            checkpoint: options.checkpoint,
            sequence: 0,
            begun: 0,
            prepared: None,
            uses: 0,
        })
    }

    /// Takes the rows of one path: all of them or, but for single bad ones, none.
    fn write_group(&mut self, batch: &Batch, group: &Group) -> Result<Vec<Outcome>> {
        if !self.open.contains_key(&group.path) {
            let open = self.begin(batch, group.first())?;
            self.open.insert(group.path.clone(), open);
        }
        self.uses += 1;
        let (uses, count) = (self.uses, group.rows.num_rows());
        let Some(open) = self.open.get_mut(&group.path) else {
            return Err(Error::bug("a file was closed while it was written"));
        };
        open.used = uses;
        let outcomes = match open.file.write(&group.rows.rows) {
            Ok(()) => vec![Outcome::Done; count],
            Err(e) if e.kind() == ErrorKind::BadRow => (0..count)
                .map(|row| match open.file.write(&group.rows.rows.slice(row, 1)) {
                    Ok(()) => Ok(Outcome::Done),
                    Err(e) if e.kind() == ErrorKind::BadRow => Ok(Outcome::Refused(e.to_string())),
                    Err(e) if e.kind() == ErrorKind::Unavailable => Ok(Outcome::Retry(e.to_string())),
                    Err(e) => Err(e),
                })
                .collect::<Result<_>>()?,
            Err(e) => return Err(e),
        };
        if open.file.bytes >= self.options.roll.bytes
            && let Some(open) = self.open.remove(&group.path)
        {
            self.finish(open);
        }
        Ok(outcomes)
    }

    /// Begins the file of row `row`.
    fn begin(&mut self, batch: &Batch, row: usize) -> Result<Open> {
        while self.open.len() >= self.place.max_open_files.max(1) {
            let idle = self.open.iter().min_by_key(|(_, open)| open.used).map(|(path, _)| path.clone());
            if let Some(open) = idle.and_then(|path| self.open.remove(&path)) {
                self.finish(open);
            }
        }
        let SinkOptions { id, run, instance, .. } = &self.options;
        let batch_id = format!("{id}-{run}-{:06}-{instance}-{:04}", self.checkpoint, self.sequence + 1);
        let target = self.paths.render(batch, row, &batch_id)?;
        self.begun += 1;
        let staged = self.place.staged(&format!("{instance}-{:06}", self.begun));
        let encoder = encoder(self.options.format, &self.options.schema, &encode_options(&self.options))?;
        let file = StagedFile::create(self.place.root.join(&staged), encoder, self.options.compression)?;
        self.sequence += 1;
        Ok(Open { file, staged, target, begun_at: self.place.clock.now(), used: self.uses })
    }

    /// Completes a file; one that cannot be completed now is tried again for the checkpoint.
    fn finish(&mut self, open: Open) {
        if let Err(error) = self.complete(open) {
            tracing::warn!(sink = %self.options.id, %error, "a file cannot be completed yet");
        }
    }

    fn complete(&mut self, mut open: Open) -> Result<()> {
        match open.file.complete(self.place.fsync) {
            Ok(complete) => {
                let Open { staged, target, .. } = open;
                let staged = Some(staged);
                self.complete.push(Entry { staged, target, bytes: complete.bytes, xxh3: complete.xxh3 });
                Ok(())
            }
            Err(error) => {
                self.stuck.push(open);
                Err(error)
            }
        }
    }

    fn finish_all(&mut self, due: impl Fn(&Open) -> bool) {
        let mut paths: Vec<String> =
            self.open.iter().filter(|(_, open)| due(open)).map(|(path, _)| path.clone()).collect();
        paths.sort();
        for path in paths {
            if let Some(open) = self.open.remove(&path) {
                self.finish(open);
            }
        }
    }
}

/// How `options` wants its rows encoded.
pub(crate) fn encode_options(options: &SinkOptions) -> EncodeOptions {
    EncodeOptions { decimals_as_strings: options.decimals_as_strings }
}

#[async_trait]
impl Sink for AppendSink {
    async fn write(&mut self, batch: &Batch) -> Result<Vec<Outcome>> {
        let groups = self.paths.group(batch)?;
        if let [group] = groups.as_slice() {
            return self.write_group(batch, group);
        }
        let mut outcomes = vec![Outcome::Done; batch.num_rows()];
        for group in &groups {
            // Other groups may have been written: what went wrong is a matter of these rows alone.
            let found = match self.write_group(batch, group) {
                Err(e) if e.kind() == ErrorKind::Unavailable => {
                    vec![Outcome::Retry(e.to_string()); group.rows.num_rows()]
                }
                found => found?,
            };
            group.spread(found, &mut outcomes);
        }
        Ok(outcomes)
    }

    async fn poll(&mut self) -> Result<()> {
        let now = self.place.clock.now();
        let every = self.options.roll.every;
        self.finish_all(|open| open.begun_at.plus(every) <= now);
        Ok(())
    }

    async fn prepare(&mut self, checkpoint: u64, _whole: bool) -> Result<Prepared> {
        let again = self.prepared.as_ref().is_some_and(|(number, _)| *number == checkpoint);
        if !again {
            if checkpoint < self.checkpoint {
                let id = &self.options.id;
                return Err(Error::bug(format!("`{id}` is asked for checkpoint {checkpoint} after it was committed")));
            }
            self.finish_all(|_| true);
            while let Some(open) = self.stuck.pop() {
                self.complete(open)?;
            }
            if !self.complete.is_empty() {
                self.place.sync(&self.place.staging())?;
            }
            let mut complete = std::mem::take(&mut self.complete);
            complete.sort_by(|a, b| a.target.cmp(&b.target));
            self.prepared = Some((checkpoint, complete));
            (self.checkpoint, self.sequence) = (checkpoint + 1, 0);
        }
        let entries = self.prepared.as_ref().map_or(&[][..], |(_, entries)| entries);
        Ok(Prepared { staged: Entry::token(entries)?, ..Prepared::default() })
    }

    async fn commit(&mut self, checkpoint: u64, staged: &Value) -> Result<()> {
        let mut folders = BTreeSet::new();
        for entry in Entry::of_token(staged, &self.options.id)? {
            if entry.publish_new(&self.place)? == Published::Now {
                self.place.files.fetch_add(1, Ordering::Relaxed);
            }
            folders.extend(self.place.root.join(&entry.target).parent().map(Path::to_owned));
        }
        for folder in folders {
            self.place.sync(&folder)?;
        }
        self.prepared.take_if(|(number, _)| *number <= checkpoint);
        self.place.tidy();
        Ok(())
    }

    async fn clean(&mut self) -> Result<()> {
        self.place.clean()
    }

    fn summary(&self) -> Option<String> {
        (self.options.instance == 0).then(|| self.place.summary())
    }
}
