//! Many seeds at once: each keeps to its own threads and memory, so that they do not meet.

use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::thread;

use crate::driver::Outcome;

/// Simulates seeds on as many threads as there are cores, and gives what came of them in their order, until told to stop.
pub fn simulate_all(
    seeds: Range<u64>,
    simulate: impl Fn(u64) -> Outcome + Sync,
    mut each: impl FnMut(Outcome) -> ControlFlow<()>,
) {
    let (next, stop) = (AtomicU64::new(seeds.start), AtomicBool::new(false));
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let (to, outcomes) = channel();
        for _ in 0..threads {
            let (to, next, stop, simulate, end) = (to.clone(), &next, &stop, &simulate, seeds.end);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed)
                    && let seed = next.fetch_add(1, Ordering::Relaxed)
                    && seed < end
                    && to.send(simulate(seed)).is_ok()
                {}
            });
        }
        drop(to);
        let (mut due, mut early) = (seeds.start, BTreeMap::new());
        for outcome in outcomes {
            early.insert(outcome.seed, outcome);
            while let Some(outcome) = early.remove(&due) {
                due += 1;
                if each(outcome).is_break() {
                    stop.store(true, Ordering::Relaxed);
                    return;
                }
            }
        }
    });
}
