//! Reads a shard as the service sends it (enhanced fan-out).
//!
//! ```text
//! SubscribeToShard -> event, event, .. every few seconds, also without records -> end after five minutes -> again
//! ```
//! Every event says where to go on, so that a silent shard's position moves too.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_kinesis::error::ProvideErrorMetadata;
use aws_sdk_kinesis::operation::subscribe_to_shard::SubscribeToShardOutput;
use aws_sdk_kinesis::primitives::DateTime;
use aws_sdk_kinesis::types::{
    ConsumerStatus, ShardIteratorType as Type, StartingPosition, SubscribeToShardEvent, SubscribeToShardEventStream,
};
use millstream_core::source::{Read, SplitId, SplitReader};
use millstream_core::{Error, Result};
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep_until, timeout};

use super::client::{self, Stream};
use super::config::ANSWER_BYTES;
use super::position::Place;
use super::reader::{Reading, Standing};
use super::run::Counters;
use crate::answer::{is_absent, is_denied};

/// A second subscription to a shard within this time is refused; a later one takes over from the first.
const BETWEEN: Duration = Duration::from_secs(5);
/// How long a reader waits for an event before it says that there is none: events without records come more often.
const PATIENCE: Duration = Duration::from_secs(10);
/// A subscription without an event for so long is dead, though its connection does not say so: the service sends one every few
/// seconds, also without records.
const SILENCE: Duration = Duration::from_secs(30);

/// A registered consumer of the stream, by its ARN.
#[derive(Debug, Clone)]
pub(crate) struct Consumer(String);

/// What became of the wish for a subscription.
enum Subscribed {
    To(Box<SubscribeToShardOutput>),
    /// Another subscription is too young to be taken over.
    InUse,
    NoSuchPlace(String),
    NoSuchShard,
}

/// Invariants: `events` come from where `standing` is on; `standing` moves only by whole events, behind the last wait.
pub(crate) struct FanOut {
    reading: Reading,
    standing: Standing,
    consumer: Arc<OnceCell<Consumer>>,
    events: Option<Box<SubscribeToShardOutput>>,
    /// An event that waits for room: it must not be lost where the wait is dropped.
    arrived: Option<SubscribeToShardEvent>,
    next_subscription: Instant,
    /// When the last event came, or the subscription began.
    heard: Instant,
}

impl FanOut {
    pub(crate) fn new(reading: Reading, standing: Standing, consumer: Arc<OnceCell<Consumer>>) -> Self {
        let now = Instant::now();
        Self { reading, standing, consumer, events: None, arrived: None, next_subscription: now, heard: now }
    }

    /// Subscribes where reading stands, unless the shard is gone.
    async fn subscribe(&mut self) -> Result<()> {
        sleep_until(self.next_subscription).await;
        self.standing.check_retention(&self.reading).await?;
        let Reading { stream, config, .. } = &self.reading;
        let name = config.consumer.clone().unwrap_or_default();
        let consumer = self.consumer.get_or_try_init(|| stream.consumer(&name)).await?.clone();
        let subscribed = stream.subscribe(&consumer, &self.standing.shard, &self.standing.place).await;
        self.next_subscription = Instant::now() + BETWEEN;
        match subscribed? {
            Subscribed::To(events) => (self.events, self.heard) = (Some(events), Instant::now()),
            Subscribed::InUse => {}
            Subscribed::NoSuchPlace(why) => self.standing.hole(&self.reading, None, &why)?,
            Subscribed::NoSuchShard => self.standing.gone(&self.reading)?,
        }
        Ok(())
    }
}

#[async_trait]
impl SplitReader for FanOut {
    async fn next(&mut self) -> Result<Read> {
        loop {
            if self.standing.ended {
                return Ok(Read::Finished);
            }
            if let Some(event) = &self.arrived {
                let bytes: usize = event.records().iter().map(|r| r.data().as_ref().len()).sum();
                let share = self.reading.budget.take((bytes as u64).min(ANSWER_BYTES)).await?;
                let event = self.arrived.take();
                match event.and_then(|event| self.standing.take_event(&self.reading, event, share)) {
                    Some(read) => return Ok(read),
                    None => continue,
                }
            }
            let Some(events) = &mut self.events else {
                self.subscribe().await?;
                continue;
            };
            match timeout(PATIENCE, events.event_stream.recv()).await {
                Err(_) if self.heard.elapsed() >= SILENCE => {
                    self.events = None;
                    let on = &self.reading.stream.on;
                    return Err(Error::unavailable(format!("SubscribeToShard on {on}: no event for {SILENCE:?}")));
                }
                Err(_) => {
                    let caught_up = self.standing.behind.filter(|b| b.is_zero()).is_some();
                    return Ok(if caught_up {
                        Read::Idle
                    } else {
                        Read::Behind(self.standing.behind.unwrap_or(BETWEEN))
                    });
                }
                Ok(Ok(Some(SubscribeToShardEventStream::SubscribeToShardEvent(event)))) => {
                    (self.arrived, self.heard) = (Some(event), Instant::now());
                }
                // A kind of event that this binary does not know.
                Ok(Ok(Some(_))) => {}
                // Five minutes are over.
                Ok(Ok(None)) => {
                    Counters::add(&self.reading.counters.subscriptions, 1);
                    self.events = None;
                }
                Ok(Err(e)) => {
                    self.events = None;
                    let said = format!("SubscribeToShard on {}: {}", self.reading.stream.on, described(&e));
                    return Err(match e.code() {
                        Some(code) if is_denied(code) || is_absent(code) => Error::environment(said),
                        _ => Error::unavailable(said),
                    });
                }
            }
        }
    }
}

