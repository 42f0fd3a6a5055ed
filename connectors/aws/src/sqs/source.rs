//! A queue as one split: messages received ahead, hidden while their checkpoint is pending, deleted when it counts.
//!
//! ```text
//! receives (tasks) --> known? --no--> next --> pipeline .. checkpoint counts --> acknowledge --> deleted
//!                        |yes: a new receipt                                                       |
//!                        +--- covered: delete it (again)          keeper: hides what is pending <--+
//! ```
//! 1. A message that was given is not given again while it is known, however often SQS delivers it; it is known until its
//!    deletion is acknowledged. What earlier processes knew is in the checkpoint.
//! 2. No more messages are known and in the queue than SQS allows to be in flight.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_sqs::types::{Message, MessageSystemAttributeName};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::BytesMut;
use millstream_core::clock::Clock;
use millstream_core::format::RecordFormat;
use millstream_core::source::{
    Applied, Position, RawRecord, RawRecords, Read, Split, SplitId, SplitReader, SplitSource,
};
use millstream_core::{Error, EventTime, Result};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::client::{Handle, Queue};
use super::config::SqsConfig;
use super::known::{Known, Seen};
use super::outgoing::{BASE64, ENCODING};
use super::payload::{Payloads, Pointer};
use crate::post::{BATCH, may_pass};

/// The one split of a queue.
const SPLIT: &str = "messages";
/// How long a reader waits before it looks whether the queue was found empty.
const PATIENCE: Duration = Duration::from_millis(200);
/// Messages given at once, at most about this.
const RUN: usize = 500;
/// Seconds a call for messages waits: short right after there were some, long where there are none for a while.
const SHORT_WAIT: i32 = 1;
const LONG_WAIT: i32 = 20;
/// Pauses between calls that fail.
const PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A queue to read.
pub(crate) struct SqsSource {
    queue: Queue,
    payloads: Payloads,
    config: SqsConfig,
    clock: Arc<dyn Clock>,
}

impl SqsSource {
    pub(crate) fn new(queue: Queue, payloads: Payloads, config: SqsConfig, clock: Arc<dyn Clock>) -> Self {
        Self { queue, payloads, config, clock }
    }
}

#[async_trait]
impl SplitSource for SqsSource {
    async fn discover(&self, _finished: &BTreeSet<SplitId>) -> Result<Vec<Split>> {
        self.queue.open().await?;
        Ok(vec![Split { id: SplitId(SPLIT.to_owned()), parents: Vec::new(), size: None }])
    }
    async fn open(&self, _split: &Split, _after: Option<Position>) -> Result<Box<dyn SplitReader>> {
        self.queue.open().await?;
        Ok(Box::new(Reader::new(self)))
    }
    fn bounded(&self) -> bool {
        false
    }
    fn ordered(&self) -> bool {
        true
    }
    fn acknowledges(&self) -> bool {
        true
    }
    fn late_by_arrival(&self) -> bool {
        true
    }
    fn format(&self) -> RecordFormat {
        self.config.format
    }
}

/// A message that was received for the first time.
#[derive(Debug)]
struct Fetched {
    id: Arc<str>,
    sent: EventTime,
    body: Vec<u8>,
}

/// Receives messages; nothing is received before the first `next`, so that what earlier processes applied is known.
struct Reader {
    known: Arc<Known>,
    receiver: Receiver,
    receives: usize,
    fetched: mpsc::Receiver<Result<Vec<Fetched>>>,
    to_reader: Option<mpsc::Sender<Result<Vec<Fetched>>>>,
    tasks: JoinSet<()>,
}

/// What a task needs that receives.
#[derive(Clone)]
struct Receiver {
    queue: Queue,
    payloads: Payloads,
    known: Arc<Known>,
    room: Arc<Semaphore>,
    visibility: i32,
}

impl Reader {
    fn new(source: &SqsSource) -> Self {
        let visibility = source.config.visibility();
        let room = Arc::new(Semaphore::new(source.config.max_in_flight()));
        let known = Arc::new(Known::new(source.queue.clone(), &source.config, room.clone(), source.clock.clone()));
        let receiver = Receiver {
            queue: source.queue.clone(),
            payloads: source.payloads.clone(),
            known: known.clone(),
            room,
            visibility: i32::try_from(visibility.as_secs()).unwrap_or(i32::MAX),
        };
        let receives = source.config.receives();
        let (to_reader, fetched) = mpsc::channel(receives);
        Self { known, receiver, receives, fetched, to_reader: Some(to_reader), tasks: JoinSet::new() }
    }

    /// Begins to receive.
    fn begin(&mut self) {
        let Some(to_reader) = self.to_reader.take() else { return };
        for _ in 0..self.receives {
            self.tasks.spawn(self.receiver.clone().run(to_reader.clone()));
        }
        self.tasks.spawn(self.known.clone().keep_hidden());
    }
}

