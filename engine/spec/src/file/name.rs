//! Names in the file: ids, the pipeline's name, columns; and the version of the language.

use super::scalar::{Grammar, Misread};
use crate::codes;

/// `1`, the version of the language.
pub(crate) struct Version;

impl Grammar for Version {
    type Value = ();
    const FORMAT: &'static str = "version";
    const EXPECTED: &'static str = "the version of the language, `1`";
    const EXAMPLES: &'static [&'static str] = &[];
    const NUMBERS: bool = true;

    fn parse(text: &str) -> Result<(), Misread> {
        match text {
            "1" => Ok(()),
            _ => Err(Misread::new(
                codes::VERSION,
                format!("version `{text}` of the language does not exist"),
                "write `version: 1`",
            )),
        }
    }
}

/// `daily_kpis`.
pub(crate) struct Id;

impl Grammar for Id {
    type Value = String;
    const FORMAT: &'static str = "id";
    const EXPECTED: &'static str = "a name such as `daily_kpis`";
    const EXAMPLES: &'static [&'static str] = &[];

    fn parse(text: &str) -> Result<String, Misread> {
        let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if !begins || !text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            let fixed: String = text.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
            let fixed = if fixed.starts_with(|c: char| c.is_ascii_digit()) { format!("_{fixed}") } else { fixed };
            let hint = if fixed.is_empty() { String::new() } else { format!("; `{fixed}` would do") };
            let help = format!("letters, digits and `_`, not beginning with a digit{hint}");
            return Err(Misread::new(codes::BAD_IDENTIFIER, format!("`{text}` is not an identifier"), help));
        }
        if text.starts_with("__") {
            let help = "names that begin with `__` are hidden columns and the engine's own";
            return Err(Misread::new(codes::RESERVED_NAME, format!("`{text}` begins with `__`"), help));
        }
        Ok(text.to_owned())
    }
}

/// `taxi-trips`, the name of a pipeline.
pub(crate) struct PipelineName;

impl Grammar for PipelineName {
    type Value = String;
    const FORMAT: &'static str = "name";
    const EXPECTED: &'static str = "a name such as `taxi_trips`";
    const EXAMPLES: &'static [&'static str] = &[];

    fn parse(text: &str) -> Result<String, Misread> {
        Id::parse(&text.replace('-', "_")).map(|_| text.to_owned()).map_err(|misread| {
            let message = format!("`{text}` cannot be the name of a pipeline");
            let help = misread.help.replace("letters, digits and `_`", "letters, digits, `_` and `-`");
            Misread { message, help, ..misread }
        })
    }
}

/// Name of a column: any text but the engine's own names.
pub(crate) struct ColumnName;

impl Grammar for ColumnName {
    type Value = String;
    const FORMAT: &'static str = "column-name";
    const EXPECTED: &'static str = "the name of a column";
    const EXAMPLES: &'static [&'static str] = &[];

    fn parse(text: &str) -> Result<String, Misread> {
        if text.is_empty() {
            return Err(Misread::new(codes::BAD_IDENTIFIER, "a column without a name", "give it a name"));
        }
        if text.starts_with("__") {
            let help = "names that begin with `__` are hidden columns; rename it with `path:`";
            return Err(Misread::new(codes::RESERVED_NAME, format!("`{text}` begins with `__`"), help));
        }
        Ok(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids() {
        assert!(Id::parse("daily_kpis2").is_ok());
        assert_eq!(Id::parse("daily-kpis").unwrap_err().code, codes::BAD_IDENTIFIER);
        assert_eq!(Id::parse("__x").unwrap_err().code, codes::RESERVED_NAME);
        assert!(Id::parse("2x").unwrap_err().help.contains("`_2x`"));
    }
}
