//! Column types as the file writes them: `decimal(10,2)?`, `struct<lat: double, lon: double>?`, `list<string>`.

use std::ops::Range;

use millstream_core::schema::ColumnType;

use super::scalar::{Grammar, Misread};
use crate::codes;
use crate::suggest;

/// A type and whether it is optional.
pub(crate) struct Typed;

/// Types without arguments, by name.
const PLAIN: &[(&str, ColumnType)] = &[
    ("string", ColumnType::String),
    ("int", ColumnType::Int),
    ("bigint", ColumnType::Bigint),
    ("double", ColumnType::Double),
    ("bool", ColumnType::Bool),
    ("timestamp", ColumnType::Timestamp),
    ("date", ColumnType::Date),
    ("bytes", ColumnType::Bytes),
    ("json", ColumnType::Json),
];

/// What other systems call our types.
const FOREIGN: &[(&str, &str)] = &[
    ("text", "string"),
    ("varchar", "string"),
    ("char", "string"),
    ("str", "string"),
    ("utf8", "string"),
    ("integer", "int"),
    ("int32", "int"),
    ("smallint", "int"),
    ("tinyint", "int"),
    ("long", "bigint"),
    ("int64", "bigint"),
    ("float", "double"),
    ("float64", "double"),
    ("real", "double"),
    ("number", "decimal(p,s)"),
    ("numeric", "decimal(p,s)"),
    ("money", "decimal(10,2)"),
    ("boolean", "bool"),
    ("datetime", "timestamp"),
    ("time", "timestamp"),
    ("binary", "bytes"),
    ("blob", "bytes"),
    ("array", "list<..>"),
    ("map", "json"),
    ("object", "struct<..>"),
];

const HELP: &str = "types: string, int, bigint, double, bool, decimal(p,s), timestamp, date, bytes, json, struct<name: type, ..>, list<type>; \
     a `?` behind the type makes it optional";

impl Grammar for Typed {
    type Value = (ColumnType, bool);
    const FORMAT: &'static str = "column-type";
    const EXPECTED: &'static str = "a column type such as `decimal(10,2)?`";
    const EXAMPLES: &'static [&'static str] = &[
        "string",
        "int",
        "bigint",
        "double",
        "bool",
        "decimal(10,2)",
        "timestamp",
        "date",
        "bytes",
        "json",
        "string?",
        "struct<lat: double, lon: double>",
        "list<string>",
    ];

    fn parse(text: &str) -> Result<(ColumnType, bool), Misread> {
        let mut parser = TypeParser { text, at: 0, depth: 0 };
        let found = parser.column_type()?;
        parser.space();
        match parser.rest() {
            "" => Ok(found),
            rest => Err(bad(format!("`{rest}` behind the type")).at(parser.at..text.len())),
        }
    }
}

fn bad(message: impl Into<String>) -> Misread {
    Misread::new(codes::BAD_COLUMN_TYPE, message, HELP)
}

