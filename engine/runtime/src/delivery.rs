//! Gets rows into a sink or a table: tries again, backs off, gives up, as the pipeline file says.

use std::time::Duration;

use arrow::array::UInt32Array;
use millstream_core::batch::Batch;
use millstream_core::error::{Error, ErrorKind, Result};
use millstream_core::format::Reason;
use millstream_core::item;
use millstream_core::sink::{BadRow, BatchId, Delivery, Outage, Outcome, Sink};
use millstream_core::table::{PutOutcome, TableRows, TableStore};
use xxhash_rust::xxh3::xxh3_64;

use crate::clock::Clock;

/// What became of a batch.
#[derive(Debug, Default)]
pub(crate) struct Delivered {
    /// Rows the sink has.
    pub(crate) written: u64,
    /// Rows that wait in an outbox.
    pub(crate) held: u64,
    /// Rows dropped by `bad_row: drop`.
    pub(crate) dropped: u64,
    /// Rows to route to the `failed` port.
    pub(crate) failed: Vec<FailedRow>,
}

/// A row that a sink did not take.
#[derive(Debug)]
pub(crate) struct FailedRow {
    /// Index in the batch.
    pub(crate) row: usize,
    /// Why.
    pub(crate) reason: Reason,
    /// How often it was tried.
    pub(crate) attempts: u64,
}

/// Paces attempts and says when to give up.
pub(crate) struct Attempts<'a> {
    delivery: &'a Delivery,
    clock: &'a dyn Clock,
    began: u64,
    pause: Duration,
    count: u64,
}

impl<'a> Attempts<'a> {
    pub(crate) fn new(delivery: &'a Delivery, clock: &'a dyn Clock) -> Self {
        Self { delivery, clock, began: clock.micros(), pause: delivery.backoff, count: 0 }
    }

    /// Waits before the next attempt; `false` where the rows are to be given up instead.
    pub(crate) async fn again(&mut self, what: &str, why: &str) -> bool {
        let tried = Duration::from_micros(self.clock.micros().saturating_sub(self.began));
        if self.delivery.outage != Outage::Block && tried >= self.delivery.give_up_after {
            return false;
        }
        self.again_always(what, why).await;
        true
    }

    /// Waits before the next attempt, however many there were.
    pub(crate) async fn again_always(&mut self, what: &str, why: &str) {
        self.count += 1;
        if self.count == 1 || self.count.is_power_of_two() {
            tracing::warn!(attempt = self.count, "{what} does not answer as it should and is tried again: {why}");
        }
        // Half fixed, half spread by a hash: clients that failed together do not come back together.
        let spread = xxh3_64(&[self.began.to_le_bytes(), self.count.to_le_bytes()].concat()) % 1000;
        tokio::time::sleep(self.pause / 2 + self.pause.mul_f64(spread as f64 / 2000.0)).await;
        self.pause = (self.pause * 2).min(self.delivery.max_backoff);
    }

    /// What is said of rows that an outage outlasted; an error where that stops the pipeline.
    fn give_up(&self, what: &str, why: &str) -> Result<String> {
        let error = self.unavailable(what, why);
        if self.delivery.outage == Outage::Fail { Err(error) } else { Ok(error.to_string()) }
    }

    pub(crate) fn unavailable(&self, what: &str, why: &str) -> Error {
        let tried = Duration::from_micros(self.clock.micros().saturating_sub(self.began));
        Error::unavailable(format!("{what} was tried for {}s and did not take rows: {why}", tried.as_secs()))
    }
}

/// Whether an error may pass by itself.
pub(crate) fn passing(e: &Error) -> bool {
    matches!(e.kind(), ErrorKind::Unavailable | ErrorKind::Indeterminate)
}

/// A connector answers for each row, or it is broken.
fn one_each(what: &str, outcomes: usize, rows: usize) -> Result<()> {
    if outcomes == rows { Ok(()) } else { Err(Error::bug(format!("{what} gave {outcomes} outcomes for {rows} rows"))) }
}

/// Does something with a service that is not about rows until it is done; only what does not pass by itself is an error.
pub(crate) async fn insist<T, F>(clock: &dyn Clock, what: &str, attempt: impl Fn() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let delivery = Delivery::default();
    let mut attempts = Attempts::new(&delivery, clock);
    loop {
        match attempt().await {
            Err(e) if passing(&e) => attempts.again_always(what, &e.to_string()).await,
            done => return done,
        }
    }
}

/// How long a start waits for the checkpoint store.
const START_PATIENCE: Duration = Duration::from_secs(60);

/// The same for a start, which a person may be waiting for: an outage that lasts is an error.
pub(crate) async fn insist_for_a_while<T, F>(clock: &dyn Clock, what: &str, attempt: impl Fn() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let delivery = Delivery { outage: Outage::Fail, give_up_after: START_PATIENCE, ..Delivery::default() };
    let mut attempts = Attempts::new(&delivery, clock);
    loop {
        match attempt().await {
            Err(e) if passing(&e) && attempts.again(what, &e.to_string()).await => {}
            done => return done,
        }
    }
}

/// How rows reach a sink.
#[derive(Debug, Clone, Copy)]
pub(crate) enum How<'a> {
    Write,
    /// From an outbox.
    Send(&'a BatchId),
}

