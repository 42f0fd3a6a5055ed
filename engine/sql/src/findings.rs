//! DataFusion's errors as findings: kind, place, and words for people.

use std::ops::Range;

use datafusion::common::{DataFusionError, SchemaError};

use crate::error::{SqlError, SqlErrorKind};
use crate::parse::Names;
use crate::relation::BadWindow;
use crate::text::{Text, suggest};

/// All findings of an error.
pub(crate) fn findings(error: &DataFusionError, text: &Text<'_>, names: &Names) -> Vec<SqlError> {
    error.iter().map(|e| finding(e, text, names)).collect()
}

fn finding(error: &DataFusionError, text: &Text<'_>, names: &Names) -> SqlError {
    let place = error.diagnostic().and_then(|d| d.span).and_then(|s| text.range(&s));
    if let DataFusionError::SchemaError(inner, _) = error.find_root() {
        return schema_finding(inner, place, names);
    }
    let kind = match error.find_root() {
        DataFusionError::NotImplemented(_) => SqlErrorKind::Unsupported,
        DataFusionError::SQL(..) => SqlErrorKind::Parse,
        DataFusionError::External(e) if e.is::<BadWindow>() => SqlErrorKind::BadWindow,
        DataFusionError::ArrowError(..) | DataFusionError::Execution(_) => SqlErrorKind::Execution,
        _ => SqlErrorKind::Planning,
    };
    let message = message(error);
    if message == "TOP" {
        let count = text.behind("TOP").unwrap_or("10");
        return SqlError::new(SqlErrorKind::Parse, "TOP is of another dialect")
            .at(text.word("TOP"))
            .help(format!("write `LIMIT {count}` at the end, behind ORDER BY"));
    }
    if let Some((_, call)) = message.split_once("Function '").filter(|_| message.contains("match any signature")) {
        let name = call.split('\'').next().unwrap_or_default();
        return SqlError::new(SqlErrorKind::Planning, format!("`{name}` does not take such arguments"))
            .at(place.or_else(|| names.call_at(&name.to_lowercase(), None)).or_else(|| text.word(name)))
            .help("look at their number and types; CAST(.. AS ..) changes a type".to_owned());
    }
    if let Some(twice) = message.strip_prefix("projections require unique expression names but the expression \"") {
        let name = twice.split('"').next().and_then(|n| n.rsplit('.').next()).unwrap_or_default();
        return twice_named(name).at(names.identifier_at(name));
    }
    if message.contains("must appear in GROUP BY")
        && let Some(column) = quoted(&message).next()
    {
        let column = column.rsplit('.').next().unwrap_or(column);
        return SqlError::new(SqlErrorKind::Planning, format!("`{column}` is neither in GROUP BY nor aggregated"))
            .at(place.or_else(|| names.identifier_at(column)))
            .help(format!("add it to GROUP BY, or aggregate it: MIN({column}), MAX({column})"));
    }
    if message.contains("non-boolean predicate") {
        return SqlError::new(SqlErrorKind::NotBoolean, "the condition is not true or false")
            .at(place.or_else(|| quoted(&message).find_map(|q| place_of(q, names))))
            .help("compare it with something, or ask IS NOT NULL".to_owned());
    }
    let place = place.or_else(|| quoted(&message).find_map(|q| place_of(q, names)));
    SqlError::new(kind, plain(&message, names)).at(place).help(help(&message).or_else(|| own_help(error)))
}

/// The help of an error that this crate made.
fn own_help(error: &DataFusionError) -> Option<String> {
    let own = matches!(error.find_root(), DataFusionError::External(_) | DataFusionError::NotImplemented(_));
    let diagnostic = error.diagnostic().filter(|_| own)?;
    diagnostic.helps.first().map(|h| h.message.clone())
}

/// The error's words: the diagnostic's where there is one, else the first sentence of the root's.
fn message(error: &DataFusionError) -> String {
    if let Some(diagnostic) = error.diagnostic() {
        return lower_first(&diagnostic.message);
    }
    let all = error.find_root().message().into_owned();
    let first = all.lines().map(str::trim).find(|l| !l.is_empty()).unwrap_or("the query cannot be planned");
    let sentence = first.split(". ").next().unwrap_or(first);
    let sentence = sentence.trim_start_matches("internal error: ").trim_start_matches("Error during planning: ");
    lower_first(&in_our_words(sentence.trim_end_matches('.')))
}

/// Arrow's names of types as the pipeline file has them.
fn in_our_words(message: &str) -> String {
    const TYPES: [(&str, &str); 9] = [
        ("Utf8View", "string"),
        ("LargeUtf8", "string"),
        ("Utf8", "string"),
        ("Int64", "bigint"),
        ("Int32", "int"),
        ("Float64", "double"),
        ("Boolean", "bool"),
        ("Date32", "date"),
        ("Decimal128", "decimal"),
    ];
    let words = TYPES.iter().fold(message.to_owned(), |text, (arrow, ours)| text.replace(arrow, ours));
    match words.split_once("Timestamp(").and_then(|(head, tail)| Some((head, tail.split_once(')')?.1))) {
        Some((head, tail)) => format!("{head}timestamp{tail}"),
        None => words,
    }
}

