//! `file`: the records of files, read in parallel, once or for as long as they grow.

mod config;
mod follow;
mod opened;
mod source;

use std::sync::Arc;

use async_trait::async_trait;
use millstream_core::Result;
use millstream_core::connector::{Connector, ConnectorKind, Role, SourceOptions};
use millstream_core::format::RecordFormat;
use millstream_core::source::SplitSource;
use millstream_files::naming::format_of_name;

pub use config::FileConfig;

use source::FileSource;

#[derive(Debug)]
struct FileConnector {
    config: FileConfig,
    format: RecordFormat,
}

impl FileConnector {
    fn new(config: FileConfig) -> Self {
        let format =
            config.format.unwrap_or_else(|| config.path.0.first().map_or(RecordFormat::Json, |p| format_of_name(p)));
        Self { config, format }
    }
}

#[async_trait]
impl Connector for FileConnector {
    fn kind(&self) -> &'static str {
        "file"
    }
    fn record_format(&self) -> RecordFormat {
        self.format
    }
    fn bounded(&self) -> bool {
        !self.config.follow
    }
    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.config.path.0.is_empty() || self.config.path.0.iter().any(|p| p.trim().is_empty()) {
            problems
                .push("`path` is empty: name a file such as data/trips.jsonl or a glob such as data/*.jsonl".into());
        }
        for path in &self.config.path.0 {
            if let Err(e) = glob::Pattern::new(path) {
                problems.push(format!("`{path}` is not a glob: {}", e.msg));
            }
        }
        if self.config.split_size.0 == 0 {
            problems.push("`split_size` is 0: leave it out or give a size such as 64MiB".into());
        }
        if self.config.multiline && self.format != RecordFormat::Csv {
            problems.push("`multiline` is for csv: json records are single lines".into());
        }
        if self.config.follow && self.format == RecordFormat::Parquet {
            problems.push("a parquet file cannot be followed: it is not readable before it is complete".into());
        }
        problems
    }
    async fn source(&self, _options: &SourceOptions) -> Result<Box<dyn SplitSource>> {
        Ok(Box::new(FileSource::new(self.config.clone(), self.format)))
    }
}

/// The kind `file`.
pub(crate) fn kind() -> ConnectorKind {
    ConnectorKind {
        name: "file",
        summary: "JSON lines, CSV and Parquet files, also compressed; in parallel, or followed as they grow",
        roles: &[Role::Source],
        built_in: true,
        options: || schemars::schema_for!(FileConfig),
        parse: |options| {
            let config = serde_json::from_value(options).map_err(|e| e.to_string())?;
            Ok(Arc::new(FileConnector::new(config)))
        },
    }
}

#[cfg(test)]
mod tests;
