//! The only place that prints: results to stdout, everything else to stderr, and a block of live lines at the
//! bottom of a terminal that logs never tear apart.

use std::io::{IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use console::{Style, Term, truncate_str};

use crate::args::Color;

/// Lines of the live block that stand on the terminal now.
static LIVE: Mutex<usize> = Mutex::new(0);
static ROWS_HAVE_STDOUT: AtomicBool = AtomicBool::new(false);

fn live() -> MutexGuard<'static, usize> {
    LIVE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Settles when to use colours.
pub(crate) fn colors(when: Color) {
    let unwanted = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty())
        || std::env::var_os("TERM").is_some_and(|v| v == "dumb");
    let colored = |terminal: bool| match when {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => terminal && !unwanted,
    };
    console::set_colors_enabled(colored(std::io::stdout().is_terminal()));
    console::set_colors_enabled_stderr(colored(std::io::stderr().is_terminal()));
}

/// Whether stderr shows colours.
pub(crate) fn colored_stderr() -> bool {
    console::colors_enabled_stderr()
}

/// Whether somebody watches stderr.
pub(crate) fn is_live() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|v| v != "dumb")
}

/// Whether results go to a terminal.
pub(crate) fn is_shown() -> bool {
    std::io::stdout().is_terminal()
}

/// Columns of the terminal results are printed on; 100 where there is none.
pub(crate) fn width() -> usize {
    Term::stdout().size_checked().map_or(100, |(_, columns)| usize::from(columns).clamp(60, 200))
}

/// From now on results go to stderr: rows of the pipeline have stdout for themselves.
pub(crate) fn leave_stdout_to_rows() {
    ROWS_HAVE_STDOUT.store(true, Ordering::Relaxed);
}

/// Prints a result to stdout, as it is. A reader that went away (`| head`) is not an error.
pub(crate) fn out(text: &str) {
    if ROWS_HAVE_STDOUT.load(Ordering::Relaxed) {
        return note(text);
    }
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

/// Prints a line of a result.
pub(crate) fn line(text: &str) {
    out(&format!("{text}\n"));
}

/// Prints to stderr, above the live block.
pub(crate) fn note(text: &str) {
    let mut shown = live();
    erase(&mut shown);
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// `error: ..` on stderr.
pub(crate) fn error(message: &str) {
    let head = Style::new().red().bold().for_stderr().apply_to("error:");
    note(&format!("{head} {message}\n"));
}

/// `  = help: ..` on stderr.
pub(crate) fn help(message: &str) {
    let head = Style::new().cyan().for_stderr().apply_to("= help:");
    note(&format!("  {head} {message}\n"));
}

/// Replaces the live block at the bottom of stderr.
pub(crate) fn redraw(lines: &[String]) {
    let mut shown = live();
    erase(&mut shown);
    let columns = Term::stderr().size_checked().map_or(80, |(_, columns)| usize::from(columns));
    let mut text = String::new();
    for line in lines {
        text.push_str(&truncate_str(line, columns.saturating_sub(1), "…"));
        text.push('\n');
    }
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
    *shown = lines.len();
}

/// Takes the live block away.
pub(crate) fn clear() {
    erase(&mut live());
}

fn erase(shown: &mut usize) {
    if *shown > 0 {
        let _ = Term::stderr().clear_last_lines(*shown);
        *shown = 0;
    }
}

/// Text on stdout that stands out.
pub(crate) fn bold(text: &str) -> String {
    Style::new().bold().apply_to(text).to_string()
}
/// Text on stdout that stands back.
pub(crate) fn dim(text: &str) -> String {
    Style::new().dim().apply_to(text).to_string()
}
/// Good news on stdout.
pub(crate) fn green(text: &str) -> String {
    Style::new().green().apply_to(text).to_string()
}
/// Bad news on stdout.
pub(crate) fn red(text: &str) -> String {
    Style::new().red().bold().apply_to(text).to_string()
}
/// What to look at on stdout.
pub(crate) fn yellow(text: &str) -> String {
    Style::new().yellow().apply_to(text).to_string()
}
