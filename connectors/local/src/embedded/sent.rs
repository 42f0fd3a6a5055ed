//! Which batches of outboxes are in the file: a batch that is sent again changes nothing.
//!
//! The mark of a batch is written in the transaction that inserts its rows. It also says which of them were refused,
//! so that they are refused again. Marks do not pile up: the engine claims checkpoint `n` only after every batch of
//! checkpoint `n - 1` was answered, and an instance sends its batches in order. So a process that goes on from
//! checkpoint `n` may send again what belongs to `n`, or to `n - 1` where its state was taken before the answers came,
//! and nothing older: with the first batch of `n`, marks of checkpoints below `n - 1` go. Should a process that woke
//! up late send one of those still, the marks of later checkpoints tell that its rows are there.

use millstream_core::sink::{BatchId, Outcome, SinkOptions};
use rusqlite::{Connection, OptionalExtension as _, params};

/// Marks of the batches of one sink.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pipeline: String,
    sink: String,
    run: String,
}

/// A number as SQLite has it.
fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

impl Sent {
    pub(crate) fn new(options: &SinkOptions) -> Self {
        Self { pipeline: options.pipeline.clone(), sink: options.id.clone(), run: options.run.clone() }
    }

    /// Makes the table of marks.
    pub(crate) fn ensure(connection: &Connection) -> rusqlite::Result<()> {
        connection.execute_batch(
            "CREATE TABLE IF NOT EXISTS _millstream_sent (pipeline TEXT NOT NULL, sink TEXT NOT NULL, \
             run TEXT NOT NULL, instance INTEGER NOT NULL, checkpoint INTEGER NOT NULL, sequence INTEGER NOT NULL, \
             refused TEXT, PRIMARY KEY (pipeline, sink, run, instance, checkpoint, sequence)) WITHOUT ROWID",
        )
    }

    /// What was said of the rows of a batch that is there; `None` where it is not.
    pub(crate) fn outcomes(
        &self,
        connection: &Connection,
        id: &BatchId,
        rows: usize,
    ) -> rusqlite::Result<Option<Vec<Outcome>>> {
        let (instance, checkpoint) = (id.instance as i64, integer(id.checkpoint));
        let mut mark = connection.prepare_cached(
            "SELECT refused FROM _millstream_sent WHERE pipeline = ?1 AND sink = ?2 AND run = ?3 AND instance = ?4 \
             AND checkpoint = ?5 AND sequence = ?6",
        )?;
        let values = params![self.pipeline, self.sink, id.run, instance, checkpoint, integer(id.sequence)];
        let mut outcomes = vec![Outcome::Done; rows];
        if let Some(refused) = mark.query_row(values, |row| row.get::<_, Option<String>>(0)).optional()? {
            let refused = refused.and_then(|text| serde_json::from_str::<Vec<(usize, String)>>(&text).ok());
            for (row, reason) in refused.unwrap_or_default() {
                if let Some(outcome) = outcomes.get_mut(row) {
                    *outcome = Outcome::Refused(reason);
                }
            }
            return Ok(Some(outcomes));
        }
        let mut later = connection.prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM _millstream_sent WHERE pipeline = ?1 AND sink = ?2 AND run = ?3 \
             AND instance = ?4 AND checkpoint > ?5 + 1)",
        )?;
        let values = params![self.pipeline, self.sink, id.run, instance, checkpoint];
        let later: bool = later.query_row(values, |row| row.get(0))?;
        Ok(later.then_some(outcomes))
    }

    /// Marks a batch, and forgets those that nobody sends again.
    pub(crate) fn mark(&self, connection: &Connection, id: &BatchId, outcomes: &[Outcome]) -> rusqlite::Result<()> {
        let refused: Vec<(usize, &str)> = outcomes
            .iter()
            .enumerate()
            .filter_map(|(row, outcome)| match outcome {
                Outcome::Refused(reason) => Some((row, reason.as_str())),
                Outcome::Done | Outcome::Retry(_) => None,
            })
            .collect();
        let refused = (!refused.is_empty()).then(|| serde_json::json!(refused).to_string());
        let (instance, checkpoint) = (id.instance as i64, integer(id.checkpoint));
        connection
            .prepare_cached("INSERT INTO _millstream_sent VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?
            .execute(params![self.pipeline, self.sink, id.run, instance, checkpoint, integer(id.sequence), refused])?;
        connection
            .prepare_cached(
                "DELETE FROM _millstream_sent WHERE pipeline = ?1 AND sink = ?2 AND run = ?3 AND instance = ?4 \
                 AND checkpoint < ?5 - 1",
            )?
            .execute(params![self.pipeline, self.sink, id.run, instance, checkpoint])?;
        Ok(())
    }

    /// Forgets the batches of other runs: nobody goes on from their checkpoints any more.
    pub(crate) fn forget_runs(&self, connection: &Connection) -> rusqlite::Result<()> {
        connection
            .prepare_cached("DELETE FROM _millstream_sent WHERE pipeline = ?1 AND sink = ?2 AND run <> ?3")?
            .execute(params![self.pipeline, self.sink, self.run])?;
        Ok(())
    }
}
