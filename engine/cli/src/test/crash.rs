//! Steps that end the process: another one goes on from its checkpoints, and is given again what they do not cover.
//!
//! ```text
//! given before:     r1 r2 w1 r3 | crash
//! checkpoint:          ^ covers r1 r2
//! the next process: goes on  w1 r3      in this order, one by one: late is what was late before
//! ```

use std::ops::RangeInclusive;

use millstream_core::ErrorKind;
use millstream_spec::Span;

use super::Problem;
use super::runner::{Given, Player};

/// More workers than this are a mistake.
const MOST_WORKERS: usize = 512;

impl Player<'_> {
    /// Kills the process, and starts another.
    pub(super) async fn crash(&mut self, when: &str, span: Span) -> Option<Problem> {
        match when {
            "before_checkpoint" => {
                self.machine.doom();
                let problem = self.checkpoint(span).await;
                if self.process.as_ref().is_none_or(|p| !p.handle.has_failed()) {
                    // It has not died of its checkpoint.
                    return problem.or_else(|| Some(Problem::new(span, "the checkpoint does not crash")));
                }
            }
            "after_checkpoint" => {
                let problem = self.checkpoint(span).await;
                if problem.is_some() {
                    return problem;
                }
            }
            _ => {}
        }
        let process = self.process.take()?;
        process.handle.kill();
        match process.ended().await {
            Some(Err(e)) if e.error.kind() == ErrorKind::Killed => self.revive(span).await,
            Some(Err(e)) => Some(Problem::new(span, format!("the pipeline failed: {e}"))),
            Some(Ok(_)) => Some(Problem::new(span, "the pipeline ended before it could crash")),
            None => Some(Problem::new(span, "the pipeline does not crash")),
        }
    }

    /// Stops the process as a person does, and starts another with so many workers.
    pub(super) async fn restart(&mut self, workers: usize, span: Span) -> Option<Problem> {
        if workers == 0 || workers > MOST_WORKERS {
            return Some(Problem::new(
                span,
                format!("a pipeline runs with 1 to {MOST_WORKERS} workers, not {workers}"),
            ));
        }
        let process = self.process.take()?;
        process.handle.stop();
        match process.ended().await {
            Some(Ok(_)) => {
                self.workers = workers;
                self.revive(span).await
            }
            Some(Err(e)) => Some(Problem::new(span, format!("the pipeline failed when it was to stop: {e}"))),
            None => Some(Problem::new(span, "the pipeline does not stop")),
        }
    }

    /// Starts a process that goes on, and gives it again what no checkpoint covers.
    async fn revive(&mut self, span: Span) -> Option<Problem> {
        self.scene.stage.hold_back();
        let graph = match self.scene.set() {
            Ok((graph, _)) => graph,
            Err(problems) => return problems.into_iter().next(),
        };
        match self.machine.start(graph, self.workers).await {
            Ok(process) => self.process = Some(process),
            Err(e) => return Some(Problem::new(span, format!("the pipeline does not go on: {e}"))),
        }
        let problem = self.ready(span).await;
        if problem.is_some() {
            return problem;
        }
        let given = std::mem::take(&mut self.given);
        let problem = self.give_again(&given, span).await;
        self.given = given;
        problem
    }

    async fn give_again(&mut self, given: &[Given], span: Span) -> Option<Problem> {
        for step in given {
            let problem = match step {
                Given::Watermark(to) => self.advance(*to, span).await,
                Given::Records(source, count) => {
                    let first = self.read(source) + 1;
                    if first > *count {
                        continue;
                    }
                    self.read_again(source, first..=*count, span).await
                }
            };
            if problem.is_some() {
                return problem;
            }
        }
        None
    }

    async fn read_again(&mut self, source: &str, records: RangeInclusive<u64>, span: Span) -> Option<Problem> {
        for record in records {
            self.scene.stage.give_again(source, record);
            let problem = self.until_read(source, record, span).await;
            if problem.is_some() {
                return problem;
            }
        }
        self.settle(span).await
    }
}
