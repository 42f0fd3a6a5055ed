//! A sink whose calls fail on purpose.

use async_trait::async_trait;
use millstream_core::sink::{BatchId, Commitment, Outcome, Prepared, Sink};
use millstream_core::snapshot::StateTable;
use millstream_core::{Batch, Error, ErrorKind, Result};
use serde_json::Value;

use super::{Fault, Faults};

/// The batch of an outbox that rows are of, and their numbers in it; none where they are written without ids.
type Named<'a> = Option<(&'a BatchId, &'a [u32])>;

/// Decorates a sink. `write`, `send`, `prepare` and `commit` take the next fault. The last two know no single rows:
/// whatever the fault, they are down, and with [`Fault::AppliedButError`] they are done all the same.
pub struct FaultySink {
    inner: Box<dyn Sink>,
    id: String,
    commitment: Commitment,
    faults: Faults,
}

impl FaultySink {
    /// The sink `id`, whose next calls fail as `faults` says.
    pub fn new(inner: Box<dyn Sink>, id: &str, commitment: Commitment, faults: Faults) -> Self {
        Self { inner, id: id.to_owned(), commitment, faults }
    }

    async fn pass(&mut self, id: Named<'_>, batch: &Batch) -> Result<Vec<Outcome>> {
        match id {
            Some((id, numbers)) => self.inner.send(id, numbers, batch).await,
            None => self.inner.write(batch).await,
        }
    }

    async fn take(&mut self, id: Named<'_>, batch: &Batch) -> Result<Vec<Outcome>> {
        // What is staged is a matter of one process and its disk: no answer gets lost there before the checkpoint.
        let fault = match self.commitment {
            Commitment::Staged => self.faults.take_other_than(Fault::AppliedButError),
            _ => self.faults.take(),
        };
        match fault {
            Some(Fault::Throttled) => Ok(vec![Outcome::Retry("throttled on purpose".into()); batch.num_rows()]),
            Some(Fault::Unavailable) => Err(Error::unavailable("down on purpose")),
            Some(Fault::Refused) => {
                if let Some((id, numbers)) = id {
                    self.faults.refuse(&self.id, id, numbers.first().copied().unwrap_or_default());
                }
                self.all_but_first(id, batch).await
            }
            Some(Fault::AppliedButError) => {
                self.pass_as_before(id, batch).await?;
                Err(Error::new(ErrorKind::Indeterminate, "the answer was lost on purpose"))
            }
            None => self.pass_as_before(id, batch).await,
        }
    }

    /// A batch whose first row was refused is sent without it again.
    async fn pass_as_before(&mut self, id: Named<'_>, batch: &Batch) -> Result<Vec<Outcome>> {
        match id {
            Some((known, [first, ..])) if self.faults.is_refused(&self.id, known, *first) => {
                self.all_but_first(id, batch).await
            }
            _ => self.pass(id, batch).await,
        }
    }

    async fn all_but_first(&mut self, id: Named<'_>, batch: &Batch) -> Result<Vec<Outcome>> {
        let mut outcomes = vec![Outcome::Refused("refused on purpose".into())];
        if batch.num_rows() > 1 {
            let rest = batch.with_rows(batch.rows.slice(1, batch.num_rows() - 1));
            let id = id.map(|(id, numbers)| (id, numbers.get(1..).unwrap_or_default()));
            outcomes.extend(self.pass(id, &rest).await?);
        }
        Ok(outcomes)
    }

    /// The error with which a call for a whole checkpoint ends, if a fault hits it; whether it is done all the same.
    fn outage(&self) -> Option<(Error, bool)> {
        match self.faults.take()? {
            Fault::AppliedButError => Some((Error::unavailable("the answer was lost on purpose"), true)),
            _ => Some((Error::unavailable("down on purpose"), false)),
        }
    }
}

#[async_trait]
impl Sink for FaultySink {
    async fn write(&mut self, batch: &Batch) -> Result<Vec<Outcome>> {
        self.take(None, batch).await
    }
    async fn send(&mut self, id: &BatchId, numbers: &[u32], rows: &Batch) -> Result<Vec<Outcome>> {
        self.take(Some((id, numbers)), rows).await
    }
    async fn poll(&mut self) -> Result<()> {
        self.inner.poll().await
    }
    async fn prepare(&mut self, checkpoint: u64, whole: bool) -> Result<Prepared> {
        let outage = self.outage();
        if let Some((error, false)) = outage {
            return Err(error);
        }
        let prepared = self.inner.prepare(checkpoint, whole).await?;
        outage.map_or(Ok(prepared), |(error, _)| Err(error))
    }
    async fn commit(&mut self, checkpoint: u64, staged: &Value) -> Result<()> {
        let outage = self.outage();
        if let Some((error, false)) = outage {
            return Err(error);
        }
        self.inner.commit(checkpoint, staged).await?;
        outage.map_or(Ok(()), |(error, _)| Err(error))
    }
    async fn restore(&mut self, tables: Vec<StateTable>) -> Result<()> {
        self.inner.restore(tables).await
    }
    async fn clean(&mut self) -> Result<()> {
        self.inner.clean().await
    }
    fn summary(&self) -> Option<String> {
        self.inner.summary()
    }
}
