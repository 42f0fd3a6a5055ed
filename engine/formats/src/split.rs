//! Where records begin and end in a buffer of bytes: lines, and CSV records whose quotes may hold line breaks.
//!
//! Both cutters work on whatever part of a stream is in memory: a record whose end is not there yet is not given
//! unless the caller says that nothing follows, and [`Records::consumed`] tells from where to go on.
//! Records that hold nothing but white space are not records.

use std::ops::Range;

use memchr::{memchr, memchr2};

/// The byte order mark that some programs put before UTF-8.
pub(crate) const BOM: &[u8] = b"\xef\xbb\xbf";

/// Cuts a buffer into records; gives the range of each, without its line terminator (`\n` or `\r\n`).
#[derive(Debug, Clone)]
pub struct Records<'a> {
    buffer: &'a [u8],
    next: usize,
    ended: bool,
    quoted: bool,
}

/// The lines of `buffer` from byte `start`. `ended` says that nothing follows the buffer, so that a last line
/// without a terminator is a record too.
pub fn lines(buffer: &[u8], start: usize, ended: bool) -> Records<'_> {
    Records { buffer, next: start, ended, quoted: false }
}

/// The CSV records of `buffer` from byte `start`, which must be the first byte of a record: line breaks within
/// quotes do not end one. A quote opens only at the beginning of a field (RFC 4180).
pub fn csv_records(buffer: &[u8], start: usize, ended: bool) -> Records<'_> {
    Records { buffer, next: start, ended, quoted: true }
}

impl Records<'_> {
    /// The byte behind the last record given and its terminator: where the next record begins.
    pub fn consumed(&self) -> usize {
        self.next
    }

    /// The end of the record that begins at `start`: its terminator's first byte and the byte behind it.
    fn end(&self, start: usize) -> Option<(usize, usize)> {
        let rest = self.buffer.get(start..)?;
        let newline = if self.quoted { csv_end(rest) } else { memchr(b'\n', rest) };
        match newline {
            Some(at) => Some((start + at, start + at + 1)),
            None if self.ended && !rest.is_empty() => Some((self.buffer.len(), self.buffer.len())),
            None => None,
        }
    }
}

impl Iterator for Records<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        loop {
            let start = self.next;
            let (mut end, next) = self.end(start)?;
            self.next = next;
            if end > start && self.buffer.get(end - 1) == Some(&b'\r') {
                end -= 1;
            }
            // One look suffices for almost every record: it begins with something visible.
            let record = self.buffer.get(start..end)?;
            if record.iter().any(|b| !b.is_ascii_whitespace()) {
                return Some(start..end);
            }
        }
    }
}

/// The first line feed of `bytes` that is not within quotes.
fn csv_end(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        // `at` is outside quotes.
        let found = at + memchr2(b'\n', b'"', bytes.get(at..)?)?;
        if bytes.get(found) == Some(&b'\n') {
            return Some(found);
        }
        let opens = found == 0 || bytes.get(found - 1) == Some(&b',') || (found == BOM.len() && bytes.starts_with(BOM));
        at = if opens { closing_quote(bytes, found + 1)? } else { found + 1 };
    }
}

/// The byte behind the quote that closes the field whose text begins at `at`.
fn closing_quote(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at += memchr(b'"', bytes.get(at..)?)? + 1;
        if bytes.get(at) != Some(&b'"') {
            return Some(at);
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn texts<'a>(buffer: &'a str, records: Records<'_>) -> Vec<&'a str> {
        records.map(|r| &buffer[r]).collect()
    }

    #[test]
    fn lines_without_terminators_and_blanks() {
        let text = "a\r\n\n  \nbc\nd";
        assert_eq!(texts(text, lines(text.as_bytes(), 0, true)), ["a", "bc", "d"]);
        let mut open = lines(text.as_bytes(), 0, false);
        assert_eq!(open.by_ref().map(|r| &text[r]).collect::<Vec<_>>(), ["a", "bc"]);
        assert_eq!(open.consumed(), text.len() - 1);
    }

    #[test]
    fn quotes_hold_line_breaks() {
        let text = "1,\"a\nb\",2\n3,\"say \"\"hi\"\"\n\",4\r\n5,6'10\",7\n8,\"open\n";
        let found = texts(text, csv_records(text.as_bytes(), 0, false));
        assert_eq!(found, ["1,\"a\nb\",2", "3,\"say \"\"hi\"\"\n\",4", "5,6'10\",7"]);
        let found = texts(text, csv_records(text.as_bytes(), 0, true));
        assert_eq!(found.last(), Some(&"8,\"open\n"));
    }

    proptest! {
        /// However a file is cut into buffers, its records are the same.
        #[test]
        fn cutting_does_not_matter(
            text in "([a,\"\n\r ]|\"\"){0,60}", cut in 0usize..60, quoted: bool,
        ) {
            let bytes = text.as_bytes();
            let make: for<'a> fn(&'a [u8], usize, bool) -> Records<'a> = if quoted { csv_records } else { lines };
            let whole: Vec<_> = make(bytes, 0, true).collect();
            let cut = cut.min(bytes.len());
            let mut first = make(&bytes[..cut], 0, false);
            let mut parts: Vec<_> = first.by_ref().collect();
            parts.extend(make(bytes, first.consumed(), true));
            prop_assert_eq!(whole, parts);
        }
    }
}
