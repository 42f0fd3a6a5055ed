//! The trips themselves: what is true of trip `i`, before any record of it is written.
//!
//! Everything about a trip follows from the seed and its number, so that any range of trips can be made alone
//! and the two parts agree. Trips start in the order of their numbers and last less than three hours.

use chrono::NaiveDate;

use super::config::{GenerateConfig, Part, Shares};
use super::random::{Random, Share};

/// Trips over which `days` are spread in an endless stream, and the default number of trips.
pub(crate) const DEFAULT_TRIPS: u64 = 100_000;
/// Digits behind the point of a fare.
pub(crate) const FARE_DIGITS: usize = 14;
const SECONDS_PER_DAY: u64 = 86_400;
/// A record reaches the stream this long after its event, if nothing holds it up.
const TRANSIT: i64 = 1;

const SHAPE: u64 = 1;
const FARE: u64 = 2;

/// What is wrong with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    BadJson,
    MissingField,
    WrongType,
    BadDate,
    BadRule,
}

/// When a record of a trip reaches the stream, in seconds since the epoch, and in what condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Delivery {
    pub(crate) at: i64,
    /// When it comes a second time.
    pub(crate) again_at: Option<i64>,
    pub(crate) flaw: Option<Flaw>,
}

/// A trip's times and what becomes of its records.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Trip {
    /// Seconds since the epoch.
    pub(crate) pickup: i64,
    /// Seconds since the epoch.
    pub(crate) dropoff: i64,
    /// `None`: it never comes.
    pub(crate) start: Option<Delivery>,
    /// `None`: it never comes.
    pub(crate) end: Option<Delivery>,
}

impl Trip {
    /// Whether a start and an end come that no rule refuses.
    pub(crate) fn completes(&self) -> bool {
        [self.start, self.end].iter().all(|d| d.is_some_and(|d| d.flaw.is_none()))
    }
    /// The record of one part.
    pub(crate) fn delivery(&self, part: Part) -> Option<Delivery> {
        match part {
            Part::Starts => self.start,
            Part::Ends => self.end,
        }
    }
}

/// A fare, exactly as its digits in the record say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fare {
    pub(crate) whole: u64,
    /// In units of 10^-14; the last `14 - digits` of them are zero.
    pub(crate) fraction: u64,
    /// How many digits behind the point are written.
    pub(crate) digits: usize,
}

impl Fare {
    /// In cents, rounded half to even over all digits.
    pub(crate) fn cents(self) -> u64 {
        const CENT: u64 = 10_u64.pow(FARE_DIGITS as u32 - 2);
        let (cents, rest) = (self.whole * 100 + self.fraction / CENT, self.fraction % CENT);
        let up = rest > CENT / 2 || (rest == CENT / 2 && cents % 2 == 1);
        cents + u64::from(up)
    }
}

/// All trips of one configuration.
#[derive(Debug, Clone)]
pub(crate) struct Trips {
    pub(crate) seed: u64,
    /// Seconds since the epoch at which the first day begins.
    first: i64,
    /// `spread` trips start in `span` seconds.
    spread: u64,
    span: u64,
    duplicates: Share,
    disorder: Share,
    hours_late: Share,
    unmatched_ends: Share,
    unfinished_trips: Share,
    /// Upper bounds of the flaws' shares, added up.
    flaws: [(Share, Flaw); 5],
}

impl Trips {
    pub(crate) fn new(config: &GenerateConfig) -> Result<Self, String> {
        let date = NaiveDate::parse_from_str(&config.start_date, "%Y-%m-%d")
            .map_err(|_| format!("start_date `{}` is not a date such as 2024-05-20", config.start_date))?;
        let first = date.and_time(chrono::NaiveTime::MIN).and_utc().timestamp();
        let spread = config.trips.unwrap_or(DEFAULT_TRIPS).max(1);
        let Shares { bad_json, missing_field, wrong_type, bad_date, bad_rule, .. } = config.shares;
        let mut sum = 0.0;
        let flaws = [
            (bad_json, Flaw::BadJson),
            (missing_field, Flaw::MissingField),
            (wrong_type, Flaw::WrongType),
            (bad_date, Flaw::BadDate),
            (bad_rule, Flaw::BadRule),
        ]
        .map(|(share, flaw)| {
            sum += share;
            (Share::new(sum), flaw)
        });
        Ok(Self {
            seed: config.seed,
            first,
            spread,
            span: u64::from(config.days.max(1)) * SECONDS_PER_DAY,
            duplicates: Share::new(config.shares.duplicates),
            disorder: Share::new(config.shares.disorder),
            hours_late: Share::new(config.shares.hours_late),
            unmatched_ends: Share::new(config.shares.unmatched_ends),
            unfinished_trips: Share::new(config.shares.unfinished_trips),
            flaws,
        })
    }

