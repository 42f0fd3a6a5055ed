//! A file that nobody sees before it is complete: written under a hidden name, and renamed when the checkpoint that
//! covers its rows is committed.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use millstream_core::Result;
use millstream_files::store::Hidden;
use millstream_files::writer::Contents;

use super::entry::Entry;
use crate::io_error::io_error;

/// Bytes that are collected before they are written.
const CHUNK: usize = 256 << 10;

/// A hidden file.
pub(crate) struct StagedFile {
    path: PathBuf,
    file: File,
    /// Its hidden and its visible path, below the sink's folder.
    staged: String,
    target: String,
    fsync: bool,
}

impl StagedFile {
    /// Begins the file `staged` below `root`, which becomes visible as `target`.
    pub(crate) fn create(root: &Path, staged: String, target: String, fsync: bool) -> Result<Self> {
        let path = root.join(&staged);
        let folder = path.parent().unwrap_or(Path::new("."));
        let mut attempts = 0;
        let file = loop {
            match fs::create_dir_all(folder).and_then(|()| File::create(&path)) {
                // Another sink or worker that has just committed may have tidied a folder away in between: it is
                // missing now, or was there when it was made and not any more when it was looked at.
                Err(e) if tidied_away(&e) && attempts < 100 => attempts += 1,
                file => break file.map_err(|e| io_error("create", &path, e))?,
            }
        };
        Ok(Self { path, file, staged, target, fsync })
    }
}

#[async_trait]
impl Hidden for StagedFile {
    type Entry = Entry;

    fn chunk(&self) -> usize {
        CHUNK
    }

    async fn append(&mut self, bytes: &mut Vec<u8>) -> Result<()> {
        let mut written = 0;
        let result = loop {
            let rest = bytes.get(written..).unwrap_or_default();
            if rest.is_empty() {
                break Ok(());
            }
            match self.file.write(rest) {
                Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => written += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => break Err(e),
            }
        };
        bytes.drain(..written);
        result.map_err(|e| io_error("write", &self.path, e))
    }

    async fn complete(&mut self, bytes: &mut Vec<u8>, contents: Contents) -> Result<Entry> {
        self.append(bytes).await?;
        if self.fsync {
            self.file.sync_all().map_err(|e| io_error("write", &self.path, e))?;
        }
        let Contents { bytes, xxh3 } = contents;
        Ok(Entry { staged: Some(self.staged.clone()), target: self.target.clone(), bytes, xxh3 })
    }
}

fn tidied_away(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::AlreadyExists)
}

/// Removes files from a staging folder by name.
///
/// # Errors
/// `Unavailable`.
pub(crate) fn remove(staging: &Path, unwanted: impl Fn(&str) -> bool) -> Result<()> {
    let entries = match fs::read_dir(staging) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(io_error("read", staging, e)),
    };
    for entry in entries {
        let entry = entry.map_err(|e| io_error("read", staging, e))?;
        if unwanted(&entry.file_name().to_string_lossy()) {
            match fs::remove_file(entry.path()) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(io_error("remove", &entry.path(), e)),
                _ => {}
            }
        }
    }
    Ok(())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use millstream_core::ErrorKind;
    use millstream_files::writer::FileWriter;

    use super::*;
    use crate::conformance::{every_type, sink_options};

    #[tokio::test]
    async fn a_full_disk_costs_no_row_and_bounds_memory() {
        let rows = every_type(0, 5_000);
        // Every write to this device finds the disk full.
        let device = StagedFile::create(Path::new("/"), "dev/full".into(), "x".into(), false).unwrap();
        let mut file = FileWriter::new(device, &sink_options("s", rows.schema_ref())).unwrap();
        let mut taken = 0;
        let error = loop {
            match file.write(&rows).await {
                Ok(()) => taken += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().contains("the disk is full"), "{error}");
        assert_eq!(taken, 1, "what was taken is kept, and nothing more is taken");
        assert_eq!(file.pending() as u64, file.bytes());
        assert_eq!(file.complete().await.unwrap_err().kind(), ErrorKind::Unavailable);
        assert_eq!(file.pending() as u64, file.bytes());
    }
}
