//! How a run goes: a block of lines on a terminal, log lines elsewhere.

use std::time::Duration;

use millstream_core::time::EventTime;
use millstream_runtime::metrics::{NodeSnapshot, Snapshot};
use tokio::time::Instant;

use crate::summary::moment;
use crate::{number, terminal};

/// Time between log lines where nobody watches.
const LOG_EVERY: Duration = Duration::from_secs(5);
/// Characters of a bar.
const BAR: usize = 24;
/// How much of the old rate stays in the new one at each look.
const SMOOTHING: f64 = 0.7;

/// What was shown last.
pub(crate) struct Progress {
    /// Whether all sources end by themselves.
    bounded: bool,
    began: Instant,
    live: bool,
    quiet: bool,
    rows: u64,
    looked: Instant,
    logged: Instant,
    rate: f64,
}

/// The counters in one view.
struct View {
    rows: u64,
    refused: u64,
    windows: usize,
    state: usize,
    keys: usize,
    event_time: Option<EventTime>,
    watermark: Option<EventTime>,
    read: u64,
    total: u64,
    splits: (u64, u64),
}

impl View {
    fn of(snapshot: &Snapshot, bounded: bool) -> Self {
        let sources = || snapshot.nodes.iter().filter(|n| n.kind == "source");
        let all_known = bounded && sources().all(|n| n.bytes_total > 0);
        Self {
            rows: sources().map(|n| n.counts.input).sum(),
            refused: snapshot.nodes.iter().map(|n| n.counts.rejected + n.counts.late + n.counts.failed).sum(),
            windows: snapshot.nodes.iter().map(|n| n.open_windows).sum(),
            state: snapshot.nodes.iter().map(|n| n.state_bytes).sum(),
            keys: snapshot.nodes.iter().map(|n| n.state_keys).sum(),
            event_time: sources().filter_map(|n| n.event_time).max(),
            // What every node has been promised; inputs read to their end hold nothing back.
            watermark: sources().filter_map(|n| n.watermark).filter(|t| *t != EventTime::MAX).min(),
            read: sources().map(|n| n.bytes).sum(),
            total: if all_known { sources().map(|n| n.bytes_total).sum() } else { 0 },
            splits: (sources().map(|n| n.splits_finished).sum(), sources().map(|n| n.splits).sum()),
        }
    }
    /// How far behind the newest event the watermark is, in event time.
    fn lag(&self) -> Option<Duration> {
        let (newest, watermark) = (self.event_time?, self.watermark?);
        let micros = newest.0.checked_sub(watermark.0)?;
        Some(Duration::from_micros(u64::try_from(micros).unwrap_or(0)))
    }
    /// Everything there is has been read.
    fn all_read(&self) -> bool {
        self.splits.1 > 0 && self.splits.0 == self.splits.1 && self.total > 0
    }
    fn done(&self) -> Option<f64> {
        // Sizes of splits may be estimates.
        let share = || (self.read as f64 / self.total as f64).min(0.99);
        (self.total > 0).then(|| if self.all_read() { 1.0 } else { share() })
    }
    fn left(&self, elapsed: Duration) -> Option<Duration> {
        let done = self.done().filter(|d| *d > 0.01)?;
        Duration::try_from_secs_f64(elapsed.as_secs_f64() * (1.0 - done) / done).ok()
    }
}

impl Progress {
    /// Of a run that begins with these counters: rows of earlier runs are not of its rate.
    pub(crate) fn new(bounded: bool, begins: &Snapshot, began: Instant, quiet: bool) -> Self {
        let rows = View::of(begins, bounded).rows;
        Self { bounded, began, live: terminal::is_live(), quiet, rows, looked: began, logged: began, rate: 0.0 }
    }

    /// Shows the counters as they are now.
    pub(crate) fn show(&mut self, snapshot: &Snapshot, now: Instant) {
        let view = View::of(snapshot, self.bounded);
        self.measure(view.rows, now);
        if self.quiet {
            return;
        }
        if self.live {
            terminal::redraw(&self.block(snapshot, &view, now));
        } else if now.duration_since(self.logged) >= LOG_EVERY {
            self.logged = now;
            terminal::note(&format!("{}\n", self.line(snapshot, &view, now)));
        }
    }

