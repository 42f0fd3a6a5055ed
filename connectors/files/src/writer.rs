//! Rows into the bytes of one file: encoded, compressed, hashed, and moved on to where it is staged.
//!
//! Bytes that could not be moved on stay in memory and are tried again, so that a full disk or a service that is away
//! costs no row; and no more rows are taken meanwhile, so that memory stays bounded.

use arrow::array::RecordBatch;
use millstream_core::format::Encoder;
use millstream_core::sink::SinkOptions;
use millstream_core::{Error, Result};
use millstream_formats::compress::Compressor;
use millstream_formats::{EncodeOptions, encoder};
use xxhash_rust::xxh3::Xxh3;

use crate::store::Hidden;

/// What a complete file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// How many bytes it has.
    pub bytes: u64,
    /// Their hash, as [`shown`] writes it.
    pub xxh3: String,
}

/// A hash as checkpoints have it.
pub fn shown(hash: &Xxh3) -> String {
    format!("{:016x}", hash.digest())
}

/// A file being written.
pub struct FileWriter<F> {
    file: F,
    encoder: Box<dyn Encoder>,
    /// `None` as soon as the file is complete.
    compressor: Option<Compressor>,
    /// Encoded and not yet compressed.
    encoded: Vec<u8>,
    /// Compressed and not yet moved on.
    pending: Vec<u8>,
    /// Of all compressed bytes.
    hash: Xxh3,
    /// How many compressed bytes there are.
    size: u64,
    /// Encoded so far.
    bytes: u64,
}

impl<F: Hidden> FileWriter<F> {
    /// Begins the contents of `file`, in the format and compression of `options`.
    ///
    /// # Errors
    /// `Config` where the rows cannot be written in the format.
    pub fn new(file: F, options: &SinkOptions) -> Result<Self> {
        let encode = EncodeOptions { decimals_as_strings: options.decimals_as_strings };
        let encoder = encoder(options.format, &options.schema, &encode)?;
        let compressor = Some(Compressor::new(options.compression)?);
        let (encoded, pending, hash) = (Vec::new(), Vec::new(), Xxh3::new());
        Ok(Self { file, encoder, compressor, encoded, pending, hash, size: 0, bytes: 0 })
    }

    /// Bytes encoded so far, before compression.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes that wait to be moved on.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    fn keep(&mut self, mut compressed: Vec<u8>) {
        self.hash.update(&compressed);
        self.size += compressed.len() as u64;
        self.pending.append(&mut compressed);
    }

    /// Takes rows; when this fails, it has taken none of them.
    ///
    /// # Errors
    /// `Unavailable` where earlier rows could not be moved on yet, so that memory stays bounded; `BadRow` where a value
    /// cannot be expressed.
    pub async fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        if self.pending.len() >= self.file.chunk() {
            self.file.append(&mut self.pending).await?;
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
        if self.pending.len() >= self.file.chunk()
            && let Err(error) = self.file.append(&mut self.pending).await
        {
            // No matter of these rows: they are kept.
            tracing::debug!(%error, "a file cannot be written on now");
        }
        Ok(())
    }

    /// Completes the file, durably; may be called again after it failed.
    ///
    /// # Errors
    /// `Unavailable` where it could not be written.
    pub async fn complete(&mut self) -> Result<F::Entry> {
        if let Some(mut compressor) = self.compressor.take() {
            self.encoded.clear();
            self.encoder.finish(&mut self.encoded)?;
            compressor.write(&self.encoded)?;
            self.keep(compressor.finish()?);
            self.encoded = Vec::new();
        }
        let contents = Contents { bytes: self.size, xxh3: shown(&self.hash) };
        self.file.complete(&mut self.pending, contents).await
    }
}

impl<F> std::fmt::Debug for FileWriter<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileWriter").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}
