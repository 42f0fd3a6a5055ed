//! Objects as those who read lines or Parquet want them: blocking, on threads that may block.

use std::io::{self, Read};
use std::ops::Range;

use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::primitives::ByteStream;
use bytes::{Buf as _, Bytes};
use millstream_core::{Error, ErrorKind, EventTime, Result};
use millstream_files::line_file::{Bytewise, Input};
use millstream_files::parquet_file::ParquetInput;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use parquet::file::reader::{ChunkReader, Length};
use tokio::runtime::Handle;

use super::bucket::{Shared, instant};

/// How often the bytes of an object may break off without a new one in between.
const ATTEMPTS: u32 = 5;
/// How much of the end of a Parquet file is read first: mostly all that it says of itself.
const FOOTER: u64 = 64 << 10;

/// An object of a bucket.
#[derive(Debug, Clone)]
pub(super) struct Object {
    pub(super) bucket: Shared,
    pub(super) name: String,
    /// That of the listing: all parts are of one object.
    pub(super) etag: Option<String>,
    /// Where the calls are made.
    pub(super) runtime: Handle,
}

impl Object {
    fn gone(&self) -> Error {
        Error::environment(format!("`{}` does not exist any more", self.bucket.url(&self.name)))
    }

    /// The object's bytes from `from` on, where it still has the ETag.
    fn stream(&self, from: u64, etag: Option<&str>) -> Result<GetObjectOutput> {
        let range = (from > 0).then_some(from..u64::MAX);
        self.runtime.block_on(self.bucket.stream(&self.name, range, etag))?.ok_or_else(|| self.gone())
    }

    /// Bytes in the middle of the object.
    fn range(&self, range: Range<u64>, etag: Option<&str>) -> Result<Bytes> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let asked = range.end - range.start;
        let bytes = self.runtime.block_on(self.bucket.get(&self.name, Some(range), etag))?;
        let bytes = bytes.ok_or_else(|| self.gone())?;
        if bytes.len() as u64 == asked { Ok(bytes) } else { Err(self.bucket.broken(&self.name)) }
    }
}

/// The bytes of an object as they come; where they break off, they are asked for again from there.
struct Body {
    object: Object,
    stream: Option<ByteStream>,
    chunk: Bytes,
    at: u64,
    etag: Option<String>,
    failures: u32,
}

impl Body {
    /// The next bytes; none at the end.
    fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            let stream = match &mut self.stream {
                Some(stream) => stream,
                None => {
                    let found = self.object.stream(self.at, self.etag.as_deref())?;
                    self.stream.insert(found.body)
                }
            };
            match self.object.runtime.block_on(stream.next()) {
                Some(Ok(bytes)) if bytes.is_empty() => {}
                Some(Ok(bytes)) => {
                    self.failures = 0;
                    return Ok(Some(bytes));
                }
                Some(Err(error)) => {
                    self.stream = None;
                    self.failures += 1;
                    if self.failures >= ATTEMPTS {
                        self.failures = 0;
                        return Err(self.object.bucket.broken(&self.object.name).caused_by(error));
                    }
                }
                None => return Ok(None),
            }
        }
    }
}

impl Read for Body {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.chunk.is_empty() {
            match self.next().map_err(io::Error::other)? {
                Some(chunk) => self.chunk = chunk,
                None => return Ok(0),
            }
        }
        let count = self.chunk.len().min(out.len());
        self.chunk.split_to(count).copy_to_slice(out.get_mut(..count).unwrap_or_default());
        self.at += count as u64;
        Ok(count)
    }
}

impl Input for Object {
    fn open(&self, from: u64) -> Result<(Bytewise, EventTime)> {
        let found = self.stream(from, self.etag.as_deref())?;
        let written = instant(found.last_modified.as_ref());
        let (object, etag) = (self.clone(), found.e_tag);
        let body = Body { object, stream: Some(found.body), chunk: Bytes::new(), at: from, etag, failures: 0 };
        Ok((Box::new(body), written))
    }

    fn failed(&self, error: io::Error) -> Error {
        let url = self.bucket.url(&self.name);
        // Errors of this connector come through as they were; the others are those of a decompressor.
        let kind = error.get_ref().and_then(|e| e.downcast_ref::<Error>()).map(Error::kind);
        match kind {
            Some(kind) => Error::new(kind, error.to_string()),
            None => Error::new(
                ErrorKind::Environment,
                format!("cannot read `{url}`: it is damaged or not what its name says"),
            )
            .caused_by(error),
        }
    }
}

/// A part of a Parquet file in memory.
#[derive(Debug, Clone)]
pub(super) struct Window {
    /// Where it begins in the file.
    from: u64,
    /// How long the file is.
    file: u64,
    bytes: Bytes,
}

impl Window {
    fn slice(&self, start: u64, length: Option<usize>) -> parquet::errors::Result<Bytes> {
        let outside = || ParquetError::General("bytes outside of the row group that is read".to_owned());
        let start = start.checked_sub(self.from).and_then(|n| usize::try_from(n).ok()).ok_or_else(outside)?;
        let end = length.map_or(self.bytes.len(), |length| start.saturating_add(length));
        if start > end || end > self.bytes.len() {
            return Err(outside());
        }
        Ok(self.bytes.slice(start..end))
    }
}

impl Length for Window {
    fn len(&self) -> u64 {
        self.file
    }
}

impl ChunkReader for Window {
    type T = bytes::buf::Reader<Bytes>;
    fn get_read(&self, start: u64) -> parquet::errors::Result<Self::T> {
        Ok(self.slice(start, None)?.reader())
    }
    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        self.slice(start, Some(length))
    }
}

/// A Parquet file of a size and version that were seen.
#[derive(Debug)]
pub(super) struct ParquetObject {
    object: Object,
    size: u64,
    etag: String,
    written: EventTime,
}

impl ParquetObject {
    pub(super) fn open(object: Object) -> Result<Self> {
        let head = object.runtime.block_on(object.bucket.head(&object.name))?.ok_or_else(|| object.gone())?;
        Ok(Self { object, size: head.bytes, etag: head.etag, written: head.written })
    }
}

impl ParquetInput for ParquetObject {
    type Chunks = Window;

    fn metadata(&self) -> Result<(ParquetMetaData, EventTime)> {
        let mut reader = ParquetMetaDataReader::new();
        let mut wanted = FOOTER;
        loop {
            let from = self.size.saturating_sub(wanted);
            let tail = self.object.range(from..self.size, Some(&self.etag))?;
            match reader.try_parse_sized(&tail, self.size) {
                Ok(()) => break,
                Err(ParquetError::NeedMoreData(bytes)) if from > 0 && bytes as u64 > wanted => wanted = bytes as u64,
                Err(error) => return Err(self.damaged(error)),
            }
        }
        Ok((reader.finish().map_err(|e| self.damaged(e))?, self.written))
    }

    fn chunks(&self, bytes: Range<u64>) -> Result<Window> {
        let from = bytes.start;
        if bytes.end > self.size {
            return Err(self.damaged(ParquetError::General("a row group ends behind the file".to_owned())));
        }
        Ok(Window { from, file: self.size, bytes: self.object.range(bytes, Some(&self.etag))? })
    }

    fn damaged(&self, error: ParquetError) -> Error {
        let url = self.object.bucket.url(&self.object.name);
        Error::environment(format!("cannot read `{url}` as a parquet file")).caused_by(error)
    }
}
