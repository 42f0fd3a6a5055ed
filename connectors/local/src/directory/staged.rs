//! A file that nobody sees before it is complete.
//!
//! It is written under a hidden name, and renamed when the checkpoint that covers its rows is committed. Bytes that
//! could not be written stay in memory and are tried again, so that a full disk costs no row.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use millstream_core::format::{Compression, Encoder};
use millstream_core::{Error, Result};
use millstream_formats::compress::Compressor;
use xxhash_rust::xxh3::Xxh3;

use super::entry;
use crate::io_error::io_error;

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
    /// Of all compressed bytes.
    hash: Xxh3,
    /// How many compressed bytes there are.
    size: u64,
    /// Encoded so far.
    pub(crate) bytes: u64,
}

/// What a complete file is.
#[derive(Debug)]
pub(crate) struct Complete {
    pub(crate) bytes: u64,
    pub(crate) xxh3: String,
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
        let (encoded, pending, hash) = (Vec::new(), Vec::new(), Xxh3::new());
        Ok(Self { path, file, encoder, compressor, encoded, pending, hash, size: 0, bytes: 0 })
    }

    fn keep(&mut self, mut compressed: Vec<u8>) {
        self.hash.update(&compressed);
        self.size += compressed.len() as u64;
        self.pending.append(&mut compressed);
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
        let compressed = compressor.take();
        self.keep(compressed);
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
            self.keep(compressor.finish()?);
        }
        self.flush()?;
        if fsync {
            self.file.sync_all().map_err(|e| io_error("write", &self.path, e))?;
        }
        Ok(Complete { bytes: self.size, xxh3: entry::shown(&self.hash) })
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
    use millstream_core::format::RecordFormat;
    use millstream_formats::{EncodeOptions, encoder};

    use super::*;
    use crate::conformance::every_type;

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
