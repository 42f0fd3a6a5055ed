//! What concerns a column and its type together: options that fit no such type, the event time.
//!
//! Works on the tree, so that one broken column does not hide what is wrong with the others.

use millstream_core::schema::ColumnType;

use crate::codes;
use crate::file::column_type::Typed;
use crate::file::scalar::{Grammar, TimeFormat, unreadable};
use crate::findings::Findings;
use crate::path;
use crate::suggest;
use crate::tree::{Content, Key, Node};

/// An option of columns, the types it is for, and how to say that.
type ColumnOption = (&'static str, fn(&ColumnType) -> bool, &'static str);

const OPTIONS: [ColumnOption; 3] = [
    ("formats", |t| matches!(t, ColumnType::Timestamp | ColumnType::Date), "timestamps and dates"),
    ("timezone", |t| matches!(t, ColumnType::Timestamp), "timestamps"),
    ("excess_digits", |t| matches!(t, ColumnType::Decimal(..)), "decimals"),
];

/// Checks the columns of all sources.
pub(crate) fn check(root: &Node, findings: &mut Findings) {
    for (source, node) in root.get("sources").map(Node::entries).unwrap_or_default() {
        let at = path::key("sources", &source.text);
        let Some(schema) = node.get("schema") else { continue };
        for (column, options) in schema.entries() {
            let at = path::key(&path::key(&at, "schema"), &column.text);
            misfits(options, &at, findings);
            unreadable_formats(options, &path::key(&at, "formats"), findings);
        }
        if let Some(column) = node.get("event_time").and_then(|spec| spec.get("column")) {
            event_time(column, schema.entries(), &path::key(&at, "event_time.column"), findings);
        }
    }
}

/// The type of a column, where it can be read.
fn column_type(column: &Node) -> Option<ColumnType> {
    let text = column.text().or_else(|| column.get("type").and_then(Node::text))?;
    Typed::parse(text).ok().map(|(found, _)| found)
}

fn misfits(column: &Node, at: &str, findings: &mut Findings) {
    let Some(found) = column_type(column) else { return };
    for (key, _) in column.entries() {
        let Some((_, fits, types)) = OPTIONS.iter().find(|(option, ..)| *option == key.text) else { continue };
        if !contains(&found, fits) {
            findings
                .error(
                    codes::OPTION_MISFIT,
                    key.span,
                    &path::key(at, &key.text),
                    format!("`{}` has no meaning for this type", key.text),
                )
                .help(format!("it is for {types}: remove it, or change the type"));
        }
    }
}

/// Formats by which nothing can be read.
fn unreadable_formats(column: &Node, at: &str, findings: &mut Findings) {
    let (Some(found), Some(formats)) = (column_type(column), column.get("formats")) else { return };
    let is_timestamp = contains(&found, &|t| matches!(t, ColumnType::Timestamp));
    if !is_timestamp && !contains(&found, &|t| matches!(t, ColumnType::Date)) {
        return;
    }
    let each = match &formats.content {
        Content::List(items) => items.as_slice(),
        _ => std::slice::from_ref(formats),
    };
    for (i, node) in each.iter().enumerate().filter(|(_, node)| !node.unresolved) {
        let text = node.text().filter(|text| TimeFormat::parse(text).is_ok());
        if let Some((message, help)) = text.and_then(|text| unreadable(text, is_timestamp)) {
            findings.error(codes::BAD_TIME_FORMAT, node.span, &path::item(at, i), message).help(help);
        }
    }
}

/// Whether the type or a part of it is one of those.
fn contains(column_type: &ColumnType, is: &dyn Fn(&ColumnType) -> bool) -> bool {
    is(column_type)
        || match column_type {
            ColumnType::Struct(fields) => fields.iter().any(|(_, field, _)| contains(field, is)),
            ColumnType::List(item, _) => contains(item, is),
            _ => false,
        }
}

fn event_time(name: &Node, columns: &[(Key, Node)], at: &str, findings: &mut Findings) {
    let Some(text) = name.text().filter(|_| !name.unresolved) else { return };
    match columns.iter().find(|(key, _)| key.text == text) {
        None => {
            let known = columns.iter().map(|(key, _)| key.text.as_str());
            findings
                .error(codes::UNKNOWN_COLUMN, name.span, at, format!("no column named `{text}`"))
                .maybe_help(suggest::help(text, "columns", known));
        }
        Some((_, column)) if column_type(column).is_some_and(|found| found != ColumnType::Timestamp) => {
            findings
                .error(codes::COLUMN_TYPE, name.span, at, format!("`{text}` is not a timestamp"))
                .help("declare it with `type: timestamp` and its `formats`");
        }
        Some(_) => {}
    }
}
