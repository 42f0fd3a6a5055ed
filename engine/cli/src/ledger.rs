//! The ledger as a table: what became of every row at every node, and whether it adds up.

use millstream_core::ledger::Counts;
use millstream_runtime::metrics::{NodeSnapshot, Snapshot};

use crate::grid::Grid;
use crate::{number, terminal};

const COLUMNS: [&str; 11] =
    ["node", "in", "out", "filtered", "rejected", "late", "duplicate", "failed", "merged", "held", "produced"];

/// Refused rows: columns that should catch the eye.
const REFUSED: [&str; 3] = ["rejected", "late", "failed"];

fn numbers(c: &Counts) -> [u64; 10] {
    [c.input, c.out, c.filtered, c.rejected, c.late, c.duplicate, c.failed, c.merged, c.held, c.produced]
}

fn cells(name: &str, counts: &Counts) -> Vec<String> {
    let mut cells = vec![name.to_owned()];
    for (n, column) in numbers(counts).into_iter().zip(COLUMNS.iter().skip(1)) {
        cells.push(match n {
            0 => terminal::dim("·"),
            n if REFUSED.contains(column) => terminal::yellow(&number::count(n)),
            n => number::count(n),
        });
    }
    cells
}

/// The table; columns that are zero everywhere give way where it would be wider than `width`.
pub(crate) fn table(snapshot: &Snapshot, width: usize) -> String {
    let mut grid = Grid::new(COLUMNS.iter().enumerate().map(|(i, name)| (*name, i > 0)));
    let mut sums = [0_u64; 10];
    let mut add = |name: &str, counts: &Counts| {
        grid.row(cells(name, counts));
        sums.iter_mut().zip(numbers(counts)).for_each(|(sum, n)| *sum += n);
    };
    for node in &snapshot.nodes {
        add(&node.id, &node.counts);
        if let Some(table) = &node.table {
            add(&format!("└ {}", table.id), &table.counts);
        }
    }
    if grid.width() > width {
        grid.keep(|i| i < 3 || sums.get(i - 1).is_some_and(|sum| *sum > 0));
    }
    grid.render()
}

/// One sentence that says whether it adds up, and where not.
pub(crate) fn verdict(snapshot: &Snapshot) -> Result<String, Vec<String>> {
    let edges = snapshot.nodes.iter().map(|n| n.edges.len() as u64).sum();
    let wrong: Vec<String> = snapshot.nodes.iter().flat_map(faults).collect();
    if wrong.is_empty() {
        let nodes = number::of(snapshot.nodes.len() as u64, "node");
        return Ok(format!("every row is accounted for: {nodes} and {} add up", number::of(edges, "edge")));
    }
    Err(wrong)
}

fn faults(node: &NodeSnapshot) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut sum = |name: &str, c: &Counts| {
        if !c.adds_up() {
            wrong.push(format!(
                "{name} took in {} rows and accounts for {}",
                number::count(c.input),
                number::count(c.accounted())
            ));
        }
    };
    sum(&node.id, &node.counts);
    if let Some(table) = &node.table {
        sum(&table.id, &table.counts);
    }
    for edge in node.edges.iter().filter(|e| e.given != e.taken) {
        let (given, taken) = (number::count(edge.given), number::count(edge.taken));
        wrong.push(format!("{} gave {given} rows and {} took {taken} of them", edge.from, node.id));
    }
    let taken = node.edges.iter().map(|e| e.taken).sum::<u64>();
    if wrong.is_empty() && !node.adds_up() {
        let (input, taken) = (number::count(node.counts.input), number::count(taken));
        wrong.push(format!("{} counted {input} rows in, and its edges brought {taken}", node.id));
    }
    wrong
}

#[cfg(test)]
mod tests {
    use millstream_runtime::metrics::{EdgeSnapshot, Latency};

    use super::*;

    fn node(id: &str, counts: Counts, edges: Vec<EdgeSnapshot>) -> NodeSnapshot {
        NodeSnapshot {
            id: id.to_owned(),
            kind: "operator".to_owned(),
            counts,
            table: None,
            ports: Vec::new(),
            edges,
            ..NodeSnapshot::default()
        }
    }

    fn snapshot(taken: u64, out: u64) -> Snapshot {
        let edge = EdgeSnapshot { from: "orders".to_owned(), given: 1000, taken };
        let counts = Counts { input: taken, out, rejected: 10, ..Counts::default() };
        Snapshot {
            nodes: vec![node("valid_orders", counts, vec![edge])],
            tick_latency: Latency::default(),
            row_latency: Latency::default(),
            in_flight_bytes: 0,
            checkpoint: None,
            checkpoint_since: None,
        }
    }

    #[test]
    fn a_narrow_table_leaves_out_what_is_zero_everywhere() {
        console::set_colors_enabled(false);
        let text = table(&snapshot(1000, 990), 40);
        assert_eq!(text, "  node             in  out  rejected\n  valid_orders  1,000  990        10\n");
        assert!(table(&snapshot(1000, 990), 200).contains("duplicate"));
    }

    #[test]
    fn a_lost_row_is_named() {
        assert!(verdict(&snapshot(1000, 990)).is_ok());
        let lost = verdict(&snapshot(1000, 989)).unwrap_err();
        assert_eq!(lost, ["valid_orders took in 1,000 rows and accounts for 999"]);
        let lost = verdict(&snapshot(999, 989)).unwrap_err();
        assert_eq!(lost, ["orders gave 1,000 rows and valid_orders took 999 of them"]);
    }
}
