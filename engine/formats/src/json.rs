//! JSON records, decoded in one pass over their bytes against the declared schema.
//!
//! 1. A record's keys usually come in the same order as in the record before: each key is first compared with the
//!    one that followed last time, and only looked up where that fails ([`shape`]).
//! 2. Every byte is checked, also those of undeclared fields: a record with an accepted row is valid JSON.
//! 3. Strings are copied once, from the record into the column. UTF-8 is checked once per run.
//! 4. A field given twice is refused: which of two fares is meant is not for the decoder to guess.

mod cursor;
mod decode;
mod shape;
mod value;

pub(crate) use cursor::Cursor;
pub(crate) use decode::{JsonDecoder, path_of};
pub(crate) use shape::Shape;
pub(crate) use value::{Context, decode_value};
