//! Durations that are counted while a pipeline runs.

use std::sync::Mutex;

use hdrhistogram::Histogram;

use crate::metrics::lock;
use crate::snapshot::Latency;

/// The longest duration that is told from longer ones: a minute, in microseconds.
const LONGEST: u64 = 60_000_000;
/// Decimal digits of a duration that are kept.
const DIGITS: u8 = 2;

/// A histogram of durations, in microseconds. It takes memory with the first.
#[derive(Debug, Default)]
pub(crate) struct Recorder(Mutex<Option<Histogram<u64>>>);

impl Recorder {
    /// So many took so long.
    pub(crate) fn record(&self, micros: u64, count: u64) {
        let mut histogram = lock(&self.0);
        if histogram.is_none() {
            *histogram = Histogram::new_with_max(LONGEST, DIGITS).ok();
        }
        if let Some(histogram) = histogram.as_mut() {
            histogram.saturating_record_n(micros, count);
        }
    }
    /// Percentiles of all so far.
    pub(crate) fn latency(&self) -> Latency {
        lock(&self.0).as_ref().map(Latency::of).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_counted_with_two_digits_up_to_a_minute() {
        let recorder = Recorder::default();
        assert_eq!(recorder.latency().count, 0);
        recorder.record(1_000, 98);
        recorder.record(90_000_000, 2);
        let latency = recorder.latency();
        assert_eq!((latency.count, latency.p50 / 10), (100, 100));
        assert!(latency.p99 >= LONGEST && latency.max >= LONGEST);
    }
}