fn described<E: ProvideErrorMetadata + std::error::Error>(error: &E) -> String {
    match error.code() {
        Some(code) => format!("{code}: {}", error.message().unwrap_or("no message")),
        None => error.to_string(),
    }
}

impl Standing {
    /// Takes an event in: its records, or what their absence means.
    pub(super) fn take_event(
        &mut self,
        reading: &Reading,
        event: SubscribeToShardEvent,
        share: super::budget::Share,
    ) -> Option<Read> {
        let behind = Duration::from_millis(event.millis_behind_latest().try_into().unwrap_or(0));
        let children: Vec<_> = event.child_shards().iter().map(client::child).collect();
        if !children.is_empty() {
            self.ended = true;
            (reading.children)(children);
        }
        let SubscribeToShardEvent { continuation_sequence_number: sequence, records, .. } = event;
        let (empty, known) = (records.is_empty(), !sequence.is_empty());
        // Inside of an aggregate, that is where to go on until its record has come.
        let inside = matches!(self.place, Place::Behind { sub: Some(_), .. });
        if empty && known && !inside && !self.ended {
            let until = if let Place::Behind { until, .. } = self.place { until } else { None };
            self.place = Place::Behind { sequence, sub: None, until };
            return self.moved_on(reading, behind);
        }
        let read = self.take(reading, records, behind, share);
        let Some(Read::Records { records, behind, .. }) = read else { return read };
        if let Place::Behind { sequence: last, .. } = &mut self.place
            && known
            && !empty
        {
            *last = sequence;
        }
        self.place.position().map(|upto| Read::Records { records, upto, behind })
    }
}

impl Stream {
    /// The consumer with this name, registered where it is not there, or with this ARN.
    ///
    /// # Errors
    /// `Unavailable` while it is being made.
    async fn consumer(&self, name: &str) -> Result<Consumer> {
        if name.starts_with("arn:") {
            return Ok(Consumer(name.to_owned()));
        }
        let arn = self.known_arn().await?;
        let client = self.client().await?;
        match client.register_stream_consumer().stream_arn(&arn).consumer_name(name).send().await {
            Ok(_) => {}
            // It is there, or the stream is being changed.
            Err(e) if e.code() == Some("ResourceInUseException") => {}
            Err(e) if e.code() == Some("LimitExceededException") => {
                let said = e.message().unwrap_or("too many consumers").to_owned();
                let on = &self.on;
                return Err(Error::environment(format!(
                    "RegisterStreamConsumer on {on}: {said} (deregister one that is not used any more, or name one that is there)"
                )));
            }
            Err(e) => return Err(self.read_error("RegisterStreamConsumer", e)),
        }
        let described = match client.describe_stream_consumer().stream_arn(&arn).consumer_name(name).send().await {
            Ok(described) => described,
            Err(e) if e.code() == Some("ResourceNotFoundException") => {
                return Err(Error::unavailable(format!("the consumer {name} of {} is not registered yet", self.on)));
            }
            Err(e) => return Err(self.read_error("DescribeStreamConsumer", e)),
        };
        match described.consumer_description() {
            Some(c) if *c.consumer_status() == ConsumerStatus::Active => Ok(Consumer(c.consumer_arn().to_owned())),
            _ => Err(Error::unavailable(format!("the consumer {name} of {} is not active yet", self.on))),
        }
    }

    async fn subscribe(&self, Consumer(consumer): &Consumer, shard: &SplitId, place: &Place) -> Result<Subscribed> {
        let position = StartingPosition::builder();
        let position = match place {
            Place::Beginning => position.r#type(Type::TrimHorizon),
            Place::Time(millis) => position.r#type(Type::AtTimestamp).timestamp(DateTime::from_millis(*millis)),
            Place::Behind { sequence, sub: None, .. } => {
                position.r#type(Type::AfterSequenceNumber).sequence_number(sequence)
            }
            Place::Behind { sequence, sub: Some(_), .. } => {
                position.r#type(Type::AtSequenceNumber).sequence_number(sequence)
            }
        };
        let position = position.build().map_err(|e| Error::bug("a starting position").caused_by(e))?;
        let call = self.client().await?.subscribe_to_shard();
        let error = match call.consumer_arn(consumer).shard_id(&shard.0).starting_position(position).send().await {
            Ok(output) => return Ok(Subscribed::To(Box::new(output))),
            Err(error) => error,
        };
        let said = error.message().unwrap_or_default().to_owned();
        match (error.code(), place) {
            (Some("ResourceInUseException"), _) => Ok(Subscribed::InUse),
            (Some("InvalidArgumentException"), Place::Behind { .. }) => Ok(Subscribed::NoSuchPlace(said)),
            (Some("InvalidArgumentException"), Place::Time(_)) => {
                Err(Error::unavailable(format!("SubscribeToShard on {}: {said}", self.on)))
            }
            (Some("ResourceNotFoundException"), _) if said.contains(&shard.0) => Ok(Subscribed::NoSuchShard),
            _ => Err(self.read_error("SubscribeToShard", error)),
        }
    }
}
