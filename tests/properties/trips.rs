//! Random trips, their records, and what must become of them: the fold that every run is compared with.

use std::collections::{BTreeMap, BTreeSet};

use millstream_tests::random::Random;
use millstream_tests::rows::{self, Row};
use millstream_tests::trip::{Facts, money, stamp};

/// The first instant of all trips, in seconds since the epoch: 2024-05-20.
const FIRST: i64 = 1_716_163_200;
const DAY: i64 = 86_400;
/// `allowed_lateness` of the daily KPIs.
const ALLOWED: i64 = 6 * 3600;

/// What becomes of one of a trip's events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Accepted,
    /// It never comes.
    Missing,
    /// It is refused with one of these rules.
    Refused(&'static str),
}

/// A trip.
#[derive(Debug, Clone)]
pub(crate) struct Trip {
    pub(crate) id: String,
    pub(crate) pickup: i64,
    pub(crate) dropoff: i64,
    zone: u64,
    /// In cents.
    estimate: u64,
    fare: u64,
    tip: Option<u64>,
    /// A part of a cent behind the fare, which rounding takes away: `000`, `4999`, ..
    excess: &'static str,
    pub(crate) start: Fate,
    pub(crate) end: Fate,
}

/// A record of a stream.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) text: String,
    /// Its event time, in seconds.
    pub(crate) at: i64,
}

fn fate(random: &mut Random, refused: &[&'static str]) -> Fate {
    match random.below(100) {
        0..4 => Fate::Missing,
        4..9 => Fate::Refused(random.pick::<&str>(refused)),
        _ => Fate::Accepted,
    }
}

/// Random trips over three days; one in twenty ends long after its pickup day.
pub(crate) fn trips(seed: u64, count: usize) -> Vec<Trip> {
    let random = &mut Random::new(seed);
    let trip = |i: usize, random: &mut Random| {
        let pickup = FIRST + random.below(3 * DAY as u64) as i64;
        let lasts = if random.one_in(20) { 3600 * (8 + random.below(24)) } else { 60 + random.below(7200) };
        Trip {
            id: format!("trip-{i:04}"),
            pickup,
            dropoff: pickup + lasts as i64,
            zone: 1 + random.below(265),
            estimate: random.below(10_000),
            fare: random.below(10_000),
            tip: (!random.one_in(3)).then(|| random.below(500)),
            excess: random.pick::<&str>(&["", "0", "4999", "49", "000000000000001"]),
            start: fate(random, &["bad_json", "zone_known", "wrong_type", "missing_field"]),
            end: fate(random, &["bad_json", "fare_in_range", "bad_date"]),
        }
    };
    (0..count).map(|i| trip(i, random)).collect()
}

fn written(seconds: i64) -> String {
    stamp(seconds, "%Y-%m-%d %H:%M:%S")
}

impl Trip {
    /// Its start, as a record, if it comes.
    pub(crate) fn start_record(&self) -> Option<Record> {
        let (id, at, estimate) = (&self.id, written(self.pickup), money(self.estimate));
        let whole =
            |zone: &str| format!(r#"{{"trip_id":"{id}","zone":{zone},"pickup_at":"{at}","estimate":"{estimate}"}}"#);
        let text = match self.start {
            Fate::Missing => return None,
            Fate::Accepted => whole(&self.zone.to_string()),
            Fate::Refused("bad_json") => format!(r#"{{"trip_id":"{id}","zone":"#),
            Fate::Refused("zone_known") => whole("300"),
            Fate::Refused("wrong_type") => whole(r#""many""#),
            Fate::Refused(_) => format!(r#"{{"trip_id":"{id}","pickup_at":"{at}","estimate":1}}"#),
        };
        Some(Record { text, at: self.pickup })
    }

    /// Its end, as a record, if it comes.
    pub(crate) fn end_record(&self) -> Option<Record> {
        let (id, fare) = (&self.id, money(self.fare));
        let tip = self.tip.map_or(r#""""#.to_owned(), money);
        let whole = |at: &str, fare: &str| {
            format!(r#"{{"trip_id":"{id}","dropoff_at":"{at}","fare":{fare},"tip":{tip},"extra":[1,{{"a":null}}]}}"#)
        };
        let at = written(self.dropoff);
        let text = match self.end {
            Fate::Missing => return None,
            Fate::Accepted => whole(&at, &format!("{fare}{}", self.excess)),
            Fate::Refused("bad_json") => format!("{id} ended"),
            Fate::Refused("fare_in_range") => whole(&at, "-0.01"),
            Fate::Refused(_) => whole("2024-02-30 00:00:00", &fare),
        };
        Some(Record { text, at: self.dropoff })
    }

    fn completes(&self) -> bool {
        self.start == Fate::Accepted && self.end == Fate::Accepted
    }

    /// Whether it ends too late for the KPIs of its pickup day.
    pub(crate) fn late_for_its_day(&self) -> bool {
        self.completes() && self.day() * DAY + DAY + ALLOWED < self.dropoff
    }

    fn day(&self) -> i64 {
        self.pickup.div_euclid(DAY)
    }

    /// Its row in the table.
    fn row(&self) -> Option<Row> {
        let (started, ended) = (self.start == Fate::Accepted, self.end == Fate::Accepted);
        let Self { id, pickup, dropoff, zone, estimate, fare, tip, .. } = self;
        let (pickup, dropoff, zone) = (*pickup, *dropoff, *zone);
        Facts { id, pickup, dropoff, zone, estimate: *estimate, fare: *fare, tip: *tip }.row(started, ended)
    }
}

/// The rows of the table when all events have come.
pub(crate) fn table(trips: &[Trip]) -> BTreeMap<String, usize> {
    rows::bag(trips.iter().filter_map(Trip::row))
}

/// The bytes of every KPI file, by path.
pub(crate) fn kpis(trips: &[Trip]) -> BTreeMap<String, Vec<u8>> {
    let mut days: BTreeMap<i64, Vec<u64>> = BTreeMap::new();
    for trip in trips.iter().filter(|t| t.completes() && !t.late_for_its_day()) {
        days.entry(trip.day()).or_default().push(trip.fare);
    }
    let file = |(day, fares): (i64, Vec<u64>)| {
        let date = stamp(day * DAY, "%F");
        let (sum, count) = (fares.iter().sum::<u64>(), fares.len() as u64);
        // The average of a decimal(10,2) is a decimal(14,6) that is cut, not rounded.
        let average = sum * 10_000 / count;
        let line = format!(
            r#"{{"date":"{date}","total_fare":{},"trip_count":{count},"average_fare":{}.{:06},"max_fare":{},"min_fare":{}}}"#,
            money(sum),
            average / 1_000_000,
            average % 1_000_000,
            money(fares.iter().copied().max().unwrap()),
            money(fares.iter().copied().min().unwrap()),
        );
        (format!("kpis/date={date}/kpi.json"), format!("{line}\n").into_bytes())
    };
    days.into_iter().map(file).collect()
}

/// Trips that reach the port `completed`.
pub(crate) fn completed(trips: &[Trip]) -> BTreeSet<String> {
    trips.iter().filter(|t| t.completes()).map(|t| t.id.clone()).collect()
}
