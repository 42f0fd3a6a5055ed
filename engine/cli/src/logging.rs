//! Plain log lines on stderr, above the live block.

use std::io;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::terminal;

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
        if !self.0.is_empty() {
            terminal::note(&String::from_utf8_lossy(&self.0));
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

/// Logs what `filter` says.
pub(crate) fn install(filter: &str) {
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|e| {
        terminal::error(&format!("--log: {e}"));
        EnvFilter::new("warn")
    });
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(Lines).with_ansi(terminal::colored_stderr());
    // Installed once at the start: there is no other.
    let _ = logs.try_init();
}
