//! Capturing rows: at once, when their checkpoint is committed, or as a queue.

use arrow::array::BooleanArray;
use async_trait::async_trait;
use millstream_core::sink::{BatchId, Outcome, Prepared, Sink, SinkOptions};
use millstream_core::stager::Stager;
use millstream_core::{Batch, Error, Result};
use serde_json::Value;

use super::config::Delivery;
use super::store::{Memory, Stage};

/// Keeps what it is given in a [`Memory`] under the sink's id. What is staged there outlives the instance, as files
/// outlive a process; what is not staged yet does not.
#[derive(Debug)]
pub(crate) struct MemorySink {
    memory: Memory,
    delivery: Delivery,
    id: String,
    stager: Stager,
    instance: usize,
    /// Rows written since the last checkpoint, where they are staged.
    open: Vec<Batch>,
}

impl MemorySink {
    pub(crate) fn new(memory: Memory, delivery: Delivery, options: &SinkOptions) -> Self {
        let SinkOptions { id, instance, .. } = options;
        let (id, instance) = (id.clone(), *instance);
        Self { memory, delivery, id, stager: Stager::of(options), instance, open: Vec::new() }
    }
}

#[async_trait]
impl Sink for MemorySink {
    async fn write(&mut self, batch: &Batch) -> Result<Vec<Outcome>> {
        match self.delivery {
            Delivery::Staged => self.open.push(batch.clone()),
            _ => self.memory.lock().written.entry(self.id.clone()).or_default().push(batch.clone()),
        }
        Ok(vec![Outcome::Done; batch.num_rows()])
    }

    async fn send(&mut self, id: &BatchId, numbers: &[u32], rows: &Batch) -> Result<Vec<Outcome>> {
        let new: BooleanArray = {
            let sent = &mut self.memory.lock().sent;
            numbers.iter().map(|number| Some(sent.insert((self.id.clone(), id.clone(), *number)))).collect()
        };
        if self.delivery != Delivery::Outbox {
            return self.write(rows).await;
        }
        let new = rows.filter(&new)?;
        if new.num_rows() > 0 {
            self.write(&new).await?;
        }
        Ok(vec![Outcome::Done; rows.num_rows()])
    }

    async fn prepare(&mut self, checkpoint: u64, _whole: bool) -> Result<Prepared> {
        let (sink, stager, instance) = (self.id.clone(), self.stager.clone(), self.instance);
        let stage = Stage { sink, stager, checkpoint, instance };
        let mut contents = self.memory.lock();
        if !self.open.is_empty() {
            contents.staged.entry(stage.clone()).or_default().append(&mut self.open);
        }
        if !contents.staged.contains_key(&stage) {
            return Ok(Prepared::default());
        }
        let staged = serde_json::to_value(stage).map_err(|e| Error::bug("rows cannot be staged").caused_by(e))?;
        Ok(Prepared { staged: Some(staged), ..Prepared::default() })
    }

    async fn commit(&mut self, checkpoint: u64, staged: &Value) -> Result<()> {
        let stage: Stage = serde_json::from_value(staged.clone())
            .map_err(|e| Error::environment("what was staged in memory cannot be read").caused_by(e))?;
        let mut contents = self.memory.lock();
        match contents.staged.remove(&stage) {
            Some(batches) => {
                contents.written.entry(self.id.clone()).or_default().extend(batches);
                contents.committed.insert(stage);
            }
            None if contents.committed.contains(&stage) => {}
            None => {
                let message = format!("the rows of checkpoint {checkpoint} of `{}` are lost", self.id);
                return Err(Error::environment(message));
            }
        }
        *contents.commits.entry(self.id.clone()).or_default() += 1;
        Ok(())
    }

    async fn clean(&mut self) -> Result<()> {
        self.memory.lock().staged.retain(|stage, _| stage.sink != self.id || !self.stager.supersedes(&stage.stager));
        Ok(())
    }

    fn summary(&self) -> Option<String> {
        (self.instance == 0).then(|| format!("{} rows in memory", self.memory.rows_written(&self.id)))
    }
}
