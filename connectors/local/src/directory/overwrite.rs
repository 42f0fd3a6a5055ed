//! Files that hold all current rows of their path: one per key, sorted by key, rewritten whole when they change.
//!
//! The rows are kept by the connector for all workers together, because rows of different keys, and so of different
//! workers, may belong to one file. A row of a known key replaces the old one, also where it belongs to another file
//! now; the retraction of a row removes it.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{Int8Type, Schema, SchemaRef};
use arrow::row::{OwnedRow, RowConverter, SortField};
use async_trait::async_trait;
use millstream_core::batch::{hidden, is_hidden};
use millstream_core::sink::{Outcome, Sink, SinkOptions};
use millstream_core::{Batch, Error, EventTime, Result};
use millstream_formats::encoder;

use super::append::{Place, encode_options};
use super::paths::Paths;
use super::staged::{STAGING, StagedFile, tidy};

/// Files of more rows are rewritten at commits and when they roll, not whenever they change.
const SMALL: usize = 10_000;

#[derive(Debug, Default)]
struct FileRows {
    rows: BTreeMap<OwnedRow, OwnedRow>,
    changed: bool,
    written_at: Option<EventTime>,
}

/// The current rows of all files of one sink.
#[derive(Debug)]
pub(crate) struct Current {
    key: Vec<usize>,
    columns: Vec<usize>,
    schema: SchemaRef,
    keys: RowConverter,
    values: RowConverter,
    files: BTreeMap<String, FileRows>,
    homes: HashMap<OwnedRow, String>,
    writes: u64,
}

impl Current {
    fn new(options: &SinkOptions) -> Result<Self> {
        let schema = &options.schema;
        let key = options.key.iter().map(|name| {
            let message = || Error::config(format!("`{name}` is a key of `{}` but no column of it", options.id));
            schema.index_of(name).map_err(|_| message())
        });
        let key: Vec<usize> = key.collect::<Result<_>>()?;
        let columns: Vec<usize> =
            schema.fields().iter().enumerate().filter(|(_, f)| !is_hidden(f.name())).map(|(i, _)| i).collect();
        let converter = |columns: &[usize]| {
            let fields = columns.iter().filter_map(|i| schema.fields().get(*i));
            RowConverter::new(fields.map(|f| SortField::new(f.data_type().clone())).collect()).map_err(|e| {
                Error::config(format!("`{}` has a column that cannot be kept by key", options.id)).caused_by(e)
            })
        };
        let fields: Vec<_> = columns.iter().filter_map(|i| schema.fields().get(*i).cloned()).collect();
        Ok(Self {
            keys: converter(&key)?,
            values: converter(&columns)?,
            schema: Arc::new(Schema::new(fields)),
            key,
            columns,
            files: BTreeMap::new(),
            homes: HashMap::new(),
            writes: 0,
        })
    }

    /// Takes the rows of a batch; `paths[i]` is the file of row `i`.
    fn take(&mut self, batch: &Batch, paths: &[String]) -> Result<()> {
        let pick = |columns: &[usize]| -> Vec<ArrayRef> {
            columns.iter().filter_map(|i| batch.rows.columns().get(*i).cloned()).collect()
        };
        let keys = self.keys.convert_columns(&pick(&self.key))?;
        let values = self.values.convert_columns(&pick(&self.columns))?;
        let diffs = batch.column(hidden::DIFF).and_then(|c| c.as_primitive_opt::<Int8Type>());
        for (row, path) in paths.iter().enumerate() {
            let (key, value) = (keys.row(row).owned(), values.row(row).owned());
            let retracted = diffs.is_some_and(|d| d.value(row) < 0);
            if retracted {
                self.retract(&key, &value);
            } else {
                self.put(key, value, path);
            }
        }
        Ok(())
    }

    fn put(&mut self, key: OwnedRow, value: OwnedRow, path: &str) {
        match self.homes.get_mut(&key) {
            Some(home) if home == path => {}
            Some(home) => {
                if let Some(file) = self.files.get_mut(home.as_str()) {
                    file.changed |= file.rows.remove(&key).is_some();
                }
                path.clone_into(home);
            }
            None => drop(self.homes.insert(key.clone(), path.to_owned())),
        }
        if !self.files.contains_key(path) {
            self.files.insert(path.to_owned(), FileRows::default());
        }
        if let Some(file) = self.files.get_mut(path) {
            let same = file.rows.get(&key) == Some(&value);
            file.changed |= !same;
            file.rows.insert(key, value);
        }
    }

