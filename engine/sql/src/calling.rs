//! The operator of queries that call async functions: rows go through the steps before a call, wait for its answer, and go
//! through the steps behind it, up to the next call.
//!
//! ```text
//! batch -> steps -> rows with arguments -> [calls] -> rows with the result -> steps -> [calls] -> .. -> batches
//!             \-> .failed                      \-> .failed               \-> .failed
//! ```
//!
//! Rows of an unordered function go on as they are answered; those of an ordered one wait for all rows before them on the
//! same worker. What becomes of a row does not depend on that.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::{concat, take_record_batch};
use arrow::datatypes::SchemaRef;
use datafusion::common::{Result as DfResult, exec_datafusion_err};
use millstream_core::caller::{Answered, Caller, Wake};
use millstream_core::operator::{InPort, Output};
use millstream_core::{Batch, Error, Result};
use millstream_udf::{Answer, Calls, Udf};

use crate::chain::{Chain, Failure, Step, input_rows, rows_of, run_steps, tail, visible};
use crate::fates::{Fate, Fates};
use crate::output::Finish;
use crate::query::port;
use crate::refuse::{Why, refuse};

/// One chain with its calls.
#[derive(Debug, Clone)]
pub(crate) struct Path {
    /// The scan and the steps before the first call; the last one computes all columns, then the arguments.
    before: Chain,
    pauses: Vec<Pause>,
}

/// A call, and the steps up to the next one.
#[derive(Debug, Clone)]
struct Pause {
    udf: Udf,
    /// How many arguments.
    args: usize,
    /// The rows behind the call.
    called: SchemaRef,
    after: Vec<Step>,
}

impl Path {
    /// Splits a chain at its calls.
    pub(crate) fn of(chain: Chain) -> Self {
        let Chain { scan, steps } = chain;
        let (mut before, mut pauses) = (Vec::new(), Vec::<Pause>::new());
        for step in steps {
            match (step, pauses.last_mut()) {
                (Step::Call { udf, args, schema }, _) => {
                    pauses.push(Pause { udf, args, called: schema, after: Vec::new() });
                }
                (step, Some(pause)) => pause.after.push(step),
                (step, None) => before.push(step),
            }
        }
        Self { before: Chain { scan, steps: before }, pauses }
    }
}

/// Rows that wait.
struct Part {
    path: usize,
    /// At which of the path's calls.
    pause: usize,
    /// With arguments.
    rows: RecordBatch,
    /// Under which id the first one is asked.
    first: u64,
    /// By row, until it is taken on.
    answers: Vec<Option<std::result::Result<ArrayRef, String>>>,
    /// Rows that are answered and not taken on.
    ready: Vec<usize>,
    /// Rows that are not answered.
    open: usize,
}

/// A batch that is not done.
struct Waiting {
    batch: Batch,
    fates: Fates,
    /// By number; those that are done are gone.
    parts: BTreeMap<usize, Part>,
    next_part: usize,
    /// Parts with rows that are ready.
    ready: BTreeSet<usize>,
    /// Rows of all parts that are not answered.
    open: usize,
    /// Rows behind the last step.
    rows: Vec<RecordBatch>,
    failed: Vec<Why>,
}

/// The operator.
pub(crate) struct Calling {
    /// Per input port, its paths, by their place in `paths`.
    ports: Vec<Vec<usize>>,
    paths: Vec<Path>,
    /// By path, by pause.
    calls: Vec<Vec<Calls>>,
    finish: Finish,
    component: String,
    ordered: bool,
    next: u64,
    waiting: BTreeMap<u64, Waiting>,
    /// By first id: which batch, which of its parts.
    asked: BTreeMap<u64, (u64, usize)>,
    /// Batches about which there is something to say.
    touched: BTreeSet<u64>,
}

impl Calling {
    pub(crate) fn new(ports: Vec<Vec<Path>>, finish: Finish, component: String, wake: &Wake) -> Result<Self> {
        let mut places = Vec::new();
        let mut paths = Vec::new();
        for port in ports {
            places.push((paths.len()..paths.len() + port.len()).collect());
            paths.extend(port);
        }
        let start = |pause: &Pause| {
            let wake = Arc::clone(wake);
            Calls::start(&pause.udf, move || wake())
        };
        let of_path = |path: &Path| path.pauses.iter().map(start).collect::<std::result::Result<Vec<_>, _>>();
        let calls = paths.iter().map(of_path).collect::<std::result::Result<Vec<_>, _>>().map_err(Error::from)?;
        let ordered = paths.iter().flat_map(|p| &p.pauses).any(|p| p.udf.calling().ordered);
        Ok(Self {
            ports: places,
            paths,
            calls,
            finish,
            component,
            ordered,
            next: 0,
            waiting: BTreeMap::new(),
            asked: BTreeMap::new(),
            touched: BTreeSet::new(),
        })
    }

