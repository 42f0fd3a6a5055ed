//! Reading a file of lines, or the lines that start in a range of its bytes.
//!
//! Positions are offsets in the (decompressed) bytes of the file, whatever the range. A line that begins in a range
//! belongs to it, also where it ends behind it.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use millstream_core::format::Compression;
use millstream_core::source::{Position, Read};
use millstream_core::{EventTime, Result};
use millstream_formats::compress;

use crate::ahead::RunReader;
use crate::clock::from_system;
use crate::io_error::io_error;
use crate::lines::{Ends, LineCutter, RUN_BYTES};

/// Bytes of a file, `to` excluded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) from: u64,
    pub(crate) to: u64,
}

/// Reads the records of a file or range.
pub(crate) struct LineFile {
    path: PathBuf,
    input: Box<dyn io::Read + Send>,
    cutter: LineCutter,
    header: Option<Bytes>,
    arrived_at: EventTime,
}

impl LineFile {
    /// Opens a file; `after` is the offset behind the last record that was read before.
    pub(crate) fn open(
        path: PathBuf,
        range: Option<Range>,
        compression: Compression,
        ends: Ends,
        has_header: bool,
        after: Option<u64>,
    ) -> Result<Self> {
        let (header, first) = if has_header { read_header(&path, compression, ends)? } else { (None, 0) };
        let from = after.or(range.map(|r| r.from)).unwrap_or(0);
        let begun = after.is_some() || from == 0;
        // One byte earlier: if that is a line end, a line begins at `from` itself.
        let seek = if begun { from.max(first) } else { from - 1 };
        let (input, arrived_at) = open(&path, compression, seek)?;
        let cutter = LineCutter::new(ends, seek).until(range.map_or(u64::MAX, |r| r.to));
        let mut file = Self { path, input, cutter, header, arrived_at };
        if !begun {
            while !file.cutter.skip_line() && file.fill()? {}
        }
        Ok(file)
    }

    /// Reads on; false at the end of the file.
    fn fill(&mut self) -> Result<bool> {
        let read = fill(&mut self.input, self.cutter.buffer()).map_err(|e| io_error("read", &self.path, e))?;
        if read == 0 {
            self.cutter.end();
        }
        Ok(read > 0)
    }
}

/// Appends up to [`RUN_BYTES`] of `input` to `buffer`, as many as one call of the system gives.
pub(crate) fn fill(input: &mut dyn io::Read, buffer: &mut bytes::BytesMut) -> io::Result<usize> {
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
fn open(path: &Path, compression: Compression, from: u64) -> Result<(Box<dyn io::Read + Send>, EventTime)> {
    let failed = |e| io_error("read", path, e);
    let mut file = File::open(path).map_err(failed)?;
    let written = file.metadata().and_then(|m| m.modified()).map_err(failed)?;
    if compression == Compression::None {
        file.seek(SeekFrom::Start(from)).map_err(failed)?;
        return Ok((Box::new(file), from_system(written)));
    }
    let mut input = compress::reader(file, compression).map_err(failed)?;
    io::copy(&mut input.by_ref().take(from), &mut io::sink()).map_err(failed)?;
    Ok((input, from_system(written)))
}

/// The first line of a file and the offset behind it.
fn read_header(path: &Path, compression: Compression, ends: Ends) -> Result<(Option<Bytes>, u64)> {
    let (mut input, _) = open(path, compression, 0)?;
    let mut cutter = LineCutter::new(ends, 0);
    loop {
        if let Some(header) = cutter.take_first() {
            return Ok((Some(header), cutter.offset()));
        }
        if cutter.exhausted() {
            return Ok((None, cutter.offset()));
        }
        if fill(&mut input, cutter.buffer()).map_err(|e| io_error("read", path, e))? == 0 {
            cutter.end();
        }
    }
}

impl RunReader for LineFile {
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
