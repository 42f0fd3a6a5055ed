//! Files that hold all current rows of their path: one per key, sorted by key, replaced whole at the checkpoint
//! that covers what changed.
//!
//! ```text
//! rows -> current rows -- prepare(n): changed files, complete, hidden; changed rows, state -- commit(n) --> visible
//! ```
//! One instance gets all rows, because rows of different keys, and so of different workers, may belong to one file.

use async_trait::async_trait;
use futures::StreamExt as _;
use millstream_core::sink::{Outcome, Prepared, Sink, SinkOptions};
use millstream_core::snapshot::StateTable;
use millstream_core::{Batch, Error, Result};
use serde_json::Value;

use crate::append::Setting;
use crate::current::Current;
use crate::paths::Paths;
use crate::store::{NewFile, Store};
use crate::token;
use crate::writer::FileWriter;

/// Keeps files of current rows.
pub struct OverwriteSink<S: Store> {
    store: S,
    options: SinkOptions,
    paths: Paths,
    current: Current,
    /// What the last checkpoint has staged, until it is committed: when it is asked for again, that was in vain.
    prepared: Option<(u64, Vec<S::Entry>)>,
}

impl<S: Store> OverwriteSink<S> {
    /// The sink `options` over `store`.
    ///
    /// # Errors
    /// `Config` where its path template is wrong, or a column cannot be kept by key.
    pub fn new(store: S, setting: &Setting, options: &SinkOptions) -> Result<Self> {
        let paths = Paths::new(&setting.template, &options.schema, &options.pipeline, &options.id)?;
        Ok(Self { paths, current: Current::new(options)?, options: options.clone(), store, prepared: None })
    }

    /// Begins the hidden file of a path's rows; a path that has none left may need no file.
    async fn begin(&self, target: &str, number: usize, checkpoint: u64) -> Result<Staging<S>> {
        let rows = match self.current.file(target)? {
            Some(rows) => rows,
            None => match self.store.removal(target) {
                Some(entry) => return Ok(Staging::Known(entry)),
                None => self.current.no_rows(),
            },
        };
        // The same name when it is prepared again.
        let hidden = format!("{checkpoint:06}-{number:06}");
        let file = self.store.begin(NewFile { hidden, target: target.to_owned(), checkpoint })?;
        let mut file = FileWriter::new(file, &self.options)?;
        file.write(&rows).await?;
        Ok(Staging::File(Box::new(file)))
    }
}

impl<S: Store> OverwriteSink<S> {
    /// Stages all changed paths, several at once.
    async fn stage(&self, checkpoint: u64, entries: &mut Vec<S::Entry>) -> Result<()> {
        let (changed, at_once) = (self.current.changed_files(), self.store.at_once().max(1));
        let mut waiting = Vec::new();
        for (number, target) in changed.iter().enumerate() {
            waiting.push(self.begin(target, number, checkpoint).await?);
            if waiting.len() == at_once || number + 1 == changed.len() {
                let completing = std::mem::take(&mut waiting).into_iter().map(Staging::complete);
                let completed: Vec<_> = futures::stream::iter(completing).buffered(at_once).collect().await;
                let mut result = Ok(());
                for entry in completed {
                    match entry {
                        Ok(entry) => entries.push(entry),
                        Err(error) => result = Err(error),
                    }
                }
                result?;
            }
        }
        if entries.is_empty() { Ok(()) } else { self.store.staged(checkpoint, entries).await }
    }
}

/// A changed path on its way into a checkpoint.
enum Staging<S: Store> {
    Known(S::Entry),
    File(Box<FileWriter<S::File>>),
}

impl<S: Store> Staging<S> {
    async fn complete(self) -> Result<S::Entry> {
        match self {
            Self::Known(entry) => Ok(entry),
            Self::File(mut file) => file.complete().await,
        }
    }
}

#[async_trait]
impl<S: Store> Sink for OverwriteSink<S> {
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
        if let Some((_, in_vain)) = self.prepared.take_if(|(number, _)| *number == checkpoint) {
            self.store.discard(in_vain).await;
        }
        let mut entries = Vec::new();
        let staged = self.stage(checkpoint, &mut entries).await;
        if let Err(error) = staged {
            self.store.discard(entries).await;
            return Err(error);
        }
        let prepared = Prepared { staged: token::of_entries::<S>(&entries)?, state: self.current.snapshot(whole)? };
        self.current.give(checkpoint);
        self.prepared = Some((checkpoint, entries));
        Ok(prepared)
    }

    async fn commit(&mut self, checkpoint: u64, staged: &Value) -> Result<()> {
        let entries = token::entries(staged, &self.store, &self.options.id)?;
        self.store.replace(checkpoint, entries).await?;
        self.prepared.take_if(|(number, _)| *number <= checkpoint);
        self.current.committed(checkpoint);
        Ok(())
    }

    async fn restore(&mut self, tables: Vec<StateTable>) -> Result<()> {
        self.current.restore(&tables)
    }

    async fn clean(&mut self) -> Result<()> {
        self.store.clean().await
    }

    fn summary(&self) -> Option<String> {
        (self.options.instance == 0).then(|| self.store.summary())
    }
}
