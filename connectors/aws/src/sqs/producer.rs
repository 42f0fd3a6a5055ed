//! Putting records into a queue: what `millstream produce` does.

use async_trait::async_trait;
use millstream_core::Result;
use millstream_core::producer::{NewRecord, Producer};
use millstream_core::sink::Outcome;

use super::client::Queue;
use super::outgoing::{BASE64, ENCODING};
use super::payload::{Fitted, Payloads};
use crate::message::{self, Attributes, ID};
use crate::post::{self, Outgoing, set};

/// Sends to one queue: of a FIFO queue in order per key, which is the message group; a standard queue has no order.
pub(crate) struct SqsProducer {
    queue: Queue,
    payloads: Payloads,
    fifo: bool,
    /// A name that no other producer has.
    run: String,
}

impl SqsProducer {
    pub(crate) fn new(queue: Queue, payloads: Payloads, fifo: bool, run: &str) -> Self {
        Self { queue, payloads, fifo, run: run.to_owned() }
    }

    /// The message of a record. A FIFO queue knows by its id that it has it already.
    fn message(&self, row: usize, record: &NewRecord) -> Outgoing {
        let (body, base64) = message::raw(&record.data);
        let mut attributes = Attributes::default();
        if base64 {
            attributes.text(ENCODING, BASE64);
        }
        let id = format!("{}-{}", self.run, record.number);
        attributes.text(ID, &id);
        let group = self.fifo.then(|| message::group(record.key.clone()));
        Outgoing { row, id, group, subject: None, body, attributes }
    }
}

#[async_trait]
impl Producer for SqsProducer {
    async fn put(&mut self, records: &[NewRecord]) -> Result<Vec<Outcome>> {
        let mut outcomes: Vec<Option<Outcome>> = vec![None; records.len()];
        let mut ready = Vec::with_capacity(records.len());
        for (row, record) in records.iter().enumerate() {
            match self.payloads.fitted(self.message(row, record), "produce").await? {
                Fitted::Fits(message) => ready.push(message),
                Fitted::Not(outcome) => set(&mut outcomes, row, outcome),
            }
        }
        match self.fifo {
            true => post::send_in_order(&self.queue, ready, &mut outcomes).await?,
            false => post::send_all(&self.queue, ready, &mut outcomes).await?,
        }
        post::every(outcomes)
    }
}
