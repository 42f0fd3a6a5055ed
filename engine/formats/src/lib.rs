//! Bytes to rows and back: decoders, encoders, compression, record splitting, text of values, templates.
//!
//! ```text
//! bytes -- compress::reader --> split --> RawRecords -- decoder --> rows | reasons
//! rows -- encoder --> bytes -- compress::Compressor --> bytes
//! ```
//!
//! Decoding is by the declared schema ([`millstream_core::schema`]); every record becomes a row or is refused with
//! every reason found in it, and never costs its neighbours.

use std::sync::Arc;

use millstream_core::Result;
use millstream_core::format::{Decoder, RecordFormat};
use millstream_core::schema::SourceSchema;

mod column;
pub mod compress;
mod csv;
pub mod declared;
#[cfg(test)]
mod decode_tests;
mod encode;
mod json;
pub mod number;
mod problem;
mod raw;
pub mod refused;
mod rows;
pub mod split;
pub mod template;
pub mod temporal;
pub mod value;

pub use csv::{csv_fields, csv_header};
pub use encode::{EncodeOptions, encoder};
pub use raw::RAW;

/// A decoder of records of `format` into rows of `schema`.
///
/// # Errors
/// `Config` where a time format or a zone of the schema is wrong, or the format cannot have such a schema.
pub fn decoder(format: RecordFormat, schema: Arc<SourceSchema>) -> Result<Box<dyn Decoder>> {
    Ok(match format {
        // Readers of Parquet files hand their rows on as JSON records.
        RecordFormat::Json | RecordFormat::Parquet => Box::new(json::JsonDecoder::new(&schema)?),
        RecordFormat::Csv => Box::new(csv::CsvDecoder::new(&schema)?),
        RecordFormat::Raw => Box::new(raw::RawDecoder::new(&schema)?),
    })
}
