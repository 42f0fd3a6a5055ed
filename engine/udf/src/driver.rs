//! The thread that makes the calls of an async UDF: see [`crate::calls`].

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::ArrayRef;

use crate::calls::{Answer, Exchange, Row, in_words, now};
use crate::error::UdfError;
use crate::library::AsyncSymbols;
use crate::runtime::{Runtime, Sent};
use crate::udf::Udf;

/// Between a call's release and its result the library does next to nothing. Where a result is not there after this
/// time, it is asked whether it lives.
const GRACE: Duration = Duration::from_millis(5);
/// Pause between two looks for a result whose call is over.
const LOOK: Duration = Duration::from_micros(50);
/// So many calls may hang in a runtime before it is replaced.
pub(crate) const ABANDONED: usize = 64;

/// So many landed flights are not worth a look at all of them.
const LANDED: usize = 1024;

/// A call under way.
struct Flight {
    runtime: u64,
    ticket: u64,
    until: Instant,
}

/// See the [module](self).
pub(crate) struct Driver {
    udf: Udf,
    symbols: AsyncSymbols,
    exchange: Arc<Exchange>,
    wake: Box<dyn Fn() + Send>,
    /// The newest takes new calls; older ones end when theirs are over.
    runtimes: Vec<Runtime>,
    started: u64,
    /// Oldest first: all have the same time. Some have landed: see [`Driver::strike`].
    flights: VecDeque<Flight>,
    /// Calls that are over and whose results were not seen: runtime and ticket.
    over: BTreeSet<(u64, u64)>,
    over_since: Option<Instant>,
    /// Calls that took too long and still run: runtime and ticket.
    abandoned: BTreeSet<(u64, u64)>,
    /// Groups of rows one of which may panic; the first one is under way, alone.
    suspects: VecDeque<Vec<Row>>,
    trying: bool,
    /// The next call begins a runtime of its own.
    fresh: bool,
    /// Rows to be sent before any other.
    next: VecDeque<Row>,
    answers: Vec<Answer>,
}

impl Driver {
    pub(crate) fn new(udf: Udf, symbols: AsyncSymbols, exchange: Arc<Exchange>, wake: Box<dyn Fn() + Send>) -> Self {
        Self {
            udf,
            symbols,
            exchange,
            wake,
            runtimes: Vec::new(),
            started: 0,
            flights: VecDeque::new(),
            over: BTreeSet::new(),
            over_since: None,
            abandoned: BTreeSet::new(),
            suspects: VecDeque::new(),
            trying: false,
            fresh: false,
            next: VecDeque::new(),
            answers: Vec::new(),
        }
    }

    /// Works until nobody wants answers any more.
    pub(crate) fn run(mut self) {
        loop {
            let work = self.exchange.work(self.room(), self.deadline());
            if work.stopped {
                return;
            }
            self.next.extend(work.rows);
            self.land(work.released);
            self.expire();
            self.strike();
            self.try_suspects();
            self.send();
            self.tidy();
            if !self.answers.is_empty() {
                self.exchange.answer(std::mem::take(&mut self.answers));
                (self.wake)();
            }
        }
    }

    /// How many more rows may be taken from the queue.
    fn room(&self) -> usize {
        let busy = self.runtimes.last().is_some_and(Runtime::is_busy);
        if busy || self.trying || !self.suspects.is_empty() || !self.next.is_empty() {
            return 0;
        }
        (self.udf.calling().max_in_flight as usize).saturating_sub(self.under_way())
    }

    fn under_way(&self) -> usize {
        self.runtimes.iter().map(|r| r.calls.len()).sum::<usize>().saturating_sub(self.abandoned.len())
    }

    /// When something is due without anybody saying so.
    fn deadline(&self) -> Option<Instant> {
        let busy = self.runtimes.last().is_some_and(Runtime::is_busy);
        let (under_way, limit) = (self.under_way(), self.udf.calling().max_in_flight as usize);
        let sends = !self.next.is_empty() && !busy && under_way < limit && (self.trying || self.suspects.is_empty());
        let tries = !self.suspects.is_empty() && under_way == 0;
        let at_once = (sends || tries).then(now);
        let expires = self.flights.front().map(|f| f.until);
        let look = self.over_since.map(|_| now() + LOOK);
        expires.into_iter().chain(look).chain(at_once).min()
    }

