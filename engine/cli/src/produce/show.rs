//! How far it has come: a bar on a terminal, a line at the end.

use std::time::Duration;

use millstream_core::producer::NewRecord;
use tokio::time::Instant;

use crate::{number, terminal};

/// Time between two looks of a person.
const LOOK: Duration = Duration::from_millis(100);
/// Characters of a bar.
const BAR: usize = 24;

/// The counters of a run.
pub(crate) struct Show {
    /// The source whose stream it is.
    pub(crate) source: String,
    kind: &'static str,
    /// Bytes of the file, where that is known.
    size: Option<u64>,
    began: Instant,
    shown: Option<Instant>,
    records: u64,
    bytes: u64,
    /// Records that can never be put.
    pub(crate) refused: u64,
    again: u64,
    trouble: Option<String>,
}

impl Show {
    pub(crate) fn new(source: &str, kind: &'static str, size: Option<u64>) -> Self {
        Self {
            source: source.to_owned(),
            kind,
            size: size.filter(|size| *size > 0),
            began: Instant::now(),
            shown: None,
            records: 0,
            bytes: 0,
            refused: 0,
            again: 0,
            trouble: None,
        }
    }
    /// A record is in the stream.
    pub(crate) fn sent(&mut self, record: &NewRecord) {
        self.records += 1;
        self.bytes += record.data.len() as u64;
        self.trouble = None;
    }
    /// Records are put again, and why.
    pub(crate) fn again(&mut self, records: usize, why: &str) {
        self.again += records as u64;
        if self.trouble.is_none() {
            tracing::info!(records, why, "records are put again");
        }
        self.trouble = Some(why.to_owned());
    }
    /// Shows it on a terminal, where it is time to.
    pub(crate) fn update(&mut self, read: u64) {
        let now = Instant::now();
        if !terminal::is_live() || self.shown.is_some_and(|shown| now.duration_since(shown) < LOOK) {
            return;
        }
        self.shown = Some(now);
        let seconds = now.duration_since(self.began).as_secs_f64().max(0.001);
        let rate = number::rate(self.records as f64 / seconds);
        let sent = format!("{} records, {rate}/s", number::count(self.records));
        let mut lines = vec![match self.size {
            Some(size) => {
                let done = (read as f64 / size as f64).min(1.0);
                let full = ((done * BAR as f64) as usize).min(BAR);
                format!("  {}{} {:>3.0}%  {sent}", "━".repeat(full), "─".repeat(BAR - full), done * 100.0)
            }
            None => format!("  {sent}"),
        }];
        lines.extend(self.trouble.as_ref().map(|why| format!("  putting again: {why}")));
        terminal::redraw(&lines);
    }
    /// Takes the bar away and says what was done.
    pub(crate) fn close(&self, unreadable: u64) {
        terminal::clear();
        let took = self.began.elapsed();
        let mut parts = vec![format!(
            "{} ({}) put into the stream of `{}` ({}) in {}",
            number::of(self.records, "record"),
            number::bytes(self.bytes),
            self.source,
            self.kind,
            number::duration(took),
        )];
        if self.again > 0 {
            parts.push(format!("{} put again", number::count(self.again)));
        }
        if self.refused > 0 {
            parts.push(format!("{} refused", number::count(self.refused)));
        }
        if unreadable > 0 {
            parts.push(format!("{} not readable", number::count(unreadable)));
        }
        terminal::line(&parts.join(", "));
    }
}
