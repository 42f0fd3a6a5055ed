//! What connectors of files have in common, wherever their files are: a folder, a bucket.
//!
//! ```text
//! rows -> path template -> FileWriter: encode, compress -> Store: hidden file -- commit --> visible
//! Input: bytes of a file -> LineFile | ParquetFile: records, positions -> ReadAhead -> SplitReader
//! ```
//! A connector gives a [`store::Store`] and gets [`append::AppendSink`] and [`overwrite::OverwriteSink`]; it gives a
//! [`line_file::Input`] or a [`parquet_file::ParquetInput`] and gets readers. Nothing here does I/O by itself.

pub mod ahead;
pub mod append;
mod current;
pub mod line_file;
pub mod lines;
pub mod naming;
pub mod overwrite;
pub mod parquet_file;
mod paths;
pub mod read_back;
pub mod refused_options;
pub mod store;
mod token;
pub mod writer;

pub use append::{AppendSink, Setting};
pub use overwrite::OverwriteSink;
pub use paths::Written;
