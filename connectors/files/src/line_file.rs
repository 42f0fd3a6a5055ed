//! Reading a file of lines, or the lines that start in a range of its bytes.
//!
//! Positions are offsets in the (decompressed) bytes of the file, whatever the range. A line that begins in a range
//! belongs to it, also where it ends behind it.

use std::io::{self, Read as _};

use bytes::{Bytes, BytesMut};
use millstream_core::format::Compression;
use millstream_core::source::{Position, Read};
use millstream_core::{Error, EventTime, Result};
use millstream_formats::compress;

use crate::ahead::RunReader;
use crate::lines::{Ends, LineCutter, RUN_BYTES};

/// Bytes of a file, `to` excluded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The first.
    pub from: u64,
    /// Behind the last.
    pub to: u64,
}

/// Raw bytes as they come.
pub type Bytewise = Box<dyn io::Read + Send>;

/// A file, wherever it is.
pub trait Input: Send + 'static {
    /// Its bytes from `from` on, and when it was last written.
    ///
    /// # Errors
    /// `Environment` where there is none, `Unavailable` to be asked again.
    fn open(&self, from: u64) -> Result<(Bytewise, EventTime)>;
    /// What an error means that came while its bytes were read.
    fn failed(&self, error: io::Error) -> Error;
}

/// How the lines of files are cut and compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lines {
    /// How the file is compressed.
    pub compression: Compression,
    /// Where a record ends.
    pub ends: Ends,
    /// Whether the first line names the columns.
    pub has_header: bool,
}

/// Reads the records of a file or range.
pub struct LineFile<I> {
    file: I,
    bytes: Bytewise,
    cutter: LineCutter,
    header: Option<Bytes>,
    arrived_at: EventTime,
}

impl<I: Input> LineFile<I> {
    /// Opens a file; `after` is the offset behind the last record that was read before.
    ///
    /// # Errors
    /// As the input.
    pub fn open(file: I, range: Option<Range>, lines: Lines, after: Option<u64>) -> Result<Self> {
        let (header, first) = if lines.has_header { read_header(&file, lines)? } else { (None, 0) };
        let from = after.or(range.map(|r| r.from)).unwrap_or(0);
        let begun = after.is_some() || from == 0;
        // One byte earlier: if that is a line end, a line begins at `from` itself.
        let seek = if begun { from.max(first) } else { from - 1 };
        let (bytes, arrived_at) = open(&file, lines.compression, seek)?;
        let cutter = LineCutter::new(lines.ends, seek).until(range.map_or(u64::MAX, |r| r.to));
        let mut file = Self { file, bytes, cutter, header, arrived_at };
        if !begun {
            while !file.cutter.skip_line() && file.fill()? {}
        }
        Ok(file)
    }

    /// Reads on; false at the end of the file.
    fn fill(&mut self) -> Result<bool> {
        let read = fill(&mut self.bytes, self.cutter.buffer()).map_err(|e| self.file.failed(e))?;
        if read == 0 {
            self.cutter.end();
        }
        Ok(read > 0)
    }
}

/// Appends up to [`RUN_BYTES`] of `input` to `buffer`, as many as one call of the system gives.
///
/// # Errors
/// What reading gives, but for an interrupt.
pub fn fill(input: &mut dyn io::Read, buffer: &mut BytesMut) -> io::Result<usize> {
    let before = buffer.len();
    buffer.resize(before + RUN_BYTES, 0);
    let read = loop {
        match input.read(buffer.get_mut(before..).unwrap_or_default()) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            read => break read,
        }
    };
    buffer.truncate(before + *read.as_ref().unwrap_or(&0));
    read
}

/// The file's decompressed bytes from `from` on, and when it was last written.
fn open(file: &impl Input, compression: Compression, from: u64) -> Result<(Bytewise, EventTime)> {
    if compression == Compression::None {
        return file.open(from);
    }
    let failed = |e| file.failed(e);
    let (raw, written) = file.open(0)?;
    let mut bytes = compress::reader(raw, compression).map_err(failed)?;
    io::copy(&mut bytes.by_ref().take(from), &mut io::sink()).map_err(failed)?;
    Ok((bytes, written))
}

/// The first line of a file and the offset behind it.
fn read_header(file: &impl Input, lines: Lines) -> Result<(Option<Bytes>, u64)> {
    let (mut bytes, _) = open(file, lines.compression, 0)?;
    let mut cutter = LineCutter::new(lines.ends, 0);
    loop {
        if let Some(header) = cutter.take_first() {
            return Ok((Some(header), cutter.offset()));
        }
        if cutter.exhausted() {
            return Ok((None, cutter.offset()));
        }
        if fill(&mut bytes, cutter.buffer()).map_err(|e| file.failed(e))? == 0 {
            cutter.end();
        }
    }
}

impl<I: Input> RunReader for LineFile<I> {
    fn read(&mut self) -> Result<Read> {
        loop {
            let mut cut = self.cutter.cut(self.arrived_at)?;
            if !cut.records.records.is_empty() {
                cut.records.header.clone_from(&self.header);
                return Ok(Read::Records { records: cut.records, upto: Position::Offset(cut.upto), behind: None });
            }
            if self.cutter.exhausted() || !self.fill()? && self.cutter.exhausted() {
                return Ok(Read::Finished);
            }
        }
    }
}

impl<I> std::fmt::Debug for LineFile<I> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LineFile").field("at", &self.cutter.offset()).finish_non_exhaustive()
    }
}
