//! The order in which the records of a range of trips reach the stream.
//!
//! ```text
//! trips by pickup -> records that are on their way, by arrival -> record
//! ```
//! A record leaves when no later trip can have one that arrives before it, so that only the records of a few
//! hours are held.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::config::Part;
use super::trip::{Flaw, Trip, Trips};

/// One record of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Arrival {
    /// Seconds since the epoch.
    pub(crate) at: i64,
    pub(crate) trip: u64,
    again: bool,
}

/// The records of one part of a range of trips, by arrival, then by trip.
#[derive(Debug)]
pub(crate) struct Order {
    part: Part,
    under_way: BinaryHeap<Reverse<Arrival>>,
    next: u64,
    next_pickup: i64,
    end: u64,
}

impl Order {
    pub(crate) fn new(trips: &Trips, part: Part, from: u64, end: u64) -> Self {
        Self { part, under_way: BinaryHeap::new(), next: from, next_pickup: trips.pickup(from), end }
    }

    /// The next record.
    pub(crate) fn next(&mut self, trips: &Trips) -> Option<Arrival> {
        loop {
            if let Some(Reverse(first)) = self.under_way.peek()
                && (self.next >= self.end || first.at <= self.next_pickup)
            {
                return self.under_way.pop().map(|Reverse(first)| first);
            }
            if self.next >= self.end {
                return None;
            }
            let trip = self.next;
            if let Some(delivery) = trips.trip(trip).delivery(self.part) {
                self.under_way.push(Reverse(Arrival { at: delivery.at, trip, again: false }));
                if let Some(at) = delivery.again_at {
                    self.under_way.push(Reverse(Arrival { at, trip, again: true }));
                }
            }
            self.next += 1;
            self.next_pickup = trips.pickup(self.next);
        }
    }
}

/// What is wrong with the record of `part` of a trip.
pub(crate) fn flaw(trip: &Trip, part: Part) -> Option<Flaw> {
    trip.delivery(part).and_then(|d| d.flaw)
}
