//! Reading generated records: splits of a fixed number of trips, or one paced split.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use millstream_core::format::RecordFormat;
use millstream_core::source::{Position, RawRecord, RawRecords, Read, Split, SplitId, SplitReader, SplitSource};
use millstream_core::{Error, EventTime, Result};
use tokio::time::{Instant, sleep};

use super::config::Part;
use super::order::Order;
use super::record;
use super::trip::Trips;
use crate::ahead::{ReadAhead, RunReader};
use crate::clock::Clock;

/// Trips of one split: part of what a position means, so it never changes.
const SPLIT_TRIPS: u64 = 50_000;
const RUN_RECORDS: usize = 4096;
/// About what a record has, for progress.
const RECORD_BYTES: u64 = 215;

/// A configured stream of generated records.
#[derive(Debug, Clone)]
pub(crate) struct GenerateSource {
    pub(crate) trips: Arc<Trips>,
    pub(crate) part: Part,
    /// `None`: endless.
    pub(crate) count: Option<u64>,
    /// Records per second.
    pub(crate) rate: Option<f64>,
    pub(crate) clock: Arc<dyn Clock>,
}

fn name(part: Part) -> &'static str {
    match part {
        Part::Starts => "starts",
        Part::Ends => "ends",
    }
}

impl GenerateSource {
    fn split(&self, from: u64, end: Option<u64>) -> Split {
        let range = end.map_or_else(|| format!("{from}-"), |end| format!("{from}-{end}"));
        Split {
            id: SplitId(format!("{}:{range}", name(self.part))),
            parents: Vec::new(),
            size: end.map(|end| (end - from) * RECORD_BYTES),
        }
    }
}

/// The range of trips a split's name tells.
fn range(id: &SplitId) -> Option<(u64, u64)> {
    let (from, end) = id.0.split_once(':')?.1.split_once('-')?;
    Some((from.parse().ok()?, if end.is_empty() { u64::MAX } else { end.parse().ok()? }))
}

#[async_trait]
impl SplitSource for GenerateSource {
    async fn discover(&self, finished: &BTreeSet<SplitId>) -> Result<Vec<Split>> {
        let splits = match (self.count, self.rate) {
            (Some(count), None) => (0..count)
                .step_by(SPLIT_TRIPS as usize)
                .map(|from| self.split(from, Some((from + SPLIT_TRIPS).min(count))))
                .collect(),
            (count, _) => vec![self.split(0, count)],
        };
        Ok(splits.into_iter().filter(|s: &Split| !finished.contains(&s.id)).collect())
    }

    async fn open(&self, split: &Split, after: Option<Position>) -> Result<Box<dyn SplitReader>> {
        let (from, end) = range(&split.id)
            .ok_or_else(|| Error::environment(format!("`{}` is not a split of generated records", split.id)))?;
        let done = match after {
            None => 0,
            Some(Position::Offset(done)) => done,
            Some(Position::Text(text)) => {
                return Err(Error::environment(format!("`{text}` is not a position among generated records")));
            }
        };
        let mut reader = Generator {
            order: Order::new(&self.trips, self.part, from, end),
            trips: self.trips.clone(),
            part: self.part,
            done: 0,
            bytes: 0,
        };
        reader.skip(done);
        Ok(match self.rate {
            None => Box::new(ReadAhead::new(reader)),
            Some(rate) => Box::new(Paced::new(reader, rate, self.clock.clone())),
        })
    }

    fn bounded(&self) -> bool {
        self.count.is_some()
    }

    fn ordered(&self) -> bool {
        self.rate.is_some()
    }

    fn format(&self) -> RecordFormat {
        RecordFormat::Json
    }
}

/// Writes the records of a range of trips one after the other.
struct Generator {
    trips: Arc<Trips>,
    part: Part,
    order: Order,
    /// Records given so far.
    done: u64,
    /// Bytes of the run before: about what the next one needs.
    bytes: usize,
}

impl Generator {
    fn skip(&mut self, records: u64) {
        while self.done < records && self.order.next(&self.trips).is_some() {
            self.done += 1;
        }
    }

    /// Up to `max` records; `now` is when they arrive, if not when the trip says.
    fn run(&mut self, max: usize, now: Option<EventTime>) -> Read {
        let mut buffer = Vec::with_capacity(self.bytes + self.bytes / 8);
        let mut records = Vec::with_capacity(max);
        while records.len() < max
            && let Some(arrival) = self.order.next(&self.trips)
        {
            let start = buffer.len();
            record::write(&self.trips, self.part, arrival.trip, &mut buffer);
            self.done += 1;
            records.push(RawRecord {
                start: start as u32,
                len: (buffer.len() - start) as u32,
                position: Position::Offset(self.done),
                arrived_at: now.unwrap_or(EventTime(arrival.at.saturating_mul(1_000_000))),
            });
        }
        if records.is_empty() {
            return Read::Finished;
        }
        self.bytes = buffer.len();
        let records = RawRecords { buffer: Bytes::from(buffer), records, header: None };
        Read::Records { records, upto: Position::Offset(self.done), behind: None }
    }
}

impl RunReader for Generator {
    fn read(&mut self) -> Result<Read> {
        Ok(self.run(RUN_RECORDS, None))
    }
}

/// Gives records at a rate: a bucket that fills with time and holds one second's worth.
struct Paced {
    generator: Generator,
    clock: Arc<dyn Clock>,
    rate: f64,
    tokens: f64,
    filled_at: Instant,
}

impl Paced {
    fn new(generator: Generator, rate: f64, clock: Arc<dyn Clock>) -> Self {
        Self { generator, clock, rate, tokens: 1.0, filled_at: Instant::now() }
    }
    fn fill(&mut self) {
        let now = Instant::now();
        let gained = now.duration_since(self.filled_at).as_secs_f64() * self.rate;
        self.tokens = (self.tokens + gained).min(self.rate.max(1.0));
        self.filled_at = now;
    }
}

#[async_trait]
impl SplitReader for Paced {
    async fn next(&mut self) -> Result<Read> {
        /// A slow stream says now and then that it is idle.
        const PATIENCE: Duration = Duration::from_millis(500);
        self.fill();
        if self.tokens < 1.0 {
            let wait = Duration::from_secs_f64((1.0 - self.tokens) / self.rate);
            sleep(wait.min(PATIENCE)).await;
            self.fill();
        }
        let max = (self.tokens as usize).min(RUN_RECORDS);
        if max == 0 {
            return Ok(Read::Idle);
        }
        let read = self.generator.run(max, Some(self.clock.now()));
        if let Read::Records { records, .. } = &read {
            self.tokens -= records.records.len() as f64;
        }
        Ok(read)
    }
}
