//! Pauses between attempts of one call.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64;

const FIRST: Duration = Duration::from_millis(25);
const LONGEST: Duration = Duration::from_secs(2);

/// Doubling pauses with full jitter: callers that failed together do not come back together.
#[derive(Debug)]
pub(crate) struct Backoff {
    seed: u64,
    count: u32,
}

impl Backoff {
    pub(crate) fn new() -> Self {
        static CALLS: AtomicU64 = AtomicU64::new(0);
        Self { seed: CALLS.fetch_add(1, Ordering::Relaxed), count: 0 }
    }

    /// The next pause.
    pub(crate) fn next(&mut self) -> Duration {
        let most = FIRST.saturating_mul(1 << self.count.min(16)).min(LONGEST);
        self.count += 1;
        let process = u64::from(std::process::id());
        let hash = xxh3_64(&[process, self.seed, u64::from(self.count)].map(u64::to_le_bytes).concat());
        most.mul_f64((hash % 1000) as f64 / 1000.0)
    }

    pub(crate) async fn wait(&mut self) {
        tokio::time::sleep(self.next()).await;
    }
}
