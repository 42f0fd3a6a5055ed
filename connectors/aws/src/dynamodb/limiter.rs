//! How fast a table is written: as fast as it takes it.
//!
//! Additive increase, multiplicative decrease: while a share of the answers says that the table is throttled, the rate
//! falls below what it took; then it rises step by step. A key that alone is too hot slows nobody down but itself: its
//! throttles are a small share, or say so.
//!
//! A table may throttle however slowly this pipeline writes: a partition of it is hot, or others use it up. A share of throttles
//! that a lower rate has not removed is remembered as the table's own; the rate goes back up, and only what is more than
//! that share lowers it again.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How long answers are counted before the rate is judged by them.
const WINDOW: Duration = Duration::from_millis(250);
/// The share of throttled answers from which on the table is too slow, not a key too hot.
const SHARE: f64 = 0.05;
/// What is left of what the table took when it throttles.
const DECREASE: f64 = 0.8;
/// What is added per window, of the rate at which it throttled last.
const INCREASE: f64 = 0.03;
/// The least rate, in writes a second.
const LEAST: f64 = 2.0;
/// What must be left of a share of throttles at the lower rate for it not to have come of the rate.
const STUBBORN: f64 = 0.7;
/// How quickly a remembered share falls to what is seen, per window.
const FORGET: f64 = 0.1;
/// Answers without which a window goes on: fewer say little about a share.
const ANSWERS: u32 = 20;
/// The longest window.
const LONGEST: Duration = Duration::from_secs(3);
/// How many standard deviations above the remembered share are chance.
const CHANCE: f64 = 3.0;

/// What an answer said about the rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The write was taken, or refused for what it is.
    Taken,
    /// Too many writes to the table.
    Throttled,
    /// Too many writes to this key or those beside it.
    Hot,
}

/// A rate that was lowered.
#[derive(Debug, Clone, Copy)]
struct Lowered {
    /// What it was.
    from: Option<f64>,
    /// The share of throttles that lowered it.
    share: f64,
    /// Answers to writes from before are over.
    settled: bool,
}

#[derive(Debug)]
struct State {
    /// Writes a second; unlimited until the table throttles.
    rate: Option<f64>,
    step: f64,
    /// Until it is known whether that helped.
    lowered: Option<Lowered>,
    /// The share of throttles that no lower rate removes.
    own: f64,
    /// When the next write may go.
    next: Instant,
    /// Of the current window.
    began: Instant,
    taken: u32,
    throttled: u32,
}

/// See the [module](self). Shared by all writes to one table.
#[derive(Debug)]
pub(crate) struct Limiter {
    /// The user's own limit.
    most: Option<f64>,
    state: Mutex<State>,
}

impl Limiter {
    pub(crate) fn new(most: Option<f64>) -> Self {
        let now = Instant::now();
        let (next, began) = (now, now);
        let state = State { rate: most, step: 0.0, lowered: None, own: 0.0, next, began, taken: 0, throttled: 0 };
        Self { most, state: Mutex::new(state) }
    }

    /// Waits until one more write may go.
    pub(crate) async fn admit(&self) {
        let at = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(rate) = state.rate else { return };
            let now = Instant::now();
            let at = state.next.max(now);
            state.next = at + Duration::from_secs_f64(1.0 / rate);
            at
        };
        tokio::time::sleep_until(at).await;
    }

    /// Counts an answer.
    pub(crate) fn answered(&self, answer: Answer) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match answer {
            Answer::Throttled => state.throttled += 1,
            Answer::Taken | Answer::Hot => state.taken += 1,
        }
        let now = Instant::now();
        let passed = now.saturating_duration_since(state.began);
        let answers = state.taken + state.throttled;
        if passed >= WINDOW && (answers >= ANSWERS || passed >= LONGEST) {
            state.judge(passed.as_secs_f64(), self.most);
            state.began = now;
            (state.taken, state.throttled) = (0, 0);
        }
    }

    /// Writes a second; `None` while nothing limits them.
    #[cfg(test)]
    pub(crate) fn rate(&self) -> Option<f64> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).rate
    }
}

