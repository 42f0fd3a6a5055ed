//! What a person sees of a panic: one line, once.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::terminal;

static HAPPENED: AtomicBool = AtomicBool::new(false);

/// Whether something has panicked.
pub(crate) fn happened() -> bool {
    HAPPENED.load(Ordering::Acquire)
}

/// Replaces the default message and its stack trace. Panics that follow the first one are silent: they are its
/// consequences on other threads.
pub(crate) fn install() {
    std::panic::set_hook(Box::new(|panic| {
        if HAPPENED.swap(true, Ordering::AcqRel) {
            return;
        }
        let payload = panic.payload();
        let text = payload.downcast_ref::<&str>().map(|s| (*s).to_owned());
        let text = text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_default();
        let place = panic.location().map(|l| format!(" at {}:{}", l.file(), l.line())).unwrap_or_default();
        let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
        terminal::error(&format!("this is a bug in millstream, please report it: {line}{place}"));
    }));
}
