//! Why rows were refused in a run, and a warning where nothing, or next to nothing, was left.

use millstream_core::ledger::Counts;
use millstream_runtime::metrics::{NodeSnapshot, ReasonSnapshot, Snapshot};

use crate::grid::Grid;
use crate::{number, terminal};

/// Reasons that are shown of each port.
const SHOWN: usize = 3;
/// Characters of an example.
const EXAMPLE: usize = 90;
/// Of fewer rows a few may be bad by chance.
const MANY: u64 = 20;

/// The most frequent reasons by port; nothing where no row was refused.
pub(crate) fn table(snapshot: &Snapshot) -> Option<String> {
    let mut grid = Grid::new([("left by", false), ("rows", true), ("rule", false), ("for example", false)]);
    let mut any = false;
    for node in &snapshot.nodes {
        for reasons in node.reasons.chunk_by(|a, b| a.port == b.port) {
            any = true;
            port(reasons, &mut grid);
        }
    }
    any.then(|| grid.render())
}

fn port(reasons: &[ReasonSnapshot], grid: &mut Grid) {
    // One more takes no more room than to say so.
    let shown = if reasons.len() == SHOWN + 1 { SHOWN + 1 } else { SHOWN };
    for (i, reason) in reasons.iter().take(shown).enumerate() {
        let port = if i == 0 { reason.port.clone() } else { String::new() };
        let line = reason.example.lines().next().unwrap_or_default();
        let example = console::truncate_str(line, EXAMPLE, "…").into_owned();
        grid.row(vec![port, terminal::yellow(&number::count(reason.rows)), reason.rule.clone(), example]);
    }
    let more = reasons.len().saturating_sub(shown);
    if more > 0 {
        let rest = format!("… and {}", number::of(more as u64, "more rule"));
        grid.row(vec![String::new(), String::new(), terminal::dim(&rest), String::new()]);
    }
}

/// Results that could not be computed: they are no rows of the input, and the ledger does not show them as failed.
pub(crate) fn failed_results(snapshot: &Snapshot) -> Vec<String> {
    let failed = snapshot.nodes.iter().filter(|n| n.failed_results() > 0);
    failed
        .map(|n| {
            let results = number::of(n.failed_results(), "result");
            format!("{results} of {id} could not be computed: produced, and left by {id}.failed", id = n.id)
        })
        .collect()
}

/// What is wrong, as far as numbers tell: a place that refused all of its rows, or nearly all.
pub(crate) fn warnings(now: &Snapshot, before: &Snapshot) -> Vec<String> {
    let mut warnings = Vec::new();
    for node in &now.nodes {
        let before = before.nodes.iter().find(|n| n.id == node.id);
        let what = if node.kind == "source" { "record" } else { "row" };
        let counts = before.map(|n| n.counts).unwrap_or_default();
        warnings.extend(warning(&node.id, what, &node.counts, &counts));
        if let Some(table) = &node.table {
            let counts = before.and_then(table_counts).unwrap_or_default();
            warnings.extend(warning(&table.id, "row", &table.counts, &counts));
        }
    }
    warnings
}

fn table_counts(node: &NodeSnapshot) -> Option<Counts> {
    node.table.as_ref().map(|t| t.counts)
}

fn warning(id: &str, what: &str, now: &Counts, before: &Counts) -> Option<String> {
    let refused = |c: &Counts| c.rejected + c.late + c.failed;
    let taken = now.input.saturating_sub(before.input);
    let refused = refused(now).saturating_sub(refused(before));
    if taken > 0 && refused >= taken {
        let all = if taken == 1 { "the only".to_owned() } else { format!("all {}", number::count(taken)) };
        let (s, were) = if taken == 1 { ("", "was") } else { ("s", "were") };
        return Some(format!("{all} {what}{s} of {id} {were} refused"));
    }
    // At least nine in ten.
    (taken >= MANY && refused.saturating_mul(10) >= taken.saturating_mul(9)).then(|| {
        format!("nearly all {what}s of {id} were refused: {} of {}", number::count(refused), number::count(taken))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_refuses_nearly_everything_is_named_by_what_it_did_in_this_run() {
        let counts = |input, rejected| Counts { input, rejected, out: input - rejected, ..Counts::default() };
        let warning = |now, before| warning("rides", "record", &now, &before);
        assert_eq!(
            warning(counts(1000, 999), counts(0, 0)).unwrap(),
            "nearly all records of rides were refused: 999 of 1,000"
        );
        assert_eq!(warning(counts(1000, 899), counts(0, 0)), None);
        assert_eq!(warning(counts(10, 9), counts(0, 0)), None);
        assert_eq!(warning(counts(0, 0), counts(0, 0)), None);
        assert_eq!(warning(counts(1007, 7), counts(1000, 0)).unwrap(), "all 7 records of rides were refused");
        assert_eq!(warning(counts(1001, 1), counts(1000, 0)).unwrap(), "the only record of rides was refused");
        assert_eq!(warning(counts(1000, 1000), counts(1000, 1000)), None);
    }
}
