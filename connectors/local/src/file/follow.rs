//! Following a file that grows, as `tail -F` does.
//!
//! * A last line without a line end waits for its rest.
//! * A file that was replaced (rotated) is read to its end, then the new one from its beginning.
//! * A file that has become shorter was emptied: it is read from its beginning again.
//! * A file that is gone is waited for.
//!
//! Positions are offsets in the file that now has the name. After a restart a file that is shorter than its
//! position is taken for a new one; one that was replaced by a longer one meanwhile cannot be told apart.

use std::fs::{self, File, Metadata};
use std::io::{self, Seek as _, SeekFrom};
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use millstream_core::source::{Position, Read, SplitReader};
use millstream_core::{EventTime, Result};
use millstream_files::line_file::fill;
use tokio::time::sleep;

use crate::clock::from_system;
use crate::io_error::io_error;
use crate::lines::{Ends, LineCutter};

/// How often a file is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How many looks without news make a split idle.
const LOOKS: usize = 10;

/// Reads a growing file.
pub(crate) struct Follow {
    path: PathBuf,
    file: Option<Opened>,
    cutter: LineCutter,
    has_header: bool,
    header: Option<Bytes>,
    /// Where to begin in the file that is opened first.
    after: u64,
    arrived_at: EventTime,
}

struct Opened {
    file: File,
    identity: Option<u64>,
}

#[cfg(unix)]
fn identity(meta: &Metadata) -> Option<u64> {
    Some(std::os::unix::fs::MetadataExt::ino(meta))
}

#[cfg(not(unix))]
fn identity(_meta: &Metadata) -> Option<u64> {
    None
}

impl Follow {
    /// A reader that begins behind `after`, or at the beginning.
    pub(crate) fn new(path: PathBuf, ends: Ends, has_header: bool, after: Option<u64>) -> Self {
        let cutter = LineCutter::new(ends, 0);
        Self { path, file: None, cutter, has_header, header: None, after: after.unwrap_or(0), arrived_at: EventTime(0) }
    }

    /// Opens the file that now has the name; false where there is none.
    fn open(&mut self) -> io::Result<bool> {
        let file = match File::open(&self.path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
            file => file?,
        };
        let meta = file.metadata()?;
        self.cutter.restart();
        self.header = None;
        let mut opened = Opened { file, identity: identity(&meta) };
        if meta.len() < self.after {
            tracing::warn!(path = %self.path.display(), "the file is shorter than where it was left: reading it anew");
            self.after = 0;
        }
        if self.after > 0 {
            if self.has_header {
                while self.header.is_none() && fill(&mut opened.file, self.cutter.buffer())? > 0 {
                    self.header = self.cutter.take_first();
                }
            }
            self.cutter.restart_at(self.after);
            opened.file.seek(SeekFrom::Start(self.after))?;
            self.after = 0;
        }
        self.file = Some(opened);
        Ok(true)
    }

    /// Reads what is new; false where nothing is.
    fn look(&mut self) -> io::Result<bool> {
        if self.file.is_none() && !self.open()? {
            return Ok(false);
        }
        let Some(opened) = &mut self.file else { return Ok(false) };
        let meta = opened.file.metadata()?;
        self.arrived_at = from_system(meta.modified()?);
        let shorter = meta.len() < self.cutter.read_to();
        if !shorter && fill(&mut opened.file, self.cutter.buffer())? > 0 {
            return Ok(true);
        }
        let now = match fs::metadata(&self.path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            meta => Some(meta?),
        };
        let replaced = now.as_ref().is_some_and(|now| identity(now) != opened.identity);
        if shorter || replaced {
            // What was read of an unfinished last line is all there will ever be of it.
            let why = if shorter { "was emptied" } else { "was replaced" };
            tracing::info!(path = %self.path.display(), "the followed file {why}: reading it from its beginning");
            self.cutter.end();
            self.file = None;
            return Ok(true);
        }
        Ok(false)
    }

    fn cut(&mut self) -> Result<Option<Read>> {
        if self.has_header && self.header.is_none() {
            self.header = self.cutter.take_first();
            if self.header.is_none() {
                return Ok(None);
            }
        }
        let mut cut = self.cutter.cut(self.arrived_at)?;
        if cut.records.records.is_empty() {
            return Ok(None);
        }
        cut.records.header.clone_from(&self.header);
        Ok(Some(Read::Records { records: cut.records, upto: Position::Offset(cut.upto), behind: None }))
    }
}

#[async_trait]
impl SplitReader for Follow {
    async fn next(&mut self) -> Result<Read> {
        let mut looks = 0;
        loop {
            if let Some(read) = self.cut()? {
                return Ok(read);
            }
            if self.look().map_err(|e| io_error("read", &self.path, e))? {
                continue;
            }
            if looks == LOOKS {
                return Ok(Read::Idle);
            }
            looks += 1;
            sleep(LOOK_EVERY).await;
        }
    }
}
