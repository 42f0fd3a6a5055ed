//! Cuts a stream of bytes into runs of records that end with a line end.
//!
//! Invariants: a record is handed over once, whole, without its line end (`\n` or `\r\n`); blank lines are not
//! records; a byte order mark at the very beginning is no part of the first record; positions are offsets in the
//! stream right behind a record's line end.

use bytes::{Bytes, BytesMut};
use memchr::memchr;
use millstream_core::source::{Position, RawRecord, RawRecords};
use millstream_core::{Error, EventTime, Result};
use millstream_formats::split;

/// How many records a run holds at most; a run is also bounded by the bytes read at once.
pub const RUN_RECORDS: usize = 8192;
/// How many bytes are read at once.
pub const RUN_BYTES: usize = 1 << 20;
/// Longer records are taken for a file that is not made of lines.
const LONGEST_RECORD: usize = 256 << 20;
const MARK: &[u8] = b"\xEF\xBB\xBF";

/// Where the records of a stream end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ends {
    /// At each line end.
    Line,
    /// At each line end outside of double quotes (CSV with `multiline: true`).
    UnquotedLine,
}

impl Ends {
    fn records(self, bytes: &[u8], ended: bool) -> split::Records<'_> {
        match self {
            Self::Line => split::lines(bytes, 0, ended),
            Self::UnquotedLine => split::csv_records(bytes, 0, ended),
        }
    }
}

/// Holds what was read of a stream and not yet handed over.
#[derive(Debug)]
pub struct LineCutter {
    ends: Ends,
    buffer: BytesMut,
    /// Offset in the stream of the first byte of `buffer`.
    offset: u64,
    /// No record that starts at or behind this offset is handed over.
    limit: u64,
    ended: bool,
}

/// What [`LineCutter::cut`] found.
#[derive(Debug)]
pub struct Cut {
    /// The records; possibly none.
    pub records: RawRecords,
    /// Offset behind the last record.
    pub upto: u64,
}

impl LineCutter {
    /// A cutter of a stream that is read from `offset` on.
    pub fn new(ends: Ends, offset: u64) -> Self {
        Self { ends, buffer: BytesMut::new(), offset, limit: u64::MAX, ended: false }
    }
    /// Hands over only records that start before `limit`.
    pub fn until(mut self, limit: u64) -> Self {
        self.limit = limit;
        self
    }
    /// The buffer to append read bytes to.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }
    /// Offset behind all that was read.
    pub fn read_to(&self) -> u64 {
        self.offset + self.buffer.len() as u64
    }
    /// Offset behind the last record handed over.
    pub fn offset(&self) -> u64 {
        self.offset
    }
    /// The stream has ended: what is left is a record even without a line end.
    pub fn end(&mut self) {
        self.ended = true;
    }
    /// Whether the stream has ended or no record may start before the limit, and nothing is left to hand over.
    pub fn exhausted(&self) -> bool {
        self.offset >= self.limit || (self.ended && self.buffer.is_empty())
    }
    /// Forgets what was read and begins again at offset 0: the stream was replaced by another.
    pub fn restart(&mut self) {
        self.restart_at(0);
    }
    /// As [`Self::restart`], at another offset.
    pub fn restart_at(&mut self, offset: u64) {
        self.buffer.clear();
        self.offset = offset;
        self.ended = false;
    }

    /// Takes one record off the front, such as a CSV header, if it is there as a whole.
    pub fn take_first(&mut self) -> Option<Bytes> {
        self.skip_mark();
        let mut records = self.ends.records(&self.buffer, self.ended);
        let record = records.next()?;
        let next = records.consumed();
        let taken = self.buffer.split_to(next).freeze();
        self.offset += next as u64;
        Some(taken.slice(record))
    }

    /// Drops what stands before the first line end, and says whether there was one.
    pub fn skip_line(&mut self) -> bool {
        let found = memchr(b'\n', &self.buffer);
        let dropped = found.map_or(self.buffer.len(), |at| at + 1);
        let _ = self.buffer.split_to(dropped);
        self.offset += dropped as u64;
        found.is_some()
    }

    fn skip_mark(&mut self) {
        if self.offset == 0 && self.buffer.starts_with(MARK) {
            let _ = self.buffer.split_to(MARK.len());
            self.offset = MARK.len() as u64;
        }
    }

