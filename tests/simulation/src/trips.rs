//! Random trips and the records of both streams: what a simulation reads.

use millstream_core::EventTime;
use millstream_local::memory::Memory;
use millstream_tests::random::Random;
use millstream_tests::trip::{money, stamp};

/// The first instant of all trips, in seconds since the epoch: 2024-05-20.
const FIRST: i64 = 1_716_163_200;
pub(crate) const DAY: i64 = 86_400;
/// When every record reaches its stream, in microseconds: long after it happened, so that none is from the future.
const ARRIVED: i64 = 1_717_100_000_000_000;
/// Records are out of order by less than `max_delay`.
const DISORDER: u64 = 590;

/// What is wrong with an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    BadJson,
    WrongType,
    MissingField,
    BadDate,
    NoId,
    /// Two rules at once.
    Rules,
    OneRule,
}

/// What becomes of one of a trip's events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Good,
    /// It never comes.
    Missing,
    Bad(Flaw),
}

/// A trip.
#[derive(Debug, Clone)]
pub(crate) struct Trip {
    pub(crate) id: String,
    pub(crate) pickup: i64,
    pub(crate) dropoff: i64,
    pub(crate) zone: u64,
    /// In cents.
    pub(crate) estimate: u64,
    pub(crate) fare: u64,
    pub(crate) tip: Option<u64>,
    pub(crate) start: Fate,
    pub(crate) end: Fate,
    /// An earlier run has left the end in the table.
    pub(crate) ended_before: bool,
}

/// A stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stream {
    Starts,
    Ends,
}

/// A record of a stream.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    /// Index of the trip.
    pub(crate) trip: usize,
    pub(crate) text: String,
    /// Its event time, in seconds.
    pub(crate) at: i64,
}

/// A split of a stream.
#[derive(Debug, Clone)]
pub(crate) struct SplitOf {
    pub(crate) stream: Stream,
    pub(crate) id: String,
    pub(crate) parents: Vec<String>,
    pub(crate) records: Vec<Record>,
    pub(crate) ends: bool,
}

/// All that is read.
#[derive(Debug)]
pub(crate) struct Workload {
    pub(crate) trips: Vec<Trip>,
    pub(crate) splits: Vec<SplitOf>,
    /// Whether the streams end by themselves.
    pub(crate) bounded: bool,
}

fn written(seconds: i64) -> String {
    stamp(seconds, "%Y-%m-%d %H:%M:%S")
}

fn fate(random: &mut Random, flaws: &[Flaw]) -> Fate {
    match random.below(100) {
        0..6 => Fate::Missing,
        6..16 => Fate::Bad(*random.pick(flaws)),
        _ => Fate::Good,
    }
}

fn trip(i: usize, days: u64, random: &mut Random) -> Trip {
    use Flaw::{BadDate, BadJson, MissingField, NoId, OneRule, Rules, WrongType};
    let pickup = FIRST + random.below(days * DAY as u64) as i64;
    let lasts = if random.one_in(12) { 3600 * (8 + random.below(24)) } else { 60 + random.below(7200) };
    let mut trip = Trip {
        id: format!("t{i:03}"),
        pickup,
        dropoff: pickup + lasts as i64,
        zone: 1 + random.below(265),
        estimate: random.below(10_000),
        fare: random.below(10_000),
        tip: (!random.one_in(3)).then(|| random.below(500)),
        start: fate(random, &[BadJson, WrongType, MissingField, NoId, Rules, OneRule]),
        end: fate(random, &[BadJson, BadDate, OneRule]),
        ended_before: false,
    };
    if random.one_in(10) {
        (trip.start, trip.end, trip.ended_before) = (Fate::Good, Fate::Missing, true);
    }
    trip
}

