//! `stdout`: rows as lines on the standard output.

mod config;
mod sink;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use millstream_core::Result;
use millstream_core::connector::{Connector, ConnectorKind, Role};
use millstream_core::sink::{Sink, SinkOptions};
use millstream_formats::{EncodeOptions, encoder};

pub use config::StdoutConfig;

use crate::refused_options::{self, Problem};
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

#[async_trait]
impl Connector for Stdout {
    fn kind(&self) -> &'static str {
        "stdout"
    }
    fn sink_problem(&self, options: &SinkOptions) -> Option<Problem> {
        refused_options::of_lines("stdout", options)
    }
    async fn sink(&self, options: &SinkOptions) -> Result<Box<dyn Sink>> {
        refused_options::refuse(options, self.sink_problem(options))?;
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
    use arrow::array::RecordBatch;
    use millstream_core::format::RecordFormat;
    use millstream_core::sink::Commitment;
    use millstream_core::source::{Position, RawRecord, RawRecords};
    use millstream_core::{ErrorKind, EventTime};

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

    /// An output that a test can read.
    #[derive(Debug, Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Page {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl conformance::SinkUnderTest for Page {
        async fn open(&self, options: &SinkOptions) -> Box<dyn Sink> {
            let made = encoder(options.format, &options.schema, &EncodeOptions::default()).unwrap();
            Box::new(StdoutSink { encoder: Arc::new(Mutex::new(made)), output: self.clone() })
        }
        fn commitment(&self, options: &SinkOptions) -> Commitment {
            Stdout::default().commitment(options)
        }
        async fn visible(&self, options: &SinkOptions) -> Vec<RecordBatch> {
            let buffer = bytes::Bytes::from(self.0.lock().unwrap().clone());
            let ranges = millstream_formats::split::lines(&buffer, 0, true);
            let records = ranges.enumerate().map(|(i, range)| RawRecord {
                start: range.start as u32,
                len: range.len() as u32,
                position: Position::Offset(i as u64),
                arrived_at: EventTime(0),
            });
            let raw = RawRecords { records: records.collect(), buffer: buffer.clone(), header: None };
            vec![millstream_formats::declared::decode(RecordFormat::Json, &options.schema, &raw).unwrap()]
        }
    }

    #[tokio::test]
    async fn keeps_the_promises_of_a_sink() {
        conformance::sink(&Page::default()).await;
    }

    #[tokio::test]
    async fn options_of_files_are_refused() {
        let stdout = (kind().parse)(serde_json::json!({})).unwrap();
        let rows = conformance::every_type(0, 1);
        let options = SinkOptions { path: Some("x".into()), ..conformance::sink_options("s", &rows.schema()) };
        let error = stdout.sink(&options).await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains("`path`"), "{error}");
        assert_eq!(stdout.sink_problem(&options).unwrap().0, "path", "`check` knows it");
        let options = SinkOptions { path: None, format: RecordFormat::Parquet, ..options };
        assert_eq!(stdout.sink_problem(&options).unwrap().0, "format");
    }
}
