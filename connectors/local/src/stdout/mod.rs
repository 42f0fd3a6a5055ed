//! `stdout`: rows as lines on the standard output.

mod config;
mod sink;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use millstream_core::connector::{Connector, ConnectorKind, Role};
use millstream_core::format::{Compression, RecordFormat};
use millstream_core::sink::{Sink, SinkOptions, WriteMode, unsupported};
use millstream_core::{Error, Result};
use millstream_formats::{EncodeOptions, encoder};

pub use config::StdoutConfig;

use sink::{SharedEncoder, StdoutSink};

#[derive(Debug, Default)]
struct Stdout {
    encoders: Mutex<HashMap<String, Shared>>,
}

struct Shared(SharedEncoder);

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Encoder")
    }
}

/// Refuses the options that a stream of lines does not know.
pub(crate) fn check_line_options(kind: &str, options: &SinkOptions) -> Result<()> {
    let unknown = [
        ("path", options.path.is_some()),
        ("compression", options.compression != Compression::None),
        ("mode: overwrite", options.mode == WriteMode::Overwrite),
        ("subject", options.subject.is_some()),
        ("message", options.message.is_some()),
    ];
    if let Some((option, _)) = unknown.into_iter().find(|(_, given)| *given) {
        return Err(unsupported(kind, option));
    }
    if options.format == RecordFormat::Parquet {
        return Err(Error::config(format!("parquet is a format of files: `{kind}` writes lines of json or csv")));
    }
    Ok(())
}

#[async_trait]
impl Connector for Stdout {
    fn kind(&self) -> &'static str {
        "stdout"
    }
    async fn sink(&self, options: &SinkOptions) -> Result<Box<dyn Sink>> {
        check_line_options("stdout", options)?;
        let fresh = encoder(
            options.format,
            &options.schema,
            &EncodeOptions { decimals_as_strings: options.decimals_as_strings },
        )?;
        let mut encoders = self.encoders.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = encoders.entry(options.id.clone()).or_insert_with(|| Shared(Arc::new(Mutex::new(fresh))));
        Ok(Box::new(StdoutSink { encoder: shared.0.clone(), output: std::io::stdout() }))
    }
}

/// The kind `stdout`.
pub(crate) fn kind() -> ConnectorKind {
    ConnectorKind {
        name: "stdout",
        summary: "Rows as lines on the standard output",
        roles: &[Role::Sink],
        built_in: true,
        options: || schemars::schema_for!(StdoutConfig),
        parse: |options| {
            let StdoutConfig {} = serde_json::from_value(options).map_err(|e| e.to_string())?;
            Ok(Arc::new(Stdout::default()))
        },
    }
}

#[cfg(test)]
mod tests {
    use millstream_core::ErrorKind;

    use super::*;
    use crate::conformance;

    #[tokio::test]
    async fn workers_share_one_header() {
        let rows = conformance::every_type(0, 4).project(&[0, 1]).unwrap();
        let options = SinkOptions { format: RecordFormat::Csv, ..conformance::sink_options("s", &rows.schema()) };
        let made = encoder(options.format, &options.schema, &EncodeOptions::default()).unwrap();
        let encoder: SharedEncoder = Arc::new(Mutex::new(made));
        let batch = conformance::batch(&options, &rows);
        let mut written = Vec::new();
        for _ in 0..2 {
            let mut sink = StdoutSink { encoder: encoder.clone(), output: &mut written };
            assert_eq!(sink.write(&batch).await.unwrap().len(), 4);
        }
        let text = String::from_utf8(written).unwrap();
        assert_eq!(text.lines().count(), 9);
        assert!(text.starts_with("id,int\n"), "{text}");
    }

    #[tokio::test]
    async fn options_of_files_are_refused() {
        let stdout = (kind().parse)(serde_json::json!({})).unwrap();
        let rows = conformance::every_type(0, 1);
        let options = SinkOptions { path: Some("x".into()), ..conformance::sink_options("s", &rows.schema()) };
        let error = stdout.sink(&options).await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains("`path`"), "{error}");
    }
}
