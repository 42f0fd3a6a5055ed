//! The operator of queries that call an async function: rows go through the steps before the call, wait for its answer,
//! and go through the steps behind it.
//!
//! ```text
//! batch -> steps -> rows with arguments -> [calls] -> rows with the result -> steps -> batches
//!             \-> .failed                      \-> .failed               \-> .failed
//! ```
//!
//! Rows of an unordered function go on as they are answered; those of an ordered one wait for all rows before them on the
//! same worker. What becomes of a row does not depend on that.

use std::collections::BTreeMap;
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

/// One chain with its call.
#[derive(Debug, Clone)]
pub(crate) struct Path {
    /// The scan and the steps before the call; the last one computes all columns, then the arguments.
    before: Chain,
    udf: Udf,
    /// How many arguments.
    args: usize,
    /// The rows behind the call.
    called: SchemaRef,
    after: Vec<Step>,
}

impl Path {
    /// Splits a chain at its call; none where it has none.
    pub(crate) fn of(chain: Chain) -> Option<Self> {
        let at = chain.steps.iter().position(|s| matches!(s, Step::Call { .. }))?;
        let Chain { scan, mut steps } = chain;
        let after = steps.split_off(at + 1);
        match steps.pop() {
            Some(Step::Call { udf, args, schema }) => {
                Some(Self { before: Chain { scan, steps }, udf, args, called: schema, after })
            }
            _ => None,
        }
    }
}

/// Rows that wait.
struct Part {
    path: usize,
    /// With arguments.
    rows: RecordBatch,
    /// Under which id the first one is asked.
    first: u64,
    /// By row, until it is given on.
    answers: Vec<Option<std::result::Result<ArrayRef, String>>>,
    /// Rows that are answered and not given on.
    ready: Vec<usize>,
    /// Rows that are not answered.
    open: usize,
}

/// A batch that is not done.
struct Waiting {
    batch: Batch,
    fates: Fates,
    parts: Vec<Part>,
    /// Rows that failed before the call.
    failures: Vec<Failure>,
}

/// The operator.
pub(crate) struct Calling {
    /// Per input port, its paths, by their place in `paths`.
    ports: Vec<Vec<usize>>,
    paths: Vec<Path>,
    /// By path.
    calls: Vec<Calls>,
    finish: Finish,
    component: String,
    ordered: bool,
    next: u64,
    waiting: BTreeMap<u64, Waiting>,
    /// By first id: which batch, which of its parts.
    asked: BTreeMap<u64, (u64, usize)>,
    /// Batches about which there is something to say.
    touched: std::collections::BTreeSet<u64>,
}

