//! What must come of a workload: a plain fold over its distinct events, by none of the engine's code.

use std::collections::{BTreeMap, BTreeSet};

use millstream_tests::rows::Row;
use millstream_tests::trip::{Facts, money, stamp};

use crate::trips::{DAY, Fate, Flaw, Stream, Trip, Workload};

/// `max_delay` and `late_after` of both sources, `allowed_lateness` of the daily KPIs, in seconds.
const MAX_DELAY: i64 = 600;
const LATE_AFTER: i64 = 6 * 3600;
const ALLOWED: i64 = 6 * 3600;

/// How often each is there.
pub(crate) type Bag = BTreeMap<String, usize>;

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Model {
    /// Records read, by source.
    pub(crate) records: BTreeMap<&'static str, u64>,
    /// Where each record stands.
    pub(crate) raw: Bag,
    /// Rejects: who refuses, where the record stands, why.
    pub(crate) rejects: Bag,
    /// Late rows: where, or which trip.
    pub(crate) late: Bag,
    /// Rows dropped as duplicates, by node.
    pub(crate) duplicates: BTreeMap<&'static str, u64>,
    /// Rejects by component and rule.
    pub(crate) alerts: BTreeMap<(String, String), u64>,
    /// Which trip entered which status.
    pub(crate) transitions: Bag,
    /// Rows by key.
    pub(crate) table: BTreeMap<String, Row>,
    /// Overwritten files: path and bytes.
    pub(crate) files: BTreeMap<String, String>,
}

/// The source of a stream, and the nodes behind it.
fn nodes(stream: Stream) -> [&'static str; 3] {
    match stream {
        Stream::Starts => ["trip_starts", "valid_starts", "first_starts"],
        Stream::Ends => ["trip_ends", "valid_ends", "first_ends"],
    }
}

/// Rules and reasons, where a flaw is found when the record is decoded; there the reasons are the decoder's.
fn undecodable(flaw: Flaw) -> Option<&'static str> {
    match flaw {
        Flaw::BadJson => Some("bad_json"),
        Flaw::WrongType => Some("wrong_type"),
        Flaw::MissingField => Some("missing_field"),
        Flaw::BadDate => Some("bad_timestamp"),
        Flaw::NoId | Flaw::Rules | Flaw::OneRule => None,
    }
}

fn broken_rules(stream: Stream, flaw: Flaw) -> Vec<(&'static str, &'static str)> {
    match (stream, flaw) {
        (Stream::Starts, Flaw::NoId) => vec![("trip_id_present", "trip_id is empty")],
        (Stream::Starts, Flaw::Rules) => {
            vec![("zone_known", "zone 300 is not a taxi zone"), ("estimate_positive", "estimate -1.00 is negative")]
        }
        (Stream::Starts, _) => vec![("zone_known", "zone 0 is not a taxi zone")],
        (Stream::Ends, _) => vec![("fare_in_range", "fare -0.01 is outside [0, 10000)")],
    }
}

/// A reject, as the files are read too.
pub(crate) fn reject(component: &str, at: &str, rules: &[&str], reasons: &[&str]) -> String {
    format!("{component} {at} {}: {}", rules.join(","), reasons.join("; "))
}

/// Where a record stands.
pub(crate) fn place(source: &str, split: &str, position: impl std::fmt::Display) -> String {
    format!("{source}/{split}/{position}")
}

