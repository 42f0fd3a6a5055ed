//! `udfs.<id>`.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

use super::scalar::{DurationText, Grammar, Misread, Parsed};
use crate::codes;
use crate::span::Spanned;
use crate::suggest;

/// A function of your own, written in Rust against `arroyo-udf-plugin`; SQL calls it by its id. Either `crate` or
/// `library`. `millstream udf new NAME` writes one.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Udf {
    /// Folder of the crate: built with cargo when its content changes; arguments and result are read from its source.
    #[serde(rename = "crate")]
    pub(crate) folder: Option<Spanned<String>>,
    /// A built library (`.so`, `.dylib`), instead of `crate`; then `args` and `returns` say what it takes and gives.
    pub(crate) library: Option<Spanned<String>>,
    /// Types of the arguments of a `library`: int (i32), bigint (i64), uint (u32), ubigint (u64), real (f32), double
    /// (f64), string, bytes; a `?` behind it where the function takes an `Option`.
    #[serde(default)]
    #[schemars(schema_with = "types")]
    pub(crate) args: Option<Vec<UdfTypeText>>,
    /// Type of the result of a `library`.
    pub(crate) returns: Option<UdfTypeText>,
    /// What a `library` is. Default: `scalar`.
    pub(crate) kind: Option<UdfKind>,
    /// Async: whether rows go on in the order they came. Default: as `#[udf(..)]` says, else false.
    pub(crate) ordered: Option<bool>,
    /// Async: how long one call may take; then its row leaves by `.failed`. Default: as `#[udf(..)]` says, else 5s.
    pub(crate) timeout: Option<DurationText>,
    /// Async: the most calls under way at once, per worker. Default: as `#[udf(..)]` says, else 1000.
    #[schemars(range(min = 1, max = 100_000))]
    pub(crate) max_in_flight: Option<u32>,
    /// Async: whether equal arguments always give equal results. Results may then be used before a checkpoint holds them.
    /// Default: false.
    pub(crate) deterministic: Option<bool>,
}

/// What a library is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum UdfKind {
    /// One value per row.
    Scalar,
    /// One value per group, from all of its values.
    Aggregate,
    /// One value per row, later: it may call a service.
    Async,
}

/// A type that crosses into a UDF.
pub(crate) type UdfTypeText = Parsed<UdfType>;

/// `bigint?`.
pub(crate) struct UdfType;

/// Types by name.
const TYPES: [&str; 8] = ["int", "bigint", "uint", "ubigint", "real", "double", "string", "bytes"];

impl Grammar for UdfType {
    type Value = (String, bool);
    const FORMAT: &'static str = "udf-type";
    const EXPECTED: &'static str = "a type such as `bigint`";
    const EXAMPLES: &'static [&'static str] = &["int", "bigint", "double", "string", "bytes", "bigint?"];

    fn parse(text: &str) -> Result<(String, bool), Misread> {
        let (name, optional) = text.strip_suffix('?').map_or((text, false), |name| (name, true));
        if TYPES.contains(&name) {
            return Ok((name.to_owned(), optional));
        }
        let instead = match name.split(['(', '<']).next().unwrap_or(name).trim() {
            "bool" | "boolean" => Some("use int with 0 and 1, and i32 in Rust: CAST(flag AS INT) passes it"),
            "decimal" | "numeric" | "money" => Some(
                "use bigint and count in the smallest unit, i64 in Rust: CAST(amount * 100 AS BIGINT) passes cents",
            ),
            "timestamp" | "datetime" | "date" => {
                Some("use bigint with microseconds since 1970, i64 in Rust: CAST(ts AS BIGINT) passes them")
            }
            "list" | "array" => Some("pass one item per row, or a JSON text as string"),
            "struct" | "json" | "map" => Some("pass its fields one by one, or a JSON text as string"),
            _ => None,
        };
        let help = instead.map(str::to_owned).or_else(|| suggest::help(name, "types", TYPES));
        Err(Misread::new(codes::UDF_SIGNATURE, format!("`{text}` cannot be passed to a UDF"), help.unwrap_or_default()))
    }
}

fn types(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "array", "minItems": 1, "items": generator.subschema_for::<UdfTypeText>() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_that_do_not_cross_have_a_stand_in() {
        assert_eq!(UdfType::parse("bigint?").unwrap(), ("bigint".to_owned(), true));
        for (text, help) in
            [("decimal(10,2)", "cents"), ("bool", "0 and 1"), ("timestamp", "microseconds"), ("bigin", "`bigint`")]
        {
            let misread = UdfType::parse(text).unwrap_err();
            assert!(misread.help.contains(help), "{text}: {}", misread.help);
        }
    }
}
