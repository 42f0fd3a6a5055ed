//! The user's SQL text: from the parser's lines and columns (of characters) to bytes, and words that are alike.

use std::ops::Range;

use datafusion::common::{Location, Span};
use datafusion::sql::sqlparser::tokenizer;

/// A text with the byte offset of each of its lines.
#[derive(Debug)]
pub(crate) struct Text<'a> {
    text: &'a str,
    lines: Vec<usize>,
}

impl<'a> Text<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(i, _)| i + 1)).collect();
        Self { text, lines }
    }

    /// The byte at a line and a column, both counted from 1; `None` for the parser's empty location.
    fn byte(&self, line: u64, column: u64) -> Option<usize> {
        let start = *self.lines.get(usize::try_from(line.checked_sub(1)?).ok()?)?;
        let column = usize::try_from(column.checked_sub(1)?).ok()?;
        let rest = self.text.get(start..)?;
        Some(start + rest.char_indices().nth(column).map_or(rest.len(), |(i, _)| i))
    }

    fn between(&self, from: Option<usize>, to: Option<usize>) -> Option<Range<usize>> {
        match (from?, to?) {
            (from, to) if from < to => Some(from..to),
            (from, _) => Some(self.word_at(from)),
        }
    }

    /// The bytes of a DataFusion span.
    pub(crate) fn range(&self, span: &Span) -> Option<Range<usize>> {
        let byte = |l: &Location| self.byte(l.line, l.column);
        self.between(byte(&span.start), byte(&span.end))
    }

    /// The bytes of a parser's span.
    pub(crate) fn parser_range(&self, span: tokenizer::Span) -> Option<Range<usize>> {
        let byte = |l: tokenizer::Location| self.byte(l.line, l.column);
        self.between(byte(span.start), byte(span.end))
    }

    /// The bytes of a call whose name has this span: up to the parenthesis that closes its arguments.
    pub(crate) fn call_range(&self, name: tokenizer::Span) -> Option<Range<usize>> {
        let name = self.parser_range(name)?;
        let rest = self.text.get(name.end..)?;
        if !rest.trim_start().starts_with('(') {
            return Some(name);
        }
        let (mut depth, mut quote) = (0_usize, None);
        for (at, c) in rest.char_indices() {
            match (c, quote) {
                (c, Some(q)) if c == q => quote = None,
                (_, Some(_)) => {}
                ('\'' | '"', None) => quote = Some(c),
                ('(', None) => depth += 1,
                (')', None) if depth == 1 => return Some(name.start..name.end + at + 1),
                (')', None) => depth -= 1,
                _ => {}
            }
        }
        Some(name)
    }

    /// Where a word stands first, in whatever case.
    pub(crate) fn word(&self, word: &str) -> Option<Range<usize>> {
        let (text, word) = (self.text.to_ascii_lowercase(), word.to_ascii_lowercase());
        let of_name = |c: char| c.is_alphanumeric() || c == '_';
        let found = text.match_indices(&word).map(|(at, _)| at..at + word.len()).find(|r| {
            let (before, behind) = (text.get(..r.start), text.get(r.end..));
            !before.is_some_and(|b| b.ends_with(of_name)) && !behind.is_some_and(|b| b.starts_with(of_name))
        })?;
        (!found.is_empty()).then_some(found)
    }

    /// The number behind a word.
    pub(crate) fn behind(&self, word: &str) -> Option<&'a str> {
        let rest = self.text.get(self.word(word)?.end..)?.trim_start().trim_start_matches('(');
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        rest.get(..end).filter(|number| !number.is_empty())
    }

    /// Whether a word stands in it, in whatever case.
    pub(crate) fn has_word(&self, word: &str) -> bool {
        self.word(word).is_some()
    }

    /// The innermost parenthesis that is open before a byte, with the word before it and a little of what follows.
    pub(crate) fn open_before(&self, end: usize) -> Option<String> {
        const SHOWN: usize = 24;
        let before = self.text.get(..end)?;
        let (mut open, mut quote) = (Vec::new(), None);
        for (at, c) in before.char_indices() {
            match (c, quote) {
                (c, Some(q)) if c == q => quote = None,
                (_, Some(_)) => {}
                ('\'' | '"', None) => quote = Some(c),
                ('(', None) => open.push(at),
                (')', None) => drop(open.pop()),
                _ => {}
            }
        }
        let at = open.pop()?;
        let head = before.get(..at)?;
        let word = head.rfind(|c: char| !c.is_alphanumeric() && c != '_').map_or(0, |i| i + 1);
        let line = before.get(word..)?.lines().next()?.trim_end();
        let shown: String = line.chars().take(SHOWN).collect();
        Some(if shown.len() < line.len() { format!("{shown}..") } else { shown })
    }

    /// The word, or the one character, that begins at a byte.
    fn word_at(&self, at: usize) -> Range<usize> {
        let rest = self.text.get(at..).unwrap_or_default();
        let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        let one = rest.chars().next().map_or(0, char::len_utf8);
        at..at + word.max(one)
    }

    /// The place the parser's messages end with: ` at Line: 1, Column: 16`. Without one: the text's end.
    pub(crate) fn take_place(&self, message: &str) -> (String, Range<usize>) {
        let found = message.rsplit_once(" at Line: ").and_then(|(head, place)| {
            let (line, column) = place.split_once(", Column: ")?;
            let byte = self.byte(line.trim().parse().ok()?, column.trim().parse().ok()?)?;
            Some((head.to_owned(), byte))
        });
        match found {
            Some((head, byte)) if byte < self.text.len() => (head, self.word_at(byte)),
            Some((head, _)) => (head, self.end()),
            None => (message.to_owned(), self.end()),
        }
    }

    /// The last byte that is not blank, as a place for what is missing at the end.
    fn end(&self) -> Range<usize> {
        let trimmed = self.text.trim_end();
        trimmed.len() - trimmed.chars().next_back().map_or(0, char::len_utf8)..trimmed.len()
    }
}