    /// Takes the results of calls that are over.
    fn land(&mut self, released: Vec<(u64, u64)>) {
        let known = |at: &(u64, u64)| self.runtimes.iter().any(|r| r.number() == at.0 && r.calls.contains_key(&at.1));
        self.over.extend(released.into_iter().filter(known));
        if self.over.is_empty() {
            self.over_since = None;
            return;
        }
        let since = *self.over_since.get_or_insert_with(now);
        let numbers: BTreeSet<u64> = self.over.iter().map(|(runtime, _)| *runtime).collect();
        for number in numbers {
            self.drain(number);
        }
        if self.over.is_empty() {
            self.over_since = None;
        } else if now().saturating_duration_since(since) > GRACE {
            self.over_since = Some(now());
            self.examine();
        }
    }

    fn drain(&mut self, number: u64) {
        let returns = self.udf.signature().returns;
        let Some(runtime) = self.runtimes.iter_mut().find(|r| r.number() == number) else { return };
        let results = match runtime.drain(returns) {
            Ok(Some(results)) => results,
            Ok(None) => return self.ended(number),
            Err(e) => return self.broken(number, &e),
        };
        for (ticket, value) in results {
            self.answer(number, ticket, Ok(value));
        }
    }

    /// A call is over, by its result or another way.
    fn answer(&mut self, number: u64, ticket: u64, answer: Result<ArrayRef, UdfError>) {
        self.over.remove(&(number, ticket));
        let row = self.runtimes.iter_mut().find(|r| r.number() == number).and_then(|r| r.calls.remove(&ticket));
        // What took too long was answered then.
        if let Some(row) = row.filter(|_| !self.abandoned.remove(&(number, ticket))) {
            self.answers.push((row.id, answer));
        }
    }

    /// Calls are over without a result: does their runtime still live? Handing one of them over once more tells.
    fn examine(&mut self) {
        let Some(&(number, ticket)) = self.over.first() else { return };
        let signature = self.udf.signature().clone();
        let Some(runtime) = self.runtimes.iter_mut().find(|r| r.number() == number) else { return };
        if runtime.is_busy() {
            if matches!(runtime.go_on(), Sent::Ended) {
                self.ended(number);
            }
            return;
        }
        let Some(row) = runtime.calls.get(&ticket).cloned() else { return };
        match runtime.send(row, &signature) {
            Ok((again, sent)) => {
                // Where it lives, it makes the call once more, and nobody waits for that.
                self.abandoned.insert((number, again));
                if matches!(sent, Sent::Ended) {
                    self.ended(number);
                }
            }
            Err(e) => self.broken(number, &e),
        }
    }

    /// A runtime has ended: one of its calls panicked.
    fn ended(&mut self, number: u64) {
        let Some(at) = self.runtimes.iter().position(|r| r.number() == number) else { return };
        // Results written down before are good.
        if let Some(runtime) = self.runtimes.get_mut(at)
            && let Ok(Some(results)) = runtime.drain(self.udf.signature().returns)
        {
            for (ticket, value) in results {
                self.answer(number, ticket, Ok(value));
            }
        }
        let mut runtime = self.runtimes.remove(at);
        let (calls, untaken) = (std::mem::take(&mut runtime.calls), runtime.untaken.take());
        drop(runtime);
        let awaited = |ticket: &u64| !self.abandoned.contains(&(number, *ticket));
        let mut rows: Vec<Row> = calls.into_iter().filter(|(t, _)| awaited(t)).map(|(_, row)| row).collect();
        // It was not called, so it did nothing.
        let untaken = untaken.filter(|(t, _)| awaited(t)).map(|(_, row)| row);
        self.forget(number);
        let tried = std::mem::take(&mut self.trying);
        if tried {
            self.suspects.pop_front();
        }
        self.next.extend(untaken);
        match rows.len() {
            0 => {}
            1 if tried => {
                let name = self.udf.name().to_owned();
                self.answers.extend(rows.pop().map(|row| (row.id, Err(UdfError::Panicked(name)))));
            }
            1 => self.suspects.push_front(rows),
            n => {
                let second = rows.split_off(n / 2);
                self.suspects.push_front(second);
                self.suspects.push_front(rows);
            }
        }
    }

    fn forget(&mut self, number: u64) {
        self.over.retain(|(runtime, _)| *runtime != number);
        self.abandoned.retain(|(runtime, _)| *runtime != number);
        self.flights.retain(|f| f.runtime != number);
        if self.over.is_empty() {
            self.over_since = None;
        }
    }

    /// A runtime does not keep to the interface: its rows fail, it is not asked again.
    fn broken(&mut self, number: u64, e: &UdfError) {
        let Some(at) = self.runtimes.iter().position(|r| r.number() == number) else { return };
        let mut runtime = self.runtimes.remove(at);
        for (ticket, row) in std::mem::take(&mut runtime.calls) {
            if !self.abandoned.contains(&(number, ticket)) {
                self.answers.push((row.id, Err(e.clone())));
            }
        }
        self.forget(number);
        if std::mem::take(&mut self.trying) {
            self.suspects.pop_front();
        }
    }

