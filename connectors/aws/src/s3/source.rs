//! Which objects there are, and how each is cut into splits; read once.
//!
//! A split's name is its object's key below the prefix, with `#from-to` behind it for a range of bytes. Ranges depend on
//! the object and on `split_size` only.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use millstream_core::format::{Compression, RecordFormat};
use millstream_core::source::{Position, Read, Split, SplitId, SplitReader, SplitSource};
use millstream_core::{Error, ErrorKind, Result};
use millstream_files::ahead::{ReadAhead, RunReader};
use millstream_files::line_file::{LineFile, Lines, Range};
use millstream_files::lines::Ends;
use millstream_files::parquet_file::ParquetFile;
use millstream_formats::compress;
use tokio::runtime::Handle;

use super::bucket::{Listed, Shared};
use super::config::S3Config;
use super::object::{Object, ParquetObject};

/// What is read where nothing is named: everything that is not hidden.
const EVERYTHING: &str = "**/*";
/// A `*` is a part of a key and not more; no part that begins with a dot is meant unless it is named.
const MATCH: glob::MatchOptions =
    glob::MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };

/// The objects of a configuration.
#[derive(Debug, Clone)]
pub(super) struct S3Source {
    bucket: Shared,
    config: S3Config,
    format: RecordFormat,
    /// ETags by name, as they were listed first.
    etags: Arc<Mutex<HashMap<String, String>>>,
}

impl S3Source {
    pub(super) fn new(bucket: Shared, config: S3Config, format: RecordFormat) -> Self {
        Self { bucket, config, format, etags: Arc::default() }
    }

    fn etags(&self) -> MutexGuard<'_, HashMap<String, String>> {
        self.etags.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn compression(&self, name: &str) -> Compression {
        self.config.compression.unwrap_or_else(|| compress::of_name(name))
    }

    /// All objects, by key.
    async fn objects(&self) -> Result<Vec<Listed>> {
        let patterns = match &self.config.path {
            Some(paths) => paths.0.clone(),
            None => vec![EVERYTHING.to_owned()],
        };
        let mut all = Vec::new();
        for text in patterns {
            let pattern =
                glob::Pattern::new(&text).map_err(|e| Error::config(format!("`{text}` is not a glob: {}", e.msg)))?;
            let literal = text.split(['*', '?', '[']).next().unwrap_or_default();
            let listed = self.bucket.list(literal).await?;
            let (before, some) = (all.len(), !listed.is_empty());
            // Keys that end with a slash are what consoles show as folders.
            let found = listed.into_iter().filter(|object| {
                !object.name.ends_with('/') && (object.name == text || pattern.matches_with(&object.name, MATCH))
            });
            all.extend(found);
            if all.len() == before {
                return Err(self.nothing_at(&text, some));
            }
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all.dedup_by(|a, b| a.name == b.name);
        Ok(all)
    }

    fn nothing_at(&self, pattern: &str, others: bool) -> Error {
        let hint = match others {
            true => "there are others that begin so: `*` stands for a part of a key, `**` for any number of them",
            false => "check the bucket, `prefix` and `path`; keys are case-sensitive",
        };
        Error::environment(format!("no object matches `{}`: {hint}", self.bucket.url(pattern)))
    }

    /// The splits of an object.
    fn cut(&self, object: &Listed) -> Vec<Split> {
        let divisible = !self.config.multiline
            && self.format != RecordFormat::Parquet
            && self.compression(&object.name) == Compression::None;
        let split = |id: String, bytes: u64| Split { id: SplitId(id), parents: Vec::new(), size: Some(bytes) };
        let step = self.config.split_size.0.max(1);
        let whole = !divisible || object.bytes <= step;
        // A key that looks like one with a range gets one of its own, so that a name means one thing.
        if whole && locate(&object.name).1.is_none() {
            return vec![split(object.name.clone(), object.bytes)];
        }
        let step = if whole { object.bytes.max(1) } else { step };
        let starts = std::iter::successors(Some(0_u64), |from| from.checked_add(step));
        let starts = starts.take_while(|from| *from < object.bytes.max(1));
        let ranges = starts.map(|from| {
            let to = from.saturating_add(step).min(object.bytes);
            split(format!("{}#{from}-{to}", object.name), to - from)
        });
        ranges.collect()
    }

    /// Opens an object for reading; on a thread that may block.
    fn open(&self, object: Object, range: Option<Range>, after: Option<u64>) -> Result<Box<dyn RunReader>> {
        if self.format == RecordFormat::Parquet {
            return Ok(Box::new(ParquetFile::open(ParquetObject::open(object)?, after.unwrap_or(0))?));
        }
        let ends = if self.config.multiline { Ends::UnquotedLine } else { Ends::Line };
        let compression = self.compression(&object.name);
        let lines = Lines { compression, ends, has_header: self.format == RecordFormat::Csv };
        Ok(Box::new(LineFile::open(object, range, lines, after)?))
    }
}

/// The object and range of bytes that a split's name tells.
fn locate(id: &str) -> (&str, Option<Range>) {
    let range = |text: &str| {
        let (from, to) = text.split_once('-')?;
        Some(Range { from: from.parse().ok()?, to: to.parse().ok()? })
    };
    match id.rsplit_once('#').and_then(|(name, text)| Some((name, range(text)?))) {
        Some((name, range)) => (name, Some(range)),
        None => (id, None),
    }
}

/// Reads a split; after an error, from behind the last record it has given.
struct Resuming {
    source: S3Source,
    object: Object,
    range: Option<Range>,
    after: Option<u64>,
    reader: Option<Box<dyn RunReader>>,
}

impl RunReader for Resuming {
    fn read(&mut self) -> Result<Read> {
        let reader = match &mut self.reader {
            Some(reader) => reader,
            None => self.reader.insert(self.source.open(self.object.clone(), self.range, self.after)?),
        };
        let read = reader.read();
        match &read {
            Ok(Read::Records { upto: Position::Offset(upto), .. }) => self.after = Some(*upto),
            Ok(_) => {}
            Err(_) => self.reader = None,
        }
        read
    }
}

#[async_trait]
impl SplitSource for S3Source {
    async fn discover(&self, finished: &BTreeSet<SplitId>) -> Result<Vec<Split>> {
        let objects = self.objects().await?;
        for object in &objects {
            if let Some(etag) = &object.etag {
                self.etags().entry(object.name.clone()).or_insert_with(|| etag.clone());
            }
        }
        let splits = objects.iter().flat_map(|object| self.cut(object));
        Ok(splits.filter(|split| !finished.contains(&split.id)).collect())
    }

    async fn open(&self, split: &Split, after: Option<Position>) -> Result<Box<dyn SplitReader>> {
        let after = match after {
            None => None,
            Some(Position::Offset(offset)) => Some(offset),
            Some(Position::Text(text)) => {
                let message = format!("`{text}` is not a position in the object `{}`", split.id);
                return Err(Error::new(ErrorKind::Environment, message));
            }
        };
        let (name, range) = locate(&split.id.0);
        let etag = self.etags().get(name).cloned();
        let object = Object { bucket: self.bucket.clone(), name: name.to_owned(), etag, runtime: Handle::current() };
        Ok(Box::new(ReadAhead::new(Resuming { source: self.clone(), object, range, after, reader: None })))
    }

    fn bounded(&self) -> bool {
        true
    }

    fn ordered(&self) -> bool {
        self.config.ordered
    }

    fn format(&self) -> RecordFormat {
        self.format
    }
}