struct TypeParser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl<'a> TypeParser<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn space(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    fn take(&mut self, sign: char) -> bool {
        self.space();
        let found = self.rest().starts_with(sign);
        self.at += if found { sign.len_utf8() } else { 0 };
        found
    }

    fn expect(&mut self, sign: char, of: &str) -> Result<(), Misread> {
        if self.take(sign) {
            return Ok(());
        }
        let found = self.rest().chars().next().map_or_else(|| "the end".to_owned(), |c| format!("`{c}`"));
        Err(bad(format!("expected `{sign}` in `{of}`, found {found}")).at(self.here()))
    }

    /// The next character, or the last one at the end.
    fn here(&self) -> Range<usize> {
        match self.rest().chars().next() {
            Some(c) => self.at..self.at + c.len_utf8(),
            None => self.text.char_indices().next_back().map_or(0..0, |(i, _)| i..self.text.len()),
        }
    }

    fn word(&mut self) -> (&'a str, Range<usize>) {
        self.space();
        let start = self.at;
        let rest = self.rest();
        let len = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        self.at += len;
        (rest.get(..len).unwrap_or_default(), start..self.at)
    }

    fn column_type(&mut self) -> Result<(ColumnType, bool), Misread> {
        self.depth += 1;
        if self.depth > 16 {
            return Err(bad("types are nested too deeply"));
        }
        let (name, range) = self.word();
        let found = match name {
            "decimal" => self.decimal(range.start)?,
            "struct" => self.fields()?,
            "list" => {
                self.expect('<', "list<type>")?;
                let (item, optional) = self.column_type()?;
                self.expect('>', "list<type>")?;
                ColumnType::List(Box::new(item), optional)
            }
            _ => match PLAIN.iter().find(|(plain, _)| *plain == name) {
                Some((_, found)) => found.clone(),
                None => return Err(unknown(name, range)),
            },
        };
        self.depth -= 1;
        Ok((found, self.take('?')))
    }

    fn number(&mut self, of: &str) -> Result<(u8, Range<usize>), Misread> {
        let (digits, range) = self.word();
        match digits.parse() {
            Ok(number) => Ok((number, range)),
            Err(_) if digits.is_empty() => Err(bad(format!("expected a number in `{of}`")).at(self.here())),
            Err(_) => Err(bad(format!("`{digits}` is not a number of digits")).at(range)),
        }
    }

    fn decimal(&mut self, start: usize) -> Result<ColumnType, Misread> {
        const FORM: &str = "decimal(precision, scale)";
        self.expect('(', FORM)?;
        let (precision, digits) = self.number(FORM)?;
        let (scale, scale_digits) = if self.take(',') { self.number(FORM)? } else { (0, digits.clone()) };
        self.expect(')', FORM)?;
        if precision == 0 || precision > 38 {
            let help = "the precision is the number of all digits, 1 to 38; the scale is how many of them stand behind the point";
            let message = format!("a decimal has 1 to 38 digits, not {precision}");
            return Err(Misread::new(codes::BAD_COLUMN_TYPE, message, help).at(digits));
        }
        if scale > precision {
            let help =
                format!("`decimal(p,s)` has p digits, s of them behind the point: `decimal({scale},{precision})`?");
            let message = format!("{scale} digits behind the point of {precision} in all");
            return Err(Misread::new(codes::BAD_COLUMN_TYPE, message, help).at(scale_digits));
        }
        let scale = i8::try_from(scale).map_err(|_| bad("too many digits").at(start..self.at))?;
        Ok(ColumnType::Decimal(precision, scale))
    }

    fn fields(&mut self) -> Result<ColumnType, Misread> {
        const FORM: &str = "struct<name: type, ..>";
        self.expect('<', FORM)?;
        let mut fields: Vec<(String, ColumnType, bool)> = Vec::new();
        loop {
            let (name, range) = self.word();
            if name.is_empty() {
                return Err(bad(format!("expected the name of a field in `{FORM}`")).at(self.here()));
            }
            if fields.iter().any(|(field, ..)| field == name) {
                return Err(bad(format!("the field `{name}` stands twice")).at(range));
            }
            self.expect(':', FORM)?;
            let (found, optional) = self.column_type()?;
            fields.push((name.to_owned(), found, optional));
            if !self.take(',') {
                break;
            }
        }
        self.expect('>', FORM)?;
        Ok(ColumnType::Struct(fields))
    }
}

fn unknown(name: &str, range: Range<usize>) -> Misread {
    let lower = name.to_lowercase();
    let ours = PLAIN.iter().map(|(plain, _)| *plain).chain(["decimal", "struct", "list"]);
    let near = FOREIGN.iter().find(|(foreign, _)| *foreign == lower).map(|(_, ours)| *ours);
    let near = near.or_else(|| suggest::nearest(name, ours));
    let message = if name.is_empty() { "a type is missing".to_owned() } else { format!("no type `{name}`") };
    let help = near.map_or_else(|| HELP.to_owned(), |near| format!("did you mean `{near}`?"));
    let misread = Misread::new(codes::BAD_COLUMN_TYPE, message, help);
    if name.is_empty() { misread } else { misread.at(range) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_read() {
        let is = |text: &str, found, optional| assert_eq!(Typed::parse(text), Ok((found, optional)), "{text}");
        is("string", ColumnType::String, false);
        is("int?", ColumnType::Int, true);
        is("decimal(10,2)?", ColumnType::Decimal(10, 2), true);
        is("decimal( 38 , 38 )", ColumnType::Decimal(38, 38), false);
        is("list<int?>?", ColumnType::List(Box::new(ColumnType::Int), true), true);
        let point = vec![("lat".to_owned(), ColumnType::Double, false), ("lon".to_owned(), ColumnType::Double, true)];
        is("struct<lat: double, lon: double?>?", ColumnType::Struct(point), true);
    }

    #[test]
    fn mistakes_have_a_place_and_a_way_out() {
        let fails = |text: &str, at: &str, help: &str| {
            let error = Typed::parse(text).expect_err(text);
            let range = error.range.clone().unwrap_or(0..text.len());
            assert_eq!(&text[range], at, "{text}: {error:?}");
            assert!(error.help.contains(help), "{text}: {error:?}");
        };
        fails("strng", "strng", "`string`");
        fails("Int", "Int", "`int`");
        fails("float", "float", "`double`");
        fails("decimal(39,2)", "39", "1 to 38");
        fails("decimal(2,10)", "10", "`decimal(10,2)`?");
        fails("decimal", "l", "decimal(p,s)");
        fails("list<itn>", "itn", "`int`");
        fails("struct<a: int, a: int>", "a", "struct");
        fails("int x", "x", "types:");
        fails("", "", "types:");
        fails("list<int", "t", "list");
    }
}
