//! Plain log lines on stderr, above the live block.

use std::fmt;
use std::io;
use std::sync::OnceLock;

use chrono::{DateTime, SecondsFormat};
use console::truncate_str;
use millstream_runtime::clock::{Clock as _, SystemClock};
use serde_json::Value;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

use crate::args::LogFormat;
use crate::terminal;

/// Characters of a line that people can still read while more is going on.
const READABLE: usize = 400;

/// Collects one event and prints it at once.
struct Line(Vec<u8>);

impl io::Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let text = String::from_utf8_lossy(&self.0);
        match (text.is_empty(), terminal::is_live()) {
            (true, _) => {}
            (false, false) => terminal::note(&text),
            (false, true) => terminal::note(&format!("{}\n", truncate_str(text.trim_end(), READABLE, "…"))),
        }
    }
}

/// Makes a [`Line`] per event.
struct Lines;

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line;
    fn make_writer(&'a self) -> Line {
        Line(Vec::with_capacity(160))
    }
}

/// The time of an event: to the second for people, in full for files.
struct Time {
    short: bool,
}

impl FormatTime for Time {
    fn format_time(&self, w: &mut Writer<'_>) -> fmt::Result {
        let micros = i64::try_from(SystemClock.micros()).unwrap_or(i64::MAX);
        let now = DateTime::from_timestamp_micros(micros).unwrap_or_default();
        match self.short {
            true => write!(w, "{}", now.format("%H:%M:%S")),
            false => w.write_str(&now.to_rfc3339_opts(SecondsFormat::Millis, true)),
        }
    }
}

/// Makes a [`JsonLine`] per event.
struct JsonLines;

/// Collects one event and prints it as a line of stdout.
struct JsonLine(Vec<u8>);

impl io::Write for JsonLine {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for JsonLine {
    fn drop(&mut self) {
        let text = String::from_utf8_lossy(&self.0);
        if !text.is_empty() {
            terminal::line(text.trim_end());
        }
    }
}

impl<'a> MakeWriter<'a> for JsonLines {
    type Writer = JsonLine;
    fn make_writer(&'a self) -> JsonLine {
        JsonLine(Vec::with_capacity(240))
    }
}

/// Whether logs are lines of JSON on stdout: then nothing else is there.
static JSON_LINES: OnceLock<bool> = OnceLock::new();

/// Whether stdout has lines of JSON only, for collectors of logs.
pub(crate) fn are_json_lines() -> bool {
    JSON_LINES.get().is_some_and(|json| *json)
}

/// Prints the result of a run for programs: among lines of logs as one of them.
pub(crate) fn document(document: &Value) {
    terminal::line(&if are_json_lines() { document.to_string() } else { format!("{document:#}") });
}

/// What AWS's SDK logs of credentials stands in the connectors' own errors, for people; whoever names it gets both.
const TWICE: &str = "aws_config";

/// Logs what `filter` says.
pub(crate) fn install(filter: &str, format: LogFormat) {
    let _ = JSON_LINES.set(format == LogFormat::Json);
    let named = filter.contains(TWICE);
    let filter = EnvFilter::try_new(if named { filter.to_owned() } else { format!("{filter},{TWICE}=off") })
        .unwrap_or_else(|e| {
            terminal::error(&format!("--log: {e}"));
            EnvFilter::new("warn")
        });
    if format == LogFormat::Json {
        let logs = tracing_subscriber::fmt().json().flatten_event(true).with_current_span(false).with_span_list(false);
        let _ = logs.with_env_filter(filter).with_writer(JsonLines).with_timer(Time { short: false }).try_init();
        return;
    }
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(Lines)
        .with_ansi(terminal::colored_stderr())
        .with_target(false)
        .with_timer(Time { short: terminal::is_live() });
    // Installed once at the start: there is no other.
    let _ = logs.try_init();
}
