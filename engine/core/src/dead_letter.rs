//! Dead letters: refused rows in a queue, read back to be put where they could not go.

use async_trait::async_trait;

use crate::error::Result;
use crate::format::Reason;

/// A refused row as a queue of dead letters keeps it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeadLetter {
    /// What the queue calls it, for people: a row's number, a message's id.
    pub id: String,
    /// The pipeline that refused it; empty where the queue does not know.
    pub pipeline: String,
    /// The node that refused it: for a row of a table, the table.
    pub component: String,
    /// The port it left by: `rejected`, `late` or `failed`.
    pub port: String,
    /// Why.
    pub reasons: Vec<Reason>,
    /// The row as a JSON object, where it could be decoded.
    pub row: Option<String>,
    /// The version of the row, where a table refused it.
    pub version: Option<u64>,
    /// See [`crate::refusal::Refusal::stamps`].
    pub stamps: Option<String>,
}

/// Reads the dead letters of one queue, for one person: pipelines may put more into it meanwhile.
///
/// A letter stays in the queue until it is removed. Those that were given and neither removed nor let go may be hidden
/// from other readers for a while.
#[async_trait]
pub trait DeadLetters: Send {
    /// The next letters that this reader has not given, oldest first where the queue knows; none where there are no
    /// others.
    ///
    /// # Errors
    /// `Unavailable` to be asked again; `Environment`.
    async fn next(&mut self) -> Result<Vec<DeadLetter>>;
    /// Removes letters, given by their ids. One that is not there any more is removed.
    ///
    /// # Errors
    /// As `next`: some may be removed then.
    async fn remove(&mut self, ids: &[String]) -> Result<()>;
    /// Lets go of all letters that were given and not removed: other readers see them again.
    ///
    /// # Errors
    /// As `next`; they are seen again later all the same.
    async fn let_go(&mut self) -> Result<()> {
        Ok(())
    }
}