    /// All whole records that were read, at most [`RUN_RECORDS`]; the rest stays.
    ///
    /// # Errors
    /// `Environment` where a record is longer than any can be.
    pub fn cut(&mut self, arrived_at: EventTime) -> Result<Cut> {
        self.skip_mark();
        let bytes = &self.buffer;
        let mut found = self.ends.records(bytes, self.ended);
        let mut records = Vec::with_capacity((bytes.len() / 64).min(RUN_RECORDS));
        // How far a record that is not given may still begin.
        let limit = self.limit.saturating_sub(self.offset);
        let mut consumed = 0;
        while records.len() < RUN_RECORDS && (consumed as u64) < limit {
            let Some(range) = found.next() else {
                consumed = found.consumed();
                break;
            };
            if range.start as u64 >= limit {
                // Blank lines stood before the limit, the record behind them belongs to the next range.
                consumed = range.start;
                break;
            }
            consumed = found.consumed();
            records.push(RawRecord {
                start: range.start as u32,
                len: range.len() as u32,
                position: Position::Offset(self.offset + consumed as u64),
                arrived_at,
            });
        }
        if consumed == 0 && bytes.len() > LONGEST_RECORD {
            return Err(Error::environment(format!(
                "the record at byte {} is longer than {} MiB: is this a stream of lines?",
                self.offset,
                LONGEST_RECORD >> 20
            )));
        }
        self.offset += consumed as u64;
        let buffer = self.buffer.split_to(consumed).freeze();
        Ok(Cut { records: RawRecords { buffer, records, header: None }, upto: self.offset })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Feeds `bytes` in pieces of `piece` and returns the records with their positions.
    fn cut_all(bytes: &[u8], piece: usize, ends: Ends) -> Vec<(Vec<u8>, u64)> {
        let mut cutter = LineCutter::new(ends, 0);
        let mut found = Vec::new();
        let mut drain = |cutter: &mut LineCutter| loop {
            let cut = cutter.cut(EventTime(7)).unwrap();
            for i in 0..cut.records.records.len() {
                let Position::Offset(at) = cut.records.records[i].position else { panic!() };
                found.push((cut.records.bytes(i).to_vec(), at));
            }
            if cut.records.records.len() < RUN_RECORDS {
                break;
            }
        };
        for chunk in bytes.chunks(piece) {
            cutter.buffer().extend_from_slice(chunk);
            drain(&mut cutter);
        }
        cutter.end();
        drain(&mut cutter);
        assert_eq!(cutter.offset(), bytes.len() as u64);
        found
    }

    #[test]
    fn line_ends_marks_and_blank_lines() {
        let found = cut_all(b"\xEF\xBB\xBFa\r\n\r\nbb\n\nccc", 1 << 20, Ends::Line);
        let texts: Vec<_> = found.iter().map(|(b, _)| String::from_utf8_lossy(b).into_owned()).collect();
        assert_eq!(texts, ["a", "bb", "ccc"]);
        assert_eq!(found.iter().map(|f| f.1).collect::<Vec<_>>(), [6, 11, 15]);
    }

    #[test]
    fn quoted_line_ends_stay_inside_a_record() {
        let found = cut_all(b"a,\"x\ny\"\nb,\"say \"\"hi\"\"\n\"\nc", 3, Ends::UnquotedLine);
        assert_eq!(found.len(), 3);
        assert_eq!(found[0].0, b"a,\"x\ny\"");
    }

    #[test]
    fn a_limit_keeps_the_lines_that_start_before_it() {
        for limit in 0..12 {
            let mut cutter = LineCutter::new(Ends::Line, 0).until(limit);
            cutter.buffer().extend_from_slice(b"aaa\n\nbbb\ncc\n");
            let mut texts = Vec::new();
            while !cutter.exhausted() {
                let cut = cutter.cut(EventTime(0)).unwrap();
                texts.extend((0..cut.records.records.len()).map(|i| cut.records.bytes(i).to_vec()));
            }
            let expected = [0, 5, 9].iter().filter(|start| **start < limit).count();
            assert_eq!(texts.len(), expected, "limit {limit}");
        }
    }

    proptest! {
        #[test]
        fn any_pieces_give_the_lines(text in "[ab\n]{0,200}", piece in 1usize..40) {
            let expected: Vec<Vec<u8>> =
                text.split('\n').filter(|l| !l.is_empty()).map(|l| l.as_bytes().to_vec()).collect();
            let found: Vec<Vec<u8>> = cut_all(text.as_bytes(), piece, Ends::Line).into_iter().map(|f| f.0).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
