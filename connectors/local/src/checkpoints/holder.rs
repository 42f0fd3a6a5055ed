//! Who holds a store, for the people who find it held.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use millstream_core::{Error, ErrorKind, EventTime};
use serde::{Deserialize, Serialize};

/// The holder of a store.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Holder {
    /// What it says it is.
    pub(super) holder: String,
    /// Its process id.
    pub(super) process: u32,
    /// The machine it runs on: a folder may be shared by several.
    pub(super) host: String,
    /// Its executable.
    pub(super) program: String,
    /// Since when it holds the store.
    pub(super) since: String,
}

impl Holder {
    /// This process, which calls itself `holder`.
    pub(super) fn this_process(holder: &str, now: EventTime) -> Self {
        let program = std::env::current_exe().map_or_else(|_| "unknown".to_owned(), |path| path.display().to_string());
        let since = DateTime::<Utc>::from_timestamp_micros(now.0).unwrap_or_default();
        Self {
            holder: holder.to_owned(),
            process: std::process::id(),
            host: host(),
            program,
            since: since.to_rfc3339_opts(SecondsFormat::Secs, true),
        }
    }

    /// `Fenced`: it holds what is at `location`.
    pub(super) fn fenced(&self, location: &str, now: EventTime) -> Error {
        let Self { holder, process, host, program, since } = self;
        let age = age(since, now).map(|age| format!(", {} ago", humantime::format_duration(age))).unwrap_or_default();
        Error::new(
            ErrorKind::Fenced,
            format!(
                "the checkpoints in `{location}` are held by {holder} since {since}{age} (process {process} on {host}, \
                 {program}): wait until it has ended, or stop that process"
            ),
        )
    }
}

/// `Fenced`, by a holder that has not yet said, or cannot say, who it is.
pub(super) fn fenced_by_unknown(location: &str) -> Error {
    Error::new(
        ErrorKind::Fenced,
        format!(
            "the checkpoints in `{location}` are held by another process, which has not said who it is: wait until it \
             has ended, or stop the other process on them"
        ),
    )
}

/// Whole seconds since `since`; `None` where the clock is behind it, as another machine's may be.
fn age(since: &str, now: EventTime) -> Option<Duration> {
    let since = DateTime::parse_from_rfc3339(since).ok()?.timestamp();
    u64::try_from(now.0.div_euclid(1_000_000).checked_sub(since)?).ok().map(Duration::from_secs)
}

fn host() -> String {
    // Linux says it there; elsewhere the shell often does.
    let kernel = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = kernel.or_else(|| std::env::var("HOSTNAME").ok()).unwrap_or_default();
    if name.trim().is_empty() { "an unnamed machine".to_owned() } else { name.trim().to_owned() }
}