impl State {
    fn judge(&mut self, seconds: f64, most: Option<f64>) {
        let answers = f64::from((self.taken + self.throttled).max(1));
        let (took, share) = (f64::from(self.taken) / seconds, f64::from(self.throttled) / answers);
        match &mut self.lowered {
            Some(lowered) if !lowered.settled => {
                lowered.settled = true;
                return;
            }
            Some(lowered) if share >= SHARE && share >= lowered.share * STUBBORN => {
                (self.own, self.rate) = (share, lowered.from);
                self.lowered = None;
                return;
            }
            _ => self.lowered = None,
        }
        if share < self.own {
            self.own += (share - self.own) * FORGET;
        }
        let chance = CHANCE * (self.own * (1.0 - self.own) / answers).sqrt();
        if self.throttled > 0 && share - self.own >= SHARE + chance {
            self.lower(took, share);
        } else if let Some(rate) = self.rate {
            // Only a rate that is made use of says anything about a higher one.
            let rate = if took >= rate * 0.5 { rate + self.step } else { rate };
            self.rate = Some(most.map_or(rate, |most| rate.min(most)));
        }
    }

    fn lower(&mut self, took: f64, share: f64) {
        if self.rate.is_none() {
            tracing::info!(writes_per_second = took.round(), "a DynamoDB table throttles: writes slow down");
        }
        self.lowered = Some(Lowered { from: self.rate, share, settled: false });
        self.rate = Some((took * DECREASE).max(LEAST).min(self.rate.unwrap_or(f64::INFINITY)));
        self.step = (took * INCREASE).max(1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table that takes `capacity` writes a second, with a burst of one second, asked as fast as the limiter lets.
    async fn asked(limiter: &Limiter, capacity: f64, seconds: u64, hot: Option<u64>) -> (u64, u64) {
        let (began, mut tokens, mut last) = (Instant::now(), capacity, Instant::now());
        let (mut taken, mut throttled, mut count) = (0, 0, 0u64);
        while began.elapsed() < Duration::from_secs(seconds) {
            limiter.admit().await;
            tokio::time::sleep(Duration::from_micros(500)).await;
            tokens = (tokens + last.elapsed().as_secs_f64() * capacity).min(capacity);
            last = Instant::now();
            count += 1;
            if hot.is_some_and(|every| count.is_multiple_of(every)) {
                limiter.answered(Answer::Throttled);
            } else if tokens >= 1.0 {
                tokens -= 1.0;
                taken += 1;
                limiter.answered(Answer::Taken);
            } else {
                throttled += 1;
                limiter.answered(Answer::Throttled);
            }
        }
        (taken, throttled)
    }

    #[tokio::test(start_paused = true)]
    async fn a_table_gets_what_it_takes_and_little_more() {
        let limiter = Limiter::new(None);
        let (taken, throttled) = asked(&limiter, 100.0, 60, None).await;
        assert!(taken > 60 * 75, "most of the capacity is used: {taken}");
        assert!(throttled < 800, "and little is asked for in vain: {throttled}");
        let rate = limiter.rate().unwrap();
        assert!((50.0..150.0).contains(&rate), "{rate}");
    }

    #[tokio::test(start_paused = true)]
    async fn more_capacity_is_found() {
        let limiter = Limiter::new(None);
        asked(&limiter, 50.0, 30, None).await;
        let before = limiter.rate().unwrap();
        asked(&limiter, 200.0, 60, None).await;
        assert!(limiter.rate().unwrap() > before * 2.0);
    }

    #[tokio::test(start_paused = true)]
    async fn one_hot_key_slows_nobody_else() {
        let limiter = Limiter::new(None);
        asked(&limiter, 1e9, 5, Some(50)).await;
        assert_eq!(limiter.rate(), None);
        for _ in 0..1000 {
            tokio::time::sleep(Duration::from_millis(1)).await;
            limiter.answered(Answer::Hot);
        }
        assert_eq!(limiter.rate(), None, "the service says that it is a key");
    }

    #[tokio::test(start_paused = true)]
    async fn throttles_that_no_rate_removes_slow_nobody_for_long() {
        let limiter = Limiter::new(None);
        let (began, mut random, mut taken) = (Instant::now(), fastrand::Rng::with_seed(3), 0);
        while began.elapsed() < Duration::from_secs(30) {
            limiter.admit().await;
            tokio::time::sleep(Duration::from_millis(2)).await;
            let throttled = random.f64() < 0.3;
            taken += u32::from(!throttled);
            limiter.answered(if throttled { Answer::Throttled } else { Answer::Taken });
        }
        // One after the other, 500 a second are asked, of which 350 are taken.
        assert!(taken > 30 * 250, "{taken}");
        // What comes on top of them is the rate's doing.
        asked(&limiter, 100.0, 30, None).await;
        assert!(limiter.rate().unwrap() < 200.0, "{:?}", limiter.rate());
    }

    #[tokio::test(start_paused = true)]
    async fn the_users_limit_holds() {
        let limiter = Limiter::new(Some(100.0));
        let (taken, _) = asked(&limiter, 1e9, 10, None).await;
        assert!((900..=1001).contains(&taken), "{taken}");
    }
}
