//! The wall clock of the connectors, as a seam: files roll, rows expire and streams arrive by it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::time::{EventTime, micros};

/// Says what time it is.
pub trait Clock: fmt::Debug + Send + Sync {
    /// Now.
    fn now(&self) -> EventTime;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the seam through which connectors see wall time")]
    fn now(&self) -> EventTime {
        from_system(SystemTime::now())
    }
}

/// A clock that stands still until it is moved: for tests.
#[derive(Debug, Clone, Default)]
pub struct ManualClock(Arc<AtomicI64>);

impl ManualClock {
    /// A clock that shows `now`.
    pub fn at(now: EventTime) -> Self {
        Self(Arc::new(AtomicI64::new(now.0)))
    }
    /// Moves it forward.
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(micros(by), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> EventTime {
        EventTime(self.0.load(Ordering::SeqCst))
    }
}

/// The machine's clock, shared.
pub fn system() -> Arc<dyn Clock> {
    Arc::new(SystemClock)
}

/// A time of the file system as an instant of the engine.
pub fn from_system(time: SystemTime) -> EventTime {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => EventTime(micros(since)),
        Err(before) => EventTime(-micros(before.duration())),
    }
}
