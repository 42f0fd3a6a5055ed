//! A table store whose puts fail on purpose.

use std::sync::Arc;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use futures::stream::BoxStream;
use millstream_core::table::{PutOutcome, StoredRow, TableRows, TableStore};
use millstream_core::{Error, ErrorKind, Result};

use super::{Fault, Faults};

/// Decorates a table store.
pub struct FaultyTable {
    inner: Arc<dyn TableStore>,
    faults: Faults,
}

impl FaultyTable {
    /// A store whose next puts fail as `faults` says.
    pub fn new(inner: Arc<dyn TableStore>, faults: Faults) -> Self {
        Self { inner, faults }
    }
}

#[async_trait]
impl TableStore for FaultyTable {
    async fn put(&self, rows: &TableRows) -> Result<Vec<PutOutcome>> {
        let count = rows.rows.num_rows();
        match self.faults.take() {
            None => self.inner.put(rows).await,
            Some(Fault::Throttled) => Ok(vec![PutOutcome::Retry("throttled on purpose".into()); count]),
            Some(Fault::Unavailable) => Err(Error::unavailable("down on purpose")),
            Some(Fault::Refused) => {
                let mut outcomes = vec![PutOutcome::Refused("refused on purpose".into())];
                if count > 1 {
                    let rest = rows.take(&(1..count).collect::<Vec<_>>())?;
                    outcomes.extend(self.inner.put(&rest).await?);
                }
                Ok(outcomes)
            }
            Some(Fault::AppliedButError) => {
                self.inner.put(rows).await?;
                Err(Error::new(ErrorKind::Indeterminate, "the answer was lost on purpose"))
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