    /// Fails rows whose calls take too long.
    fn expire(&mut self) {
        let now = now();
        while let Some(flight) = self.flights.front().filter(|f| f.until <= now) {
            let at = (flight.runtime, flight.ticket);
            self.flights.pop_front();
            let row = self.runtimes.iter().find(|r| r.number() == at.0).and_then(|r| r.calls.get(&at.1));
            let Some(id) = row.map(|row| row.id) else { continue };
            // Its result may come any moment; but it is late.
            if self.abandoned.insert(at) {
                let within = in_words(self.udf.calling().timeout);
                self.answers.push((id, Err(UdfError::TimedOut { name: self.udf.name().to_owned(), within })));
            }
        }
    }

    /// Strikes flights that have landed once they are more than the others: a list of all calls within a long time-out
    /// would be a list of millions. So each is looked at twice or so, and the list is as long as calls are under way.
    fn strike(&mut self) {
        let most = LANDED + 2 * self.under_way();
        if self.flights.len() <= most {
            return;
        }
        let runtimes = &self.runtimes;
        let flies = |f: &Flight| runtimes.iter().any(|r| r.number() == f.runtime && r.calls.contains_key(&f.ticket));
        self.flights.retain(flies);
    }

    /// Groups that may hold the row that panics are called one after the other, with nothing beside them.
    fn try_suspects(&mut self) {
        if self.trying && self.next.is_empty() && self.under_way() == 0 {
            // None of this group does.
            self.trying = false;
            self.suspects.pop_front();
        }
        if !self.trying
            && self.under_way() == 0
            && let Some(group) = self.suspects.front()
        {
            self.trying = true;
            // What hangs in a runtime could end it.
            self.fresh = true;
            // Rows that wait go after all suspects.
            for row in group.iter().rev() {
                self.next.push_front(row.clone());
            }
            self.held_back(group.len());
        }
    }

    /// While suspects are tried, rows behind them wait as a group of their own.
    fn held_back(&mut self, tried: usize) {
        if self.next.len() > tried {
            let rest: Vec<Row> = self.next.split_off(tried).into();
            self.suspects.push_back(rest);
        }
    }

    fn send(&mut self) {
        let signature = self.udf.signature().clone();
        let limit = self.udf.calling().max_in_flight as usize;
        if let Some(runtime) = self.runtimes.last_mut().filter(|r| r.is_busy()) {
            match runtime.go_on() {
                Sent::Busy => return,
                Sent::Yes => {}
                Sent::Ended => {
                    let number = runtime.number();
                    return self.ended(number);
                }
            }
        }
        while self.under_way() < limit && (self.trying || self.suspects.is_empty()) {
            let Some(row) = self.next.pop_front() else { return };
            let number = self.newest();
            let Some(runtime) = self.runtimes.last_mut() else { return };
            let id = row.id;
            match runtime.send(row, &signature) {
                Err(e) => self.answers.push((id, Err(e))),
                Ok((ticket, sent)) => {
                    let until = now() + self.udf.calling().timeout;
                    self.flights.push_back(Flight { runtime: number, ticket, until });
                    match sent {
                        Sent::Yes => {}
                        Sent::Busy => return,
                        Sent::Ended => return self.ended(number),
                    }
                }
            }
        }
    }

    /// The runtime that takes new calls.
    fn newest(&mut self) -> u64 {
        let hang = |r: &Runtime| self.abandoned.iter().filter(|(n, _)| *n == r.number()).count();
        let fresh = std::mem::take(&mut self.fresh);
        match self.runtimes.last() {
            Some(runtime) if hang(runtime) < if fresh { 1 } else { ABANDONED } => runtime.number(),
            _ => {
                self.started += 1;
                self.runtimes.push(Runtime::start(self.started, self.symbols, self.exchange.clone()));
                self.started
            }
        }
    }

    /// Ends older runtimes in which nothing is awaited any more, and with them the calls that hang there.
    fn tidy(&mut self) {
        let Some(newest) = self.runtimes.last().map(Runtime::number) else { return };
        let awaits = |r: &Runtime| r.calls.keys().any(|t| !self.abandoned.contains(&(r.number(), *t)));
        let idle: Vec<u64> =
            self.runtimes.iter().filter(|r| r.number() != newest && !awaits(r)).map(Runtime::number).collect();
        for number in idle {
            self.runtimes.retain(|r| r.number() != number);
            self.forget(number);
        }
    }
}
