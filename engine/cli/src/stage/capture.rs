//! A sink that takes everything, and keeps what a capture is to keep.
//!
//! ```text
//! write -> kept under (capture, process, instance, checkpoint) --prepare(n): names them--> --commit(n)--> captured
//! ```
//! 1. Where captures are staged, a row is captured with the checkpoint that covers it, once, however often the process
//!    dies: this is the contract of real files, so what a test compares is what a user would find.
//! 2. Else a row is captured as soon as it is written.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::RecordBatch;
use async_trait::async_trait;
use millstream_core::sink::{Commitment, Outcome, Prepared, Sink, SinkOptions};
use millstream_core::{Batch, Error, Result};
use serde_json::{Value, json};

use super::Stage;
use super::graph::CAPTURE;

/// Names what one instance of one process has staged for a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct StagedAs {
    generation: String,
    instance: usize,
    checkpoint: u64,
}

impl StagedAs {
    fn to_json(&self) -> Value {
        json!([self.generation, self.instance, self.checkpoint])
    }
    fn of_json(value: &Value) -> Result<Self> {
        let parts = serde_json::from_value(value.clone());
        let (generation, instance, checkpoint) = parts.map_err(|e| Error::bug("a name of rows").caused_by(e))?;
        Ok(Self { generation, instance, checkpoint })
    }
}

/// What captures have taken, by capture.
#[derive(Debug, Default)]
pub(super) struct Captures {
    pub(super) captured: BTreeMap<String, Vec<RecordBatch>>,
    staged: BTreeMap<(String, StagedAs), Vec<RecordBatch>>,
    /// Of these the rows are captured.
    committed: BTreeSet<(String, StagedAs)>,
}

/// What a sink on the stage makes of a crash.
pub(super) fn commitment(stage: &Stage, options: &SinkOptions) -> Commitment {
    if stage.stages_captures && options.id.starts_with(CAPTURE) { Commitment::Staged } else { Commitment::Direct }
}

pub(super) struct StageSink {
    stage: Stage,
    id: String,
    commitment: Commitment,
    /// Where the next rows are kept.
    next: StagedAs,
}

impl StageSink {
    pub(super) fn new(stage: Stage, options: &SinkOptions) -> Self {
        let next = StagedAs {
            generation: options.generation.clone(),
            instance: options.instance,
            checkpoint: options.checkpoint,
        };
        Self { commitment: commitment(&stage, options), stage, id: options.id.clone(), next }
    }
}

#[async_trait]
impl Sink for StageSink {
    async fn write(&mut self, batch: &Batch) -> Result<Vec<Outcome>> {
        let mut contents = self.stage.lock();
        let captures = &mut contents.captures;
        if self.commitment == Commitment::Staged {
            let key = (self.id.clone(), self.next.clone());
            captures.staged.entry(key).or_default().push(batch.rows.clone());
        } else if self.id.starts_with(CAPTURE) {
            captures.captured.entry(self.id.clone()).or_default().push(batch.rows.clone());
        }
        Ok(vec![Outcome::Done; batch.num_rows()])
    }

    async fn prepare(&mut self, checkpoint: u64, _whole: bool) -> Result<Prepared> {
        let this = StagedAs { checkpoint, ..self.next.clone() };
        self.next.checkpoint = checkpoint + 1;
        let key = (self.id.clone(), this);
        let is_staged = self.stage.lock().captures.staged.contains_key(&key);
        let staged = is_staged.then(|| key.1.to_json());
        Ok(Prepared { staged, ..Prepared::default() })
    }

    async fn commit(&mut self, checkpoint: u64, staged: &Value) -> Result<()> {
        let key = (self.id.clone(), StagedAs::of_json(staged)?);
        let mut contents = self.stage.lock();
        let captures = &mut contents.captures;
        if captures.committed.contains(&key) {
            return Ok(());
        }
        let Some(rows) = captures.staged.remove(&key) else {
            return Err(Error::environment(format!("rows of `{}` for checkpoint {checkpoint} are gone", self.id)));
        };
        captures.captured.entry(self.id.clone()).or_default().extend(rows);
        captures.committed.insert(key);
        Ok(())
    }

    async fn clean(&mut self) -> Result<()> {
        let staged = &mut self.stage.lock().captures.staged;
        staged.retain(|(id, named), _| *id != self.id || named.generation == self.next.generation);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::UInt64Array;
    use millstream_core::connector::Connector as _;
    use millstream_core::refusal;

    use super::super::connector::StageConnector;
    use super::*;
    use crate::stage::graph::sink_options;

    async fn sink(stage: &Stage, generation: &str, checkpoint: u64) -> Box<dyn Sink> {
        let mut options = sink_options(format!("{CAPTURE}p"), "t".into(), refusal::schema(), Vec::new());
        (options.generation, options.checkpoint) = (generation.to_owned(), checkpoint);
        let connector = StageConnector { stage: stage.clone(), real: None, reads: false };
        assert_eq!(connector.commitment(&options) == Commitment::Staged, stage.stages_captures);
        connector.sink(&options).await.unwrap()
    }

    fn rows(n: u64) -> Batch {
        let column = Arc::new(UInt64Array::from_iter_values(0..n));
        Batch::new(RecordBatch::try_from_iter([("n", column as _)]).unwrap())
    }

    #[tokio::test]
    async fn rows_are_captured_once_whoever_commits_them_and_how_often() {
        let stage = Stage::of_test();
        let captured = || stage.rows_captured("capture:p");
        let mut first = sink(&stage, "a", 1).await;
        first.write(&rows(2)).await.unwrap();
        let one = first.prepare(1, false).await.unwrap().staged.unwrap();
        assert_eq!(first.prepare(1, false).await.unwrap().staged.unwrap(), one, "asked again");
        first.write(&rows(5)).await.unwrap();
        assert_eq!(captured(), 0);
        let mut second = sink(&stage, "b", 2).await;
        for _ in 0..2 {
            second.commit(1, &one).await.unwrap();
            assert_eq!(captured(), 2);
        }
        second.write(&rows(3)).await.unwrap();
        second.clean().await.unwrap();
        let two = second.prepare(2, false).await.unwrap().staged.unwrap();
        second.commit(2, &two).await.unwrap();
        assert_eq!(captured(), 5, "what the first wrote after its checkpoint is gone");
        assert_eq!(second.prepare(3, false).await.unwrap(), Prepared::default());
        let never = StagedAs { generation: "c".into(), instance: 0, checkpoint: 3 };
        assert!(second.commit(3, &never.to_json()).await.is_err());
    }

    #[tokio::test]
    async fn without_checkpoints_rows_are_captured_at_once() {
        let stage = Stage::default();
        sink(&stage, "a", 1).await.write(&rows(2)).await.unwrap();
        assert_eq!(stage.rows_captured("capture:p"), 2);
    }
}
