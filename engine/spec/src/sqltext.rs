//! SQL inside YAML: from a place in the SQL to its place in the file.

use std::fmt;
use std::ops::Range;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error as _, SeqAccess, Visitor};

use crate::model::SqlText;
use crate::span::Span;
use crate::tree::{Node, Style};

/// Asks the deserializer for text, the place of the whole, and the places of its lines.
pub(crate) const SQL_TEXT: &str = "$millstream::SqlText";

/// For each line of a scalar's text, the byte of the file where it begins; empty where text and file do not
/// correspond byte for byte (folded, escaped, from a variable, behind an alias).
pub(crate) fn line_offsets(node: &Node, file: &str) -> Vec<usize> {
    let Some(text) = node.text().filter(|_| node.template.is_none()) else { return Vec::new() };
    let raw = file.get(node.span.start..node.span.end).unwrap_or_default();
    match node.style {
        Style::Literal => block_lines(text, file, node.span),
        Style::Plain if raw == text => vec![node.span.start],
        Style::Quoted if raw.get(1..raw.len().saturating_sub(1)) == Some(text) && !text.contains('\n') => {
            vec![node.span.start + 1]
        }
        _ => Vec::new(),
    }
}

/// The lines of a block scalar: each line of the text is the end of its line in the file, behind the indentation.
fn block_lines(text: &str, file: &str, span: Span) -> Vec<usize> {
    // The place of a block begins with its first text; the header is the last line with anything on it before that.
    let header = file.get(..span.start).unwrap_or_default().trim_end().len();
    let Some(rest) = file.get(header..).and_then(|rest| rest.find('\n')) else { return Vec::new() };
    let mut offsets = Vec::new();
    let mut at = header + rest + 1;
    let mut lines = text.split('\n').peekable();
    while let Some(line) = lines.next() {
        let raw = file.get(at..).unwrap_or_default();
        let raw_len = raw.find('\n').unwrap_or(raw.len());
        let raw_line = raw.get(..raw_len).unwrap_or_default().trim_end_matches('\r');
        if line.is_empty() && lines.peek().is_none() && !offsets.is_empty() {
            break;
        }
        if !raw_line.ends_with(line) {
            return Vec::new();
        }
        offsets.push(at + raw_line.len() - line.len());
        at += raw_len + 1;
    }
    offsets
}

impl SqlText {
    /// The place in the file of a range of bytes of the SQL; the whole scalar where that is not known.
    pub fn locate(&self, range: Range<usize>) -> Span {
        let at = |byte: usize| {
            let before = self.text.get(..byte)?;
            let line = before.matches('\n').count();
            let column = byte - before.rfind('\n').map_or(0, |n| n + 1);
            Some(self.line_offsets.get(line)? + column)
        };
        match (at(range.start), at(range.end)) {
            (Some(start), Some(end)) if start <= end => Span::new(start, end),
            _ => self.span,
        }
    }

    /// The place in the file of a range given as (line, column), both from 1 and columns in characters, as SQL
    /// parsers count; the end is exclusive. The whole scalar where that is not known.
    pub fn locate_lines(&self, start: (u64, u64), end: (u64, u64)) -> Span {
        match (self.byte(start), self.byte(end)) {
            (Some(start), Some(end)) if start <= end => self.locate(start..end),
            _ => self.span,
        }
    }

    /// The byte of the SQL at (line, column).
    fn byte(&self, (line, column): (u64, u64)) -> Option<usize> {
        let line = usize::try_from(line.checked_sub(1)?).ok()?;
        let column = usize::try_from(column.checked_sub(1)?).ok()?;
        let mut start = 0;
        for (i, text) in self.text.split('\n').enumerate() {
            if i == line {
                let within = text.char_indices().nth(column).map_or(text.len(), |(byte, _)| byte);
                return Some(start + within);
            }
            start += text.len() + 1;
        }
        None
    }
}

