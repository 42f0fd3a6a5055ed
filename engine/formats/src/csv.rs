//! CSV records (RFC 4180), decoded by their header against the declared schema.
//!
//! 1. Values mean the same as in JSON strings of the same text, but that strings need no quotes, "" is null for an
//!    optional column of every type, and truth values are `true`, `false`, `1`, `0`.
//! 2. A column is named in the header by its path, joined with dots.
//! 3. A record of too many or too few fields is refused: which of them are shifted is not known.

use std::sync::Arc;

use bytes::Bytes;
use memchr::memchr;
use millstream_core::Result;
use millstream_core::format::{Decoded, Decoder, Reason};
use millstream_core::schema::{ExtraFields, SourceSchema};
use millstream_core::source::RawRecords;

use crate::column::{Column, Values};
use crate::json::{Context, Cursor, decode_value, path_of};
use crate::number::small_integer;
use crate::problem::{Problem, reason, shown};
use crate::rows::{Rows, Utf8Check};
use crate::split::BOM;

/// Decodes CSV records.
#[derive(Debug)]
pub(crate) struct CsvDecoder {
    rows: Rows,
    /// For each column, the name of its field in the header.
    names: Vec<String>,
    header: Header,
    context: Context,
    unquoted: Vec<u8>,
}

/// What a header line says about the records below it.
#[derive(Debug, Default)]
struct Header {
    /// The line this was made from.
    line: Option<Bytes>,
    /// For each field of a record, the columns that take it.
    fields: Vec<Vec<usize>>,
    /// Columns that have no field.
    absent: Vec<usize>,
    /// The names it has, for whoever looks for one that it has not.
    names: String,
    /// Reasons against every record below it.
    reasons: Vec<Reason>,
}

impl CsvDecoder {
    /// A decoder of records of this schema.
    ///
    /// # Errors
    /// `Config` where a format or a zone is wrong.
    pub(crate) fn new(schema: &Arc<SourceSchema>) -> Result<Self> {
        Ok(Self {
            rows: Rows::new(schema)?,
            names: schema.columns.iter().map(|c| path_of(&c.path, &c.name).join(".")).collect(),
            header: Header::default(),
            context: Context::new(schema.extra == ExtraFields::Reject),
            unquoted: Vec::new(),
        })
    }

    /// Makes the header of a run the current one.
    fn use_header(&mut self, line: Option<&Bytes>) {
        let same = match (line, &self.header.line) {
            (Some(new), Some(old)) => (new.as_ptr() == old.as_ptr() && new.len() == old.len()) || new == old,
            _ => false,
        };
        if !same {
            self.header = self.read_header(line);
        }
    }

    fn read_header(&mut self, line: Option<&Bytes>) -> Header {
        let mut header = Header { line: line.cloned(), ..Header::default() };
        let Some(line) = line else {
            header.reasons.push(reason("bad_csv", "the input has no header line"));
            return header;
        };
        let mut fields = Fields::new(line.strip_prefix(BOM).unwrap_or(line).trim_ascii_end());
        let mut names: Vec<String> = Vec::new();
        loop {
            match fields.next(&mut self.unquoted) {
                Ok(Some(name)) => names.push(String::from_utf8_lossy(name).trim().to_owned()),
                Ok(None) => break,
                Err(message) => {
                    header.reasons.push(reason("bad_csv", format!("the header line: {message}")));
                    return header;
                }
            }
        }
        header.names = listed(&names);
        for (column, wanted) in self.names.iter().enumerate() {
            match names.iter().filter(|n| *n == wanted).count() {
                0 => header.absent.push(column),
                1 => {}
                _ => {
                    header.reasons.push(reason("duplicate_field", format!("the header names {wanted} more than once")))
                }
            }
        }
        for name in names {
            let columns: Vec<usize> =
                self.names.iter().enumerate().filter(|(_, wanted)| **wanted == name).map(|(i, _)| i).collect();
            if columns.is_empty() && self.context.reject_extra {
                let name = shown(name.as_bytes());
                header.reasons.push(reason("extra_field", format!("{name} is in the header but not declared")));
            }
            header.fields.push(columns);
        }
        header
    }

