//! The bytes of a record, written straight into a buffer: JSON objects shaped like the records of real fleets.

use chrono::{Datelike, NaiveDate};

use super::config::Part;
use super::random::Random;
use super::trip::{FARE_DIGITS, Fare, Flaw, Trip, Trips};

const START_DETAILS: u64 = 4;
const END_DETAILS: u64 = 5;
/// A moment that no calendar has.
const NO_DATE: &[u8] = b"2024-13-45 25:61:00";

/// Appends the record of `part` of trip `index`, without a line end.
pub(crate) fn write(trips: &Trips, part: Part, index: u64, out: &mut Vec<u8>) {
    let trip = trips.trip(index);
    let flaw = super::order::flaw(&trip, part);
    let begin = out.len();
    let mut writer = Writer { out };
    match part {
        Part::Starts => start(trips, index, &trip, flaw, &mut writer),
        Part::Ends => end(trips, index, &trip, flaw, &mut writer),
    }
    if flaw == Some(Flaw::BadJson) {
        let len = out.len() - begin;
        out.truncate(begin + len * 2 / 3);
    }
}

fn start(trips: &Trips, index: u64, trip: &Trip, flaw: Option<Flaw>, w: &mut Writer<'_>) {
    let random = &mut Random::new(trips.seed, START_DETAILS, index);
    let (from, to, which) = (random.between(1, 265), random.between(1, 265), random.bits());
    let fare = trips.fare(index);
    w.text(b"{\"trip_id\":\"");
    w.hex(trips.id(index));
    w.text(b"\",\"pickup_location_id\":");
    match flaw {
        Some(Flaw::WrongType) if which.is_multiple_of(2) => w.text(b"\"downtown\""),
        Some(Flaw::BadRule) if which.is_multiple_of(2) => w.number(from + 265),
        _ => w.number(from),
    }
    w.text(b",\"dropoff_location_id\":");
    w.number(to);
    w.text(b",\"vendor_id\":");
    if random.below(50) == 0 {
        w.text(b"null")
    } else {
        w.number(random.between(1, 2))
    }
    if !(flaw == Some(Flaw::MissingField) && which.is_multiple_of(2)) {
        w.text(b",\"pickup_datetime\":\"");
        if flaw == Some(Flaw::BadDate) {
            w.text(NO_DATE)
        } else {
            w.moment(trip.pickup)
        }
        w.text(b"\"");
    }
    w.text(b",\"estimated_dropoff_datetime\":\"");
    w.moment(trip.dropoff - trip.dropoff % 60);
    w.text(b"\"");
    if !(flaw == Some(Flaw::MissingField) && which % 2 == 1) {
        w.text(b",\"estimated_fare_amount\":");
        match flaw {
            Some(Flaw::WrongType) if which % 2 == 1 => w.text(b"\"unknown\""),
            Some(Flaw::BadRule) if which % 2 == 1 => {
                w.text(b"-");
                w.fare(fare, 8);
            }
            _ => w.fare(fare, 8),
        }
    }
    w.text(b"}");
}

fn end(trips: &Trips, index: u64, trip: &Trip, flaw: Option<Flaw>, w: &mut Writer<'_>) {
    let random = &mut Random::new(trips.seed, END_DETAILS, index);
    let which = random.bits();
    w.text(b"{\"trip_id\":\"");
    w.hex(trips.id(index));
    w.text(b"\"");
    if !(flaw == Some(Flaw::MissingField) && which.is_multiple_of(2)) {
        w.text(b",\"dropoff_datetime\":\"");
        if flaw == Some(Flaw::BadDate) {
            w.text(NO_DATE)
        } else {
            w.moment(trip.dropoff)
        }
        w.text(b"\"");
    }
    w.text(b",\"rate_code\":\"");
    w.number(random.between(1, 6));
    w.text(b".0\",\"passenger_count\":");
    w.number(random.between(0, 6));
    w.text(b".0,\"trip_distance\":");
    w.number(random.between(0, 40));
    w.text(b".");
    w.padded(random.below(100), 2);
    if !(flaw == Some(Flaw::MissingField) && which % 2 == 1) {
        w.text(b",\"fare_amount\":");
        match flaw {
            Some(Flaw::WrongType) => w.text(b"\"n/a\""),
            Some(Flaw::BadRule) if which.is_multiple_of(2) => w.number(10_000 + random.below(90_000)),
            Some(Flaw::BadRule) => {
                w.text(b"-");
                w.fare(trips.fare(index), FARE_DIGITS);
            }
            _ => w.fare(trips.fare(index), FARE_DIGITS),
        }
    }
    w.text(b",\"tip_amount\":");
    match random.below(8) {
        0 => w.text(b"null"),
        1 | 2 => {
            w.number(random.between(1, 20));
            w.text(b".");
            w.padded(random.below(100), 2);
        }
        _ => w.text(b"0.0"),
    }
    w.text(b",\"payment_type\":");
    w.number(random.between(1, 5));
    w.text(b".0,\"trip_type\":");
    w.number(random.between(1, 2));
    w.text(b".0}");
}

struct Writer<'a> {
    out: &'a mut Vec<u8>,
}

impl Writer<'_> {
    fn text(&mut self, text: &[u8]) {
        self.out.extend_from_slice(text);
    }
    fn number(&mut self, number: u64) {
        self.out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    }
    fn padded(&mut self, number: u64, width: usize) {
        let mut buffer = itoa::Buffer::new();
        let digits = buffer.format(number).as_bytes();
        let zeros = width.saturating_sub(digits.len());
        self.out.extend(std::iter::repeat_n(b'0', zeros));
        self.out.extend_from_slice(digits);
    }
    /// Ten digits of a trip's id.
    fn hex(&mut self, id: u64) {
        let digit = |nibble: u64| if nibble < 10 { b'0' + nibble as u8 } else { b'a' + nibble as u8 - 10 };
        let digits: [u8; 10] = std::array::from_fn(|i| digit(id >> (4 * (9 - i)) & 15));
        self.text(&digits);
    }
    /// A fare with at most `digits` digits behind the point, cut and not rounded.
    fn fare(&mut self, fare: Fare, digits: usize) {
        let digits = digits.min(fare.digits);
        self.number(fare.whole);
        self.text(b".");
        self.padded(fare.fraction / 10_u64.pow((FARE_DIGITS - digits) as u32), digits);
    }
    /// `%Y-%m-%d %H:%M:%S`, UTC.
    fn moment(&mut self, seconds: i64) {
        let (day, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400) as u64);
        self.date(day);
        self.text(b" ");
        self.padded(second / 3600, 2);
        self.text(b":");
        self.padded(second / 60 % 60, 2);
        self.text(b":");
        self.padded(second % 60, 2);
    }
    /// `%Y-%m-%d` of a day since the epoch.
    fn date(&mut self, day: i64) {
        let date = i32::try_from(day).ok().and_then(NaiveDate::from_epoch_days).unwrap_or_default();
        self.padded(u64::from(date.year().unsigned_abs()), 4);
        self.text(b"-");
        self.padded(u64::from(date.month()), 2);
        self.text(b"-");
        self.padded(u64::from(date.day()), 2);
    }
}

/// Appends `%Y-%m-%d` of a day since the epoch.
pub(crate) fn write_date(day: i64, out: &mut Vec<u8>) {
    Writer { out }.date(day);
}
