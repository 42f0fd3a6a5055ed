//! Text with places for a row's values: `late/date={arrived_at:%F}/{batch_id}.jsonl`.
//!
//! `{name}` stands for a column of the row, hidden columns by their names in SQL (`arrived_at`, `position`, `source`,
//! `split`) where no user column has that name, or else a variable such as `batch_id`. `{name:%Y-%m-%d}` writes a
//! timestamp or a date by strftime. `{{` and `}}` are braces.
//!
//! Values are written as in CSV, null as `null`. In a path ([`BoundTemplate::render_path`]) no value can begin a new
//! directory or leave its own, and unequal values stay unequal.

use std::ops::Range;

use arrow::datatypes::{DataType, SchemaRef};
use chrono::format::Item;
use millstream_core::Batch;
use millstream_core::batch::hidden;
use millstream_core::time::strftime_of;

use crate::temporal::{strftime_items, write_strftime};
use crate::value::Cells;

/// What is wrong with a template, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TemplateError {
    /// For the user.
    pub message: String,
    /// The bytes of the template's text it is about.
    pub range: Range<usize>,
}

/// A parsed template.
#[derive(Debug, Clone)]
pub struct Template {
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone)]
enum Piece {
    Literal(String),
    Value(Value),
}

#[derive(Debug, Clone)]
struct Value {
    name: String,
    /// Where the name and its format stand in the text, without the braces.
    range: Range<usize>,
    format: Option<Vec<Item<'static>>>,
}

impl Template {
    /// Parses a template.
    ///
    /// # Errors
    /// A brace without its other, an empty name, a format that is not strftime.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut at = 0;
        while let Some(rest) = text.get(at..).filter(|r| !r.is_empty()) {
            let Some(brace) = rest.find(['{', '}']) else {
                literal.push_str(rest);
                break;
            };
            let (plain, behind) = rest.split_at(brace);
            literal.push_str(plain);
            at += brace;
            if behind.starts_with("{{") || behind.starts_with("}}") {
                literal.extend(behind.chars().take(1));
                at += 2;
            } else if behind.starts_with('}') {
                let message = "`}` without `{`: write `}}` for a brace".to_owned();
                return Err(TemplateError { message, range: at..at + 1 });
            } else {
                let value = Value::parse(behind, at)?;
                at = value.range.end + 1;
                if !literal.is_empty() {
                    pieces.push(Piece::Literal(std::mem::take(&mut literal)));
                }
                pieces.push(Piece::Value(value));
            }
        }
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal));
        }
        Ok(Self { pieces })
    }

    /// The names the template uses, with their places in its text.
    pub fn names(&self) -> impl Iterator<Item = (&str, Range<usize>)> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Literal(_) => None,
            Piece::Value(value) => {
                let start = value.range.start;
                Some((value.name.as_str(), start..start + value.name.len()))
            }
        })
    }

    /// Finds the template's names in `schema`. Names that are no columns are left to the variables at rendering.
    ///
    /// # Errors
    /// A time format for something that is neither a timestamp nor a date.
    pub fn bind(&self, schema: &SchemaRef) -> Result<BoundTemplate, TemplateError> {
        let pieces = self.pieces.iter().map(|piece| match piece {
            Piece::Literal(text) => Ok(BoundPiece::Literal(text.clone())),
            Piece::Value(value) => {
                let origin = value.origin(schema)?;
                Ok(BoundPiece::Value { origin, format: value.format.clone() })
            }
        });
        Ok(BoundTemplate { pieces: pieces.collect::<Result<_, _>>()? })
    }
}

impl Value {
    /// The value whose brace begins `text`, at byte `at` of the whole.
    fn parse(text: &str, at: usize) -> Result<Self, TemplateError> {
        let Some(end) = text.find('}') else {
            let message = "`{` without `}`: write `{{` for a brace".to_owned();
            return Err(TemplateError { message, range: at..at + 1 });
        };
        let inner = text.get(1..end).unwrap_or_default();
        let range = at + 1..at + end;
        let (name, format) = match inner.split_once(':') {
            Some((name, format)) => (name, Some(format)),
            None => (inner, None),
        };
        if let Some(brace) = inner.find('{') {
            let message = "`{` inside a name or format: the `{` before it has no `}`".to_owned();
            return Err(TemplateError { message, range: range.start + brace..range.start + brace + 1 });
        }
        if name.is_empty() {
            let message = format!("`{{{inner}}}` has no name: write {{column}} or {{column:%Y-%m-%d}}");
            return Err(TemplateError { message, range });
        }
        if let Some(format) = format.filter(|f| !f.is_empty() && !f.contains('%')) {
            let meant = strftime_of(format).unwrap_or_else(|| "%Y-%m-%d".to_owned());
            let message = format!("the time format `{format}` has no `%` field in it: write `{meant}`");
            return Err(TemplateError { message, range: range.start + name.len() + 1..range.end });
        }
        let format = format.map(strftime_items).transpose().map_err(|message| {
            let start = range.start + name.len() + 1;
            TemplateError { message, range: start..range.end }
        })?;
        Ok(Self { name: name.to_owned(), range, format })
    }

