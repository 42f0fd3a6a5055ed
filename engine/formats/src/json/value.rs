//! One JSON value into one column, one JSON object into its columns.

use millstream_core::format::Reason;

use super::cursor::{Cursor, Syntax, Text};
use super::shape::{Previous, Shape};
use crate::column::{Column, Values};
use crate::problem::{Problem, reason, shown};

/// What decoding a record needs beside its columns.
#[derive(Debug)]
pub(crate) struct Context {
    /// Why the record is refused; empty while it is good.
    pub(crate) reasons: Vec<Reason>,
    /// Whether undeclared fields are refused.
    pub(crate) reject_extra: bool,
    /// Number of the object last begun, over all records.
    objects: u64,
    scratch: Vec<u8>,
}

impl Context {
    pub(crate) fn new(reject_extra: bool) -> Self {
        Self { reasons: Vec::new(), reject_extra, objects: 0, scratch: Vec::new() }
    }
    /// The number of a new object; a column whose `seen` is this number has its value.
    #[inline]
    pub(crate) fn begin_object(&mut self) -> u64 {
        self.objects += 1;
        self.objects
    }
    /// Notes a reason against the record.
    #[cold]
    pub(crate) fn refuse(&mut self, column: &Column, problem: Problem, value: &[u8]) {
        self.reasons.push(column.described.reason(problem, value));
    }
}

/// Decodes the object whose brace is here into its columns, all but what it lacks. `object` is its number.
#[inline]
pub(crate) fn decode_fields(
    cursor: &mut Cursor<'_>,
    shape: &mut Shape,
    columns: &mut [Column],
    object: u64,
    context: &mut Context,
) -> Result<usize, Syntax> {
    cursor.enter()?;
    cursor.space();
    let mut given = 0;
    if cursor.peek() != Some(b'}') {
        let mut previous: Previous = None;
        loop {
            let key = match shape.expected(previous) {
                Some((key, token)) if cursor.eat(token) => Some(key),
                _ => find_key(cursor, shape, previous, context)?,
            };
            cursor.space();
            given += decode_field(cursor, shape, key, columns, object, context)?;
            previous = key.or(previous);
            if !cursor.more(b'}')? {
                break;
            }
        }
    }
    cursor.leave();
    Ok(given)
}

/// Reads a key that was not expected, and its colon.
#[cold]
fn find_key(
    cursor: &mut Cursor<'_>,
    shape: &mut Shape,
    previous: Previous,
    context: &mut Context,
) -> Result<Option<usize>, Syntax> {
    if cursor.peek() != Some(b'"') {
        return Err(cursor.error("expected a field's name in quotes"));
    }
    let mut scratch = std::mem::take(&mut context.scratch);
    let name = match cursor.text(&mut scratch)? {
        Text::Plain(name) => name,
        Text::Unescaped => &scratch,
    };
    let found = shape.find(previous, name);
    if found.is_none() && context.reject_extra {
        context.reasons.push(extra(name));
    }
    context.scratch = scratch;
    cursor.expect(b':', "expected a colon")?;
    Ok(found)
}

fn extra(name: &[u8]) -> Reason {
    reason("extra_field", format!("{} is not declared", shown(name)))
}

/// Decodes the value of `key`; gives how many columns got it.
#[inline(always)]
fn decode_field(
    cursor: &mut Cursor<'_>,
    shape: &mut Shape,
    key: Option<usize>,
    columns: &mut [Column],
    object: u64,
    context: &mut Context,
) -> Result<usize, Syntax> {
    let column = key.and_then(|key| shape.column(key)).and_then(|column| columns.get_mut(column));
    match column {
        Some(column) => decode_column(cursor, column, object, context),
        None => decode_meaning(cursor, shape, key, columns, object, context),
    }
}

/// The same for a key that means no column, or more than one.
fn decode_meaning(
    cursor: &mut Cursor<'_>,
    shape: &mut Shape,
    key: Option<usize>,
    columns: &mut [Column],
    object: u64,
    context: &mut Context,
) -> Result<usize, Syntax> {
    let Some(meaning) = key.and_then(|key| shape.meaning(key)) else {
        cursor.skip()?;
        return Ok(0);
    };
    if meaning.is_ignored() {
        if context.reject_extra {
            let name = key.map(|key| shape.name(key)).unwrap_or_default();
            context.reasons.push(extra(name));
        }
        cursor.skip()?;
        return Ok(0);
    }
    let start = cursor.at();
    let mut given = 0;
    for column in &meaning.columns {
        cursor.rewind(start);
        if let Some(column) = columns.get_mut(*column) {
            given += decode_column(cursor, column, object, context)?;
        }
    }
    if let Some(inner) = &mut meaning.inner {
        cursor.rewind(start);
        given += decode_inner(cursor, inner, columns, object, context)?;
    }
    Ok(given)
}

/// Decodes the columns that lie within the value here.
fn decode_inner(
    cursor: &mut Cursor<'_>,
    shape: &mut Shape,
    columns: &mut [Column],
    object: u64,
    context: &mut Context,
) -> Result<usize, Syntax> {
    match cursor.peek() {
        Some(b'{') => return decode_fields(cursor, shape, columns, object, context),
        Some(b'n') => {
            cursor.literal(b"null")?;
            return Ok(0);
        }
        _ => {}
    }
    let start = cursor.at();
    cursor.skip()?;
    let value = cursor.since(start);
    for column in shape.columns() {
        if let Some(column) = columns.get_mut(column) {
            column.seen = object;
            context.refuse(column, Problem::WrongType, value);
        }
    }
    Ok(0)
}