    /// Removes exactly this row; where another has taken its place, that is the update the retraction belongs to.
    fn retract(&mut self, key: &OwnedRow, value: &OwnedRow) {
        let Some(file) = self.homes.get(key).and_then(|home| self.files.get_mut(home)) else { return };
        if file.rows.get(key) == Some(value) {
            file.rows.remove(key);
            file.changed = true;
            self.homes.remove(key);
        }
    }

    /// Rewrites the changed files that are `due`.
    fn rewrite(&mut self, sink: &Target, due: impl Fn(&FileRows) -> bool) -> Result<()> {
        for (path, file) in &mut self.files {
            if !file.changed || !due(file) {
                continue;
            }
            let target = sink.place.root.join(path);
            if file.rows.is_empty() {
                if target.exists() {
                    std::fs::remove_file(&target).map_err(|e| crate::io_error::io_error("remove", &target, e))?;
                }
            } else {
                let arrays = self.values.convert_rows(file.rows.values().map(OwnedRow::row))?;
                let rows = RecordBatch::try_new(self.schema.clone(), arrays)?;
                self.writes += 1;
                sink.write(&rows, &target, self.writes)?;
            }
            if file.written_at.is_none() {
                sink.place.files.fetch_add(1, Ordering::Relaxed);
            }
            file.changed = false;
            file.written_at = Some(sink.place.clock.now());
        }
        // Files without rows are gone.
        self.files.retain(|_, file| file.changed || !file.rows.is_empty());
        Ok(())
    }
}

/// Where a sink's files go.
#[derive(Debug)]
struct Target {
    place: Place,
    options: SinkOptions,
    staging: PathBuf,
}

impl Target {
    fn write(&self, rows: &RecordBatch, target: &std::path::Path, number: u64) -> Result<()> {
        let encoder = encoder(self.options.format, rows.schema_ref(), &encode_options(&self.options))?;
        let hidden = self.staging.join(format!("{}-current-{number:06}", self.options.generation));
        let mut file = StagedFile::create(hidden, encoder, self.options.compression)?;
        file.write(rows)?;
        file.complete(self.place.fsync)?.publish(target, self.place.fsync)
    }
}

/// One worker's end of a sink that overwrites.
pub(crate) struct OverwriteSink {
    target: Target,
    paths: Paths,
    current: Arc<Mutex<Current>>,
}

/// The rows that all instances of a sink share.
pub(crate) fn shared(options: &SinkOptions) -> Result<Arc<Mutex<Current>>> {
    if options.key.is_empty() {
        return Err(Error::config(format!(
            "`{}` says `mode: overwrite`, but its rows have no key by which a later row replaces an earlier one: read \
             from an aggregate with GROUP BY or from an upsert, or say `mode: append`",
            options.id
        )));
    }
    Ok(Arc::new(Mutex::new(Current::new(options)?)))
}

impl OverwriteSink {
    pub(crate) fn new(
        place: Place,
        options: &SinkOptions,
        template: &str,
        current: Arc<Mutex<Current>>,
    ) -> Result<Self> {
        if template.contains("{batch_id}") {
            return Err(Error::config(format!(
                "the path `{template}` of `{}` has a {{batch_id}}, which names a new file each time: leave it out with \
                 `mode: overwrite`",
                options.id
            )));
        }
        encoder(options.format, &options.schema, &encode_options(options))?;
        let paths = Paths::new(template, &options.schema, &options.pipeline, &options.id)?;
        let staging = place.root.join(STAGING).join(&options.pipeline).join(&options.id);
        if options.instance == 0 {
            super::staged::remove_abandoned(&staging, &options.generation);
        }
        Ok(Self { target: Target { place, options: options.clone(), staging }, paths, current })
    }

    fn lock(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Sink for OverwriteSink {
    async fn write(&mut self, batch: &Batch) -> Result<Vec<Outcome>> {
        let groups = self.paths.group(batch)?;
        let mut paths = vec![String::new(); batch.num_rows()];
        for group in &groups {
            group.spread(std::iter::repeat_n(group.path.clone(), group.rows.num_rows()), &mut paths);
        }
        self.lock().take(batch, &paths)?;
        Ok(vec![Outcome::Done; batch.num_rows()])
    }

    async fn poll(&mut self) -> Result<()> {
        let (now, every) = (self.target.place.clock.now(), self.target.options.roll.every);
        let due = |file: &FileRows| {
            file.rows.len() <= SMALL || file.written_at.is_none_or(|written| written.plus(every) <= now)
        };
        self.lock().rewrite(&self.target, due)
    }

    async fn commit(&mut self) -> Result<()> {
        self.lock().rewrite(&self.target, |_| true)?;
        tidy(&self.target.staging);
        Ok(())
    }

    fn summary(&self) -> Option<String> {
        (self.target.options.instance == 0).then(|| super::summary(&self.target.place))
    }
}
