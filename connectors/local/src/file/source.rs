//! Which files there are, and how each is cut into splits.
//!
//! A split's name is its file's path, with `#from-to` behind it for a range of bytes. Ranges depend on the file and
//! on `split_size` only.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use millstream_core::format::{Compression, RecordFormat};
use millstream_core::source::{Position, Split, SplitId, SplitReader, SplitSource};
use millstream_core::{Error, Result};
use millstream_files::line_file::{LineFile, Lines, Range};
use millstream_files::parquet_file::ParquetFile;
use millstream_formats::compress;
use tokio::task::spawn_blocking;

use super::config::FileConfig;
use super::follow::Follow;
use super::opened::LocalFile;
use crate::ahead::ReadAhead;
use crate::io_error::io_error;
use crate::lines::Ends;

/// The files of a configuration.
#[derive(Debug, Clone)]
pub(crate) struct FileSource {
    config: FileConfig,
    format: RecordFormat,
}

impl FileSource {
    pub(crate) fn new(config: FileConfig, format: RecordFormat) -> Self {
        Self { config, format }
    }

    fn compression(&self, path: &Path) -> Compression {
        self.config.compression.unwrap_or_else(|| compress::of_name(&path.to_string_lossy()))
    }

    fn ends(&self) -> Ends {
        if self.config.multiline { Ends::UnquotedLine } else { Ends::Line }
    }

    /// All files with their sizes, by path.
    fn files(&self) -> Result<BTreeMap<PathBuf, u64>> {
        let mut files = BTreeMap::new();
        for pattern in &self.config.path.0 {
            let before = files.len();
            let mut matched = false;
            for path in matches(pattern)? {
                let meta = fs::metadata(&path).map_err(|e| io_error("read", &path, e))?;
                if meta.is_dir() {
                    if path == Path::new(pattern) {
                        return Err(Error::environment(format!(
                            "`{pattern}` is a folder: name its files, such as `{}/*.jsonl`",
                            pattern.trim_end_matches('/')
                        )));
                    }
                    continue;
                }
                matched = true;
                files.insert(path, meta.len());
            }
            if !matched && files.len() == before && !self.config.follow {
                return Err(nothing_at(pattern));
            }
        }
        Ok(files)
    }

    fn splits(&self) -> Result<Vec<Split>> {
        let mut splits = Vec::new();
        for (path, size) in self.files()? {
            let name = path.to_str().ok_or_else(|| {
                Error::environment(format!("the name of `{}` is not valid UTF-8: rename the file", path.display()))
            })?;
            let divisible = !self.config.follow
                && !self.config.multiline
                && self.format != RecordFormat::Parquet
                && self.compression(&path) == Compression::None;
            let step = self.config.split_size.0.max(1);
            if !divisible || size <= step {
                splits.push(Split { id: SplitId(name.into()), parents: Vec::new(), size: Some(size) });
                continue;
            }
            let mut from = 0;
            while from < size {
                let to = (from + step).min(size);
                let id = SplitId(format!("{name}#{from}-{to}"));
                splits.push(Split { id, parents: Vec::new(), size: Some(to - from) });
                from = to;
            }
        }
        Ok(splits)
    }

    fn reader(&self, split: &Split, after: Option<Position>) -> Result<Box<dyn SplitReader>> {
        let after = match after {
            None => None,
            Some(Position::Offset(offset)) => Some(offset),
            Some(Position::Text(text)) => {
                return Err(Error::environment(format!("`{text}` is not a position in the file `{}`", split.id)));
            }
        };
        let (path, range) = locate(&split.id);
        let compression = self.compression(&path);
        let has_header = self.format == RecordFormat::Csv;
        if self.config.follow {
            if compression != Compression::None {
                return Err(Error::config(format!("the compressed file `{}` cannot be followed", path.display())));
            }
            return Ok(Box::new(Follow::new(path, self.ends(), has_header, after)));
        }
        if self.format == RecordFormat::Parquet {
            return Ok(Box::new(ReadAhead::new(ParquetFile::open(LocalFile(path), after.unwrap_or(0))?)));
        }
        let lines = Lines { compression, ends: self.ends(), has_header };
        let file = LineFile::open(LocalFile(path), range, lines, after)?;
        Ok(Box::new(ReadAhead::new(file)))
    }
}

/// What a glob finds; a path that exists as it is written is not a glob.
fn matches(pattern: &str) -> Result<Vec<PathBuf>> {
    if Path::new(pattern).exists() {
        return Ok(vec![PathBuf::from(pattern)]);
    }
    let options = glob::MatchOptions { require_literal_leading_dot: true, ..glob::MatchOptions::default() };
    let found = glob::glob_with(pattern, options)
        .map_err(|e| Error::config(format!("`{pattern}` is not a glob: {}", e.msg)))?;
    found
        .map(|entry| {
            entry.map_err(|e| {
                let path = e.path().to_owned();
                io_error("read", &path, e.into())
            })
        })
        .collect()
}

fn nothing_at(pattern: &str) -> Error {
    let here = std::env::current_dir().map(|d| d.display().to_string()).unwrap_or_default();
    let hint = if Path::new(pattern).is_absolute() {
        "check the path; where it comes from a variable such as ${TRIP_DATA}, check that the variable is right".into()
    } else {
        format!("relative paths begin at the working directory, which is `{here}`")
    };
    Error::environment(format!("no file matches `{pattern}`: {hint}"))
}

/// The file and range of bytes that a split's name tells.
fn locate(id: &SplitId) -> (PathBuf, Option<Range>) {
    let range = |text: &str| {
        let (from, to) = text.split_once('-')?;
        Some(Range { from: from.parse().ok()?, to: to.parse().ok()? })
    };
    match id.0.rsplit_once('#').and_then(|(path, text)| Some((PathBuf::from(path), range(text)?))) {
        Some((path, range)) if !Path::new(&id.0).exists() => (path, Some(range)),
        _ => (PathBuf::from(&id.0), None),
    }
}

#[async_trait]
impl SplitSource for FileSource {
    async fn discover(&self, finished: &BTreeSet<SplitId>) -> Result<Vec<Split>> {
        let this = self.clone();
        let splits = spawn_blocking(move || this.splits())
            .await
            .map_err(|e| Error::bug("listing files panicked").caused_by(e))??;
        Ok(splits.into_iter().filter(|s| !finished.contains(&s.id)).collect())
    }

    async fn open(&self, split: &Split, after: Option<Position>) -> Result<Box<dyn SplitReader>> {
        let (this, split) = (self.clone(), split.clone());
        spawn_blocking(move || this.reader(&split, after))
            .await
            .map_err(|e| Error::bug("opening a file panicked").caused_by(e))?
    }

    fn bounded(&self) -> bool {
        !self.config.follow
    }

    fn ordered(&self) -> bool {
        self.config.ordered.unwrap_or(self.config.follow)
    }

    fn format(&self) -> RecordFormat {
        self.format
    }
}
