//! Which streams a query names, before anything is known of them: what must be planned first.

use std::ops::Range;

use crate::parse::{self, Names};
use crate::text::Text;

/// The streams that `sql` names, in the order of the text, each with its bytes. None where it cannot be parsed: then
/// planning says why.
pub fn streams(sql: &str) -> Vec<(String, Option<Range<usize>>)> {
    let text = Text::new(sql);
    match parse::query(&text, sql) {
        Ok(tree) => Names::of(&text, &tree).streams,
        Err(_) => Vec::new(),
    }
}
