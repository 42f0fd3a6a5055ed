//! Seeds in CI: every one holds, and each replays exactly.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use simulation::{Outcome, simulate};

/// Simulates seeds on two threads: each simulation keeps to its own.
fn all(seeds: std::ops::Range<u64>) -> Vec<Outcome> {
    let (next, outcomes) = (AtomicU64::new(seeds.start), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let outcome = simulate(seed, false);
                    outcomes.lock().unwrap().push(outcome);
                }
            });
        }
    });
    outcomes.into_inner().unwrap()
}

#[test]
fn two_hundred_seeds_hold() {
    let outcomes = all(1..201);
    let failed: Vec<String> = outcomes
        .iter()
        .filter(|o| !o.broken.is_empty())
        .map(|o| {
            format!(
                "seed {}: {}\n  cargo run -p simulation -- --seed {} --trace",
                o.seed,
                o.broken.join("\n  "),
                o.seed
            )
        })
        .collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    // What is not injected is not tried.
    let injected = |what: &str| {
        let of = |o: &Outcome| o.tally.iter().filter(|(k, _)| k.contains(what)).map(|(_, n)| n).sum::<u64>();
        outcomes.iter().map(of).sum::<u64>()
    };
    for what in ["restart", "stop", "zombie", "fenced", "crash at any step", "throttled", "partial", "unavailable"] {
        assert!(injected(what) > 0, "no {what}");
    }
    for what in ["answer lost", "refused", "outage", "slow", "checkpoints: answer lost"] {
        assert!(injected(what) > 0, "no {what}");
    }
}

#[test]
fn a_seed_replays_exactly() {
    for seed in 1000..1010 {
        let (first, second) = (simulate(seed, true), simulate(seed, true));
        let differs = first.lines.iter().zip(&second.lines).position(|(a, b)| a != b);
        let at = differs.map(|i| (&first.lines[i], &second.lines[i]));
        assert_eq!((first.trace, first.lines.len()), (second.trace, second.lines.len()), "seed {seed}: {at:?}");
    }
}
