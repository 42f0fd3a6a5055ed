//! Capturing rows.

use async_trait::async_trait;
use millstream_core::sink::{Outcome, Sink, SinkOptions};
use millstream_core::{Batch, Result};

use super::store::Memory;

/// Keeps what it is given in a [`Memory`] under the sink's id.
#[derive(Debug)]
pub(crate) struct MemorySink {
    pub(crate) memory: Memory,
    pub(crate) id: String,
    first: bool,
}

impl MemorySink {
    pub(crate) fn new(memory: Memory, options: &SinkOptions) -> Self {
        Self { memory, id: options.id.clone(), first: options.instance == 0 }
    }
}

#[async_trait]
impl Sink for MemorySink {
    async fn write(&mut self, batch: &Batch) -> Result<Vec<Outcome>> {
        self.memory.lock().written.entry(self.id.clone()).or_default().push(batch.clone());
        Ok(vec![Outcome::Done; batch.num_rows()])
    }
    async fn commit(&mut self) -> Result<()> {
        *self.memory.lock().commits.entry(self.id.clone()).or_default() += 1;
        Ok(())
    }
    fn summary(&self) -> Option<String> {
        self.first.then(|| format!("{} rows in memory", self.memory.rows_written(&self.id)))
    }
}