    /// When trip `index` starts; never before an earlier trip.
    pub(crate) fn pickup(&self, index: u64) -> i64 {
        let within = Random::new(self.seed, 0, index).below(self.span);
        let seconds = (u128::from(index) * u128::from(self.span) + u128::from(within)) / u128::from(self.spread);
        self.first.saturating_add(i64::try_from(seconds).unwrap_or(i64::MAX))
    }

    /// What is true of trip `index`.
    pub(crate) fn trip(&self, index: u64) -> Trip {
        let pickup = self.pickup(index);
        let random = &mut Random::new(self.seed, SHAPE, index);
        // The lesser of two throws: short trips are common, three hours are rare.
        let lasts = 120 + random.below(10_600).min(random.below(10_600));
        let dropoff = pickup.saturating_add(lasts as i64);
        let lost = random.bits();
        let starts = !Random::new(lost, SHAPE, index).happens(self.unmatched_ends);
        let ends = !starts || !Random::new(!lost, SHAPE, index).happens(self.unfinished_trips);
        let start = self.deliver(random, pickup);
        let end = self.deliver(random, dropoff);
        Trip { pickup, dropoff, start: starts.then_some(start), end: ends.then_some(end) }
    }

    fn deliver(&self, random: &mut Random, event: i64) -> Delivery {
        let mut at = event.saturating_add(TRANSIT);
        if random.happens(self.disorder) {
            at += random.between(1, 590) as i64;
        }
        if random.happens(self.hours_late) {
            at += random.between(3_600, 5 * 3_600) as i64;
        }
        let again_at = random.happens(self.duplicates).then(|| at + random.between(1, 1_200) as i64);
        let throw = random.bits();
        let flaw = self.flaws.iter().find(|(upto, _)| upto.covers(throw)).map(|(_, flaw)| *flaw);
        Delivery { at, again_at, flaw }
    }

    /// What trip `index` costs.
    pub(crate) fn fare(&self, index: u64) -> Fare {
        let random = &mut Random::new(self.seed, FARE, index);
        let whole = random.between(10, 99);
        // Mostly full doubles as in real data, some short ones, and some that lie exactly between two cents.
        let (digits, fraction) = match random.below(16) {
            0 => (3, (random.below(100) * 10 + 5) * 10_u64.pow(11)),
            1 | 2 => (2, random.below(100) * 10_u64.pow(12)),
            _ => (FARE_DIGITS, random.below(10_u64.pow(14))),
        };
        Fare { whole, fraction, digits }
    }

    /// The id of trip `index`, 40 bits, different for every trip: an odd factor and the additions are bijections.
    pub(crate) fn id(&self, index: u64) -> u64 {
        const MASK: u64 = (1 << 40) - 1;
        let mut id = index.wrapping_mul(0x9E_3779_B97F).wrapping_add(Random::new(self.seed, 3, 0).bits()) & MASK;
        id ^= id >> 20;
        id.wrapping_mul(0xD6_E8FE_B865) & MASK
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn config(json: serde_json::Value) -> GenerateConfig {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn fares_round_half_to_even_over_all_digits() {
        let fare = |whole, fraction| Fare { whole, fraction, digits: 14 }.cents();
        assert_eq!(fare(40, 9_620_692_463_166), 4_010);
        assert_eq!(fare(10, 12_500_000_000_000), 1_012); // 10.125
        assert_eq!(fare(10, 13_500_000_000_000), 1_014); // 10.135
        assert_eq!(fare(10, 12_500_000_000_001), 1_013);
        assert_eq!(fare(99, 99_600_000_000_000), 10_000);
    }

    #[test]
    fn trips_are_ordered_short_distinct_and_troubled_as_asked() {
        let trips = Trips::new(&config(serde_json::json!({ "part": "ends", "trips": 100_000 }))).unwrap();
        let mut ids = std::collections::HashSet::new();
        let (mut last, mut flawed, mut unmatched, mut unfinished, mut twice) = (i64::MIN, 0, 0, 0, 0);
        for i in 0..100_000 {
            let trip = trips.trip(i);
            assert!(trip.pickup >= last && trip.dropoff > trip.pickup && trip.dropoff - trip.pickup < 3 * 3600);
            last = trip.pickup;
            assert!(ids.insert(trips.id(i)));
            assert!(trip.start.is_some() || trip.end.is_some());
            unmatched += usize::from(trip.start.is_none());
            unfinished += usize::from(trip.end.is_none());
            flawed += trip.start.iter().chain(&trip.end).filter(|d| d.flaw.is_some()).count();
            twice += trip.start.iter().chain(&trip.end).filter(|d| d.again_at.is_some()).count();
        }
        assert!((300..500).contains(&unmatched) && (300..500).contains(&unfinished), "{unmatched} {unfinished}");
        assert!((850..1_150).contains(&flawed) && (1_800..2_200).contains(&twice), "{flawed} {twice}");
        assert!(last < trips.first + 7 * 86_400);
    }
}
