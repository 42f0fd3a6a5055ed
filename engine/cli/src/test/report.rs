//! What a person, or a program, is told of tests.

use millstream_spec::Span;
use serde_json::{Value, json};

use super::expect::Difference;
use super::{Outcome, Problem, Tested};
use crate::grid::Grid;
use crate::load::{self, Loaded};
use crate::{number, terminal};

/// Rows of one kind that are shown.
const MOST_ROWS: usize = 12;

/// Line and column of a place, from 1.
fn place(loaded: &Loaded, span: Span) -> (usize, usize) {
    let before = loaded.text.get(..span.start.min(loaded.text.len())).unwrap_or_default();
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (before.matches('\n').count() + 1, column)
}

/// Prints a test's outcome to stdout.
pub(super) fn print(loaded: &Loaded, outcome: &Outcome) {
    let took = terminal::dim(&format!("({})", number::duration(outcome.took)));
    if outcome.problems.is_empty() {
        terminal::line(&format!("  {}      {} {took}", terminal::green("ok"), outcome.name));
        return;
    }
    terminal::line(&format!("  {}  {} {took}", terminal::red("FAILED"), outcome.name));
    for problem in &outcome.problems {
        print_problem(loaded, problem);
    }
    terminal::line("");
}

fn print_problem(loaded: &Loaded, problem: &Problem) {
    let (line, column) = place(loaded, problem.span);
    terminal::line(&format!("\n    {}", problem.message));
    terminal::line(&format!("    {}", terminal::dim(&format!("--> {}:{line}:{column}", loaded.name))));
    if let Some(difference) = &problem.difference {
        for line in table(difference).lines() {
            terminal::line(&format!("    {line}"));
        }
    }
    if let Some(help) = &problem.help {
        terminal::line(&format!("    = help: {help}"));
    }
}

fn table(difference: &Difference) -> String {
    let head = std::iter::once(String::new()).chain(difference.columns.iter().cloned());
    let mut grid = Grid::new(head.map(|name| (name, false)));
    let mut rows = |sign: &str, rows: &[Vec<String>], paint: fn(&str) -> String| {
        for row in rows.iter().take(MOST_ROWS) {
            grid.row(std::iter::once(paint(sign)).chain(row.iter().map(|cell| paint(cell))).collect());
        }
        if rows.len() > MOST_ROWS {
            let more = format!("{sign} … and {} more", rows.len() - MOST_ROWS);
            grid.row(std::iter::once(paint(&more)).collect());
        }
    };
    rows("as expected", &difference.matched, terminal::dim);
    rows("- expected", &difference.missing, terminal::red);
    rows("+ got", &difference.unexpected, terminal::green);
    grid.render()
}

/// The last line.
pub(super) fn tally(all: usize, failed: usize, filter: Option<&str>) {
    let text = match (all, failed, filter) {
        (0, _, Some(filter)) => format!("no test's name contains `{filter}`"),
        (0, _, None) => "no tests".to_owned(),
        (all, 0, _) => format!("{} passed", number::of(all as u64, "test")),
        (all, failed, _) => format!("{failed} of {} failed", number::of(all as u64, "test")),
    };
    terminal::line(&if failed > 0 { terminal::red(&text) } else { text });
}

/// Everything, for programs.
pub(super) fn document(files: &[Tested]) -> Value {
    let each = files.iter().map(|file| {
        let tests = file.outcomes.iter().map(|o| {
            let (line, column) = place(&file.loaded, o.span);
            json!({
                "name": o.name,
                "line": line,
                "column": column,
                "ok": o.problems.is_empty(),
                "seconds": o.took.as_secs_f64(),
                "problems": o.problems.iter().map(|p| problem(&file.loaded, p)).collect::<Vec<_>>(),
            })
        });
        json!({ "file": file.loaded.name, "tests": tests.collect::<Vec<_>>() })
    });
    let loaded: Vec<&Loaded> = files.iter().map(|f| &f.loaded).collect();
    json!({ "findings": load::findings_json(&loaded), "files": each.collect::<Vec<_>>() })
}

fn problem(loaded: &Loaded, problem: &Problem) -> Value {
    let (line, column) = place(loaded, problem.span);
    let plain = |rows: &[Vec<String>]| -> Value {
        rows.iter().map(|r| r.iter().map(|c| console::strip_ansi_codes(c).into_owned()).collect::<Vec<_>>()).collect()
    };
    let difference = problem.difference.as_ref().map(|d| {
        json!({
            "columns": d.columns,
            "matched": plain(&d.matched),
            "missing": plain(&d.missing),
            "unexpected": plain(&d.unexpected),
        })
    });
    json!({ "message": problem.message, "line": line, "column": column, "help": problem.help, "difference": difference })
}
