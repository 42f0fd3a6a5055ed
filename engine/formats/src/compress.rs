//! Compressed bytes in and out: gzip and Zstandard as streams.

use std::io::{self, BufReader, Read, Write};

use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use millstream_core::format::Compression;
use millstream_core::{Error, Result};

/// Zstandard's own default: about as fast as the encoders feed it.
const ZSTD_LEVEL: i32 = 3;

/// Compresses a stream of bytes into memory; the same bytes give the same output.
pub struct Compressor {
    stream: Stream,
}

enum Stream {
    None(Vec<u8>),
    Gzip(GzEncoder<Vec<u8>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

impl std::fmt::Debug for Compressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compressor").finish_non_exhaustive()
    }
}

impl Compressor {
    /// A compressor with nothing written yet.
    ///
    /// # Errors
    /// `Environment` where the library cannot get its memory.
    pub fn new(compression: Compression) -> Result<Self> {
        let stream = match compression {
            Compression::None => Stream::None(Vec::new()),
            Compression::Gzip => Stream::Gzip(GzEncoder::new(Vec::new(), flate2::Compression::fast())),
            Compression::Zstd => {
                Stream::Zstd(zstd::stream::write::Encoder::new(Vec::new(), ZSTD_LEVEL).map_err(failed)?)
            }
        };
        Ok(Self { stream })
    }

    /// Takes more bytes.
    ///
    /// # Errors
    /// `Environment` where the library fails; writing to memory itself does not.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        match &mut self.stream {
            Stream::None(out) => {
                out.extend_from_slice(bytes);
                Ok(())
            }
            Stream::Gzip(encoder) => encoder.write_all(bytes).map_err(failed),
            Stream::Zstd(encoder) => encoder.write_all(bytes).map_err(failed),
        }
    }

    /// What is compressed so far and was not taken yet; together with [`Self::finish`] the whole stream. Lets a
    /// writer move bytes on to a file while more come.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(match &mut self.stream {
            Stream::None(out) => out,
            Stream::Gzip(encoder) => encoder.get_mut(),
            Stream::Zstd(encoder) => encoder.get_mut(),
        })
    }

    /// Ends the stream: everything that was not taken.
    ///
    /// # Errors
    /// As `write`.
    pub fn finish(self) -> Result<Vec<u8>> {
        match self.stream {
            Stream::None(out) => Ok(out),
            Stream::Gzip(encoder) => encoder.finish().map_err(failed),
            Stream::Zstd(encoder) => encoder.finish().map_err(failed),
        }
    }
}

fn failed(error: io::Error) -> Error {
    Error::environment("cannot compress").caused_by(error)
}

/// Reads the decompressed bytes of `input`; files of several members or frames are read to their end.
///
/// # Errors
/// What the library says when it cannot get its memory.
pub fn reader(input: impl Read + Send + 'static, compression: Compression) -> io::Result<Box<dyn Read + Send>> {
    Ok(match compression {
        Compression::None => Box::new(input),
        Compression::Gzip => Box::new(MultiGzDecoder::new(BufReader::new(input))),
        Compression::Zstd => Box::new(zstd::stream::read::Decoder::new(input)?),
    })
}

/// The compression a file's name tells of: `.gz`, `.gzip`, `.zst`, `.zstd`; none otherwise.
pub fn of_name(name: &str) -> Compression {
    match name.rsplit_once('.').map(|(_, suffix)| suffix.to_ascii_lowercase()).as_deref() {
        Some("gz" | "gzip") => Compression::Gzip,
        Some("zst" | "zstd") => Compression::Zstd,
        _ => Compression::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_compression_gives_back_what_it_took() {
        let text = "one line\n".repeat(10_000);
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            let mut compressor = Compressor::new(compression).unwrap();
            let mut file = Vec::new();
            for chunk in text.as_bytes().chunks(777) {
                compressor.write(chunk).unwrap();
                file.extend(compressor.take());
            }
            file.extend(compressor.finish().unwrap());
            let mut back = String::new();
            reader(io::Cursor::new(file), compression).unwrap().read_to_string(&mut back).unwrap();
            assert_eq!(back, text, "{compression:?}");
        }
    }

    #[test]
    fn members_behind_each_other_are_one_file() {
        for compression in [Compression::Gzip, Compression::Zstd] {
            let mut file = Vec::new();
            for part in ["first ", "second"] {
                let mut compressor = Compressor::new(compression).unwrap();
                compressor.write(part.as_bytes()).unwrap();
                file.extend(compressor.finish().unwrap());
            }
            let mut back = String::new();
            reader(io::Cursor::new(file), compression).unwrap().read_to_string(&mut back).unwrap();
            assert_eq!(back, "first second", "{compression:?}");
        }
    }

    #[test]
    fn names_tell_the_compression() {
        assert_eq!(of_name("a/b.jsonl.gz"), Compression::Gzip);
        assert_eq!(of_name("b.csv.ZST"), Compression::Zstd);
        assert_eq!(of_name("gz"), Compression::None);
        assert_eq!(of_name("b.csv"), Compression::None);
    }
}
