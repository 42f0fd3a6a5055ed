//! A file that nobody sees before it is complete.
//!
//! It is written under a hidden name in a folder `.staging` below the sink's root, which is on the same file system,
//! and renamed when it is complete. Bytes that could not be written stay in memory and are tried again, so that a
//! full disk costs no row.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use millstream_core::format::{Compression, Encoder};
use millstream_core::{Error, Result};
use millstream_formats::compress::Compressor;

use crate::io_error::io_error;

/// The folder of hidden files below a root.
pub(crate) const STAGING: &str = ".staging";
/// Bytes that are collected before they are written.
const PENDING: usize = 256 << 10;

/// A file being written.
pub(crate) struct StagedFile {
    path: PathBuf,
    file: File,
    encoder: Box<dyn Encoder>,
    /// `None` as soon as the file is complete.
    compressor: Option<Compressor>,
    /// Encoded and not yet compressed.
    encoded: Vec<u8>,
    /// Compressed and not yet written.
    pending: Vec<u8>,
    /// Encoded so far.
    pub(crate) bytes: u64,
}

/// A complete file that is not yet visible.
#[derive(Debug)]
pub(crate) struct Complete {
    path: PathBuf,
}

impl StagedFile {
    /// Begins a file at the hidden `path`.
    pub(crate) fn create(path: PathBuf, encoder: Box<dyn Encoder>, compression: Compression) -> Result<Self> {
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
        let compressor = Some(Compressor::new(compression)?);
        Ok(Self { path, file, encoder, compressor, encoded: Vec::new(), pending: Vec::new(), bytes: 0 })
    }

    /// Takes rows; when this fails, it has taken none of them.
    ///
    /// # Errors
    /// `Unavailable` where earlier rows could not be written yet, so that memory stays bounded; `BadRow` where a
    /// value cannot be expressed.
    pub(crate) fn write(&mut self, rows: &arrow::array::RecordBatch) -> Result<()> {
        if self.pending.len() >= PENDING {
            self.flush()?;
        }
        self.encoded.clear();
        self.encoder.encode(rows, &mut self.encoded)?;
        self.bytes += self.encoded.len() as u64;
        let Some(compressor) = self.compressor.as_mut() else {
            return Err(Error::bug("rows were written to a complete file"));
        };
        compressor.write(&self.encoded)?;
        self.pending.append(&mut compressor.take());
        // Whether these bytes get through now is no matter of these rows: they are kept.
        if self.pending.len() >= PENDING {
            let _ = self.flush();
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        let mut written = 0;
        let result = loop {
            let rest = self.pending.get(written..).unwrap_or_default();
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
        self.pending.drain(..written);
        result.map_err(|e| io_error("write", &self.path, e))
    }

    /// Completes the file; may be called again after it failed.
    ///
    /// # Errors
    /// `Unavailable` where it could not be written.
    pub(crate) fn complete(&mut self, fsync: bool) -> Result<Complete> {
        if let Some(mut compressor) = self.compressor.take() {
            self.encoded.clear();
            self.encoder.finish(&mut self.encoded)?;
            compressor.write(&self.encoded)?;
            self.pending.append(&mut compressor.finish()?);
        }
        self.flush()?;
        if fsync {
            self.file.sync_all().map_err(|e| io_error("write", &self.path, e))?;
        }
        Ok(Complete { path: self.path.clone() })
    }
}

impl Complete {
    /// Makes the file visible at `path`, atomically.
    pub(crate) fn publish(&self, path: &Path, fsync: bool) -> Result<()> {
        let folder = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(|e| io_error("create", folder, e))?;
        fs::rename(&self.path, path).map_err(|e| io_error("write", path, e))?;
        if fsync {
            File::open(folder).and_then(|f| f.sync_all()).map_err(|e| io_error("write", folder, e))?;
        }
        Ok(())
    }
}

fn tidied_away(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::AlreadyExists)
}

/// Removes what earlier starts of a sink have left unfinished: files in its staging folder of other generations.
pub(crate) fn remove_abandoned(staging: &Path, generation: &str) {
    let Ok(entries) = fs::read_dir(staging) else { return };
    let own = format!("{generation}-");
    for entry in entries.flatten() {
        if !entry.file_name().to_string_lossy().starts_with(&own) {
            // Left over again, it is tried again at the next start.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Removes the staging folders of a sink if they are empty.
pub(crate) fn tidy(staging: &Path) {
    let mut folder = Some(staging);
    for _ in 0..3 {
        match folder {
            Some(path) if fs::remove_dir(path).is_ok() => folder = path.parent(),
            _ => return,
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use millstream_core::ErrorKind;
    use millstream_core::format::RecordFormat;
    use millstream_formats::{EncodeOptions, encoder};

    use super::*;
    use crate::conformance::every_type;

    /// Sinks that share a root tidy and create the same folders.
    #[test]
    fn folders_that_others_tidy_away_are_made_again() {
        let root = tempfile::tempdir().unwrap();
        let rows = every_type(0, 1);
        std::thread::scope(|scope| {
            for sink in 0..4 {
                let (root, schema) = (root.path(), rows.schema());
                scope.spawn(move || {
                    let staging = root.join(STAGING).join("p").join(format!("sink-{sink}"));
                    for n in 0..200 {
                        let encoder = encoder(RecordFormat::Json, &schema, &EncodeOptions::default()).unwrap();
                        let path = staging.join(format!("{n}"));
                        let mut file = StagedFile::create(path, encoder, Compression::None).unwrap();
                        file.complete(false).unwrap().publish(&root.join(format!("{sink}/{n}")), false).unwrap();
                        tidy(&staging);
                    }
                });
            }
        });
        assert!(!root.path().join(STAGING).exists());
    }

    #[test]
    fn a_full_disk_costs_no_row_and_bounds_memory() {
        let rows = every_type(0, 5_000);
        let encoder = encoder(RecordFormat::Json, rows.schema_ref(), &EncodeOptions::default()).unwrap();
        // Every write to this device finds the disk full.
        let mut file = StagedFile::create(PathBuf::from("/dev/full"), encoder, Compression::None).unwrap();
        let mut taken = 0;
        let error = loop {
            match file.write(&rows) {
                Ok(()) => taken += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().contains("the disk is full"), "{error}");
        assert_eq!(taken, 1, "what was taken is kept, and nothing more is taken");
        assert_eq!(file.pending.len() as u64, file.bytes);
        assert_eq!(file.complete(false).unwrap_err().kind(), ErrorKind::Unavailable);
        assert_eq!(file.pending.len() as u64, file.bytes);
    }
}
