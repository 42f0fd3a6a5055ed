//! A sink whose writes fail on purpose.

use async_trait::async_trait;
use millstream_core::sink::{Outcome, Sink};
use millstream_core::{Batch, Error, ErrorKind, Result};

use super::{Fault, Faults};

/// Decorates a sink.
pub struct FaultySink {
    inner: Box<dyn Sink>,
    faults: Faults,
}

impl FaultySink {
    /// A sink whose next writes fail as `faults` says.
    pub fn new(inner: Box<dyn Sink>, faults: Faults) -> Self {
        Self { inner, faults }
    }
}

#[async_trait]
impl Sink for FaultySink {
    async fn write(&mut self, batch: &Batch) -> Result<Vec<Outcome>> {
        match self.faults.take() {
            None => self.inner.write(batch).await,
            Some(Fault::Throttled) => Ok(vec![Outcome::Retry("throttled on purpose".into()); batch.num_rows()]),
            Some(Fault::Unavailable) => Err(Error::unavailable("down on purpose")),
            Some(Fault::Refused) => {
                let mut outcomes = vec![Outcome::Refused("refused on purpose".into())];
                if batch.num_rows() > 1 {
                    let rest = batch.with_rows(batch.rows.slice(1, batch.num_rows() - 1));
                    outcomes.extend(self.inner.write(&rest).await?);
                }
                Ok(outcomes)
            }
            Some(Fault::AppliedButError) => {
                self.inner.write(batch).await?;
                Err(Error::new(ErrorKind::Indeterminate, "the answer was lost on purpose"))
            }
        }
    }
    async fn poll(&mut self) -> Result<()> {
        self.inner.poll().await
    }
    async fn commit(&mut self) -> Result<()> {
        self.inner.commit().await
    }
    fn summary(&self) -> Option<String> {
        self.inner.summary()
    }
}
