//! DataFusion's errors as findings: kind, place, and words for people.

use std::ops::Range;

use datafusion::common::{DataFusionError, SchemaError};

use crate::error::{SqlError, SqlErrorKind};
use crate::parse::Names;
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
        DataFusionError::ArrowError(..) | DataFusionError::Execution(_) => SqlErrorKind::Execution,
        _ => SqlErrorKind::Planning,
    };
    let help = error.diagnostic().and_then(|d| d.helps.first()).map(|h| h.message.clone());
    let (message, more) = message(error);
    SqlError::new(kind, message).at(place).help(help.or(more))
}

/// The error's words: the diagnostic's where there is one; else the root's first line, the others as help.
fn message(error: &DataFusionError) -> (String, Option<String>) {
    if let Some(diagnostic) = error.diagnostic() {
        return (lower_first(&diagnostic.message), None);
    }
    let all = error.find_root().message().into_owned();
    let mut lines = all.lines().map(str::trim).filter(|l| !l.is_empty());
    let first = lines.next().unwrap_or("the query cannot be planned");
    let rest = lines.take_while(|l| !l.contains("bug report")).collect::<Vec<_>>().join("; ");
    (lower_first(first.trim_end_matches('.')), (!rest.is_empty()).then_some(rest))
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

fn lower_first(text: &str) -> String {
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
        SchemaError::AmbiguousReference { field } => {
            SqlError::new(SqlErrorKind::Planning, format!("`{}` is a column of several streams here", field.name))
                .at(place.or_else(|| names.identifier_at(&field.name)))
                .help(format!("name the stream too: `stream.{}`", field.name))
        }
        SchemaError::DuplicateQualifiedField { name, .. } | SchemaError::DuplicateUnqualifiedField { name } => {
            SqlError::new(SqlErrorKind::Planning, format!("two columns are named `{name}`"))
                .at(place.or_else(|| names.identifier_at(name)))
                .help("give one of them another name with AS".to_owned())
        }
    }
}
