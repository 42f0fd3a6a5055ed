//! The process a test imagines: started, killed, and started again over one store of checkpoints.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use millstream_local::checkpoints::{Holds, MemoryCheckpoints};
use millstream_runtime::checkpoint::{Checkpoints, CrashPoints};
use millstream_runtime::clock::Clock;
use millstream_runtime::graph::Graph;
use millstream_runtime::metrics::Snapshot;
use millstream_runtime::run::{Handle, RunError, Running};
use millstream_runtime::{RunOptions, start};
use tokio::time::Instant;

use super::runner::PATIENCE;

/// 2024-01-01T00:00:00Z: the wall clock of every test begins here, so that nothing that fires by the minute does so by
/// chance.
const BEGIN: u64 = 1_704_067_200_000_000;
/// Where a checkpoint is whole and does not count yet.
const BEFORE_IT_COUNTS: &str = "claim.before";

/// Real time, moved to [`BEGIN`].
#[derive(Debug)]
struct TestClock(Instant);

impl Clock for TestClock {
    fn micros(&self) -> u64 {
        BEGIN + self.0.elapsed().as_micros() as u64
    }
}

/// Whether the next checkpoint kills the process.
#[derive(Debug, Default)]
struct Doom(AtomicBool);

impl CrashPoints for Doom {
    fn dies_at(&self, point: &str) -> bool {
        point == BEFORE_IT_COUNTS && self.0.swap(false, Ordering::SeqCst)
    }
}

/// What outlives the processes of a test beside its stage: time, and their checkpoints.
pub(super) struct Machine {
    clock: Arc<TestClock>,
    checkpoints: MemoryCheckpoints,
    doom: Arc<Doom>,
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            clock: Arc::new(TestClock(Instant::now())),
            checkpoints: MemoryCheckpoints::new(Holds::Exclusive),
            doom: Arc::default(),
        }
    }
}

impl Machine {
    /// Starts a process; it goes on from the newest checkpoint.
    pub(super) async fn start(&self, graph: Graph, workers: usize) -> Result<Process, RunError> {
        let mut checkpoints = Checkpoints::new(Arc::new(self.checkpoints.clone()));
        "a test".clone_into(&mut checkpoints.holder);
        let options = RunOptions {
            workers,
            clock: self.clock.clone(),
            checkpoints: Some(checkpoints),
            crash: Some(self.doom.clone()),
            ..RunOptions::default()
        };
        let running = start(graph, options).await?;
        Ok(Process { handle: running.handle(), running })
    }

    /// The next checkpoint kills whoever takes it, right before it counts.
    pub(super) fn doom(&self) {
        self.doom.0.store(true, Ordering::SeqCst);
    }
}

/// A process that runs.
pub(super) struct Process {
    running: Running,
    pub(super) handle: Handle,
}

impl Process {
    /// Waits for its end; `None` where it does not come.
    pub(super) async fn ended(self) -> Option<Result<Snapshot, RunError>> {
        let Self { running, handle } = self;
        // The next process can hold the checkpoints only when nothing is left of this one.
        drop(handle);
        tokio::time::timeout(PATIENCE, running.wait()).await.ok()
    }
}