impl Receiver {
    async fn run(self, to: mpsc::Sender<Result<Vec<Fetched>>>) {
        let (mut wait, mut pause) = (SHORT_WAIT, PAUSE);
        loop {
            match self.receive(wait).await {
                Ok(fetched) => {
                    wait = if fetched.is_empty() { (wait * 2).min(LONG_WAIT) } else { SHORT_WAIT };
                    pause = PAUSE;
                    if !fetched.is_empty() && to.send(Ok(fetched)).await.is_err() {
                        return;
                    }
                }
                Err(e) => {
                    let passes = may_pass(&e);
                    if to.send(Err(e)).await.is_err() || !passes {
                        return;
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// Receives once; gives the messages that are new.
    async fn receive(&self, wait: i32) -> Result<Vec<Fetched>> {
        let gone = |_| Error::bug("the room for messages is closed");
        let permits = self.room.acquire_many(BATCH as u32).await.map_err(gone)?;
        let messages = self.queue.receive(wait, self.visibility).await?;
        let full = messages.len() == BATCH;
        let mut fetched = Vec::with_capacity(messages.len());
        let mut new = Vec::with_capacity(messages.len());
        for message in messages {
            let (Some(id), Some(receipt)) = (message.message_id.as_deref(), message.receipt_handle.clone()) else {
                continue;
            };
            let (id, sent) = (Arc::<str>::from(id), sent(&message).unwrap_or_else(|| self.known.now()));
            if self.known.see(&id, Handle { id: id.to_string(), receipt }, sent) == Seen::First {
                new.push((id, sent, message));
            }
        }
        // Behind messages that came back there may be others, unless the service had fewer than were asked for.
        self.known.found_nothing_new(new.is_empty() && !full);
        // Those that are new stay in flight until they are deleted; the others have their place already.
        permits.forget();
        self.room.add_permits(BATCH - new.len().min(BATCH));
        for (id, sent, message) in new {
            let body = self.body(message).await?;
            fetched.push(Fetched { id, sent, body });
        }
        Ok(fetched)
    }

    /// The record of a message, from wherever it is.
    async fn body(&self, message: Message) -> Result<Vec<u8>> {
        let attribute = message.message_attributes.as_ref().and_then(|all| all.get(ENCODING));
        let base64 = attribute.and_then(|value| value.string_value()) == Some(BASE64);
        let mut body = message.body.unwrap_or_default();
        if let Some(pointer) = Pointer::of(&body) {
            body = self.fetch(&pointer).await?.unwrap_or(body);
        }
        match STANDARD.decode(&body) {
            Ok(bytes) if base64 => Ok(bytes),
            _ => Ok(body.into_bytes()),
        }
    }

    /// What a pointer points to. The message stays hidden while S3 does not answer.
    async fn fetch(&self, pointer: &Pointer) -> Result<Option<String>> {
        let mut pause = PAUSE;
        loop {
            match self.payloads.get(pointer).await {
                Err(e) if may_pass(&e) => {
                    tracing::warn!("the body of a message cannot be read now and is tried again: {e}");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                found => return found,
            }
        }
    }
}

/// When a message was sent.
fn sent(message: &Message) -> Option<EventTime> {
    let attributes = message.attributes.as_ref()?;
    let millis: i64 = attributes.get(&MessageSystemAttributeName::SentTimestamp)?.parse().ok()?;
    Some(EventTime(millis.saturating_mul(1000)))
}

/// Messages as records of one buffer.
fn records(fetched: Vec<Fetched>) -> RawRecords {
    let mut buffer = BytesMut::with_capacity(fetched.iter().map(|f| f.body.len() + 1).sum());
    let mut records = Vec::with_capacity(fetched.len());
    for Fetched { id, sent, body } in fetched {
        let (start, len) = (buffer.len() as u32, body.len() as u32);
        records.push(RawRecord { start, len, position: Position::Text(id), arrived_at: sent });
        buffer.extend_from_slice(&body);
        buffer.extend_from_slice(b"\n");
    }
    RawRecords { buffer: buffer.freeze(), records, header: None }
}

#[async_trait]
impl SplitReader for Reader {
    async fn next(&mut self) -> Result<Read> {
        self.begin();
        let mut fetched = loop {
            match timeout(PATIENCE, self.fetched.recv()).await {
                Ok(Some(fetched)) => break fetched?,
                Ok(None) => return Err(Error::bug("nobody receives messages any more")),
                Err(_) if self.known.is_caught_up() => return Ok(Read::Idle),
                Err(_) => {}
            }
        };
        while fetched.len() < RUN
            && let Ok(Ok(more)) = self.fetched.try_recv()
        {
            fetched.extend(more);
        }
        let records = records(fetched);
        let upto = records.records.last().map_or(Position::Offset(0), |last| last.position.clone());
        // How far is not known; that it is, until the queue was found empty.
        Ok(Read::Records { records, upto, behind: Some(Duration::from_millis(1)) })
    }

    fn applied(&mut self, records: &[Applied]) {
        self.known.restore(records);
    }

    async fn acknowledge(&mut self, covered: &[Position]) -> Result<Vec<Position>> {
        self.known.cover(covered);
        self.known.delete_covered().await
    }

    async fn release(&mut self, records: &[Position]) {
        self.tasks.shutdown().await;
        let mut ahead: Vec<Position> = records.to_vec();
        while let Ok(fetched) = self.fetched.try_recv() {
            ahead.extend(fetched.into_iter().flatten().map(|f| Position::Text(f.id)));
        }
        self.known.let_go(&ahead).await;
    }
}