/// What to do, where the message is one that we know.
fn help(message: &str) -> Option<String> {
    if message.contains("must be part of an aggregate") {
        return Some("add it to GROUP BY, or aggregate it: min(..), max(..)".to_owned());
    }
    if message.contains("incompatible types") {
        return Some("CAST one of them to the type of the other".to_owned());
    }
    let types = message.contains("expects") || message.contains("argument types") || message.contains("coerc");
    types.then(|| "CAST the argument to the type it needs".to_owned())
}

/// What stands in single quotes.
fn quoted(message: &str) -> impl Iterator<Item = &str> {
    message.split('\'').skip(1).step_by(2)
}

/// Where a quoted function or column stands in the text.
fn place_of(quoted: &str, names: &Names) -> Option<Range<usize>> {
    let name = quoted.split('(').next().unwrap_or(quoted);
    names.call_at(&name.to_lowercase(), None).or_else(|| names.identifier_at(name.rsplit('.').next()?))
}

/// Quotes as ours, and columns without the stream they come from, where the text does not name it.
fn plain(message: &str, names: &Names) -> String {
    // An apostrophe between letters quotes nothing.
    let letters = |at: usize| {
        let (before, behind) = (message.get(..at), message.get(at + 1..));
        before.is_some_and(|b| b.ends_with(char::is_alphanumeric))
            && behind.is_some_and(|b| b.starts_with(char::is_alphanumeric))
    };
    let quotes: Vec<usize> = message.match_indices('\'').map(|(at, _)| at).filter(|at| !letters(*at)).collect();
    let mut out = String::new();
    let mut from = 0;
    for (i, at) in quotes.iter().copied().chain([message.len()]).enumerate() {
        let part = message.get(from..at).unwrap_or_default();
        let column = part.rsplit_once('.').map(|(_, c)| c).filter(|c| names.identifier_at(c).is_some());
        out.push_str(column.filter(|_| i % 2 == 1).unwrap_or(part));
        if at < message.len() {
            out.push('`');
        }
        from = at + 1;
    }
    out
}

fn twice_named(name: &str) -> SqlError {
    SqlError::new(SqlErrorKind::Planning, format!("two columns are named `{name}`"))
        .help("give one of them another name with AS".to_owned())
}

/// The words of an error in a value, for the reason of a refused row.
pub(crate) fn reason(error: &DataFusionError) -> String {
    let root = match error.find_root() {
        DataFusionError::ArrowError(e, _) => e.to_string(),
        other => other.message().into_owned(),
    };
    let line = root.lines().next().unwrap_or("an expression failed");
    let prefixes = ["Compute error: ", "Cast error: ", "Invalid argument error: ", "Arithmetic overflow: "];
    let line =
        prefixes.iter().fold(line, |l, p| if *p == "Arithmetic overflow: " { l } else { l.trim_start_matches(p) });
    lower_first(line)
}

/// Messages of others begin with a capital; ours do not.
pub(crate) fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    match (chars.next(), chars.clone().next()) {
        (Some(first), Some(second)) if first.is_uppercase() && second.is_lowercase() => {
            first.to_lowercase().chain(chars).collect()
        }
        _ => text.to_owned(),
    }
}

fn schema_finding(error: &SchemaError, place: Option<Range<usize>>, names: &Names) -> SqlError {
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => {
            let mut valid: Vec<&str> = valid_fields.iter().map(|c| c.name.as_str()).collect();
            valid.dedup();
            let relation = field.relation.as_ref().map(|r| format!(" in `{r}`")).unwrap_or_default();
            let other = valid_fields.iter().any(|c| c.name == field.name);
            let help = match (other, valid_fields.iter().find(|c| c.name == field.name)) {
                (true, Some(c)) => Some(format!("there is `{}`", c.flat_name())),
                _ => suggest(&field.name, "columns", &valid),
            };
            SqlError::new(SqlErrorKind::UnknownColumn, format!("no column named `{}`{relation}", field.name))
                .at(place.or_else(|| names.identifier_at(&field.name)))
                .help(help)
        }
        SchemaError::AmbiguousReference { field } if field.relation.is_some() => {
            twice_named(&field.name).at(place.or_else(|| names.identifier_at(&field.name)))
        }
        SchemaError::AmbiguousReference { field } => {
            SqlError::new(SqlErrorKind::Planning, format!("`{}` is a column of several streams here", field.name))
                .at(place.or_else(|| names.identifier_at(&field.name)))
                .help(format!("name the stream too: `stream.{}`", field.name))
        }
        SchemaError::DuplicateQualifiedField { name, .. } | SchemaError::DuplicateUnqualifiedField { name } => {
            twice_named(name).at(place.or_else(|| names.identifier_at(name)))
        }
    }
}