/// Gives a batch to a sink until every row is written, refused or given up.
pub(crate) async fn deliver(
    sink: &mut dyn Sink,
    how: How<'_>,
    batch: &Batch,
    delivery: &Delivery,
    clock: &dyn Clock,
    what: &str,
) -> Result<Delivered> {
    let mut attempts = Attempts::new(delivery, clock);
    let mut delivered = Delivered::default();
    // Indices into `batch` of the rows that still have to go.
    let mut left: Vec<u32> = (0..batch.num_rows() as u32).collect();
    let mut rows = batch.clone();
    loop {
        let answer = match how {
            How::Write => sink.write(&rows).await,
            How::Send(id) => sink.send(id, &left, &rows).await,
        };
        let tries = attempts.count + 1;
        let why = match answer {
            Ok(outcomes) => {
                one_each(what, outcomes.len(), left.len())?;
                let mut retry = Vec::new();
                let mut why = String::new();
                for (outcome, row) in outcomes.into_iter().zip(std::mem::take(&mut left)) {
                    match outcome {
                        Outcome::Done => delivered.written += 1,
                        Outcome::Refused(reason) => refuse(&mut delivered, delivery, what, (row, tries), reason)?,
                        Outcome::Retry(reason) => {
                            retry.push(row);
                            why = reason;
                        }
                    }
                }
                left = retry;
                if left.is_empty() {
                    return Ok(delivered);
                }
                rows = batch.take(&UInt32Array::from(left.clone()))?;
                why
            }
            Err(e) if passing(&e) => e.to_string(),
            Err(e) => return Err(e),
        };
        if !attempts.again(what, &why).await {
            let reason = Reason { rule: "unavailable".into(), text: attempts.give_up(what, &why)? };
            let failed = |row: &u32| FailedRow { row: *row as usize, reason: reason.clone(), attempts: tries };
            delivered.failed.extend(left.iter().map(failed));
            return Ok(delivered);
        }
    }
}

fn refuse(
    to: &mut Delivered,
    delivery: &Delivery,
    what: &str,
    (row, attempts): (u32, u64),
    reason: String,
) -> Result<()> {
    match delivery.bad_row {
        BadRow::Route => {
            let reason = Reason { rule: "refused".into(), text: reason };
            to.failed.push(FailedRow { row: row as usize, reason, attempts });
        }
        BadRow::Drop => to.dropped += 1,
        BadRow::Fail => return Err(Error::new(ErrorKind::BadRow, format!("{what} refused a row: {reason}"))),
    }
    Ok(())
}

/// What a store finally said of a row, and how often it was asked.
pub(crate) type Answer = (PutOutcome, u64);

/// Puts rows to a table until every one has a final outcome. Rows that an outage outlasted come back as
/// `GivenUp`.
pub(crate) async fn put(
    store: &dyn TableStore,
    rows: &TableRows,
    delivery: &Delivery,
    clock: &dyn Clock,
    what: &str,
) -> Result<Vec<Answer>> {
    let mut attempts = Attempts::new(delivery, clock);
    let mut finals: Vec<Option<Answer>> = vec![None; rows.versions.len()];
    let mut left: Vec<usize> = (0..rows.versions.len()).collect();
    let mut current = rows.clone();
    let oversized = item::oversized(rows)?;
    if !oversized.is_empty() {
        for (row, size) in oversized {
            let reason = too_large(size);
            if delivery.bad_row == BadRow::Fail {
                return Err(Error::new(ErrorKind::BadRow, format!("{what} refused a row: {reason}")));
            }
            set(&mut finals, row, (PutOutcome::Refused(reason), 1));
        }
        left.retain(|row| finals.get(*row).is_some_and(Option::is_none));
        if left.is_empty() {
            return Ok(finals.into_iter().flatten().collect());
        }
        current = rows.take(&left)?;
    }
    loop {
        let answer = store.put(&current).await;
        let tries = attempts.count + 1;
        let why = match answer {
            Ok(outcomes) => {
                one_each(what, outcomes.len(), left.len())?;
                let mut retry = Vec::new();
                let mut why = String::new();
                for (outcome, row) in outcomes.into_iter().zip(std::mem::take(&mut left)) {
                    match outcome {
                        PutOutcome::Retry(reason) => {
                            retry.push(row);
                            why = reason;
                        }
                        PutOutcome::Refused(reason) if delivery.bad_row == BadRow::Fail => {
                            return Err(Error::new(ErrorKind::BadRow, format!("{what} refused a row: {reason}")));
                        }
                        outcome => set(&mut finals, row, (outcome, tries)),
                    }
                }
                left = retry;
                if left.is_empty() {
                    return Ok(finals.into_iter().flatten().collect());
                }
                current = rows.take(&left)?;
                why
            }
            Err(e) if passing(&e) => e.to_string(),
            Err(e) => return Err(e),
        };
        if !attempts.again(what, &why).await {
            let reason = attempts.give_up(what, &why)?;
            left.iter().for_each(|row| set(&mut finals, *row, (PutOutcome::GivenUp(reason.clone()), tries)));
            return Ok(finals.into_iter().flatten().collect());
        }
    }
}

/// What is said of a row that no store is given.
fn too_large(size: usize) -> String {
    let limit = item::LIMIT / 1024;
    format!(
        "the row is {} KB, and a row of a table is at most {limit} KB: `oversize: {{ truncate: [..] }}` cuts columns",
        size.div_ceil(1024)
    )
}

fn set(finals: &mut [Option<Answer>], row: usize, answer: Answer) {
    if let Some(slot) = finals.get_mut(row) {
        *slot = Some(answer);
    }
}