/// The candidate that `name` was likely meant to be.
pub(crate) fn closest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = name.to_lowercase();
    let distance = |c: &str| strsim::damerau_levenshtein(&lower, &c.to_lowercase());
    let best = candidates.into_iter().map(|c| (distance(c), c)).min()?;
    (best.0 <= name.chars().count().div_ceil(3)).then_some(best.1)
}

/// A help line: the likely candidate, then all of them (shortened).
pub(crate) fn suggest(name: &str, what: &str, candidates: &[&str]) -> Option<String> {
    const SHOWN: usize = 12;
    let likely = closest(name, candidates.iter().copied()).map(|c| format!("did you mean `{c}`?"));
    let mut list = candidates.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ");
    if candidates.len() > SHOWN {
        list.push_str(", ..");
    }
    let list = (!list.is_empty()).then(|| format!("{what}: {list}"));
    match (likely, list) {
        (Some(likely), Some(list)) => Some(format!("{likely}  {list}")),
        (likely, list) => likely.or(list),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_characters_and_ranges_are_bytes() {
        let text = Text::new("é x\nsecond line");
        assert_eq!(text.byte(1, 3), Some(3));
        assert_eq!(text.byte(2, 1), Some(5));
        assert_eq!(text.byte(0, 0), None);
        let (message, range) = text.take_place("Expected: y, found: second at Line: 2, Column: 1");
        assert_eq!((message.as_str(), range), ("Expected: y, found: second", 5..11));
    }

    #[test]
    fn the_innermost_open_parenthesis_is_found() {
        let open = |sql: &str| Text::new(sql).open_before(sql.len());
        assert_eq!(open("SELECT a, upper(trim(b) ").as_deref(), Some("upper(trim(b)"));
        assert_eq!(open("SELECT ')' || (x + 1").as_deref(), Some("(x + 1"));
        assert_eq!(open("SELECT (a)"), None);
    }

    #[test]
    fn likely_names_are_suggested_and_unlike_ones_are_not() {
        assert_eq!(closest("fare_amout", ["fare_amount", "tip_amount"]), Some("fare_amount"));
        assert_eq!(closest("zzz", ["fare_amount"]), None);
        assert_eq!(suggest("a", "columns", &[]), None);
    }
}
