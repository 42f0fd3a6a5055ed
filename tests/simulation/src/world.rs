//! What all processes of a simulation share: chance, the trace, what went wrong on purpose and what must not.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use millstream_tests::random::Random;
use xxhash_rust::xxh3::Xxh3;

use crate::planted::ServiceBug;

/// What a service does to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing is done, and every row may be tried again.
    Throttled,
    /// Some rows are done; the others may be tried again.
    Partial,
    /// Nothing is done: the service is down.
    Unavailable,
    /// Everything is done, and the answer is lost.
    AnswerLost,
    /// One row can never succeed.
    Refused,
}

impl Fault {
    fn name(self) -> &'static str {
        match self {
            Self::Throttled => "throttled",
            Self::Partial => "partial",
            Self::Unavailable => "unavailable",
            Self::AnswerLost => "answer lost",
            Self::Refused => "refused",
        }
    }
}

/// How a service behaves: one in so many calls, never where that is 0.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Weather {
    pub(crate) faults: u64,
    pub(crate) slow: u64,
    /// Outages that last for many calls.
    pub(crate) outages: u64,
    /// Rows that are refused for good.
    pub(crate) refusals: u64,
    /// Microseconds a slow answer takes at most.
    pub(crate) slowest: u64,
    /// Calls that an outage lasts for at most.
    pub(crate) longest: u64,
    /// Calls that the service stays down for.
    pub(crate) down: u64,
}

/// How often what was injected.
pub type Tally = BTreeMap<String, u64>;

struct Inner {
    random: Random,
    weather: BTreeMap<&'static str, Weather>,
    hash: Xxh3,
    lines: Option<Vec<String>>,
    /// Records were read since this was last looked at.
    active: bool,
    process: usize,
    tally: Tally,
    broken: Vec<String>,
    claims: BTreeMap<u64, String>,
}

/// See the [module](self).
pub(crate) struct World {
    inner: Mutex<Inner>,
    bug: Option<ServiceBug>,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("World")
    }
}

impl World {
    pub(crate) fn new(
        seed: u64,
        weather: BTreeMap<&'static str, Weather>,
        traced: bool,
        bug: Option<ServiceBug>,
    ) -> Self {
        let inner = Inner {
            random: Random::new(seed ^ 0x57EA_7E12),
            weather,
            hash: Xxh3::new(),
            lines: traced.then(Vec::new),
            active: false,
            process: 0,
            tally: Tally::new(),
            broken: Vec::new(),
            claims: BTreeMap::new(),
        };
        Self { inner: Mutex::new(inner), bug }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a bug is planted.
    pub(crate) fn has(&self, bug: ServiceBug) -> bool {
        self.bug == Some(bug)
    }

    /// Which process runs from now on.
    pub(crate) fn enter(&self, process: usize) {
        self.lock().process = process;
    }

    /// Something happened: a line of the trace.
    pub(crate) fn note(&self, what: &str) {
        let mut inner = self.lock();
        let line = format!("p{} {what}", inner.process);
        inner.hash.update(line.as_bytes());
        inner.hash.update(b"\n");
        if let Some(lines) = &mut inner.lines {
            lines.push(line);
        }
    }

    /// Records were read: there is something to do.
    pub(crate) fn read(&self) {
        self.lock().active = true;
    }

    /// Whether any were read since the last call.
    pub(crate) fn was_active(&self) -> bool {
        std::mem::take(&mut self.lock().active)
    }

    /// Counts something that was injected.
    pub(crate) fn count(&self, what: impl Into<String>) {
        *self.lock().tally.entry(what.into()).or_default() += 1;
    }

    /// What must not be, is: the seed fails.
    pub(crate) fn broken(&self, what: impl Into<String>) {
        let what = what.into();
        self.note(&format!("BROKEN {what}"));
        self.lock().broken.push(what);
    }

    /// How many things are broken by now.
    pub(crate) fn is_broken(&self) -> bool {
        !self.lock().broken.is_empty()
    }

    /// Less than `n`, by chance.
    pub(crate) fn below(&self, n: u64) -> u64 {
        self.lock().random.below(n)
    }

    /// Whether what a reader holds at a service has expired: it has to begin again where it stands.
    pub(crate) fn expires(&self, service: &'static str) -> bool {
        let mut inner = self.lock();
        let often = inner.weather.get(service).map_or(0, |weather| weather.faults);
        let expires = often > 0 && inner.random.one_in(often);
        if expires {
            *inner.tally.entry(format!("{service}: expired")).or_default() += 1;
        }
        expires
    }

    /// A call reaches a service: waits for as long as the service makes it wait, and says what happens to it.
    pub(crate) async fn call(&self, service: &'static str, kinds: &[Fault]) -> Option<Fault> {
        // A process can be paused, or die, right before each call.
        tokio::task::yield_now().await;
        let (fault, wait) = self.draw(service, kinds);
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        fault
    }

    fn draw(&self, service: &'static str, kinds: &[Fault]) -> (Option<Fault>, Duration) {
        let mut guard = self.lock();
        let inner = &mut *guard;
        let Some(weather) = inner.weather.get_mut(service) else { return (None, Duration::ZERO) };
        let random = &mut inner.random;
        let mut hits = |one_in: u64| one_in > 0 && random.one_in(one_in);
        let slow = hits(weather.slow);
        let fault = if weather.down > 0 {
            weather.down -= 1;
            Some(Fault::Unavailable)
        } else if hits(weather.outages) {
            weather.down = 1 + random.below(weather.longest.max(1));
            *inner.tally.entry(format!("{service}: outage")).or_default() += 1;
            Some(Fault::Unavailable)
        } else if hits(weather.refusals) && kinds.contains(&Fault::Refused) {
            Some(Fault::Refused)
        } else if hits(weather.faults) {
            let kinds: Vec<Fault> = kinds.iter().copied().filter(|k| *k != Fault::Refused).collect();
            (!kinds.is_empty()).then(|| *random.pick(&kinds))
        } else {
            None
        };
        let mut wait = Duration::ZERO;
        if slow {
            wait = Duration::from_micros(1 + random.below(weather.slowest.max(1)));
            *inner.tally.entry(format!("{service}: slow")).or_default() += 1;
        }
        if let Some(fault) = fault {
            *inner.tally.entry(format!("{service}: {}", fault.name())).or_default() += 1;
        }
        (fault, wait)
    }

    /// A claim was created.
    pub(crate) fn claimed(&self, checkpoint: u64, generation: String) {
        self.lock().claims.entry(checkpoint).or_insert(generation);
    }

    /// Who has claimed a checkpoint.
    pub(crate) fn claim(&self, checkpoint: u64) -> Option<String> {
        self.lock().claims.get(&checkpoint).cloned()
    }

    /// What is to be told of the simulation.
    pub(crate) fn told(&self) -> Told {
        let mut inner = self.lock();
        Told {
            hash: inner.hash.digest(),
            lines: inner.lines.take().unwrap_or_default(),
            tally: inner.tally.clone(),
            broken: inner.broken.clone(),
        }
    }
}

/// See [`World::told`].
pub(crate) struct Told {
    pub(crate) hash: u64,
    pub(crate) lines: Vec<String>,
    pub(crate) tally: Tally,
    pub(crate) broken: Vec<String>,
}