    /// Rows before a path's call number `pause`: has the calls made; behind the last one, there is none.
    fn ask(&mut self, (path, pause): (usize, usize), rows: RecordBatch, ticket: u64) -> Result<()> {
        let plan = self.paths.get(path).ok_or_else(|| Error::bug("a path that is not there"))?;
        let waiting = self.waiting.get_mut(&ticket).ok_or_else(|| Error::bug("a batch that is not there"))?;
        let (Some(plan), Some(calls)) = (plan.pauses.get(pause), self.calls.get(path).and_then(|c| c.get(pause)))
        else {
            waiting.rows.push(rows);
            return Ok(());
        };
        let end = visible(rows.schema_ref());
        let args: Vec<ArrayRef> = rows.columns().iter().take(end).skip(end - plan.args.min(end)).cloned().collect();
        let (first, number, len) = (self.next, waiting.next_part, rows.num_rows());
        self.next += len as u64;
        waiting.next_part += 1;
        waiting.open += len;
        self.asked.insert(first, (ticket, number));
        calls.call(first, &args);
        let part = Part { path, pause, rows, first, answers: vec![None; len], ready: Vec::new(), open: len };
        waiting.parts.insert(number, part);
        Ok(())
    }

    /// Takes answers in; whether there are any.
    fn answered(&mut self) -> bool {
        let answers: Vec<Answer> = self.calls.iter().flatten().flat_map(Calls::take).collect();
        let any = !answers.is_empty();
        for (id, answer) in answers {
            let Some((first, &(ticket, number))) = self.asked.range(..=id).next_back() else { continue };
            let row = (id - first) as usize;
            let Some(waiting) = self.waiting.get_mut(&ticket) else { continue };
            let Some(part) = waiting.parts.get_mut(&number) else { continue };
            if let Some(place) = part.answers.get_mut(row).filter(|a| a.is_none()) {
                *place = Some(answer.map_err(|e| e.to_string()));
                part.ready.push(row);
                part.open -= 1;
                waiting.open -= 1;
                waiting.ready.insert(number);
                self.touched.insert(ticket);
            }
        }
        any
    }

    /// Takes the answered rows of a batch on, to their next call or to the end.
    fn advance(&mut self, ticket: u64) -> Result<()> {
        // In an ordered query only where all rows are answered: they keep their order.
        let goes_on = |w: &&mut Waiting| !self.ordered || w.open == 0;
        let ready = self.waiting.get_mut(&ticket).filter(goes_on).map(|w| std::mem::take(&mut w.ready));
        for number in ready.into_iter().flatten() {
            let Some(waiting) = self.waiting.get_mut(&ticket) else { continue };
            let Some(part) = waiting.parts.get_mut(&number) else { continue };
            let (path, pause) = (part.path, part.pause);
            let Some(plan) = self.paths.get(path).and_then(|p| p.pauses.get(pause)) else { continue };
            let joined = join(plan, part, &mut waiting.failed);
            let joined = joined.map_err(|e| Error::bug("answers do not fit their rows").caused_by(e))?;
            if part.open == 0 {
                self.asked.remove(&part.first);
                waiting.parts.remove(&number);
            }
            let (mut rows, mut failures) = (Vec::new(), Vec::new());
            if let Some(joined) = joined {
                run_steps(&plan.after, joined, &mut rows, &mut failures);
            }
            waiting.failed.extend(failures.into_iter().map(why));
            for rows in rows {
                self.ask((path, pause + 1), rows, ticket)?;
            }
        }
        Ok(())
    }

    /// Gives on what has come of a batch; whether that is all.
    fn give(&mut self, ticket: u64, out: &mut Output) -> Result<bool> {
        let Some(waiting) = self.waiting.get_mut(&ticket) else { return Ok(true) };
        for rows in std::mem::take(&mut waiting.rows) {
            waiting.fates.mark(&rows, Fate::Out).map_err(|e| Error::bug("rows lost their input").caused_by(e))?;
            out.give(port::RESULTS, waiting.batch.with_rows(self.finish.rows(rows)?));
        }
        let failed = std::mem::take(&mut waiting.failed);
        if !failed.is_empty() {
            failed.iter().for_each(|why| waiting.fates.set(why.row, Fate::Failed));
            let refused = refuse(&self.component, "failed", &waiting.batch, failed)?;
            waiting.fates.refused(Fate::Failed, refused.num_rows());
            out.give(port::FAILED, refused);
        }
        let done = waiting.open == 0;
        if done && let Some(waiting) = self.waiting.remove(&ticket) {
            waiting.fates.count(&mut out.counts);
        }
        Ok(done)
    }
}

