//! A sink that takes everything, and keeps what a capture is to keep.

use async_trait::async_trait;
use millstream_core::sink::{Outcome, Sink};
use millstream_core::{Batch, Result};

use super::Stage;
use super::graph::CAPTURE;

pub(super) struct StageSink {
    pub(super) stage: Stage,
    pub(super) id: String,
}

#[async_trait]
impl Sink for StageSink {
    async fn write(&mut self, batch: &Batch) -> Result<Vec<Outcome>> {
        if self.id.starts_with(CAPTURE) {
            self.stage.lock().captured.entry(self.id.clone()).or_default().push(batch.rows.clone());
        }
        Ok(vec![Outcome::Done; batch.num_rows()])
    }
}