    fn origin(&self, schema: &SchemaRef) -> Result<Origin, TemplateError> {
        let column = schema.index_of(&self.name).ok().or_else(|| schema.index_of(hidden::column_of(&self.name)?).ok());
        let origin = match (column, self.name.as_str()) {
            (Some(index), _) => Origin::Column(index),
            (None, "source") => Origin::Source,
            (None, "split") => Origin::Split,
            (None, name) => Origin::Variable(name.to_owned()),
        };
        if self.format.is_some() {
            let timed = column.and_then(|i| schema.fields().get(i)).is_some_and(|field| {
                matches!(field.data_type(), DataType::Timestamp(..) | DataType::Date32 | DataType::Date64)
            });
            if !timed {
                let message = format!("`{}` is neither a timestamp nor a date: it has no time format", self.name);
                return Err(TemplateError { message, range: self.range.clone() });
            }
        }
        Ok(origin)
    }
}

/// Where a value comes from.
#[derive(Debug, Clone)]
enum Origin {
    Column(usize),
    Source,
    Split,
    Variable(String),
}

/// A template whose names are found in a schema.
#[derive(Debug, Clone)]
pub struct BoundTemplate {
    pieces: Vec<BoundPiece>,
}

#[derive(Debug, Clone)]
enum BoundPiece {
    Literal(String),
    Value { origin: Origin, format: Option<Vec<Item<'static>>> },
}

impl BoundTemplate {
    /// Appends the text for a row of `batch`, which has the schema the template was bound to. A name that neither
    /// the row nor `variables` know is `null`.
    pub fn render(&self, batch: &Batch, row: usize, variables: &dyn Fn(&str) -> Option<String>, out: &mut String) {
        for piece in &self.pieces {
            match piece {
                BoundPiece::Literal(text) => out.push_str(text),
                BoundPiece::Value { origin, format } => {
                    write_value(origin, format.as_deref(), batch, row, variables, out);
                }
            }
        }
    }

    /// The same for a path below a directory: a value stays within its part of the path. What could leave it is
    /// written as `%` and two hexadecimal digits, so that unequal values give unequal paths.
    pub fn render_path(&self, batch: &Batch, row: usize, variables: &dyn Fn(&str) -> Option<String>, out: &mut String) {
        let mut value = String::new();
        for piece in &self.pieces {
            match piece {
                BoundPiece::Literal(text) => out.push_str(text),
                BoundPiece::Value { origin, format } => {
                    value.clear();
                    write_value(origin, format.as_deref(), batch, row, variables, &mut value);
                    if format.is_some() {
                        // A slash in a time format is the template's own.
                        out.push_str(&value);
                    } else {
                        sanitise(&value, out);
                    }
                }
            }
        }
    }

