//! The right to run: one worker thread has it at a time, and gives it back after a step.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use millstream_runtime::run::Turns;

/// Longer than any step of a worker; reached only by one that waits for something that cannot come.
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Debug, Default)]
struct State {
    turn: Option<usize>,
    ended: Vec<bool>,
}

/// Gives workers their turns; clones are the same baton.
#[derive(Debug, Clone)]
pub(crate) struct Baton(Arc<(Mutex<State>, Condvar)>);

impl Baton {
    pub(crate) fn new(workers: usize) -> Self {
        Self(Arc::new((Mutex::new(State { turn: None, ended: vec![false; workers] }), Condvar::new())))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a worker take one step, and waits until it has; nothing where it has taken its last.
    pub(crate) fn give(&self, worker: usize) {
        let mut state = self.lock();
        if state.ended[worker] {
            return;
        }
        state.turn = Some(worker);
        self.0.1.notify_all();
        let (state, waited) =
            self.0.1.wait_timeout_while(state, PATIENCE, |s| s.turn.is_some()).unwrap_or_else(PoisonError::into_inner);
        drop(state);
        assert!(!waited.timed_out(), "worker {worker} does not come back from a step");
    }

    /// Workers that have steps left to take.
    pub(crate) fn awake(&self) -> Vec<usize> {
        self.lock().ended.iter().enumerate().filter(|(_, ended)| !**ended).map(|(w, _)| w).collect()
    }
}

impl Turns for Baton {
    fn wait(&self, worker: usize) {
        let state = self.lock();
        drop(self.0.1.wait_while(state, |s| s.turn != Some(worker)).unwrap_or_else(PoisonError::into_inner));
    }
    fn done(&self, worker: usize, ended: bool) {
        let mut state = self.lock();
        state.turn = None;
        state.ended[worker] |= ended;
        drop(state);
        self.0.1.notify_all();
    }
}
