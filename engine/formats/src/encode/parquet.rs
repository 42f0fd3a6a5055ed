//! Parquet files, compressed with Zstandard. A row group is held in memory until it is full.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use millstream_core::format::Encoder;
use millstream_core::{Error, Result};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use super::user_columns;

/// A row group is full at this many encoded bytes; Parquet's own limit is a million rows, however wide.
const GROUP_BYTES: usize = 64 << 20;

/// Writes one Parquet file after another.
pub(super) struct ParquetEncoder {
    schema: SchemaRef,
    columns: Vec<usize>,
    file: Option<ArrowWriter<Vec<u8>>>,
}

impl ParquetEncoder {
    pub(super) fn new(schema: &SchemaRef) -> Result<Self> {
        let columns = user_columns(schema);
        let fields: Vec<_> = columns.iter().filter_map(|i| schema.fields().get(*i).cloned()).collect();
        let mut encoder = Self { schema: Arc::new(Schema::new(fields)), columns, file: None };
        // Types that Parquet does not have are found now, not with the first row.
        encoder.file()?;
        encoder.file = None;
        Ok(encoder)
    }

    /// The file being written.
    fn file(&mut self) -> Result<&mut ArrowWriter<Vec<u8>>> {
        if self.file.is_none() {
            let properties = WriterProperties::builder()
                .set_compression(Compression::ZSTD(ZstdLevel::default()))
                .set_max_row_group_bytes(Some(GROUP_BYTES))
                .build();
            let writer = ArrowWriter::try_new(Vec::new(), self.schema.clone(), Some(properties));
            self.file = Some(writer.map_err(|e| Error::config("these rows cannot be Parquet").caused_by(e))?);
        }
        self.file.as_mut().ok_or_else(|| Error::bug("a Parquet file was not begun"))
    }
}

impl Encoder for ParquetEncoder {
    fn encode(&mut self, rows: &RecordBatch, out: &mut Vec<u8>) -> Result<()> {
        let rows = rows.project(&self.columns)?.with_schema(self.schema.clone())?;
        let file = self.file()?;
        file.write(&rows).map_err(failed)?;
        out.append(file.inner_mut());
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<()> {
        self.file()?;
        if let Some(mut file) = self.file.take() {
            file.finish().map_err(failed)?;
            out.append(file.inner_mut());
        }
        Ok(())
    }
}

fn failed(error: parquet::errors::ParquetError) -> Error {
    Error::bug("cannot write Parquet").caused_by(error)
}