    /// Decodes a record; its reasons are left in the context.
    fn record(&mut self, bytes: &[u8]) {
        if !self.header.reasons.is_empty() {
            self.context.reasons.clone_from(&self.header.reasons);
            return;
        }
        let mut fields = Fields::new(bytes);
        let mut count = 0;
        loop {
            match fields.next(&mut self.unquoted) {
                Ok(Some(text)) => {
                    for column in self.header.fields.get(count).into_iter().flatten() {
                        if let Some(column) = self.rows.columns.get_mut(*column) {
                            push(column, text, &mut self.context);
                        }
                    }
                    count += 1;
                }
                Ok(None) => break,
                Err(message) => {
                    self.context.reasons.push(reason("bad_csv", message));
                    return;
                }
            }
        }
        if count != self.header.fields.len() {
            let expected = self.header.fields.len();
            // What the single fields seem to be wrong about follows from this.
            self.context.reasons.clear();
            self.context.reasons.push(reason("bad_csv", format!("{count} fields where the header has {expected}")));
            return;
        }
        for column in &self.header.absent {
            if let Some(column) = self.rows.columns.get_mut(*column)
                && column.push_nothing(Problem::Missing).is_err()
            {
                let text = format!("{} is not in the header ({})", column.described.name, self.header.names);
                self.context.reasons.push(reason("missing_field", text));
            }
        }
    }
}

/// The first names of a header.
fn listed(names: &[String]) -> String {
    const MOST: usize = 12;
    let mut first: Vec<String> = names.iter().take(MOST).map(|name| shown(name.as_bytes())).collect();
    if names.len() > MOST {
        first.push("..".to_owned());
    }
    first.join(", ")
}

/// Appends the value of a field's text.
#[inline(always)]
fn push(column: &mut Column, text: &[u8], context: &mut Context) {
    let outcome = match &mut column.values {
        Values::Text(texts) if !(text.is_empty() && column.optional) => {
            texts.bytes.extend_from_slice(text);
            texts.end();
            column.nulls.append_non_null();
            Ok(())
        }
        _ if text.is_empty() => column.push_nothing(Problem::Empty),
        Values::Int(values) => match small_integer(text, 0) {
            Some((value, len)) if len == text.len() => {
                values.push(value);
                column.nulls.append_non_null();
                Ok(())
            }
            _ => column.push_text(text),
        },
        Values::Bool(_) => match truth(text) {
            Some(value) => column.push_bool(value),
            None => Err(Problem::WrongType),
        },
        Values::Json(_) | Values::Struct { .. } | Values::List { .. } => push_json(column, text, context),
        _ => column.push_text(text),
    };
    if let Err(problem) = outcome {
        context.refuse(column, problem, &quoted(text));
    }
}

/// Appends the JSON value that is the field's text.
fn push_json(column: &mut Column, text: &[u8], context: &mut Context) -> Result<(), Problem> {
    let mut cursor = Cursor::new(text);
    cursor.space();
    decode_value(&mut cursor, column, context).map_err(|_| Problem::WrongType)?;
    cursor.space();
    if cursor.peek().is_some() { Err(Problem::WrongType) } else { Ok(()) }
}

fn truth(text: &[u8]) -> Option<bool> {
    match text.trim_ascii() {
        b"1" => Some(true),
        b"0" => Some(false),
        text if text.eq_ignore_ascii_case(b"true") => Some(true),
        text if text.eq_ignore_ascii_case(b"false") => Some(false),
        _ => None,
    }
}

fn quoted(text: &[u8]) -> Vec<u8> {
    [b"\"", text, b"\""].concat()
}

/// The texts of a record's fields.
///
/// # Errors
/// What is wrong with its quotes, or that it is not UTF-8.
pub fn csv_fields(record: &[u8]) -> Result<Vec<String>, String> {
    let (mut fields, mut texts, mut unquoted) = (Fields::new(record), Vec::new(), Vec::new());
    while let Some(text) = fields.next(&mut unquoted)? {
        texts.push(std::str::from_utf8(text).map_err(|_| "it is not UTF-8 text")?.to_owned());
    }
    Ok(texts)
}

