//! A table whose store fails, and in which nothing may ever get lost.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use futures::stream::BoxStream;
use millstream_core::table::{PutOutcome, StoredRow, TableRows, TableStore};
use millstream_core::{Error, ErrorKind, Result};
use millstream_tests::rows;

use super::digest;
use crate::planted::ServiceBug;
use crate::world::{Fault, World};

pub(super) struct SimulatedTable {
    pub(super) inner: Arc<dyn TableStore>,
    pub(super) key: Vec<String>,
    pub(super) service: &'static str,
    pub(super) world: Arc<World>,
}

impl SimulatedTable {
    /// Puts rows; a row that is written must say all that the one before it said.
    async fn put_watched(&self, all: &TableRows) -> Result<Vec<PutOutcome>> {
        let key: Vec<usize> = self.key.iter().map(|k| all.rows.schema().index_of(k)).collect::<Result<_, _>>()?;
        let before = self.inner.get(&all.rows.project(&key)?).await?;
        let outcomes = self.inner.put(all).await?;
        let after = rows::of([&all.rows]);
        for (row, (before, outcome)) in before.iter().zip(&outcomes).enumerate() {
            let (Some(before), PutOutcome::Written) = (before, outcome) else { continue };
            let (version, new) = (all.versions[row], &after[row]);
            let old = rows::of([&before.row]).pop().unwrap_or_default();
            if version <= before.version {
                self.world.broken(format!("version {} of a row is replaced by {version}: {new:?}", before.version));
            }
            if old.iter().any(|(name, value)| name != "status" && new.get(name) != Some(value)) {
                self.world.broken(format!("a row regresses from {old:?} to {new:?}"));
            }
        }
        let written = outcomes.iter().filter(|o| matches!(o, PutOutcome::Written)).count();
        self.world.note(&format!("{} puts {}, {written} written", self.service, digest(&all.rows)));
        tokio::task::yield_now().await;
        Ok(outcomes)
    }

    /// Puts some, and says of the others what is told.
    async fn put_some(&self, all: &TableRows, left: &[usize], of_others: PutOutcome) -> Result<Vec<PutOutcome>> {
        let kept: Vec<usize> = (0..all.versions.len()).filter(|i| !left.contains(i)).collect();
        let mut outcomes = vec![of_others; all.versions.len()];
        if !kept.is_empty() {
            let done = self.put_watched(&all.take(&kept)?).await?;
            kept.into_iter().zip(done).for_each(|(row, outcome)| outcomes[row] = outcome);
        }
        Ok(outcomes)
    }
}

#[async_trait]
impl TableStore for SimulatedTable {
    async fn put(&self, rows: &TableRows) -> Result<Vec<PutOutcome>> {
        let count = rows.versions.len();
        let kinds = [Fault::Throttled, Fault::Partial, Fault::Unavailable, Fault::AnswerLost, Fault::Refused];
        match self.world.call(self.service, &kinds).await {
            None if self.world.has(ServiceBug::AckBeforeWrite) => {
                let (inner, rows) = (self.inner.clone(), rows.clone());
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    inner.put(&rows).await
                });
                Ok(vec![PutOutcome::Written; count])
            }
            None if self.world.has(ServiceBug::RefusedIsWritten) => {
                let outcomes = self.put_watched(rows).await?;
                let taken = |o| if matches!(o, PutOutcome::Stale(_)) { PutOutcome::Written } else { o };
                Ok(outcomes.into_iter().map(taken).collect())
            }
            None => self.put_watched(rows).await,
            Some(Fault::Throttled) => Ok(vec![PutOutcome::Retry("throttled on purpose".into()); count]),
            Some(Fault::Partial) => {
                let left: Vec<usize> = (0..count).filter(|_| self.world.below(2) == 0).collect();
                self.put_some(rows, &left, PutOutcome::Retry("throttled on purpose".into())).await
            }
            Some(Fault::Unavailable) => Err(Error::unavailable("down on purpose")),
            Some(Fault::AnswerLost) => {
                self.put_watched(rows).await?;
                Err(Error::new(ErrorKind::Indeterminate, "the answer was lost on purpose"))
            }
            Some(Fault::Refused) => {
                let refused = self.world.below(count as u64) as usize;
                self.put_some(rows, &[refused], PutOutcome::Refused("refused on purpose".into())).await
            }
        }
    }
    async fn get(&self, keys: &RecordBatch) -> Result<Vec<Option<StoredRow>>> {
        self.inner.get(keys).await
    }
    async fn scan(&self) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        self.inner.scan().await
    }
}