impl<'de> Deserialize<'de> for SqlText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = SqlText;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("SQL")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<SqlText, A::Error> {
                let text = seq.next_element()?.ok_or_else(|| A::Error::custom("no text"))?;
                let mut number = || seq.next_element::<usize>().map(Option::unwrap_or_default);
                let span = Span::new(number()?, number()?);
                let mut line_offsets = Vec::new();
                while let Some(offset) = seq.next_element()? {
                    line_offsets.push(offset);
                }
                Ok(SqlText { text, line_offsets, span })
            }
        }
        deserializer.deserialize_newtype_struct(SQL_TEXT, Text)
    }
}

impl JsonSchema for SqlText {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Sql".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "millstream-sql" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::findings::Findings;

    fn sql(file: &str) -> SqlText {
        let tree = crate::yaml::read(file, &mut Findings::default()).unwrap();
        crate::read::read(tree.get("sql").unwrap(), Span::default(), file).unwrap()
    }

    fn located(file: &str, word: &str) -> Option<String> {
        let sql = sql(file);
        let start = sql.text.find(word).unwrap();
        let span = sql.locate(start..start + word.len());
        (span != sql.span).then(|| file[span.start..span.end].to_owned())
    }

    #[test]
    fn block_scalars_are_mapped() {
        for header in ["|", "|-", "|+", "|2", "| # why"] {
            let file = format!("a: 1\nsql: {header}\n  SELECT é\n\n    FROM ports -- x\n  WHERE b\nz: 2\n");
            assert_eq!(located(&file, "ports").as_deref(), Some("ports"), "{header}");
            assert_eq!(located(&file, "WHERE").as_deref(), Some("WHERE"), "{header}");
            assert_eq!(sql(&file).locate_lines((3, 8), (3, 13)), {
                let at = file.find("ports").unwrap();
                Span::new(at, at + 5)
            });
        }
        let crlf = "sql: |\r\n  SELECT a\r\n  FROM b\r\n";
        assert_eq!(located(crlf, "FROM b").as_deref(), Some("FROM b"));
        let leading = "sql: |\n\n  SELECT a\n";
        assert_eq!(located(leading, "SELECT").as_deref(), Some("SELECT"));
    }

    #[test]
    fn single_lines_are_mapped() {
        assert_eq!(located("sql: SELECT a FROM b # c", "FROM").as_deref(), Some("FROM"));
        assert_eq!(located("sql: \"a <> ''\"", "<>").as_deref(), Some("<>"));
        assert_eq!(located("{ sql: 'a = 1', x: 2 }", "= 1").as_deref(), Some("= 1"));
    }

    #[test]
    fn what_cannot_be_mapped_falls_back_to_the_scalar() {
        assert_eq!(located("sql: >\n  SELECT a\n  FROM b\n", "FROM"), None);
        assert_eq!(located("sql: 'a <> '''' AND b'", "AND"), None);
        assert_eq!(located("sql: \"a = \\\"b\\\" AND c\"", "AND"), None);
        assert_eq!(located("sql: SELECT a\n  FROM b\n", "FROM"), None);
        assert_eq!(located("x: &s SELECT a\nsql: *s\n", "SELECT"), None);
    }

    #[test]
    fn an_alias_has_its_own_place() {
        let file = "x: &s SELECT a\nsql: *s\n";
        let span = sql(file).span;
        assert_eq!(&file[span.start..span.end], "*s");
    }

    proptest::proptest! {
        /// Whatever stands in a block, at whatever depth: each of its words is found where it stands in the file.
        #[test]
        fn every_part_of_a_block_is_mapped(
            lines in proptest::collection::vec("[a-zé'\"#:{}*&-][ a-zé'\"#:{}*&-]{0,12}", 1..6),
            indent in 1..5_usize,
            header in proptest::sample::select(vec!["|", "|-", "|+"]),
            crlf: bool,
        ) {
            let end = if crlf { "\r\n" } else { "\n" };
            let block: String = lines.iter().map(|line| format!("{}{}{end}", " ".repeat(indent), line.trim_end())).collect();
            let file = format!("a: 1{end}sql: {header}{end}{block}z: 1{end}");
            let sql = sql(&file);
            for (start, c) in sql.text.char_indices().filter(|(_, c)| *c != '\n') {
                let span = sql.locate(start..start + c.len_utf8());
                proptest::prop_assert_eq!(&file[span.start..span.end], c.to_string());
            }
        }
    }
}
