//! `stdin`: the lines that are piped into the process.

mod config;
mod source;

use std::sync::Arc;

use async_trait::async_trait;
use millstream_core::Result;
use millstream_core::connector::{Connector, ConnectorKind, Role, SourceOptions};
use millstream_core::format::RecordFormat;
use millstream_core::source::SplitSource;

pub use config::StdinConfig;

use crate::{clock, live};
use source::StdinSource;

#[derive(Debug)]
struct Stdin(StdinConfig);

#[async_trait]
impl Connector for Stdin {
    fn kind(&self) -> &'static str {
        "stdin"
    }
    fn record_format(&self) -> RecordFormat {
        self.0.format
    }
    fn bounded(&self) -> bool {
        true
    }
    fn problems(&self) -> Vec<String> {
        live::line_format_problem("stdin", self.0.format).into_iter().collect()
    }
    async fn source(&self, _options: &SourceOptions) -> Result<Box<dyn SplitSource>> {
        Ok(Box::new(StdinSource::claim(self.0.clone(), clock::system())?))
    }
}

/// The kind `stdin`.
pub(crate) fn kind() -> ConnectorKind {
    ConnectorKind {
        name: "stdin",
        summary: "The lines that are piped into the process",
        roles: &[Role::Source],
        built_in: true,
        options: || schemars::schema_for!(StdinConfig),
        parse: |options| Ok(Arc::new(Stdin(serde_json::from_value(options).map_err(|e| e.to_string())?))),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use millstream_core::source::{Position, Read};

    use super::*;

    #[tokio::test]
    async fn a_pipe_is_read_to_its_end() {
        let text: String = (0..20_000).map(|i| format!("{i},x\n")).collect();
        let input = std::io::Cursor::new(format!("n,t\n{text}last,line").into_bytes());
        let config = StdinConfig { format: RecordFormat::Csv, ordered: true };
        let source = StdinSource::over(config, Box::new(input), clock::system());
        let split = &source.discover(&BTreeSet::new()).await.unwrap()[0];
        let mut reader = source.open(split, None).await.unwrap();
        let (mut count, mut last) = (0, Vec::new());
        while let Read::Records { records, upto, .. } = reader.next().await.unwrap() {
            count += records.records.len() as u64;
            assert_eq!((upto, records.header.as_deref()), (Position::Offset(count), Some(&b"n,t"[..])));
            last = records.bytes(records.records.len() - 1).to_vec();
        }
        assert_eq!((count, last.as_slice()), (20_001, &b"last,line"[..]));
        assert!(source.open(split, None).await.is_err());
    }
}
