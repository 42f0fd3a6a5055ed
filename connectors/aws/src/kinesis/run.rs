//! Records of the service as a run of records: user records out of their aggregates, in one buffer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_sdk_kinesis::types::Record;
use bytes::Bytes;
use millstream_core::EventTime;
use millstream_core::source::{Position, RawRecord, RawRecords};

use super::budget::{Budget, Share};
use super::config::OutOfRange;
use super::kpl::user_records;
use super::position::Place;
use super::shards::KeyRange;

/// What a source counts.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) aggregates: AtomicU64,
    pub(crate) out_of_range: AtomicU64,
    pub(crate) expired_shards: AtomicU64,
    pub(crate) expired_millis: AtomicU64,
    pub(crate) holes: AtomicU64,
    pub(crate) iterators: AtomicU64,
    pub(crate) subscriptions: AtomicU64,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64, more: u64) {
        counter.fetch_add(more, Ordering::Relaxed);
    }
    /// By names for people.
    pub(crate) fn all(&self, out_of_range: OutOfRange) -> Vec<(&'static str, u64)> {
        let get = |c: &AtomicU64| c.load(Ordering::Relaxed);
        let strays = match out_of_range {
            OutOfRange::Drop => "user records outside of their shard's keys, left out",
            OutOfRange::Keep => "user records outside of their shard's keys, kept",
        };
        vec![
            ("aggregates unpacked", get(&self.aggregates)),
            (strays, get(&self.out_of_range)),
            ("shards with a hole: records expired before they were read", get(&self.expired_shards)),
            ("milliseconds of expired records in the widest hole, at most", get(&self.expired_millis)),
            ("ranges of hash keys that no shard covers", get(&self.holes)),
            ("iterators expired and renewed", get(&self.iterators)),
            ("subscriptions renewed", get(&self.subscriptions)),
        ]
    }
}

/// What a shard's records go through.
#[derive(Debug, Clone)]
pub(crate) struct Unpacking {
    /// The shard's hash keys, where they are known.
    pub(crate) range: Option<KeyRange>,
    pub(crate) out_of_range: OutOfRange,
    pub(crate) counters: Arc<Counters>,
}

/// Records of one answer, and where reading goes on behind them.
pub(crate) struct Run {
    pub(crate) records: RawRecords,
    pub(crate) place: Place,
}

impl Unpacking {
    /// Makes a run of an answer that began at `place`; it is `None` where the answer has no records. `now` is the time of
    /// records that come without one.
    pub(crate) fn run(
        &self,
        answer: Vec<Record>,
        place: &Place,
        now: EventTime,
        budget: &Budget,
        share: Share,
    ) -> Option<Run> {
        let mut share = share;
        let last = answer.last()?;
        let (sequence, until) = (last.sequence_number().to_owned(), arrived(last, now).millis());
        let mut buffer = Vec::with_capacity(answer.iter().map(|r| r.data().as_ref().len() + 1).sum());
        let mut records = Vec::with_capacity(answer.len());
        for record in answer {
            let arrived_at = arrived(&record, now);
            let done = match place {
                Place::Behind { sequence, sub: Some(sub), .. } if sequence == record.sequence_number() => Some(*sub),
                _ => None,
            };
            let sequence: Arc<str> = record.sequence_number().into();
            let data = Bytes::from(record.data.into_inner());
            let mut put = |data: &[u8], position: Arc<str>| {
                // An answer is far below 4 GiB.
                let (start, len) = (buffer.len() as u32, data.len() as u32);
                records.push(RawRecord { start, len, position: Position::Text(position), arrived_at });
                buffer.extend_from_slice(data);
                buffer.push(b'\n');
            };
            let Some(user) = user_records(&data) else {
                // A record that is no aggregate has no place inside.
                if done.is_none() {
                    put(&data, sequence);
                }
                continue;
            };
            Counters::add(&self.counters.aggregates, 1);
            for (sub, user) in (0_u64..).zip(user).filter(|(sub, _)| done.is_none_or(|done| *sub > done)) {
                if self.range.is_some_and(|range| !range.contains(user.hash_key)) {
                    Counters::add(&self.counters.out_of_range, 1);
                    if self.out_of_range == OutOfRange::Drop {
                        continue;
                    }
                }
                put(&user.data, format!("{sequence}/{sub}").into());
            }
        }
        budget.fit(&mut share, buffer.len() as u64);
        let records = RawRecords { buffer: share.hold(buffer), records, header: None };
        Some(Run { records, place: Place::Behind { sequence, sub: None, until: Some(until) } })
    }
}

/// When a record reached the stream, as far as the service says so.
fn arrived(record: &Record, now: EventTime) -> EventTime {
    let at = record.approximate_arrival_timestamp().and_then(|t| t.to_millis().ok());
    at.map_or(now, |millis| EventTime(millis.saturating_mul(1000)))
}

#[cfg(test)]
mod tests;
