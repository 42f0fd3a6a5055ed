//! The operator of queries that take each row by itself.

use millstream_core::operator::{InPort, Operator, Output};
use millstream_core::{Batch, Error, Result};

use crate::chain::Chain;
use crate::fates::{Fate, Fates};
use crate::output::Finish;
use crate::query::port;
use crate::refuse::{Why, refuse};

/// Runs the chains of each input; rows keep their hidden columns and their origin.
pub(crate) struct Stateless {
    /// Per input port, its chains: a stream that a union names twice has two.
    pub(crate) chains: Vec<Vec<Chain>>,
    pub(crate) finish: Finish,
    pub(crate) component: String,
}

impl Operator for Stateless {
    fn on_batch(&mut self, InPort(input): InPort, batch: Batch, out: &mut Output) -> Result<()> {
        let mut fates = Fates::new(batch.num_rows());
        let mut failures = Vec::new();
        for chain in self.chains.get(input).into_iter().flatten() {
            for rows in chain.run(&batch, &mut failures)? {
                fates.mark(&rows, Fate::Out).map_err(|e| Error::bug("rows lost their input").caused_by(e))?;
                out.give(port::RESULTS, batch.with_rows(self.finish.rows(rows)?));
            }
        }
        if !failures.is_empty() {
            let why = failures.into_iter().map(|(row, text)| {
                fates.set(row, Fate::Failed);
                Why { row, rule: "expression", text }
            });
            let refused = refuse(&self.component, "failed", &batch, why.collect())?;
            fates.refused(Fate::Failed, refused.num_rows());
            out.give(port::FAILED, refused);
        }
        fates.count(&mut out.counts);
        Ok(())
    }
}
