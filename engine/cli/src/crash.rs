//! Makes the process die or sleep at a named point, for tests of recovery: `MILLSTREAM_CRASH_AT=claim.after:2` at the
//! second time it comes there, `MILLSTREAM_PAUSE_AT` as if it were stopped with SIGSTOP, until it gets SIGCONT.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use millstream_runtime::checkpoint::CrashPoints;

/// A point and how often the process may come there before something happens.
#[derive(Debug)]
struct At {
    point: String,
    left: AtomicU64,
}

impl At {
    fn from_env(variable: &str) -> Option<Self> {
        let wish = std::env::var(variable).ok()?;
        let (point, times) = wish.rsplit_once(':').unwrap_or((&wish, "1"));
        Some(Self { point: point.to_owned(), left: AtomicU64::new(times.parse().unwrap_or(1)) })
    }
    fn is(&self, point: &str) -> bool {
        point == self.point && self.left.fetch_sub(1, Ordering::SeqCst) == 1
    }
}

#[derive(Debug)]
struct FromEnv {
    crash: Option<At>,
    pause: Option<At>,
}

impl CrashPoints for FromEnv {
    fn dies_at(&self, point: &str) -> bool {
        if self.crash.as_ref().is_some_and(|at| at.is(point)) {
            // Nothing is cleaned up, as if the process had been killed from outside.
            std::process::abort();
        }
        if self.pause.as_ref().is_some_and(|at| at.is(point)) {
            sleep();
        }
        false
    }
}

/// Until somebody sends SIGCONT: all threads.
#[expect(unsafe_code, reason = "the standard library has no signals")]
fn sleep() {
    // SAFETY: SIGSTOP has no handler that could run.
    unsafe {
        libc::raise(libc::SIGSTOP);
    }
}

/// What the environment asks for.
pub(crate) fn from_env() -> Option<Arc<dyn CrashPoints>> {
    let (crash, pause) = (At::from_env("MILLSTREAM_CRASH_AT"), At::from_env("MILLSTREAM_PAUSE_AT"));
    if crash.is_none() && pause.is_none() {
        return None;
    }
    Some(Arc::new(FromEnv { crash, pause }))
}
