//! Why a value was refused, and how a person reads it.

use millstream_core::format::Reason;
use millstream_core::schema::{Column as Declared, ColumnType};

/// Values longer than this are cut when they are shown.
const SHOWN: usize = 80;

/// What is wrong with one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Problem {
    /// The record does not have the field.
    Missing,
    /// A required value is null.
    Null,
    /// A required value other than a string is "".
    Empty,
    /// The value is of another type.
    WrongType,
    /// A whole number does not fit, or a double is infinite.
    OutOfRange,
    /// A decimal has more digits before its point than declared.
    DecimalOverflow,
    /// A decimal has more digits behind its point than declared, and nobody said how to round.
    ExcessDigits,
    /// No format reads it, or a clock change skips it.
    BadTimestamp,
    /// No format reads it.
    BadDate,
    /// The field is there twice.
    Duplicate,
}

impl Problem {
    /// The short, stable name it is counted by.
    pub(crate) fn rule(self) -> &'static str {
        match self {
            Self::Missing | Self::Null | Self::Empty => "missing_field",
            Self::WrongType => "wrong_type",
            Self::OutOfRange => "out_of_range",
            Self::DecimalOverflow => "decimal_overflow",
            Self::ExcessDigits => "excess_digits",
            Self::BadTimestamp => "bad_timestamp",
            Self::BadDate => "bad_date",
            Self::Duplicate => "duplicate_field",
        }
    }
}

/// What reasons say about a column.
#[derive(Debug, Clone)]
pub(crate) struct Described {
    /// As reasons name it: nested fields with dots.
    pub(crate) name: String,
    /// The declared type.
    type_name: String,
    /// The declared formats, for times.
    formats: Vec<String>,
}

impl Described {
    /// A column as the pipeline file declares it.
    pub(crate) fn new(declared: &Declared) -> Self {
        Self {
            name: declared.name.clone(),
            type_name: type_name(&declared.column_type),
            formats: declared.formats.clone(),
        }
    }

    /// The reason for refusing `value`, as it stands in the record.
    #[cold]
    pub(crate) fn reason(&self, problem: Problem, value: &[u8]) -> Reason {
        let Self { name, type_name, .. } = self;
        let value = shown(value);
        let text = match problem {
            Problem::Missing => format!("{name} is missing"),
            Problem::Null => format!("{name} is null"),
            Problem::Empty => format!("{name} is empty"),
            Problem::WrongType => format!("{name} {value} is not {} {type_name}", article(type_name)),
            Problem::OutOfRange => format!("{name} {value} is out of the range of {type_name}"),
            Problem::DecimalOverflow => format!("{name} {value} has more digits than {type_name} holds"),
            Problem::ExcessDigits => format!("{name} {value} has more digits behind the point than {type_name}"),
            Problem::BadTimestamp => {
                format!("{name} {value} is not a time of the form {}", self.forms("RFC 3339"))
            }
            Problem::BadDate => format!("{name} {value} is not a date of the form {}", self.forms("%Y-%m-%d")),
            Problem::Duplicate => format!("{name} is given more than once"),
        };
        Reason { rule: problem.rule().into(), text }
    }

    fn forms(&self, default: &str) -> String {
        if self.formats.is_empty() { default.into() } else { self.formats.join(" or ") }
    }
}

fn article(noun: &str) -> &'static str {
    if noun.starts_with(['a', 'e', 'i', 'o']) { "an" } else { "a" }
}

/// A type as the pipeline file writes it.
fn type_name(column_type: &ColumnType) -> String {
    match column_type {
        ColumnType::String => "string".into(),
        ColumnType::Int => "int".into(),
        ColumnType::Bigint => "bigint".into(),
        ColumnType::Double => "double".into(),
        ColumnType::Bool => "bool".into(),
        ColumnType::Decimal(precision, scale) => format!("decimal({precision},{scale})"),
        ColumnType::Timestamp => "timestamp".into(),
        ColumnType::Date => "date".into(),
        ColumnType::Bytes => "base64 text".into(),
        ColumnType::Json => "json value".into(),
        ColumnType::Struct(_) => "struct (a JSON object)".into(),
        ColumnType::List(..) => "list (a JSON array)".into(),
    }
}

/// A value for people: cut where it is long, on a character, and on one line.
pub(crate) fn shown(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value);
    let mut out: String = text.chars().take(SHOWN).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(SHOWN).is_some() {
        out.push('…');
    }
    out
}

/// A reason that concerns the whole record.
pub(crate) fn reason(rule: &str, text: impl Into<String>) -> Reason {
    Reason { rule: rule.into(), text: text.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_values_are_cut_on_a_character() {
        let long = "ü".repeat(100_000);
        let text = shown(long.as_bytes());
        assert_eq!(text.chars().count(), SHOWN + 1);
        assert!(text.ends_with('…'));
        assert_eq!(shown(b"a\nb"), "a b");
    }
}
