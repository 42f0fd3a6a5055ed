//! Rows as lines of the log.

use async_trait::async_trait;
use millstream_core::sink::{Outcome, Sink, SinkOptions};
use millstream_core::{Batch, Error, Result};
use millstream_formats::template::{BoundTemplate, Template};
use millstream_formats::value::{JsonOptions, JsonRows};

use super::config::Level;

/// Writes a line per row.
pub(crate) struct LogSink {
    level: Level,
    pipeline: String,
    id: String,
    subject: Option<BoundTemplate>,
    message: Option<BoundTemplate>,
    options: JsonOptions,
}

/// The template of `option`.
///
/// # Errors
/// `Config` where it is wrong.
pub(crate) fn template(options: &SinkOptions, option: &str, text: &Option<String>) -> Result<Option<BoundTemplate>> {
    let Some(text) = text else { return Ok(None) };
    let bound = Template::parse(text).and_then(|template| template.bind(&options.schema));
    bound.map(Some).map_err(|e| Error::config(format!("the {option} `{text}`: {e}")))
}

impl LogSink {
    pub(crate) fn new(level: Level, options: &SinkOptions) -> Result<Self> {
        Ok(Self {
            level,
            pipeline: options.pipeline.clone(),
            id: options.id.clone(),
            subject: template(options, "subject", &options.subject)?,
            message: template(options, "message", &options.message)?,
            options: JsonOptions { decimals_as_strings: options.decimals_as_strings },
        })
    }

    /// The line of a row: its message, or the row as JSON; behind its subject, if there is one.
    pub(crate) fn line(&self, batch: &Batch, json: &JsonRows, row: usize) -> String {
        let variables = |name: &str| match name {
            "pipeline" => Some(self.pipeline.clone()),
            "sink" => Some(self.id.clone()),
            _ => None,
        };
        let mut line = String::new();
        if let Some(subject) = &self.subject {
            subject.render(batch, row, &variables, &mut line);
            line.push_str(": ");
        }
        match &self.message {
            Some(message) => message.render(batch, row, &variables, &mut line),
            None => {
                let mut text = Vec::new();
                json.write(row, &mut text);
                line.push_str(&String::from_utf8_lossy(&text));
            }
        }
        line
    }

    pub(crate) fn lines(&self, batch: &Batch) -> Result<Vec<String>> {
        let json = JsonRows::new(&batch.rows, self.options)?;
        Ok((0..batch.num_rows()).map(|row| self.line(batch, &json, row)).collect())
    }
}

/// Writes a line.
pub(crate) fn say(level: Level, sink: &str, line: &str) {
    match level {
        Level::Error => tracing::error!(sink, "{line}"),
        Level::Warn => tracing::warn!(sink, "{line}"),
        Level::Info => tracing::info!(sink, "{line}"),
        Level::Debug => tracing::debug!(sink, "{line}"),
    }
}

#[async_trait]
impl Sink for LogSink {
    async fn write(&mut self, batch: &Batch) -> Result<Vec<Outcome>> {
        let sink = self.id.as_str();
        self.lines(batch)?.iter().for_each(|line| say(self.level, sink, line));
        Ok(vec![Outcome::Done; batch.num_rows()])
    }
}
