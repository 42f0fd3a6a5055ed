//! Operators whose rows wait for answers from outside the engine.

use std::sync::Arc;

use crate::batch::Batch;
use crate::error::Result;
use crate::operator::{InPort, Output};

/// Wakes the host of a caller, from any thread.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// What came of a batch so far.
#[derive(Debug)]
pub struct Answered {
    /// The batch.
    pub ticket: u64,
    /// Rows to give, and counts.
    pub out: Output,
    /// Nothing more will come of it.
    pub done: bool,
}

/// An operator that asks elsewhere: like [`crate::operator::Operator`], but what a batch leads to comes later. It
/// remembers nothing: its host passes no checkpoint's boundary before everything up to it is done.
///
/// Where answers are not a function of the rows, what comes of them must have no effect outside before a checkpoint
/// covers it: a crash would have the question asked again, and answered otherwise.
pub trait Caller: Send {
    /// Takes a batch; nothing waits.
    ///
    /// # Errors
    /// As of an operator: refused rows are outputs.
    fn on_batch(&mut self, port: InPort, batch: Batch, ticket: u64) -> Result<()>;
    /// What has come since the last call; every ticket is done once.
    ///
    /// # Errors
    /// As `on_batch`.
    fn take(&mut self) -> Result<Vec<Answered>>;
    /// Rows taken in and not done.
    fn held(&self) -> u64;
    /// Whether enough rows wait for their turn to ask: sources better read no further. What is given anyway is taken.
    fn is_full(&self) -> bool;
}
