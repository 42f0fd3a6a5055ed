//! Files of this machine, as those who read lines or Parquet want them.

use std::fs::File;
use std::io::{self, Seek as _, SeekFrom};
use std::ops::Range;
use std::path::PathBuf;

use millstream_core::{Error, EventTime, Result};
use millstream_files::line_file::{Bytewise, Input};
use millstream_files::parquet_file::ParquetInput;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};

use crate::clock::from_system;
use crate::io_error::io_error;

/// A file by its path.
pub(crate) struct LocalFile(pub(crate) PathBuf);

impl LocalFile {
    fn written(&self, file: &File) -> Result<EventTime> {
        file.metadata().and_then(|m| m.modified()).map(from_system).map_err(|e| self.failed(e))
    }
}

impl Input for LocalFile {
    fn open(&self, from: u64) -> Result<(Bytewise, EventTime)> {
        let mut file = File::open(&self.0).map_err(|e| self.failed(e))?;
        let written = self.written(&file)?;
        file.seek(SeekFrom::Start(from)).map_err(|e| self.failed(e))?;
        Ok((Box::new(file), written))
    }
    fn failed(&self, error: io::Error) -> Error {
        io_error("read", &self.0, error)
    }
}

impl ParquetInput for LocalFile {
    type Chunks = File;

    fn metadata(&self) -> Result<(ParquetMetaData, EventTime)> {
        let file = File::open(&self.0).map_err(|e| self.failed(e))?;
        let written = self.written(&file)?;
        let metadata = ParquetMetaDataReader::new().parse_and_finish(&file).map_err(|e| self.damaged(e))?;
        Ok((metadata, written))
    }
    fn chunks(&self, _bytes: Range<u64>) -> Result<File> {
        File::open(&self.0).map_err(|e| self.failed(e))
    }
    fn damaged(&self, error: ParquetError) -> Error {
        Error::environment(format!("cannot read `{}` as a parquet file", self.0.display())).caused_by(error)
    }
}
