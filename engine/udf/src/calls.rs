//! Many calls of an async UDF under way at once.
//!
//! ```text
//! call(ids, columns) -> queue -> [driver thread] --__send--> the library's runtime (its own thread)
//! take() <- answers <-----------      |  ^                        |
//!                                     |  +---- column released ---+   the call is over, or its runtime is
//!                                     +------- __drain_results
//! ```
//!
//! The library has no way to say that a call is over. But it holds the columns of a call as long as the call runs, and
//! must release them through a function of ours: that wakes the driver, which then takes the results.
//!
//! Invariants:
//! 1. Every row that came is answered once: with a value, a time-out, or a panic.
//! 2. A panic ends the library's runtime and all of its calls. They are made again in a new one, group by group, until the
//!    row that panics stands alone; so a call may be made more than once.
//! 3. A time-out fails its row and nothing else; the call itself goes on until its runtime is replaced, which happens when
//!    [`ABANDONED`] calls hang in it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arrow::array::{Array, ArrayRef, new_null_array};

use crate::driver::Driver;
use crate::error::UdfError;
use crate::types::Kind;
use crate::udf::Udf;

/// What became of a row: one value, or why there is none.
pub type Answer = (u64, Result<ArrayRef, UdfError>);

/// A row on its way: one-row columns.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) id: u64,
    pub(crate) columns: Vec<ArrayRef>,
}

/// What the driver and those who use it share.
#[derive(Default)]
pub(crate) struct Exchange {
    state: Mutex<State>,
    /// There is something for the driver to do.
    work: Condvar,
    /// There are answers.
    answered: Condvar,
    /// Rows that came and are not answered.
    open: AtomicUsize,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Row>,
    answers: Vec<Answer>,
    /// Calls whose columns were released: runtime and ticket.
    released: Vec<(u64, u64)>,
    stopped: bool,
    /// A waker of the library's was called.
    woken: bool,
}

/// What the driver has to do.
pub(crate) struct Work {
    pub(crate) rows: Vec<Row>,
    pub(crate) released: Vec<(u64, u64)>,
    pub(crate) stopped: bool,
}

impl Exchange {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Whole at every step, also where a panic left the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The columns of a call were released.
    pub(crate) fn release(&self, runtime: u64, ticket: u64) {
        self.lock().released.push((runtime, ticket));
        self.work.notify_one();
    }

    /// Wakes the driver.
    pub(crate) fn wake(&self) {
        self.lock().woken = true;
        self.work.notify_one();
    }

    /// Waits until there is something to do, at most until `until`; takes at most `room` rows.
    pub(crate) fn work(&self, room: usize, until: Option<Instant>) -> Work {
        let mut state = self.lock();
        loop {
            let due = until.map(|until| until.saturating_duration_since(now()));
            let idle = (room == 0 || state.queue.is_empty()) && state.released.is_empty() && !state.woken;
            if !idle || state.stopped || due.is_some_and(|d| d.is_zero()) {
                break;
            }
            state = match due {
                Some(due) => self.work.wait_timeout(state, due).unwrap_or_else(PoisonError::into_inner).0,
                None => self.work.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
        state.woken = false;
        let count = room.min(state.queue.len());
        Work {
            rows: state.queue.drain(..count).collect(),
            released: std::mem::take(&mut state.released),
            stopped: state.stopped,
        }
    }

    /// Answers rows.
    pub(crate) fn answer(&self, answers: Vec<Answer>) {
        self.lock().answers.extend(answers);
        self.answered.notify_all();
    }
}

/// The time, for time-outs of calls to elsewhere.
#[expect(clippy::disallowed_methods, reason = "how long a service takes is real time; no result depends on it")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The calls of one user of an async UDF; dropping it abandons them.
pub struct Calls {
    udf: Udf,
    exchange: Arc<Exchange>,
    driver: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Calls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Calls").field("udf", &self.udf).field("open", &self.open()).finish_non_exhaustive()
    }
}

impl Calls {
    /// Starts a driver; `wake` is called, from its thread, whenever there are answers.
    ///
    /// # Errors
    /// Where the UDF is not async, or no thread can be started.
    pub fn start(udf: &Udf, wake: impl Fn() + Send + 'static) -> Result<Self, UdfError> {
        let Some(symbols) = udf.async_symbols().filter(|_| udf.signature().kind == Kind::Async) else {
            return Err(UdfError::Broken(format!("`{}` is not async", udf.name())));
        };
        let exchange = Arc::new(Exchange::default());
        let driver = Driver::new(udf.clone(), symbols, exchange.clone(), Box::new(wake));
        let thread = std::thread::Builder::new().name(format!("udf {}", udf.name()));
        let driver = thread.spawn(move || driver.run());
        let driver = driver.map_err(|e| UdfError::Broken(format!("no thread for `{}`: {e}", udf.name())))?;
        Ok(Self { udf: udf.clone(), exchange, driver: Some(driver) })
    }

    /// Has a call made for every row: columns of equal length, each of exactly its argument's type. Row `i` is answered
    /// under `first + i`. A null for an argument that is no Option is answered with null, without a call.
    pub fn call(&self, first: u64, columns: &[ArrayRef]) {
        let rows = columns.first().map_or(0, |c| c.len());
        self.exchange.open.fetch_add(rows, Ordering::Relaxed);
        let signature = self.udf.signature();
        let required = |(c, a): (&ArrayRef, &crate::types::Arg), row| !a.optional && c.is_null(row);
        let (mut queue, mut nulls) = (Vec::with_capacity(rows), Vec::new());
        for (row, id) in (first..).take(rows).enumerate() {
            if columns.iter().zip(&signature.args).any(|pair| required(pair, row)) {
                nulls.push((id, Ok(new_null_array(&signature.returns.arrow(), 1))));
            } else {
                queue.push(Row { id, columns: columns.iter().map(|c| c.slice(row, 1)).collect() });
            }
        }
        let mut state = self.exchange.lock();
        state.queue.extend(queue);
        state.answers.extend(nulls);
        drop(state);
        self.exchange.work.notify_one();
        self.exchange.answered.notify_all();
    }

    /// The answers since the last call, in the order they came.
    pub fn take(&self) -> Vec<Answer> {
        let answers = std::mem::take(&mut self.exchange.lock().answers);
        self.exchange.open.fetch_sub(answers.len(), Ordering::Relaxed);
        answers
    }

    /// How many rows are not answered, or their answers not taken.
    pub fn open(&self) -> usize {
        self.exchange.open.load(Ordering::Relaxed)
    }

    /// Whether as many rows wait as are under way: more would only wait longer, and checkpoints for them.
    pub fn is_full(&self) -> bool {
        self.open() >= 2 * self.udf.calling().max_in_flight as usize
    }

    /// Waits until all rows are answered; in the order of their ids.
    pub fn wait(&self) -> Vec<Answer> {
        let mut all = BTreeMap::new();
        while self.open() > 0 {
            let mut state = self.exchange.lock();
            while state.answers.is_empty() {
                state = self.exchange.answered.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            drop(state);
            all.extend(self.take());
        }
        all.into_iter().collect()
    }
}

impl Drop for Calls {
    fn drop(&mut self) {
        self.exchange.lock().stopped = true;
        self.exchange.work.notify_one();
        if let Some(driver) = self.driver.take() {
            let _ = driver.join();
        }
    }
}

/// A duration for people.
pub(crate) fn in_words(duration: Duration) -> String {
    format!("{duration:?}")
}
