//! Appended rows: new files only, one open per path, visible at commit.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use millstream_core::sink::{Outcome, Sink, SinkOptions};
use millstream_core::{Batch, Error, ErrorKind, EventTime, Result};
use millstream_formats::{EncodeOptions, encoder};

use super::paths::{Group, Paths};
use super::staged::{Complete, STAGING, StagedFile, remove_abandoned, tidy};
use crate::clock::Clock;

/// Where and how files are written.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) root: PathBuf,
    /// The part of the path template before its first name, for people.
    pub(crate) fixed: String,
    pub(crate) fsync: bool,
    pub(crate) max_open_files: usize,
    pub(crate) clock: Arc<dyn Clock>,
    /// Files made visible by all instances of the sink.
    pub(crate) files: Arc<AtomicU64>,
}

struct Open {
    file: StagedFile,
    target: PathBuf,
    begun_at: EventTime,
    used: u64,
}

/// Writes rows to new files.
pub(crate) struct AppendSink {
    place: Place,
    options: SinkOptions,
    paths: Paths,
    staging: PathBuf,
    open: HashMap<String, Open>,
    /// Complete files in the order of their completion, with where they go.
    complete: Vec<(Complete, PathBuf)>,
    /// Files that could not be completed yet.
    stuck: Vec<Open>,
    sequence: u64,
    /// Counts uses, for finding the file that was idle longest.
    uses: u64,
}

impl AppendSink {
    pub(crate) fn new(place: Place, options: &SinkOptions, template: &str) -> Result<Self> {
        if !template.contains("{batch_id}") {
            let (folder, name) = template.rsplit_once('/').map_or(("", template), |(f, n)| (f, n));
            let slash = if folder.is_empty() { "" } else { "/" };
            return Err(Error::config(format!(
                "the path `{template}` of `{}` names one file, but appended rows need a new file each time: write \
                 `{folder}{slash}{{batch_id}}-{name}`, or say `mode: overwrite`",
                options.id
            )));
        }
        // Finds out now whether the rows can be written in this format.
        encoder(options.format, &options.schema, &encode_options(options))?;
        let paths = Paths::new(template, &options.schema, &options.pipeline, &options.id)?;
        let staging = place.root.join(STAGING).join(&options.pipeline).join(&options.id);
        if options.instance == 0 {
            remove_abandoned(&staging, &options.generation);
        }
        Ok(Self {
            place,
            options: options.clone(),
            paths,
            staging,
            open: HashMap::new(),
            complete: Vec::new(),
            stuck: Vec::new(),
            sequence: 0,
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
        self.sequence += 1;
        let SinkOptions { id, generation, instance, .. } = &self.options;
        let number = format!("{generation}-{instance}-{:06}", self.sequence);
        let target = self.place.root.join(self.paths.render(batch, row, &format!("{id}-{number}"))?);
        let encoder = encoder(self.options.format, &self.options.schema, &encode_options(&self.options))?;
        let file = StagedFile::create(self.staging.join(number), encoder, self.options.compression)?;
        Ok(Open { file, target, begun_at: self.place.clock.now(), used: self.uses })
    }

    /// Completes a file; one that cannot be completed now is tried again at the commit.
    fn finish(&mut self, mut open: Open) {
        match open.file.complete(self.place.fsync) {
            Ok(complete) => self.complete.push((complete, open.target)),
            Err(error) => {
                tracing::warn!(sink = %self.options.id, %error, "a file cannot be completed yet");
                self.stuck.push(open);
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

    async fn commit(&mut self) -> Result<()> {
        self.finish_all(|_| true);
        while let Some(mut open) = self.stuck.pop() {
            match open.file.complete(self.place.fsync) {
                Ok(complete) => self.complete.push((complete, open.target)),
                Err(error) => {
                    self.stuck.push(open);
                    return Err(error);
                }
            }
        }
        while let Some((complete, target)) = self.complete.first() {
            if target.exists() {
                return Err(Error::environment(format!(
                    "`{}` exists already: another run writes the same files",
                    target.display()
                )));
            }
            complete.publish(target, self.place.fsync)?;
            self.complete.remove(0);
            self.place.files.fetch_add(1, Ordering::Relaxed);
        }
        tidy(&self.staging);
        Ok(())
    }

    fn summary(&self) -> Option<String> {
        (self.options.instance == 0).then(|| super::summary(&self.place))
    }
}
