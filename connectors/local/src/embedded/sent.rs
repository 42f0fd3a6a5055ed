//! Which batches of outboxes are in the file: a batch that is sent again changes nothing.
//!
//! The mark of a batch is written in the transaction that inserts its rows. It says which rows of the batch were answered
//! for, since some may be sent before others, and which of them were refused, so that they are refused again. Marks do not pile up: the engine claims checkpoint `n` only after every batch of
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
             refused TEXT, rows TEXT, PRIMARY KEY (pipeline, sink, run, instance, checkpoint, sequence)) WITHOUT ROWID",
        )?;
        let columns = "SELECT count(*) FROM pragma_table_info('_millstream_sent') WHERE name = 'rows'";
        match connection.query_row(columns, [], |row| row.get(0))? {
            // Marks of an earlier version of Millstream are of whole batches.
            0_i64 => connection.execute_batch("ALTER TABLE _millstream_sent ADD COLUMN rows TEXT"),
            _ => Ok(()),
        }
    }

    /// What was said of the rows of a batch before.
    pub(crate) fn answers(&self, connection: &Connection, id: &BatchId) -> rusqlite::Result<Answers> {
        let (instance, checkpoint) = (id.instance as i64, integer(id.checkpoint));
        let mut mark = connection.prepare_cached(
            "SELECT refused, rows FROM _millstream_sent WHERE pipeline = ?1 AND sink = ?2 AND run = ?3 AND instance = ?4 \
             AND checkpoint = ?5 AND sequence = ?6",
        )?;
        let values = params![self.pipeline, self.sink, id.run, instance, checkpoint, integer(id.sequence)];
        let found =
            mark.query_row(values, |row| Ok((row.get::<_, Option<String>>(0)?, row.get::<_, Option<String>>(1)?)));
        if let Some((refused, rows)) = found.optional()? {
            let all = || vec![(0, u32::MAX)];
            return Ok(Answers {
                refused: refused.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default(),
                rows: rows.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_else(all),
            });
        }
        let mut later = connection.prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM _millstream_sent WHERE pipeline = ?1 AND sink = ?2 AND run = ?3 \
             AND instance = ?4 AND checkpoint > ?5 + 1)",
        )?;
        let values = params![self.pipeline, self.sink, id.run, instance, checkpoint];
        let later: bool = later.query_row(values, |row| row.get(0))?;
        Ok(Answers { rows: if later { vec![(0, u32::MAX)] } else { Vec::new() }, ..Answers::default() })
    }

    /// Marks a batch, and forgets those that nobody sends again.
    pub(crate) fn mark(&self, connection: &Connection, id: &BatchId, answers: &Answers) -> rusqlite::Result<()> {
        let refused = (!answers.refused.is_empty()).then(|| serde_json::json!(answers.refused).to_string());
        let rows = serde_json::json!(answers.rows).to_string();
        let (instance, checkpoint) = (id.instance as i64, integer(id.checkpoint));
        connection
            .prepare_cached(
                "INSERT OR REPLACE INTO _millstream_sent (pipeline, sink, run, instance, checkpoint, sequence, refused, \
                 rows) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )?
            .execute(params![
                self.pipeline,
                self.sink,
                id.run,
                instance,
                checkpoint,
                integer(id.sequence),
                refused,
                rows
            ])?;
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

/// What was said of rows of a batch, by their numbers in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Answers {
    /// Rows that were refused, and why.
    refused: Vec<(u32, String)>,
    /// Rows that were answered for: from one, up to and without another.
    rows: Vec<(u32, u32)>,
}

impl Answers {
    /// What was said of a row; `None` where nothing was.
    pub(crate) fn of(&self, number: u32) -> Option<Outcome> {
        if !self.rows.iter().any(|(from, to)| (*from..*to).contains(&number)) {
            return None;
        }
        let refused = self.refused.iter().find(|(row, _)| *row == number);
        Some(refused.map_or(Outcome::Done, |(_, reason)| Outcome::Refused(reason.clone())))
    }
    /// Adds what is said of a row; one that is to be tried again is not answered for.
    pub(crate) fn add(&mut self, number: u32, outcome: &Outcome) {
        match outcome {
            Outcome::Retry(_) => return,
            Outcome::Refused(reason) => self.refused.push((number, reason.clone())),
            Outcome::Done => {}
        }
        match self.rows.iter_mut().find(|(_, to)| *to == number) {
            Some((_, to)) => *to += 1,
            None => self.rows.push((number, number + 1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_answered_for_one_by_one() {
        let mut answers = Answers::default();
        for number in [0, 1, 4, 5, 2] {
            answers.add(number, &Outcome::Done);
        }
        answers.add(3, &Outcome::Retry("later".into()));
        answers.add(6, &Outcome::Refused("too big".into()));
        assert_eq!(answers.rows, [(0, 3), (4, 7)]);
        assert_eq!((answers.of(3), answers.of(7)), (None, None));
        assert_eq!(answers.of(6), Some(Outcome::Refused("too big".into())));
        assert_eq!(answers.of(5), Some(Outcome::Done));
    }
}
