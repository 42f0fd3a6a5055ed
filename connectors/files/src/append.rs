//! Appended rows: new files only, one open per path, visible when the checkpoint that covers their rows is committed.
//!
//! ```text
//! rows -> open, one per path -- roll, prepare(n) --> complete, hidden -- commit(n) --> visible
//! ```
//! A visible name tells the run, the checkpoint, the worker and which of its files of that checkpoint it is, and
//! nothing of the process that wrote it: whoever commits a checkpoint, and however often, gives the same names.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt as _;
use millstream_core::sink::{Outcome, Prepared, Sink, SinkOptions};
use millstream_core::{Batch, Error, ErrorKind, EventTime, Result};
use serde_json::Value;

use crate::paths::{Group, Paths};
use crate::store::{NewFile, Store};
use crate::token;
use crate::writer::FileWriter;
use millstream_core::clock::Clock;

/// What of a sink of files is neither its rows nor its store.
#[derive(Debug, Clone)]
pub struct Setting {
    /// The sink's path template.
    pub template: String,
    /// What the names of its files begin with.
    pub name: String,
    /// How many files are open at once.
    pub max_open_files: usize,
    /// By which files roll.
    pub clock: Arc<dyn Clock>,
}

struct Open<S: Store> {
    file: FileWriter<S::File>,
    target: String,
    begun_at: EventTime,
    used: u64,
}

/// Writes rows to new files.
pub struct AppendSink<S: Store> {
    store: Arc<S>,
    setting: Setting,
    options: SinkOptions,
    paths: Paths,
    open: HashMap<String, Open<S>>,
    /// Complete files of rows that `checkpoint` covers, with their paths.
    complete: Vec<(String, S::Entry)>,
    /// Files that could not be completed yet.
    stuck: Vec<Open<S>>,
    /// The checkpoint that covers the rows written now.
    checkpoint: u64,
    /// Files begun since the last checkpoint.
    sequence: u64,
    /// Files begun at all: hidden names are used once.
    begun: u64,
    /// What the last checkpoint has staged, until it is committed: it may be asked for again.
    prepared: Option<(u64, Vec<S::Entry>)>,
    /// Counts uses, for finding the file that was idle longest.
    uses: u64,
}

