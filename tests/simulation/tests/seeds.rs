//! Seeds in CI: every one holds, and each replays exactly.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::ops::ControlFlow;

use simulation::{Outcome, bugs, simulate, simulate_all};

#[test]
fn two_hundred_seeds_hold() {
    let mut outcomes = Vec::new();
    simulate_all(
        1..201,
        |seed| simulate(seed, false),
        |outcome| {
            outcomes.push(outcome);
            ControlFlow::Continue(())
        },
    );
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
    for what in ["answer lost", "refused", "outage", "slow", "checkpoints: answer lost", "expired"] {
        assert!(injected(what) > 0, "no {what}");
    }
    for what in ["children listed", "children not listed yet"] {
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

/// `cargo run -p simulation --features planted-bugs -- --planted` shows those of the engine, too.
#[test]
fn bugs_around_services_are_found() {
    // Where the search begins: right before the seed that found it last.
    let near = [
        ("resume_at", 1),
        ("position_too_far", 1),
        ("ack_before_write", 1),
        ("refused_is_written", 1),
        ("new_ids", 50),
        ("theirs_is_ours", 10),
        ("forget_files", 5),
        ("children_early", 1),
    ];
    for bug in bugs() {
        if let Some((name, from)) = near.iter().find(|(name, _)| *name == bug.name) {
            assert!(bug.found(*from..*from + 40, false).is_some(), "{name} is not found: {}", bug.what);
        }
    }
}