/// Decodes the value here into the column of a field; gives 1, or 0 where the column has its value already.
#[inline]
fn decode_column(
    cursor: &mut Cursor<'_>,
    column: &mut Column,
    object: u64,
    context: &mut Context,
) -> Result<usize, Syntax> {
    if column.seen == object {
        context.refuse(column, Problem::Duplicate, b"");
        cursor.skip()?;
        return Ok(0);
    }
    column.seen = object;
    decode_value(cursor, column, context)?;
    Ok(1)
}

/// Decodes the value here into `column`: at once where it is written as its type usually is.
#[inline(always)]
pub(crate) fn decode_value(cursor: &mut Cursor<'_>, column: &mut Column, context: &mut Context) -> Result<(), Syntax> {
    let start = cursor.at();
    match (&mut column.values, cursor.peek()) {
        (Values::Text(texts), Some(b'"')) => {
            cursor.text_into(&mut texts.bytes)?;
            texts.end();
            column.nulls.append_non_null();
            return Ok(());
        }
        (Values::Int(values), Some(b'0'..=b'9' | b'-')) => {
            if let Some(value) = cursor.small_integer() {
                values.push(value);
                column.nulls.append_non_null();
                return Ok(());
            }
        }
        (Values::Int(values), Some(b'"')) => {
            if let Some(value) = cursor.small_integer_text() {
                values.push(value);
                column.nulls.append_non_null();
                return Ok(());
            }
        }
        (Values::Double(values), Some(b'0'..=b'9' | b'-')) => {
            let number = cursor.number()?;
            match number.to_f64(cursor.since(start)) {
                Ok(value) => {
                    values.push(value);
                    column.nulls.append_non_null();
                }
                Err(problem) => context.refuse(column, problem, cursor.since(start)),
            }
            return Ok(());
        }
        (Values::Decimal { values, decimal }, Some(b'0'..=b'9' | b'-')) => {
            let number = cursor.number()?;
            match number.decimal(cursor.since(start), decimal) {
                Ok(value) => {
                    values.push(value);
                    column.nulls.append_non_null();
                }
                Err(problem) => context.refuse(column, problem, cursor.since(start)),
            }
            return Ok(());
        }
        (Values::Timestamp { values, formats }, Some(b'"')) => {
            if let Text::Plain(text) = cursor.text(&mut context.scratch)?
                && let Some(micros) = formats.parse_exactly(text)
            {
                values.push(micros);
                column.nulls.append_non_null();
                return Ok(());
            }
            cursor.rewind(start);
        }
        _ => {}
    }
    decode_any(cursor, column, context)
}

/// Decodes the value here, whatever it is.
#[inline(never)]
fn decode_any(cursor: &mut Cursor<'_>, column: &mut Column, context: &mut Context) -> Result<(), Syntax> {
    let start = cursor.at();
    let outcome = match (cursor.peek(), &mut column.values) {
        (Some(b'n'), _) => {
            cursor.literal(b"null")?;
            column.push_nothing(Problem::Null)
        }
        (Some(_), Values::Json(texts)) => {
            cursor.skip()?;
            texts.bytes.extend_from_slice(cursor.since(start));
            texts.end();
            column.nulls.append_non_null();
            return Ok(());
        }
        (Some(b'-' | b'0'..=b'9'), _) => {
            let number = cursor.number()?;
            column.push_number(&number, cursor.since(start))
        }
        (Some(b'"'), _) => match cursor.text(&mut context.scratch)? {
            Text::Plain(text) => column.push_text(text),
            Text::Unescaped => column.push_text(&context.scratch),
        },
        (Some(b't'), _) => {
            cursor.literal(b"true")?;
            column.push_bool(true)
        }
        (Some(b'f'), _) => {
            cursor.literal(b"false")?;
            column.push_bool(false)
        }
        (Some(b'{'), Values::Struct { .. }) => return decode_struct(cursor, column, context),
        (Some(b'['), Values::List { .. }) => return decode_list(cursor, column, context),
        _ => {
            cursor.skip()?;
            Err(Problem::WrongType)
        }
    };
    if let Err(problem) = outcome {
        context.refuse(column, problem, cursor.since(start));
    }
    Ok(())
}

fn decode_struct(cursor: &mut Cursor<'_>, column: &mut Column, context: &mut Context) -> Result<(), Syntax> {
    let Values::Struct { shape, fields } = &mut column.values else {
        return cursor.skip();
    };
    let object = context.begin_object();
    let given = decode_fields(cursor, shape, fields, object, context)?;
    finish_fields(fields, given, object, context);
    column.nulls.append_non_null();
    Ok(())
}

fn decode_list(cursor: &mut Cursor<'_>, column: &mut Column, context: &mut Context) -> Result<(), Syntax> {
    let Values::List { offsets, item } = &mut column.values else {
        return cursor.skip();
    };
    cursor.enter()?;
    cursor.space();
    if cursor.peek() != Some(b']') {
        loop {
            decode_value(cursor, item, context)?;
            if !cursor.more(b']')? {
                break;
            }
        }
    }
    cursor.leave();
    offsets.push(item.nulls.len() as i32);
    column.nulls.append_non_null();
    Ok(())
}

/// Fills the columns that the object numbered `object` lacks; `given` is how many it had.
#[inline]
pub(crate) fn finish_fields(columns: &mut [Column], given: usize, object: u64, context: &mut Context) {
    if given == columns.len() {
        return;
    }
    for column in columns {
        if column.seen != object
            && let Err(problem) = column.push_nothing(Problem::Missing)
        {
            context.refuse(column, problem, b"");
        }
    }
}