impl Trip {
    fn start_record(&self) -> Option<String> {
        let (id, at) = (&self.id, written(self.pickup));
        let whole = |id: &str, zone: &str, estimate: &str| {
            format!(r#"{{"trip_id":"{id}","zone":{zone},"pickup_at":"{at}","estimate":"{estimate}"}}"#)
        };
        let (zone, estimate) = (self.zone.to_string(), money(self.estimate));
        Some(match self.start {
            Fate::Missing => return None,
            Fate::Good => whole(id, &zone, &estimate),
            Fate::Bad(Flaw::BadJson) => format!(r#"{{"trip_id":"{id}","zone":"#),
            Fate::Bad(Flaw::WrongType) => whole(id, r#""many""#, &estimate),
            Fate::Bad(Flaw::NoId) => whole("", &zone, &estimate),
            Fate::Bad(Flaw::Rules) => whole(id, "300", "-1.00"),
            Fate::Bad(Flaw::OneRule) => whole(id, "0", &estimate),
            Fate::Bad(_) => format!(r#"{{"trip_id":"{id}","pickup_at":"{at}","estimate":1}}"#),
        })
    }

    fn end_record(&self) -> Option<String> {
        let (id, fare) = (&self.id, money(self.fare));
        let tip = self.tip.map_or("null".to_owned(), money);
        let whole = |at: &str, fare: &str| {
            format!(r#"{{"trip_id":"{id}","dropoff_at":"{at}","fare":{fare},"tip":{tip},"extra":[1]}}"#)
        };
        let at = written(self.dropoff);
        Some(match self.end {
            Fate::Missing => return None,
            Fate::Good => whole(&at, &fare),
            Fate::Bad(Flaw::BadJson) => format!("{id} ended"),
            Fate::Bad(Flaw::OneRule) => whole(&at, "-0.01"),
            Fate::Bad(_) => whole("2024-02-30 00:00:00", &fare),
        })
    }
}

impl Workload {
    /// Draws one. Splits of streams that do not end by themselves may end, and go on in children.
    pub(crate) fn draw(random: &mut Random, bounded: bool) -> Self {
        let count = 8 + random.below(33) as usize;
        let days = 1 + random.below(3);
        let trips: Vec<Trip> = (0..count).map(|i| trip(i, days, random)).collect();
        let repeated = random.pick(&[0, 20, 5, 3]).to_owned();
        let mut splits = Vec::new();
        for stream in [Stream::Starts, Stream::Ends] {
            let mut records = Vec::new();
            for (i, trip) in trips.iter().enumerate() {
                let (text, at) = match stream {
                    Stream::Starts => (trip.start_record(), trip.pickup),
                    Stream::Ends => (trip.end_record(), trip.dropoff),
                };
                if let Some(text) = text {
                    let record = Record { trip: i, text, at };
                    let again = repeated > 0 && random.one_in(repeated);
                    records.extend(std::iter::repeat_n(record, 1 + usize::from(again)));
                }
            }
            splits.extend(spread(random, stream, records, bounded));
        }
        Self { trips, splits, bounded }
    }

    /// Puts the records into the streams, in runs.
    pub(crate) fn feed(&self, random: &mut Random, starts: &Memory, ends: &Memory) {
        let longest = *random.pick(&[1, 3, 8, 50]);
        for split in &self.splits {
            let memory = if split.stream == Stream::Starts { starts } else { ends };
            let parents: Vec<&str> = split.parents.iter().map(String::as_str).collect();
            memory.split(&split.id, &parents);
            let mut rest = split.records.as_slice();
            while !rest.is_empty() {
                let (run, more) = rest.split_at((1 + random.below(longest) as usize).min(rest.len()));
                memory.push_records(&split.id, run.iter().map(|r| r.text.as_str()), EventTime(ARRIVED));
                rest = more;
            }
            if split.ends {
                memory.finish(&split.id);
            }
        }
        if self.bounded {
            starts.close();
            ends.close();
        }
    }
}

/// The splits of a stream as it is cut anew now and then: a split in two, or two into one.
struct Shards {
    stream: Stream,
    all: Vec<SplitOf>,
    /// Those that take records.
    open: Vec<usize>,
}

impl Shards {
    fn new(stream: Stream, count: u64, ends: bool) -> Self {
        let mut shards = Self { stream, all: Vec::new(), open: Vec::new() };
        (0..count).for_each(|_| shards.add(Vec::new(), ends));
        shards
    }
    fn add(&mut self, parents: Vec<String>, ends: bool) {
        let id = format!("s{}", self.all.len());
        self.open.push(self.all.len());
        self.all.push(SplitOf { stream: self.stream, id, parents, records: Vec::new(), ends });
    }
    fn end(&mut self, random: &mut Random) -> String {
        let ended = self.open.swap_remove(random.below(self.open.len() as u64) as usize);
        self.all[ended].ends = true;
        self.all[ended].id.clone()
    }
    fn reshard(&mut self, random: &mut Random) {
        let first = self.end(random);
        if !self.open.is_empty() && random.one_in(2) {
            let second = self.end(random);
            self.add(vec![first, second], false);
        } else {
            self.add(vec![first.clone()], false);
            self.add(vec![first], false);
        }
    }
    fn put(&mut self, record: Record, random: &mut Random) {
        let to = *random.pick(&self.open);
        self.all[to].records.push(record);
    }
}

/// Cuts a stream into splits, each in the order of event time but for some disorder, and for some rows that are late.
fn spread(random: &mut Random, stream: Stream, records: Vec<Record>, bounded: bool) -> Vec<SplitOf> {
    let tardy = *random.pick(&[0, 12, 6]);
    let mut shards = Shards::new(stream, 1 + random.below(4), bounded);
    // One in so many records comes behind a reshard.
    let reshards = if bounded { 0 } else { *random.pick(&[0, 15, 6]) };
    let mut keyed: Vec<(i64, Record)> = records
        .into_iter()
        .map(|r| {
            let tardy = if tardy > 0 && random.one_in(tardy) { 3600 * random.below(30) } else { 0 };
            (r.at + (random.below(DISORDER) + tardy) as i64, r)
        })
        .collect();
    keyed.sort_by_key(|(at, _)| *at);
    for (_, record) in keyed {
        if reshards > 0 && random.one_in(reshards) {
            shards.reshard(random);
        }
        shards.put(record, random);
    }
    shards.all
}
