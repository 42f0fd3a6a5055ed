//! `validate`: rows that fail a rule leave by `.rejected`, with every rule they failed.
//!
//! A rule fails where its check is false, null, or cannot be evaluated. Ports: 0 the rows that pass, 1 `.rejected`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arrow::array::BooleanArray;
use arrow::buffer::BooleanBuffer;
use millstream_core::format::Reason;
use millstream_core::operator::{InPort, Operator, OutPort, Output, Predicate};
use millstream_core::{Batch, Result, refusal};
use millstream_formats::template::BoundTemplate;

use crate::isolate::evaluate;
use millstream_formats::refused::refusal;

/// The text of a failed rule.
pub enum RuleReason {
    /// As it is.
    Text(String),
    /// Filled in from the row.
    Template(BoundTemplate),
}

/// A rule.
pub struct Rule {
    /// Its name in the pipeline file.
    pub id: String,
    /// True for rows that keep it.
    pub predicate: Arc<dyn Predicate>,
    /// What is said where it is not.
    pub reason: RuleReason,
}

/// See the [module](self).
pub struct Validate {
    id: String,
    rules: Arc<[Rule]>,
}

/// Port of the rows that pass.
pub const PASSED: OutPort = OutPort(0);
/// Port of the rows that do not.
pub const REJECTED: OutPort = OutPort(1);

impl Validate {
    /// The validation of node `id`; its rules are shared by the workers.
    pub fn new(id: impl Into<String>, rules: Arc<[Rule]>) -> Self {
        Self { id: id.into(), rules }
    }
    /// Per row that failed, every reason.
    fn failures(&self, batch: &Batch) -> Result<BTreeMap<usize, Vec<Reason>>> {
        let mut failures: BTreeMap<usize, Vec<Reason>> = BTreeMap::new();
        for rule in self.rules.iter() {
            let found = evaluate(rule.predicate.as_ref(), &batch.rows)?;
            if found.all_true() {
                continue;
            }
            let mut errors = found.errors.iter().peekable();
            for row in (0..batch.num_rows()).filter(|row| !found.is_true(*row)) {
                let text = match errors.next_if(|(failed, _)| *failed == row) {
                    Some((_, why)) => why.clone(),
                    None => rule.reason.fill(batch, row),
                };
                failures.entry(row).or_default().push(Reason { rule: rule.id.clone(), text });
            }
        }
        Ok(failures)
    }
}

impl RuleReason {
    fn fill(&self, batch: &Batch, row: usize) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Template(template) => {
                let mut text = String::new();
                template.render(batch, row, &|_| None, &mut text);
                text
            }
        }
    }
}

impl Operator for Validate {
    fn on_batch(&mut self, _port: InPort, batch: Batch, out: &mut Output) -> Result<()> {
        let failures = self.failures(&batch)?;
        let (rows, rejected) = (batch.num_rows(), failures.len());
        out.counts.out += (rows - rejected) as u64;
        out.counts.rejected += rejected as u64;
        if rejected == 0 {
            out.give(PASSED, batch);
            return Ok(());
        }
        let mut refusals = Vec::with_capacity(rejected);
        let mut passed = vec![true; rows];
        for (row, reasons) in failures {
            refusals.push(refusal(&self.id, "rejected", &batch, row, reasons)?);
            if let Some(p) = passed.get_mut(row) {
                *p = false;
            }
        }
        if rejected < rows {
            out.give(PASSED, batch.filter(&BooleanArray::new(BooleanBuffer::from(passed), None))?);
        }
        out.give(REJECTED, refusal::batch(&refusals)?);
        Ok(())
    }
}

impl fmt::Debug for Validate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Validate").field("id", &self.id).field("rules", &self.rules.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use arrow::datatypes::Int64Type;

    use super::*;
    use crate::testing::{Check, batch, run, text_of};

    fn rules() -> Arc<[Rule]> {
        let rule =
            |id: &str, predicate, text: &str| Rule { id: id.into(), predicate, reason: RuleReason::Text(text.into()) };
        Arc::new([
            rule("positive", Check::by(|r, i| Check::int(r, "n", i).map(|n| n > 0)), "n is not positive"),
            rule("small", Check::by(|r, i| Check::int(r, "n", i).map(|n| n.abs() < 10)), "n is large"),
        ])
    }

    #[test]
    fn every_failed_rule_is_reported_and_null_fails() {
        let mut v = Validate::new("v", rules());
        let rows = batch(&[("a", Some(1), 0), ("b", Some(-50), 1), ("c", None, 2), ("d", Some(50), 3)]);
        let out = run(&mut v, rows);
        assert_eq!((out.counts.out, out.counts.rejected), (1, 3));
        assert_eq!(text_of(&out.batches[0].1, "id"), ["a"]);
        let rejected = &out.batches[1].1;
        let rules = rejected.column("rules").unwrap().as_list::<i32>();
        let rules: Vec<Vec<_>> =
            (0..3).map(|i| rules.value(i).as_string::<i32>().iter().flatten().map(str::to_owned).collect()).collect();
        assert_eq!(rules, [vec!["positive", "small"], vec!["positive", "small"], vec!["small"]]);
        assert_eq!(text_of(rejected, "position"), ["1", "2", "3"]);
        assert_eq!(text_of(rejected, "split"), ["s0", "s0", "s0"]);
    }

    #[test]
    fn all_good_rows_pass_as_the_same_batch() {
        let rows = batch(&[("a", Some(1), 0), ("b", Some(2), 1)]);
        let out = run(&mut Validate::new("v", rules()), rows.clone());
        assert_eq!(out.batches.len(), 1);
        assert_eq!(out.batches[0].1.rows, rows.rows);
    }

    #[test]
    fn a_row_that_cannot_be_evaluated_is_rejected_alone_with_the_error() {
        let rule = Rule { id: "ratio".into(), predicate: Check::dividing(), reason: RuleReason::Text("no".into()) };
        let mut v = Validate::new("v", Arc::new([rule]));
        let rows: Vec<_> = (0..20).map(|i| ("a", Some(i64::from(i != 13)), i)).collect();
        let out = run(&mut v, batch(&rows));
        assert_eq!((out.counts.out, out.counts.rejected), (19, 1));
        let reasons = out.batches[1].1.column("reasons").unwrap().as_list::<i32>().value(0);
        assert_eq!(reasons.as_string::<i32>().value(0), "division by zero");
        let kept = out.batches[0].1.column("n").unwrap().as_primitive::<Int64Type>().clone();
        assert_eq!(kept.values().iter().sum::<i64>(), 19);
    }
}
