//! Evaluating a predicate over a batch in which some rows make it fail.

use arrow::array::{Array, BooleanArray, RecordBatch};
use millstream_core::operator::Predicate;
use millstream_core::{Error, ErrorKind, Result};

/// What a predicate says of each row.
pub(crate) struct Answers {
    /// True, false, or null; null where the evaluation failed.
    pub(crate) answers: BooleanArray,
    /// The rows whose evaluation failed, ascending, and why.
    pub(crate) errors: Vec<(usize, String)>,
}

impl Answers {
    /// Whether the predicate is true for row `row`.
    pub(crate) fn is_true(&self, row: usize) -> bool {
        self.answers.is_valid(row) && self.answers.value(row)
    }
    /// Whether the predicate is true for all rows.
    pub(crate) fn all_true(&self) -> bool {
        self.answers.null_count() == 0 && self.answers.true_count() == self.answers.len()
    }
}

/// Evaluates a predicate; rows that make it fail are found by bisecting the batch.
pub(crate) fn evaluate(predicate: &dyn Predicate, rows: &RecordBatch) -> Result<Answers> {
    let mut errors = Vec::new();
    let answers = match predicate.evaluate(rows) {
        Ok(answers) => answers,
        Err(e) if e.kind() == ErrorKind::BadRow => {
            let mut answers = Vec::with_capacity(rows.num_rows());
            bisect(predicate, rows, e, &mut answers, &mut errors)?;
            BooleanArray::from(answers)
        }
        Err(e) => return Err(e),
    };
    if answers.len() != rows.num_rows() {
        return Err(Error::bug("a predicate gave another number of answers than it was asked rows"));
    }
    Ok(Answers { answers, errors })
}

/// `rows` failed with `why`: halves them until the rows that fail stand alone.
fn bisect(
    predicate: &dyn Predicate,
    rows: &RecordBatch,
    why: Error,
    answers: &mut Vec<Option<bool>>,
    errors: &mut Vec<(usize, String)>,
) -> Result<()> {
    let len = rows.num_rows();
    if len <= 1 {
        errors.push((answers.len(), why.to_string()));
        answers.extend(std::iter::repeat_n(None, len));
        return Ok(());
    }
    for half in [rows.slice(0, len / 2), rows.slice(len / 2, len - len / 2)] {
        match predicate.evaluate(&half) {
            Ok(found) => answers.extend(found.iter()),
            Err(e) if e.kind() == ErrorKind::BadRow => bisect(predicate, &half, e, answers, errors)?,
            Err(e) => return Err(e),
        }
    }
    Ok(())
}