impl<S: Store> AppendSink<S> {
    /// The sink `options` over `store`.
    ///
    /// # Errors
    /// `Config` where its path template is wrong.
    pub fn new(store: S, setting: Setting, options: &SinkOptions) -> Result<Self> {
        let paths = Paths::new(&setting.template, &options.schema, &options.pipeline, &options.id)?;
        Ok(Self {
            store: Arc::new(store),
            setting,
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
    async fn write_group(&mut self, batch: &Batch, group: &Group) -> Result<Vec<Outcome>> {
        if !self.open.contains_key(&group.path) {
            let open = self.begin(batch, group.first()).await?;
            self.open.insert(group.path.clone(), open);
        }
        self.uses += 1;
        let uses = self.uses;
        let Some(open) = self.open.get_mut(&group.path) else {
            return Err(Error::bug("a file was closed while it was written"));
        };
        open.used = uses;
        let outcomes = write_rows(&mut open.file, group).await?;
        if open.file.bytes() >= self.options.roll.bytes
            && let Some(open) = self.open.remove(&group.path)
        {
            self.finish(vec![open]).await;
        }
        Ok(outcomes)
    }

    /// Begins the file of row `row`.
    async fn begin(&mut self, batch: &Batch, row: usize) -> Result<Open<S>> {
        while self.open.len() >= self.setting.max_open_files.max(1) {
            let idle = self.open.iter().min_by_key(|(_, open)| open.used).map(|(path, _)| path.clone());
            if let Some(open) = idle.and_then(|path| self.open.remove(&path)) {
                self.finish(vec![open]).await;
            }
        }
        let SinkOptions { run, instance, .. } = &self.options;
        let (name, checkpoint) = (&self.setting.name, self.checkpoint);
        let batch_id = format!("{name}-{run}-{checkpoint:06}-{instance}-{:04}", self.sequence + 1);
        let target = self.paths.render(batch, row, &batch_id)?;
        self.begun += 1;
        let hidden = format!("{instance}-{:06}", self.begun);
        let file = self.store.begin(NewFile { hidden, target: target.clone(), checkpoint })?;
        let file = FileWriter::new(file, &self.options)?;
        self.sequence += 1;
        Ok(Open { file, target, begun_at: self.setting.clock.now(), used: self.uses })
    }

    /// Completes files; those that cannot be completed now are tried again for the checkpoint.
    async fn finish(&mut self, files: Vec<Open<S>>) {
        if let Err(error) = self.complete(files).await {
            tracing::warn!(sink = %self.options.id, %error, "a file cannot be completed yet");
        }
    }

    async fn complete(&mut self, files: Vec<Open<S>>) -> Result<()> {
        let completing = files.into_iter().map(|mut open| async move {
            let entry = open.file.complete().await;
            (open, entry)
        });
        let done: Vec<_> = futures::stream::iter(completing).buffered(self.store.at_once().max(1)).collect().await;
        let mut result = Ok(());
        for (open, entry) in done {
            match entry {
                Ok(entry) => self.complete.push((open.target, entry)),
                Err(error) => {
                    self.stuck.push(open);
                    result = Err(error);
                }
            }
        }
        result
    }

    /// Takes out the open files that are due.
    fn due(&mut self, due: impl Fn(&Open<S>) -> bool) -> Vec<Open<S>> {
        let mut paths: Vec<String> =
            self.open.iter().filter(|(_, open)| due(open)).map(|(path, _)| path.clone()).collect();
        paths.sort();
        paths.iter().filter_map(|path| self.open.remove(path)).collect()
    }
}

/// Takes all rows of a group or, but for single bad ones, none.
async fn write_rows<F: crate::store::Hidden>(file: &mut FileWriter<F>, group: &Group) -> Result<Vec<Outcome>> {
    let rows = &group.rows.rows;
    match file.write(rows).await {
        Ok(()) => return Ok(vec![Outcome::Done; rows.num_rows()]),
        Err(e) if e.kind() == ErrorKind::BadRow => {}
        Err(e) => return Err(e),
    }
    let mut outcomes = Vec::with_capacity(rows.num_rows());
    for row in 0..rows.num_rows() {
        outcomes.push(match file.write(&rows.slice(row, 1)).await {
            Ok(()) => Outcome::Done,
            Err(e) if e.kind() == ErrorKind::BadRow => Outcome::Refused(e.to_string()),
            Err(e) if passing(&e) => Outcome::Retry(e.to_string()),
            Err(e) => return Err(e),
        });
    }
    Ok(outcomes)
}

/// Whether an error may pass by itself.
fn passing(e: &Error) -> bool {
    matches!(e.kind(), ErrorKind::Unavailable | ErrorKind::Indeterminate)
}

#[async_trait]
impl<S: Store> Sink for AppendSink<S> {
    async fn write(&mut self, batch: &Batch) -> Result<Vec<Outcome>> {
        let groups = self.paths.group(batch)?;
        if let [group] = groups.as_slice() {
            return self.write_group(batch, group).await;
        }
        let mut outcomes = vec![Outcome::Done; batch.num_rows()];
        for group in &groups {
            // Other groups may have been written: what went wrong is a matter of these rows alone.
            let found = match self.write_group(batch, group).await {
                Err(e) if passing(&e) => vec![Outcome::Retry(e.to_string()); group.rows.num_rows()],
                found => found?,
            };
            group.spread(found, &mut outcomes);
        }
        Ok(outcomes)
    }

    async fn poll(&mut self) -> Result<()> {
        let now = self.setting.clock.now();
        let every = self.options.roll.every;
        let due = self.due(|open| open.begun_at.plus(every) <= now);
        self.finish(due).await;
        Ok(())
    }

    async fn prepare(&mut self, checkpoint: u64, _whole: bool) -> Result<Prepared> {
        let again = self.prepared.as_ref().is_some_and(|(number, _)| *number == checkpoint);
        if !again {
            if checkpoint < self.checkpoint {
                let id = &self.options.id;
                return Err(Error::bug(format!("`{id}` is asked for checkpoint {checkpoint} after it was committed")));
            }
            let mut files = std::mem::take(&mut self.stuck);
            files.extend(self.due(|_| true));
            self.complete(files).await?;
            self.complete.sort_by(|(a, _), (b, _)| a.cmp(b));
            let entries: Vec<S::Entry> = self.complete.iter().map(|(_, entry)| entry.clone()).collect();
            if !entries.is_empty() {
                self.store.staged(checkpoint, &entries).await?;
            }
            self.complete.clear();
            self.prepared = Some((checkpoint, entries));
            (self.checkpoint, self.sequence) = (checkpoint + 1, 0);
        }
        let entries = self.prepared.as_ref().map_or(&[][..], |(_, entries)| entries);
        Ok(Prepared { staged: token::of_entries::<S>(entries)?, ..Prepared::default() })
    }

    async fn commit(&mut self, checkpoint: u64, staged: &Value) -> Result<()> {
        let entries = token::entries(staged, self.store.as_ref(), &self.options.id)?;
        self.store.publish(entries).await?;
        self.prepared.take_if(|(number, _)| *number <= checkpoint);
        Ok(())
    }

    async fn clean(&mut self) -> Result<()> {
        self.store.clean().await
    }

    fn summary(&self) -> Option<String> {
        (self.options.instance == 0).then(|| self.store.summary())
    }
}