    fn measure(&mut self, rows: u64, now: Instant) {
        let seconds = now.duration_since(self.looked).as_secs_f64();
        if seconds <= 0.0 {
            return;
        }
        let fresh = rows.saturating_sub(self.rows) as f64 / seconds;
        self.rate = if self.rate == 0.0 { fresh } else { SMOOTHING * self.rate + (1.0 - SMOOTHING) * fresh };
        self.rows = rows;
        self.looked = now;
    }

    fn block(&self, snapshot: &Snapshot, view: &View, now: Instant) -> Vec<String> {
        let elapsed = now.duration_since(self.began);
        let mut lines = vec![self.bar(view, elapsed)];
        let time = view.event_time.map_or_else(|| "-".to_owned(), moment);
        let watermark = match (view.lag(), view.all_read()) {
            (_, true) => "complete".to_owned(),
            (Some(lag), _) => format!("{} behind", number::duration(lag)),
            (None, _) => "not yet".to_owned(),
        };
        lines.push(format!("  event time {time}   watermark {watermark}"));
        lines.push(format!(
            "  refused {}   open windows {}   state {} ({} keys)   in flight {}",
            number::count(view.refused),
            number::count(view.windows as u64),
            number::bytes(view.state as u64),
            number::count(view.keys as u64),
            number::bytes(snapshot.in_flight_bytes),
        ));
        lines.extend(checkpoint(snapshot).map(|c| format!("  {c}")));
        lines.extend(snapshot.nodes.iter().filter(|n| n.behind_millis > 0).map(behind));
        lines
    }

    fn bar(&self, view: &View, elapsed: Duration) -> String {
        let rows = format!("{} rows, {}/s", number::count(view.rows), number::rate(self.rate));
        let (Some(done), left) = (view.done(), view.left(elapsed)) else {
            let splits = match view.splits {
                (_, 0) => String::new(),
                (done, all) => format!("   {done}/{all} splits read"),
            };
            return format!("  {}   {rows}{splits}", number::duration(elapsed));
        };
        let full = ((done * BAR as f64) as usize).min(BAR);
        let bar = format!("{}{}", "━".repeat(full), "─".repeat(BAR - full));
        let left = match left {
            _ if view.all_read() => ", all read: finishing what is in flight".to_owned(),
            Some(left) => format!(", {} left", number::duration(left)),
            None => String::new(),
        };
        let of = match view.all_read() {
            true => number::bytes(view.read),
            false => format!("{} of {}", number::bytes(view.read), number::bytes(view.total)),
        };
        format!("  {bar} {:>3.0}%  {of}   {rows}{left}", done * 100.0)
    }

    fn line(&self, snapshot: &Snapshot, view: &View, now: Instant) -> String {
        let mut parts = vec![
            number::duration(now.duration_since(self.began)),
            format!("{} rows", number::count(view.rows)),
            format!("{}/s", number::rate(self.rate)),
        ];
        match view.done() {
            Some(_) if view.all_read() => parts.push("all read, finishing what is in flight".to_owned()),
            Some(done) => parts.push(format!("{:.0}% read", done * 100.0)),
            None => {}
        }
        if let Some(time) = view.event_time {
            parts.push(format!("event time {}", moment(time)));
        }
        if let Some(lag) = view.lag() {
            parts.push(format!("watermark {} behind", number::duration(lag)));
        }
        parts.push(format!("refused {}", number::count(view.refused)));
        parts.push(format!("open windows {}", view.windows));
        parts.push(format!("state {}", number::bytes(view.state as u64)));
        parts.push(format!("in flight {}", number::bytes(snapshot.in_flight_bytes)));
        parts.extend(checkpoint(snapshot));
        parts.join(", ")
    }
}

/// The last checkpoint and its age; one that takes long is said to be on its way.
fn checkpoint(snapshot: &Snapshot) -> Option<String> {
    const LONG: Duration = Duration::from_secs(5);
    let age = |at: u64| crate::state::age(EventTime(i64::try_from(at).unwrap_or(0)));
    let waits = snapshot.checkpoint_since.map(age).filter(|a| *a >= LONG);
    let waits = waits.map(|a| format!("a checkpoint is on its way for {}", number::duration(a)));
    let last = snapshot.checkpoint.map(|c| format!("checkpoint {} {} ago", c.checkpoint, number::duration(age(c.at))));
    match (last, waits) {
        (Some(last), Some(waits)) => Some(format!("{last}, {waits}")),
        (last, waits) => last.or(waits),
    }
}

fn behind(node: &NodeSnapshot) -> String {
    format!("  {} is {} behind its stream", node.id, number::duration(Duration::from_millis(node.behind_millis)))
}
