//! Small tables in plain text: aligned columns, a dim header, no lines.

use console::{Alignment, measure_text_width, pad_str, truncate_str};

use crate::terminal;

/// A column of a grid.
#[derive(Debug, Clone)]
pub(crate) struct Column {
    /// Its heading.
    pub(crate) name: String,
    /// Numbers stand to the right.
    pub(crate) right: bool,
}

/// Cells in rows, with a heading.
#[derive(Debug, Clone, Default)]
pub(crate) struct Grid {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

/// No column but the last is wider than this; the rest of a long text is cut.
const WIDEST: usize = 60;

impl Grid {
    /// An empty grid with columns; those marked `true` are aligned to the right.
    pub(crate) fn new<N: Into<String>>(columns: impl IntoIterator<Item = (N, bool)>) -> Self {
        let columns = columns.into_iter().map(|(name, right)| Column { name: name.into(), right }).collect();
        Self { columns, rows: Vec::new() }
    }
    /// Adds a row: as many cells as columns.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }
    /// Takes away the columns where `keep` is false, by index.
    pub(crate) fn keep(&mut self, keep: impl Fn(usize) -> bool) {
        let kept = |i: &mut usize| {
            *i += 1;
            keep(*i - 1)
        };
        let mut i = 0;
        self.columns.retain(|_| kept(&mut i));
        for row in &mut self.rows {
            let mut i = 0;
            row.retain(|_| kept(&mut i));
        }
    }
    fn widths(&self) -> Vec<usize> {
        let mut widths: Vec<usize> = self.columns.iter().map(|c| measure_text_width(&c.name)).collect();
        let last = widths.len().saturating_sub(1);
        for row in &self.rows {
            for (i, (width, cell)) in widths.iter_mut().zip(row).enumerate() {
                let widest = if i == last { usize::MAX } else { WIDEST };
                *width = (*width).max(measure_text_width(cell)).min(widest);
            }
        }
        widths
    }
    /// Columns it takes on the terminal.
    pub(crate) fn width(&self) -> usize {
        let widths = self.widths();
        widths.iter().sum::<usize>() + 2 * widths.len()
    }
    /// As text, each line indented by two.
    pub(crate) fn render(&self) -> String {
        let widths = self.widths();
        let names = self.columns.iter().map(|c| terminal::dim(&c.name)).collect::<Vec<_>>();
        let mut out = self.line(&names, &widths);
        for row in &self.rows {
            out.push_str(&self.line(row, &widths));
        }
        out
    }
    /// As text, a column per line and an empty line behind each row.
    pub(crate) fn render_down(&self) -> String {
        let width = self.columns.iter().map(|c| measure_text_width(&c.name)).max().unwrap_or(0);
        let mut out = String::new();
        for row in &self.rows {
            for (column, cell) in self.columns.iter().zip(row) {
                let name = pad_str(&column.name, width, Alignment::Left, None).into_owned();
                out.push_str(&format!("  {}  {cell}\n", terminal::dim(&name)));
            }
            out.push('\n');
        }
        out
    }
    fn line(&self, cells: &[String], widths: &[usize]) -> String {
        let mut line = String::new();
        for ((cell, column), width) in cells.iter().zip(&self.columns).zip(widths) {
            let align = if column.right { Alignment::Right } else { Alignment::Left };
            line.push_str("  ");
            line.push_str(&pad_str(&truncate_str(cell, *width, "…"), *width, align, None));
        }
        line.truncate(line.trim_end().len());
        line.push('\n');
        line
    }
}

/// Words in lines of at most `width` characters.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        console::set_colors_enabled(false);
        let mut grid = Grid::new([("name", false), ("rows", true), ("x", true)]);
        grid.row(vec!["a".into(), "1".into(), "·".into()]);
        grid.row(vec!["long name".into(), "1,000".into(), "·".into()]);
        grid.keep(|i| i < 2);
        assert_eq!(grid.render(), "  name        rows\n  a              1\n  long name  1,000\n");
    }
}
