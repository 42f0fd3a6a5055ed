//! `log`: one line per row in the log of the process, for alerts on the laptop.

mod config;
mod metrics;
mod sink;

use std::sync::Arc;

use async_trait::async_trait;
use millstream_core::Result;
use millstream_core::connector::{Connector, ConnectorKind, Role};
use millstream_core::metrics::MetricStore;
use millstream_core::sink::{Commitment, Sink, SinkOptions};

pub use config::{Level, LogConfig};

use crate::refused_options::{self, Known, Problem};
use metrics::LogMetrics;
use sink::LogSink;

#[derive(Debug)]
struct Log(LogConfig);

#[async_trait]
impl Connector for Log {
    fn kind(&self) -> &'static str {
        "log"
    }
    fn sink_problem(&self, options: &SinkOptions) -> Option<Problem> {
        refused_options::unknown("log", options, &[Known::Subject, Known::Message])
            .or_else(|| sink::template(options, "subject", &options.subject).err().map(|e| ("subject", e.to_string())))
            .or_else(|| sink::template(options, "message", &options.message).err().map(|e| ("message", e.to_string())))
    }
    fn commitment(&self, _options: &SinkOptions) -> Commitment {
        Commitment::Outbox { deduplicates: false }
    }
    async fn sink(&self, options: &SinkOptions) -> Result<Box<dyn Sink>> {
        refused_options::refuse(options, self.sink_problem(options))?;
        Ok(Box::new(LogSink::new(self.0.level, options)?))
    }
    async fn metrics(&self, pipeline: &str) -> Result<Box<dyn MetricStore>> {
        Ok(Box::new(LogMetrics::new(self.0.level, pipeline)))
    }
}

/// The kind `log`.
pub(crate) fn kind() -> ConnectorKind {
    ConnectorKind {
        name: "log",
        summary: "One line per row in the log of the process",
        roles: &[Role::Sink, Role::Metrics],
        built_in: true,
        options: || schemars::schema_for!(LogConfig),
        parse: |options| Ok(Arc::new(Log(serde_json::from_value(options).map_err(|e| e.to_string())?))),
    }
}

#[cfg(test)]
mod tests {
    use millstream_core::EventTime;
    use millstream_core::metrics::{Metric, Unit};
    use millstream_core::sink::Outcome;

    use super::*;
    use crate::conformance;

    #[tokio::test]
    async fn lines_are_messages_or_rows() {
        let rows = conformance::every_type(1, 1).project(&[0, 5]).unwrap();
        let base = conformance::sink_options("alerts", &rows.schema());
        let batch = conformance::batch(&base, &rows);
        let mut plain = LogSink::new(Level::Warn, &base).unwrap();
        let row = r#"{"id":"id-000001","decimal":9999999999999999999999999999.93}"#;
        assert_eq!(plain.lines(&batch).unwrap(), [row]);
        assert_eq!(plain.write(&batch).await.unwrap(), [Outcome::Done]);
        let options = SinkOptions {
            subject: Some("{sink} of {source}".into()),
            message: Some("{id} costs {decimal}".into()),
            ..base.clone()
        };
        let lines = LogSink::new(Level::Warn, &options).unwrap().lines(&batch).unwrap();
        assert_eq!(lines, ["alerts of events: id-000001 costs 9999999999999999999999999999.93"]);
        let wrong = SinkOptions { message: Some("{id".into()), ..base };
        assert!(LogSink::new(Level::Warn, &wrong).err().unwrap().to_string().contains("the message `{id`"));
    }

    #[test]
    fn metrics_are_a_line_with_the_greatest_of_what_was_looked_at() {
        let metric = |name, node: Option<&str>, unit, values: &[(f64, u64)]| Metric {
            name,
            node: node.map(str::to_owned),
            unit,
            values: values.to_vec(),
            at: EventTime(0),
        };
        let all = [
            metric("RecordsIn", None, Unit::Count, &[(5.0, 1)]),
            metric("RecordsIn", Some("rides"), Unit::Count, &[(5.0, 1)]),
            metric("MillisBehindLatest", Some("rides"), Unit::Milliseconds, &[(3.0, 40), (900.0, 1)]),
        ];
        let line = LogMetrics::new(Level::Info, "shop").line(&all);
        let nodes = r#"{"rides":{"RecordsIn":5,"MillisBehindLatest":900}}"#;
        assert_eq!(line, format!(r#"metrics of shop: {{"RecordsIn":5,"nodes":{nodes}}}"#));
    }
}