/// The names in a header line.
///
/// # Errors
/// As [`csv_fields`].
pub fn csv_header(line: &[u8]) -> Result<Vec<String>, String> {
    let names = csv_fields(line.strip_prefix(BOM).unwrap_or(line).trim_ascii_end())?;
    Ok(names.into_iter().map(|name| name.trim().to_owned()).collect())
}

/// The fields of one record.
struct Fields<'a> {
    /// What is not read yet; none behind the last field.
    rest: Option<&'a [u8]>,
}

impl<'a> Fields<'a> {
    fn new(record: &'a [u8]) -> Self {
        Self { rest: Some(record) }
    }

    /// The next field's text; one with doubled quotes is put together in `unquoted`.
    #[inline(always)]
    fn next<'s>(&mut self, unquoted: &'s mut Vec<u8>) -> Result<Option<&'s [u8]>, &'static str>
    where
        'a: 's,
    {
        let Some(rest) = self.rest else {
            return Ok(None);
        };
        if rest.first() == Some(&b'"') {
            return self.next_quoted(rest, unquoted).map(Some);
        }
        let field = match comma(rest) {
            Some(end) => {
                self.rest = rest.get(end + 1..);
                rest.get(..end).unwrap_or_default()
            }
            None => {
                self.rest = None;
                rest
            }
        };
        Ok(Some(field))
    }

    /// The field whose quote begins `rest`.
    fn next_quoted<'s>(&mut self, rest: &'a [u8], unquoted: &'s mut Vec<u8>) -> Result<&'s [u8], &'static str>
    where
        'a: 's,
    {
        let mut text = rest.get(1..).unwrap_or_default();
        let mut doubled = false;
        unquoted.clear();
        loop {
            let end = memchr(b'"', text).ok_or("a quoted field does not end")?;
            let (part, behind) = text.split_at_checked(end).unwrap_or_default();
            match behind.get(1) {
                Some(b'"') => {
                    doubled = true;
                    unquoted.extend_from_slice(part);
                    unquoted.push(b'"');
                    text = behind.get(2..).unwrap_or_default();
                    continue;
                }
                Some(b',') => self.rest = behind.get(2..),
                None => self.rest = None,
                Some(_) => return Err("text behind a closing quote"),
            }
            if !doubled {
                return Ok(part);
            }
            unquoted.extend_from_slice(part);
            return Ok(unquoted);
        }
    }
}

/// The first comma. Fields are short: words are cheaper than a call.
#[inline(always)]
fn comma(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let mut at = 0;
    while let Some(chunk) = bytes.get(at..at + 8).and_then(|c| <[u8; 8]>::try_from(c).ok()) {
        let word = u64::from_le_bytes(chunk) ^ (ONES * b',' as u64);
        // The lowest bit that is set belongs to the first zero byte.
        let zeros = word.wrapping_sub(ONES) & !word & (ONES << 7);
        if zeros != 0 {
            return Some(at + zeros.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    let rest = bytes.get(at..).unwrap_or_default();
    rest.iter().position(|b| *b == b',').map(|i| at + i)
}

impl Decoder for CsvDecoder {
    fn decode(&mut self, raw: &RawRecords) -> Result<Decoded> {
        let utf8 = Utf8Check::of(raw)?;
        self.use_header(raw.header.as_ref());
        self.rows.begin(raw.records.len());
        for (i, record) in raw.records.iter().enumerate() {
            let start = record.start as usize;
            let bytes = raw.buffer.get(start..start + record.len as usize).unwrap_or_default();
            match utf8.error(bytes) {
                None => self.record(bytes),
                Some(invalid) => self.context.reasons.push(invalid),
            }
            self.rows.end_record(i, &mut self.context.reasons);
        }
        self.rows.finish()
    }
}