impl Calling {
    pub(crate) fn new(ports: Vec<Vec<Path>>, finish: Finish, component: String, wake: &Wake) -> Result<Self> {
        let mut places = Vec::new();
        let mut paths = Vec::new();
        for port in ports {
            places.push((paths.len()..paths.len() + port.len()).collect());
            paths.extend(port);
        }
        let start = |path: &Path| {
            let wake = Arc::clone(wake);
            Calls::start(&path.udf, move || wake())
        };
        let calls = paths.iter().map(start).collect::<std::result::Result<Vec<_>, _>>().map_err(Error::from)?;
        let ordered = paths.iter().any(|p| p.udf.calling().ordered);
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
            touched: std::collections::BTreeSet::new(),
        })
    }

    /// Has calls made for rows with arguments.
    fn ask(&mut self, path: usize, rows: RecordBatch, ticket: u64, number: usize) -> Result<Part> {
        let (Some(plan), Some(calls)) = (self.paths.get(path), self.calls.get(path)) else {
            return Err(Error::bug("a path that is not there"));
        };
        let end = visible(rows.schema_ref());
        let args: Vec<ArrayRef> = rows.columns().iter().take(end).skip(end - plan.args.min(end)).cloned().collect();
        let first = self.next;
        let len = rows.num_rows();
        self.next += len as u64;
        self.asked.insert(first, (ticket, number));
        calls.call(first, &args);
        Ok(Part { path, rows, first, answers: vec![None; len], ready: Vec::new(), open: len })
    }

    fn answered(&mut self, answers: Vec<Answer>) {
        for (id, answer) in answers {
            let Some((first, &(ticket, number))) = self.asked.range(..=id).next_back() else { continue };
            let row = (id - first) as usize;
            let part = self.waiting.get_mut(&ticket).and_then(|w| w.parts.get_mut(number));
            let Some(part) = part else { continue };
            if let Some(place) = part.answers.get_mut(row).filter(|a| a.is_none()) {
                *place = Some(answer.map_err(|e| e.to_string()));
                part.ready.push(row);
                part.open -= 1;
                self.touched.insert(ticket);
            }
        }
    }

    /// Gives on what is answered of a batch; whether that is all of it.
    fn give(&mut self, ticket: u64, out: &mut Output) -> Result<bool> {
        let Some(waiting) = self.waiting.get_mut(&ticket) else { return Ok(true) };
        let mut failures = std::mem::take(&mut waiting.failures);
        let mut whys: Vec<Why> = Vec::new();
        let mut rows = Vec::new();
        for part in &mut waiting.parts {
            let Some(path) = self.paths.get(part.path) else { continue };
            let answered =
                join(path, part, &mut whys).map_err(|e| Error::bug("answers do not fit their rows").caused_by(e))?;
            if let Some(answered) = answered {
                run_steps(&path.after, answered, &mut rows, &mut failures);
            }
        }
        for rows in rows {
            waiting.fates.mark(&rows, Fate::Out).map_err(|e| Error::bug("rows lost their input").caused_by(e))?;
            out.give(port::RESULTS, waiting.batch.with_rows(self.finish.rows(rows)?));
        }
        whys.extend(failures.into_iter().map(|(row, text)| Why { row, rule: "expression", text }));
        if !whys.is_empty() {
            whys.iter().for_each(|why| waiting.fates.set(why.row, Fate::Failed));
            let refused = refuse(&self.component, "failed", &waiting.batch, whys)?;
            waiting.fates.refused(Fate::Failed, refused.num_rows());
            out.give(port::FAILED, refused);
        }
        let done = waiting.parts.iter().all(|p| p.open == 0);
        if done && let Some(waiting) = self.waiting.remove(&ticket) {
            waiting.fates.count(&mut out.counts);
            waiting.parts.iter().for_each(|p| {
                self.asked.remove(&p.first);
            });
        }
        Ok(done)
    }
}

/// The answered rows of a part with their results in place of the arguments; those without one go to `failed`.
fn join(path: &Path, part: &mut Part, failed: &mut Vec<Why>) -> DfResult<Option<RecordBatch>> {
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
    let columns = end.checked_sub(path.args).ok_or_else(|| exec_datafusion_err!("rows without their arguments"))?;
    let mut all: Vec<ArrayRef> = rows.columns().iter().take(columns).cloned().collect();
    all.push(results);
    all.extend(rows.columns().iter().skip(end).take(tail::LEN).cloned());
    rows_of(&path.called, all, rows.num_rows()).map(Some)
}

impl Caller for Calling {
    fn on_batch(&mut self, InPort(input): InPort, batch: Batch, ticket: u64) -> Result<()> {
        let mut waiting =
            Waiting { fates: Fates::new(batch.num_rows()), parts: Vec::new(), failures: Vec::new(), batch };
        for path in self.ports.get(input).cloned().unwrap_or_default() {
            let Some(before) = self.paths.get(path).map(|p| p.before.clone()) else { continue };
            for rows in before.run(&waiting.batch, &mut waiting.failures)? {
                let number = waiting.parts.len();
                waiting.parts.push(self.ask(path, rows, ticket, number)?);
            }
        }
        self.waiting.insert(ticket, waiting);
        self.touched.insert(ticket);
        Ok(())
    }

    fn take(&mut self) -> Result<Vec<Answered>> {
        let answers: Vec<Answer> = self.calls.iter().flat_map(Calls::take).collect();
        self.answered(answers);
        let mut all = Vec::new();
        if self.ordered {
            // Only what nothing before it waits for.
            while let Some(ticket) = self.waiting.first_key_value().map(|(t, _)| *t) {
                if self.waiting.get(&ticket).is_some_and(|w| w.parts.iter().any(|p| p.open > 0)) {
                    break;
                }
                let mut out = Output::default();
                let done = self.give(ticket, &mut out)?;
                all.push(Answered { ticket, out, done });
            }
            self.touched.clear();
            return Ok(all);
        }
        for ticket in std::mem::take(&mut self.touched) {
            let mut out = Output::default();
            let done = self.give(ticket, &mut out)?;
            all.push(Answered { ticket, out, done });
        }
        Ok(all)
    }

    fn held(&self) -> u64 {
        self.waiting.values().map(|w| w.batch.num_rows() as u64).sum()
    }
}
