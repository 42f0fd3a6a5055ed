//! What a seed draws before anything runs.

use std::collections::BTreeMap;
use std::time::Duration;

use millstream_runtime::checkpoint::{CHECKPOINT_POINTS, RECOVERY_POINTS};
use millstream_tests::random::Random;

use crate::services::SERVICES;
use crate::trips::Workload;
use crate::world::Weather;

/// What becomes of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It dies when it comes to a point for the so manyth time; else after so many actions.
    Point(&'static str, u64, u64),
    /// It dies after so many actions.
    Dies(u64),
    /// It is told to stop after so many actions.
    Stops(u64),
    /// It is paused at a point, or after so many actions, and woken after so many more of its successor.
    Pauses(&'static str, u64, u64, u64),
    /// It goes on to the end.
    Lives,
}

/// How one process runs.
#[derive(Debug, Clone)]
pub(crate) struct Life {
    pub(crate) fate: Fate,
    pub(crate) workers: usize,
    pub(crate) max_in_flight: u64,
    pub(crate) every: Duration,
    pub(crate) keep: usize,
    /// How likely each worker is to run, in relation to the others.
    pub(crate) diligence: Vec<u64>,
    /// Likewise tasks, and time.
    pub(crate) tasks: u64,
    pub(crate) time: u64,
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) workload: Workload,
    pub(crate) weather: BTreeMap<&'static str, Weather>,
    pub(crate) lives: Vec<Life>,
    pub(crate) tick_ms: u64,
    /// Whether the store of checkpoints cannot tell if a holder lives, so that a process that was paused can wake up.
    pub(crate) shared: bool,
    /// What the table does with rows that an outage outlasts.
    pub(crate) outage: &'static str,
}

impl Plan {
    pub(crate) fn draw(random: &mut Random) -> Self {
        let bounded = random.one_in(2);
        let workload = Workload::draw(random, bounded);
        let shared = random.one_in(3);
        let outage = *random.pick(&["block", "route"]);
        let bad = *random.pick(&[0, 1, 2, 4]);
        let weather = SERVICES.into_iter().map(|service| (service, weather(random, bad, service))).collect();
        let deaths = random.below(5) as usize;
        let mut lives: Vec<Life> = (0..deaths).map(|_| life(random, shared)).collect();
        lives.push(Life { fate: Fate::Lives, ..life(random, false) });
        Self { workload, weather, lives, tick_ms: *random.pick(&[5, 10, 10, 40]), shared, outage }
    }
}

/// Readers are slow in all weathers, so that there is time for things to happen.
fn weather(random: &mut Random, bad: u64, service: &'static str) -> Weather {
    let stream = matches!(service, "starts" | "ends");
    let mut weather = Weather { slowest: 1000 * random.pick(&[5, 20, 40]).to_owned(), ..Weather::default() };
    // What is tried again only after long pauses is not down for long.
    weather.longest = if stream || service == "checkpoints" { 3 } else { 12 };
    if stream {
        weather.slow = 1 + random.below(2);
    }
    if service == "table" && random.one_in(2) {
        // What is on its way to the table at a checkpoint is a matter of its own.
        (weather.slow, weather.slowest) = (2, 80_000);
    }
    if bad > 0 && random.below(4) < bad {
        weather.faults = *random.pick(&[6, 15, 40]);
        weather.slow = if weather.slow > 0 { weather.slow } else { *random.pick(&[4, 10, 30]) };
        weather.outages = *random.pick(&[0, 60, 200]);
        weather.refusals = if service == "table" { *random.pick(&[0, 0, 30]) } else { 0 };
    }
    weather
}

fn life(random: &mut Random, shared: bool) -> Life {
    let long = |random: &mut Random| 40 << random.below(7);
    let points = [CHECKPOINT_POINTS.as_slice(), RECOVERY_POINTS.as_slice()].concat();
    let point = |random: &mut Random| *random.pick(&points);
    let fate = match random.below(10) {
        0..5 => Fate::Point(point(random), 1 + random.below(4), 6_000),
        5..8 if shared => Fate::Pauses(point(random), 1 + random.below(3), long(random), random.below(6000)),
        5..8 => Fate::Dies(long(random)),
        8 => Fate::Dies(long(random)),
        _ => Fate::Stops(long(random)),
    };
    let workers = 1 + random.below(4) as usize;
    Life {
        fate,
        workers,
        max_in_flight: 1 << (9 + random.below(12)),
        every: Duration::from_millis(*random.pick(&[40, 100, 250, 600])),
        keep: 1 + random.below(3) as usize,
        diligence: (0..workers).map(|_| *random.pick(&[1, 4, 8, 8])).collect(),
        tasks: *random.pick(&[2, 8, 16]),
        time: *random.pick(&[1, 2, 4]),
    }
}