    /// Whether every row of a batch gives the same text: it names no column.
    pub fn is_constant(&self) -> bool {
        self.pieces.iter().all(|piece| match piece {
            BoundPiece::Literal(_) => true,
            BoundPiece::Value { origin, .. } => matches!(origin, Origin::Variable(_)),
        })
    }
}

fn write_value(
    origin: &Origin,
    format: Option<&[Item<'static>]>,
    batch: &Batch,
    row: usize,
    variables: &dyn Fn(&str) -> Option<String>,
    out: &mut String,
) {
    match origin {
        Origin::Column(index) => write_cell(*index, format, batch, row, out),
        Origin::Source => out.push_str(batch.origin.as_ref().map_or("null", |o| &o.source)),
        Origin::Split => out.push_str(batch.origin.as_ref().map_or("null", |o| &o.split)),
        Origin::Variable(name) => out.push_str(variables(name).as_deref().unwrap_or("null")),
    }
}

fn write_cell(index: usize, format: Option<&[Item<'static>]>, batch: &Batch, row: usize, out: &mut String) {
    let schema = batch.rows.schema_ref();
    let cells = match (schema.fields().get(index), batch.rows.columns().get(index)) {
        // One value only, so that a column of another layout is not widened whole.
        (Some(field), Some(array)) if row < array.len() => Cells::new(field, &array.slice(row, 1)).ok(),
        _ => None,
    };
    let Some(cells) = cells else {
        out.push_str("null");
        return;
    };
    match (format, cells.micros(0)) {
        (Some(items), Some(micros)) => write_strftime(micros, items, out),
        _ => {
            let mut text = Vec::new();
            cells.write_text(0, &mut text);
            out.push_str(&String::from_utf8_lossy(&text));
        }
    }
}

/// Appends a value to a path. Nothing is lost: `%` itself is escaped too.
fn sanitise(value: &str, out: &mut String) {
    if value.is_empty() {
        // An empty part would vanish, or make the path absolute.
        out.push_str("%00");
        return;
    }
    let only_dots = value.bytes().all(|b| b == b'.');
    for c in value.chars() {
        if c.is_control() || matches!(c, '/' | '\\' | '%') || only_dots {
            for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                out.push('%');
                out.extend([byte >> 4, byte & 15].iter().filter_map(|d| char::from_digit(u32::from(*d), 16)));
            }
        } else {
            out.push(c);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Date32Array, Decimal128Array, RecordBatch, StringArray, TimestampMicrosecondArray};
    use proptest::prelude::*;

    fn batch(name: &str) -> Batch {
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("name", Arc::new(StringArray::from(vec![Some(name), None]))),
            ("total", Arc::new(Decimal128Array::from(vec![2710, 5]).with_precision_and_scale(10, 2).unwrap())),
            ("date", Arc::new(Date32Array::from(vec![19_868, 0]))),
            (hidden::ARRIVED_AT, Arc::new(TimestampMicrosecondArray::from(vec![1_716_643_147_250_000, 0]))),
        ];
        let mut batch = Batch::new(RecordBatch::try_from_iter(columns).unwrap());
        batch.origin = Some(Arc::new(millstream_core::Origin { source: "trips".into(), split: "a/b".into() }));
        batch
    }
    fn render(template: &str, name: &str) -> String {
        let batch = batch(name);
        let bound = Template::parse(template).unwrap().bind(&batch.rows.schema()).unwrap();
        let mut out = String::new();
        bound.render(&batch, 0, &|n| (n == "batch_id").then(|| "b1".into()), &mut out);
        out
    }
    fn path(template: &str, name: &str) -> String {
        let batch = batch(name);
        let bound = Template::parse(template).unwrap().bind(&batch.rows.schema()).unwrap();
        let mut out = String::new();
        bound.render_path(&batch, 0, &|_| None, &mut out);
        out
    }

    #[test]
    fn values_braces_and_formats() {
        assert_eq!(render("{{{name}}} owes {total}", "Ann"), "{Ann} owes 27.10");
        assert_eq!(render("{date:%F} {date} {arrived_at:%H}", ""), "2024-05-25 2024-05-25 13");
        assert_eq!(render("{arrived_at}", ""), "2024-05-25T13:19:07.25Z");
        assert_eq!(render("{source}|{split}|{batch_id}|{unknown}", ""), "trips|a/b|b1|null");
        assert_eq!(render("", ""), "");
    }

    #[test]
    fn a_user_column_shadows_a_hidden_one() {
        let rows = RecordBatch::try_from_iter(vec![
            ("position", Arc::new(StringArray::from(vec!["north"])) as ArrayRef),
            (hidden::POSITION, Arc::new(StringArray::from(vec!["17"])) as ArrayRef),
        ]);
        let batch = Batch::new(rows.unwrap());
        let mut out = String::new();
        let bound = Template::parse("{position}").unwrap().bind(&batch.rows.schema()).unwrap();
        bound.render(&batch, 0, &|_| None, &mut out);
        assert_eq!(out, "north");
    }

    #[test]
    fn paths_stay_where_they_are() {
        assert_eq!(path("by/{name}/x", "a/../b"), "by/a%2f..%2fb/x");
        assert_eq!(path("by/{name}/x", ".."), "by/%2e%2e/x");
        assert_eq!(path("{name}/x", ""), "%00/x");
        assert_eq!(path("{name}/x", "100%\n"), "100%25%0a/x");
        assert_eq!(path("{split}/{date:%Y/%m}", ""), "a%2fb/2024/05");
    }

    #[test]
    fn errors_say_where() {
        let error = |text: &str| Template::parse(text).unwrap_err();
        assert_eq!(error("a{b").range, 1..2);
        assert_eq!(error("a}b").range, 1..2);
        assert_eq!(error("a{}b").range, 2..2);
        assert_eq!(error("a{date:%Q}").range, 7..9);
        assert_eq!(error("{date:}").range, 6..6);
        let java = error("{date:yyyy/MM}");
        assert_eq!((java.range, java.message.ends_with("write `%Y/%m`")), (6..13, true));
        let schema = batch("").rows.schema();
        let bind = |text: &str| Template::parse(text).unwrap().bind(&schema).unwrap_err();
        assert_eq!(bind("x{name:%F}").range, 2..9);
        assert_eq!(
            bind("{batch_id:%F}").message,
            "`batch_id` is neither a timestamp nor a date: it has no time format"
        );
    }

    #[test]
    fn names_have_their_places() {
        let template = Template::parse("{a}-{{b}}-{cc:%F}").unwrap();
        assert_eq!(template.names().collect::<Vec<_>>(), [("a", 1..2), ("cc", 11..13)]);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[{}a:%YQ0-9z+\\-.é]{0,20}") {
            if let Ok(template) = Template::parse(&text) {
                let batch = batch("x");
                if let Ok(bound) = template.bind(&batch.rows.schema()) {
                    bound.render_path(&batch, 1, &|_| None, &mut String::new());
                }
            }
        }
        #[test]
        fn unequal_values_give_unequal_paths(a in "[./%a\\\\\n]{0,4}", b in "[./%a\\\\\n]{0,4}") {
            prop_assert_eq!(a == b, path("{name}", &a) == path("{name}", &b));
            let within = path("x{name}", &a);
            prop_assert!(!within.contains('/'));
        }
    }
}