impl Model {
    /// Folds a workload.
    pub(crate) fn of(workload: &Workload) -> Self {
        let mut model = Self::default();
        let mut accepted: BTreeMap<Stream, BTreeSet<usize>> = BTreeMap::new();
        let mut finals: BTreeMap<(Stream, &str), i64> = BTreeMap::new();
        for split in &workload.splits {
            let [source, validation, dedup] = nodes(split.stream);
            *model.records.entry(source).or_default() += split.records.len() as u64;
            let parents = split.parents.iter().filter_map(|p| finals.get(&(split.stream, p.as_str())));
            let floor = parents.copied().max().unwrap_or(i64::MIN);
            let mut seen = i64::MIN;
            let watermark = |seen: i64| floor.max(seen.saturating_sub(MAX_DELAY));
            for (i, record) in split.records.iter().enumerate() {
                let at = place(source, &split.id, i + 1);
                *model.raw.entry(at.clone()).or_default() += 1;
                let Some(trip) = workload.trips.get(record.trip) else { continue };
                let fate = if split.stream == Stream::Starts { trip.start } else { trip.end };
                if let Fate::Bad(flaw) = fate
                    && let Some(rule) = undecodable(flaw)
                {
                    model.refuse(source, &at, &[rule], &[]);
                    continue;
                }
                if record.at < watermark(seen).saturating_sub(LATE_AFTER) {
                    *model.late.entry(format!("{source} {at}")).or_default() += 1;
                    continue;
                }
                seen = seen.max(record.at);
                match fate {
                    Fate::Bad(flaw) => {
                        let (rules, reasons): (Vec<_>, Vec<_>) = broken_rules(split.stream, flaw).into_iter().unzip();
                        model.refuse(validation, &at, &rules, &reasons);
                    }
                    _ => {
                        let first = accepted.entry(split.stream).or_default().insert(record.trip);
                        *model.duplicates.entry(dedup).or_default() += u64::from(!first);
                    }
                }
            }
            finals.insert((split.stream, &split.id), watermark(seen));
        }
        let has = |stream: Stream, trip: usize| accepted.get(&stream).is_some_and(|a| a.contains(&trip));
        model.fold(&workload.trips, |i| (has(Stream::Starts, i), has(Stream::Ends, i)));
        model
    }

    fn refuse(&mut self, component: &str, at: &str, rules: &[&str], reasons: &[&str]) {
        *self.rejects.entry(reject(component, at, rules, reasons)).or_default() += 1;
        for rule in rules {
            *self.alerts.entry((component.to_owned(), (*rule).to_owned())).or_default() += 1;
        }
    }

    fn enters(&mut self, trip: &Trip, status: &str) {
        *self.transitions.entry(format!("{} {status}", trip.id)).or_default() += 1;
    }

    fn fold(&mut self, trips: &[Trip], events: impl Fn(usize) -> (bool, bool)) {
        let mut days: BTreeMap<i64, Vec<u64>> = BTreeMap::new();
        let mut hours: BTreeMap<i64, Vec<u64>> = BTreeMap::new();
        for (i, trip) in trips.iter().enumerate() {
            let (started, ended) = events(i);
            if started {
                self.enters(trip, "STARTED");
                hours.entry(trip.pickup.div_euclid(3600)).or_default().push(trip.estimate);
            }
            if started && ended {
                self.enters(trip, "COMPLETED");
                let day = trip.pickup.div_euclid(DAY);
                if day * DAY + DAY + ALLOWED < trip.dropoff {
                    *self.late.entry(format!("daily_kpis {}", trip.id)).or_default() += 1;
                } else {
                    days.entry(day).or_default().push(trip.fare);
                }
            }
            if let Some(row) = trip.row(started, ended || trip.ended_before) {
                self.table.insert(trip.id.clone(), row);
            }
        }
        self.files.extend(days.iter().map(|(day, fares)| kpi_file(*day, fares)));
        for (hour, estimates) in &hours {
            let at = stamp(hour * 3600, "%FT%H:%M:%SZ");
            let line = format!(
                "{{\"hour\":\"{at}\",\"starts\":{},\"estimated\":{}}}\n",
                estimates.len(),
                money(estimates.iter().sum())
            );
            *self.files.entry(format!("hourly/{}.jsonl", stamp(hour * 3600, "%F"))).or_default() += &line;
        }
    }
}

fn kpi_file(day: i64, fares: &[u64]) -> (String, String) {
    let date = stamp(day * DAY, "%F");
    let (sum, count) = (fares.iter().sum::<u64>(), fares.len() as u64);
    // The average of a decimal(10,2) is a decimal(14,6) that is cut, not rounded.
    let average = sum * 10_000 / count;
    let line = format!(
        r#"{{"date":"{date}","total_fare":{},"trip_count":{count},"average_fare":{}.{:06},"max_fare":{},"min_fare":{}}}"#,
        money(sum),
        average / 1_000_000,
        average % 1_000_000,
        money(fares.iter().copied().max().unwrap_or_default()),
        money(fares.iter().copied().min().unwrap_or_default()),
    );
    (format!("kpis/date={date}/kpi.json"), format!("{line}\n"))
}

impl Trip {
    /// Its row in the table.
    pub(crate) fn row(&self, started: bool, ended: bool) -> Option<Row> {
        let Self { id, pickup, dropoff, zone, estimate, fare, tip, .. } = self;
        let (pickup, dropoff, zone) = (*pickup, *dropoff, *zone);
        Facts { id, pickup, dropoff, zone, estimate: *estimate, fare: *fare, tip: *tip }.row(started, ended)
    }
}
