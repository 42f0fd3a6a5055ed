//! Runs of JSON records into batches.

use std::sync::Arc;

use millstream_core::Result;
use millstream_core::format::{Decoded, Decoder, Reason};
use millstream_core::schema::{ExtraFields, SourceSchema};
use millstream_core::source::RawRecords;

use super::cursor::{Cursor, Syntax};
use super::shape::Shape;
use super::value::{Context, decode_fields, finish_fields};
use crate::problem::reason;
use crate::rows::{Rows, Utf8Check};
use crate::split::BOM;

/// Decodes JSON objects, one per record.
#[derive(Debug)]
pub(crate) struct JsonDecoder {
    rows: Rows,
    shape: Shape,
    context: Context,
}

impl JsonDecoder {
    /// A decoder of records of this schema.
    ///
    /// # Errors
    /// `Config` where a format or a zone is wrong.
    pub(crate) fn new(schema: &Arc<SourceSchema>) -> Result<Self> {
        let own: Vec<_> = schema.columns.iter().map(|c| path_of(&c.path, &c.name)).collect();
        Ok(Self {
            rows: Rows::new(schema)?,
            shape: Shape::of_paths(own.iter().map(Vec::as_slice)),
            context: Context::new(schema.extra == ExtraFields::Reject),
        })
    }

    /// Decodes a record; its reasons are left in the context.
    #[inline]
    fn record(&mut self, bytes: &[u8]) {
        let bytes = bytes.strip_prefix(BOM).unwrap_or(bytes);
        let mut cursor = Cursor::new(bytes);
        cursor.space();
        let object = self.context.begin_object();
        let columns = &mut self.rows.columns;
        let decoded = match cursor.peek() {
            Some(b'{') => decode_fields(&mut cursor, &mut self.shape, columns, object, &mut self.context),
            _ => Err(not_an_object(&mut cursor)),
        };
        let decoded = decoded.and_then(|given| {
            cursor.space();
            if cursor.peek().is_some() { Err(cursor.error("more text behind the object")) } else { Ok(given) }
        });
        match decoded {
            Ok(given) => finish_fields(columns, given, object, &mut self.context),
            Err(syntax) => self.context.reasons.push(bad_json(cursor.at(), syntax)),
        }
    }
}

/// The keys that lead to a column.
pub(crate) fn path_of(path: &[String], name: &str) -> Vec<String> {
    if path.is_empty() { vec![name.to_owned()] } else { path.to_vec() }
}

#[cold]
fn not_an_object(cursor: &mut Cursor<'_>) -> Syntax {
    match cursor.skip() {
        Ok(()) => Syntax("the record is not an object"),
        Err(syntax) => syntax,
    }
}

#[cold]
fn bad_json(at: usize, Syntax(message): Syntax) -> Reason {
    reason("bad_json", format!("not valid JSON at byte {at}: {message}"))
}

impl Decoder for JsonDecoder {
    fn decode(&mut self, raw: &RawRecords) -> Result<Decoded> {
        let utf8 = Utf8Check::of(raw)?;
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
