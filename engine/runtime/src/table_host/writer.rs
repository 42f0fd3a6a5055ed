//! The half of an upsert's host that lives on tokio: it puts rows to the store.

use std::sync::Arc;

use millstream_core::error::Result;
use millstream_core::sink::Delivery;
use millstream_core::table::{TableRows, TableStore};
use timely::scheduling::SyncActivator;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};

use crate::clock::Clock;
use crate::delivery::{Answer, put};

/// What a store answered, and how long that took, in microseconds.
pub(super) struct Answers {
    pub(super) rows: Vec<Answer>,
    pub(super) took: u64,
}

/// Puts rows, in the order given.
pub(super) struct TableWriter {
    pub(super) store: Arc<dyn TableStore>,
    pub(super) delivery: Delivery,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) name: String,
    pub(super) from_host: UnboundedReceiver<TableRows>,
    pub(super) to_host: UnboundedSender<Result<Answers>>,
    pub(super) activator: SyncActivator,
}

impl TableWriter {
    pub(super) async fn run(mut self) {
        while let Some(rows) = self.from_host.recv().await {
            let began = self.clock.micros();
            let answers = put(self.store.as_ref(), &rows, &self.delivery, self.clock.as_ref(), &self.name).await;
            let took = self.clock.micros().saturating_sub(began);
            let answers = answers.map(|rows| Answers { rows, took });
            if self.to_host.send(answers).is_err() || self.activator.activate().is_err() {
                return;
            }
        }
    }
}
