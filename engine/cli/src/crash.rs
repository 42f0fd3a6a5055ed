//! Makes the process die at a named point, for tests of recovery: `MILLSTREAM_CRASH_AT=claim.after:2` at the second
//! time it comes there.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use millstream_runtime::checkpoint::CrashPoints;

#[derive(Debug)]
struct CrashAt {
    point: String,
    left: AtomicU64,
}

impl CrashPoints for CrashAt {
    fn dies_at(&self, point: &str) -> bool {
        if point == self.point && self.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            // Nothing is cleaned up, as if the process had been killed from outside.
            std::process::abort();
        }
        false
    }
}

/// The crash the environment asks for.
pub(crate) fn from_env() -> Option<Arc<dyn CrashPoints>> {
    let wish = std::env::var("MILLSTREAM_CRASH_AT").ok()?;
    let (point, times) = wish.rsplit_once(':').unwrap_or((&wish, "1"));
    Some(Arc::new(CrashAt { point: point.to_owned(), left: AtomicU64::new(times.parse().unwrap_or(1)) }))
}