/// An expression that failed on a row.
fn why((row, text): Failure) -> Why {
    Why { row, rule: "expression", text }
}

/// The answered rows of a part with their results in place of the arguments; those without one go to `failed`.
fn join(pause: &Pause, part: &mut Part, failed: &mut Vec<Why>) -> DfResult<Option<RecordBatch>> {
    let mut ready = std::mem::take(&mut part.ready);
    ready.sort_unstable();
    let inputs = input_rows(&part.rows)?;
    let (mut kept, mut results) = (Vec::with_capacity(ready.len()), Vec::with_capacity(ready.len()));
    for row in ready {
        match part.answers.get_mut(row).and_then(Option::as_mut) {
            Some(Ok(value)) => {
                results.push(Arc::clone(value));
                kept.push(u32::try_from(row).unwrap_or(u32::MAX));
            }
            Some(Err(text)) => {
                let input = inputs.values().get(row).copied().unwrap_or_default();
                failed.push(Why { row: input, rule: "udf", text: std::mem::take(text) });
            }
            None => {}
        }
    }
    if kept.is_empty() {
        return Ok(None);
    }
    let results: Vec<&dyn Array> = results.iter().map(AsRef::as_ref).collect();
    let results = concat(&results)?;
    let rows = take_record_batch(&part.rows, &UInt32Array::from(kept))?;
    let end = visible(rows.schema_ref());
    let columns = end.checked_sub(pause.args).ok_or_else(|| exec_datafusion_err!("rows without their arguments"))?;
    let mut all: Vec<ArrayRef> = rows.columns().iter().take(columns).cloned().collect();
    all.push(results);
    all.extend(rows.columns().iter().skip(end).take(tail::LEN).cloned());
    rows_of(&pause.called, all, rows.num_rows()).map(Some)
}

impl Caller for Calling {
    fn on_batch(&mut self, InPort(input): InPort, batch: Batch, ticket: u64) -> Result<()> {
        let (mut asked, mut failures) = (Vec::new(), Vec::new());
        for path in self.ports.get(input).cloned().unwrap_or_default() {
            let Some(plan) = self.paths.get(path) else { continue };
            asked.extend(plan.before.run(&batch, &mut failures)?.into_iter().map(|rows| (path, rows)));
        }
        let waiting = Waiting {
            fates: Fates::new(batch.num_rows()),
            batch,
            parts: BTreeMap::new(),
            next_part: 0,
            ready: BTreeSet::new(),
            open: 0,
            rows: Vec::new(),
            failed: failures.into_iter().map(why).collect(),
        };
        self.waiting.insert(ticket, waiting);
        self.touched.insert(ticket);
        for (path, rows) in asked {
            self.ask((path, 0), rows, ticket)?;
        }
        Ok(())
    }

    fn take(&mut self) -> Result<Vec<Answered>> {
        let mut touched = std::mem::take(&mut self.touched);
        // A call that `advance` asks for may be answered at once, with null: nobody wakes us for that.
        while self.answered() {
            let of_these = std::mem::take(&mut self.touched);
            for ticket in &of_these {
                self.advance(*ticket)?;
            }
            touched.extend(of_these);
        }
        let mut all = Vec::new();
        let mut say = |ticket: u64, calling: &mut Self| -> Result<()> {
            let mut out = Output::default();
            let done = calling.give(ticket, &mut out)?;
            all.push(Answered { ticket, out, done });
            Ok(())
        };
        if self.ordered {
            // Only what nothing before it waits for.
            while let Some(ticket) = self.waiting.first_key_value().filter(|(_, w)| w.open == 0).map(|(t, _)| *t) {
                say(ticket, self)?;
            }
        } else {
            for ticket in touched {
                say(ticket, self)?;
            }
        }
        Ok(all)
    }

    fn held(&self) -> u64 {
        self.waiting.values().map(|w| w.batch.num_rows() as u64).sum()
    }

    fn is_full(&self) -> bool {
        self.calls.iter().flatten().any(Calls::is_full)
    }
}
