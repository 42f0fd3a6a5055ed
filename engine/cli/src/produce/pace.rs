//! No more records a second than asked for.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// A second has this many batches at least, so that a slow pace is an even one.
const STEPS: f64 = 10.0;

/// When the next records may be put.
#[derive(Debug)]
pub(crate) struct Pace {
    /// Records a second; none for as fast as it goes.
    rate: Option<f64>,
    next: Instant,
}

impl Pace {
    pub(crate) fn new(rate: Option<u32>, now: Instant) -> Self {
        Self { rate: rate.map(f64::from), next: now }
    }
    /// How many may be put at once.
    pub(crate) fn at_once(&self) -> usize {
        self.rate.map_or(usize::MAX, |rate| (rate / STEPS).ceil() as usize)
    }
    /// Waits until so many may be put. Time lost before is not made up for.
    pub(crate) async fn take(&mut self, records: usize) {
        let Some(rate) = self.rate else { return };
        sleep_until(self.next).await;
        self.next = self.next.max(Instant::now() - Duration::from_secs_f64(1.0 / STEPS))
            + Duration::from_secs_f64(records as f64 / rate);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_rate_is_kept() {
        let began = Instant::now();
        let mut pace = Pace::new(Some(25), began);
        assert_eq!(pace.at_once(), 3);
        for _ in 0..100 {
            pace.take(3).await;
        }
        // The first are put at once: 99 * 3 / 25 seconds.
        let took = began.elapsed().as_secs_f64();
        assert!((11.8..12.0).contains(&took), "{took}");
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_rate_nobody_waits() {
        let began = Instant::now();
        let mut pace = Pace::new(None, began);
        pace.take(1_000_000).await;
        assert_eq!(began.elapsed(), Duration::ZERO);
    }
}
