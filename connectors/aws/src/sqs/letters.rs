//! Dead letters read back from a queue.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_sqs::types::Message;
use millstream_core::dead_letter::{DeadLetter, DeadLetters};
use millstream_core::format::Reason;
use millstream_core::{Error, Result};

use super::client::{Handle, Queue};
use super::outgoing::ENCODING;
use super::payload::{Payloads, Pointer};
use crate::post::{BATCH, Entry, may_pass};

/// Seconds for which a letter that was given is hidden from others.
const HIDDEN: i32 = 300;
/// Seconds a call for letters waits: long enough for SQS to ask all its servers.
const WAIT: i32 = 3;
/// How often a call about letters is tried, and the first pause, which doubles.
const ATTEMPTS: u32 = 6;
const PAUSE: Duration = Duration::from_millis(200);

/// The letters of a queue, each once.
#[derive(Debug)]
pub(crate) struct Letters {
    queue: Queue,
    payloads: Payloads,
    /// Letters that were given.
    seen: HashSet<String>,
    /// Those of them that are in the queue, with their receipts.
    held: BTreeMap<String, Handle>,
}

impl Letters {
    pub(crate) fn new(queue: Queue, payloads: Payloads) -> Self {
        Self { queue, payloads, seen: HashSet::new(), held: BTreeMap::new() }
    }

    /// Does something to messages until it is done for each; what never will be is told.
    async fn all(&self, mut handles: Vec<Handle>, what: What) -> Result<()> {
        let mut pause = PAUSE;
        for attempt in 1.. {
            let (mut left, mut why) = (Vec::new(), String::new());
            for call in handles.chunks(BATCH) {
                let answer = match what {
                    What::Delete => self.queue.delete(call).await,
                    What::Show => self.queue.hide(call, 0).await,
                };
                match answer {
                    Ok(entries) => {
                        for (handle, entry) in call.iter().zip(entries) {
                            if let Entry::Again(text) | Entry::Never(text) = entry {
                                (left, why) = ([left, vec![handle.clone()]].concat(), text);
                            }
                        }
                    }
                    Err(e) if may_pass(&e) => {
                        (left, why) = ([left, call.to_vec()].concat(), e.to_string());
                    }
                    Err(e) => return Err(e),
                }
            }
            if left.is_empty() {
                break;
            }
            if attempt == ATTEMPTS {
                let message = format!("{} of {} letters in {} failed", left.len(), handles.len(), self.queue.shown());
                return Err(Error::unavailable(format!("{} {message}: {why}", what.name())));
            }
            handles = left;
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        Ok(())
    }

    async fn letter(&self, id: &str, message: &Message) -> Result<DeadLetter> {
        let attribute = |name: &str| {
            let value = message.message_attributes.as_ref().and_then(|all| all.get(name));
            value.and_then(|value| value.string_value()).map(str::to_owned)
        };
        let mut body = message.body.clone().unwrap_or_default();
        if let Some(pointer) = Pointer::of(&body) {
            body = self.payloads.get(&pointer).await?.unwrap_or(body);
        }
        let decoded = attribute(ENCODING).is_none() && body.trim_start().starts_with('{');
        Ok(DeadLetter {
            id: id.to_owned(),
            pipeline: attribute("pipeline").unwrap_or_default(),
            component: attribute("component").unwrap_or_default(),
            port: attribute("port").unwrap_or_default(),
            reasons: attribute("reason").into_iter().map(|text| Reason { rule: String::new(), text }).collect(),
            row: decoded.then_some(body),
            version: attribute("version").and_then(|version| version.parse().ok()),
            stamps: attribute("stamps"),
        })
    }
}

/// What is done to letters.
#[derive(Debug, Clone, Copy)]
enum What {
    Delete,
    Show,
}

impl What {
    fn name(self) -> &'static str {
        match self {
            Self::Delete => "removing",
            Self::Show => "letting go of",
        }
    }
}

#[async_trait]
impl DeadLetters for Letters {
    async fn next(&mut self) -> Result<Vec<DeadLetter>> {
        loop {
            let (mut pause, mut attempt) = (PAUSE, 1);
            let messages = loop {
                match self.queue.receive(WAIT, HIDDEN).await {
                    Err(e) if may_pass(&e) && attempt < ATTEMPTS => {
                        tokio::time::sleep(pause).await;
                        (pause, attempt) = (pause * 2, attempt + 1);
                    }
                    answer => break answer?,
                }
            };
            if messages.is_empty() {
                return Ok(Vec::new());
            }
            let mut letters = Vec::with_capacity(messages.len());
            for message in messages {
                let (Some(id), Some(receipt)) = (message.message_id.clone(), message.receipt_handle.clone()) else {
                    continue;
                };
                self.held.insert(id.clone(), Handle { id: id.clone(), receipt });
                // One that was given before was hidden for too short a time: its new receipt is all that is new.
                if self.seen.insert(id.clone()) {
                    letters.push(self.letter(&id, &message).await?);
                }
            }
            if !letters.is_empty() {
                return Ok(letters);
            }
        }
    }

    async fn remove(&mut self, ids: &[String]) -> Result<()> {
        let handles: Vec<Handle> = ids.iter().filter_map(|id| self.held.get(id).cloned()).collect();
        self.all(handles, What::Delete).await?;
        ids.iter().for_each(|id| drop(self.held.remove(id)));
        Ok(())
    }

    async fn let_go(&mut self) -> Result<()> {
        let handles: Vec<Handle> = std::mem::take(&mut self.held).into_values().collect();
        self.all(handles, What::Show).await
    }
}
