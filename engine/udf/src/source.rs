//! What a UDF takes and gives, read from its crate's source: a dynamic library does not say.

use std::path::{Path, PathBuf};
use std::time::Duration;

use syn::punctuated::Punctuated;
use syn::{
    Attribute, Expr, FnArg, GenericArgument, Item, ItemFn, Lit, Meta, PathArguments, ReturnType, Token, TypePath,
};

use crate::error::UdfError;
use crate::types::{Arg, Calling, Kind, Signature, Type};

/// A function marked with `#[udf]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declared {
    /// Its name.
    pub name: String,
    /// What it takes and gives.
    pub signature: Signature,
    /// What stands in the parentheses of `#[udf(..)]` of an async one.
    pub calling: Calling,
}

/// Reads the one function marked with `#[udf]` in a crate's `src`.
///
/// # Errors
/// Where there is none, or several, or its types do not cross.
pub fn read(folder: &Path) -> Result<Declared, UdfError> {
    let mut found: Vec<(PathBuf, ItemFn)> = Vec::new();
    let src = folder.join("src");
    for path in rust_files(&src) {
        let text = std::fs::read_to_string(&path).map_err(|e| {
            UdfError::unusable(format!("`{}` cannot be read: {e}", path.display()), "look at its rights")
        })?;
        let file = syn::parse_file(&text).map_err(|e| {
            let at: proc_macro2::LineColumn = e.span().start();
            let message = format!("{}:{}:{}: {e}", path.display(), at.line, at.column + 1);
            UdfError::unusable(
                message,
                format!("`cargo check --manifest-path {}/Cargo.toml` says more", folder.display()),
            )
        })?;
        functions(&file.items, &mut |f| found.push((path.clone(), f.clone())));
    }
    match found.as_slice() {
        [(_, function)] => declared(function),
        [] => Err(UdfError::unusable(
            format!("no function in `{}` is marked with #[udf]", src.display()),
            "write `use arroyo_udf_plugin::udf;` and `#[udf]` before the function",
        )),
        [_, (path, second), ..] => Err(UdfError::unusable(
            format!("a second function is marked with #[udf]: `{}` in `{}`", second.sig.ident, path.display()),
            "a library holds one UDF: make a crate of its own for each",
        )),
    }
}

/// The `.rs` files below a folder, by path.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

fn functions(items: &[Item], found: &mut dyn FnMut(&ItemFn)) {
    for item in items {
        match item {
            Item::Fn(function) if marker(&function.attrs).is_some() => found(function),
            Item::Mod(module) => functions(module.content.as_ref().map_or(&[], |(_, items)| items), found),
            _ => {}
        }
    }
}

fn marker(attributes: &[Attribute]) -> Option<&Attribute> {
    attributes.iter().find(|a| a.path().segments.last().is_some_and(|s| s.ident == "udf"))
}

fn declared(function: &ItemFn) -> Result<Declared, UdfError> {
    let name = function.sig.ident.to_string();
    let is_async = function.sig.asyncness.is_some();
    let mut args = Vec::new();
    let mut lists = 0;
    for (i, input) in function.sig.inputs.iter().enumerate() {
        let FnArg::Typed(typed) = input else {
            return Err(UdfError::unusable(format!("`{name}` takes `self`"), "a UDF is a free function"));
        };
        let place = format!("argument {} of `{name}`", i + 1);
        match item_of(&typed.ty) {
            Some(item) => {
                lists += 1;
                let item = of(item, &place)?;
                if item.data_type.width().is_none() {
                    let help = "an aggregate takes numbers: Vec<i64>, Vec<f64>, ..";
                    return Err(UdfError::unusable(format!("{place} is a Vec of {}", item.data_type), help));
                }
                args.push(item);
            }
            None => {
                lent(&typed.ty, &place)?;
                args.push(of(&typed.ty, &place)?);
            }
        }
    }
    if args.is_empty() {
        return Err(UdfError::unusable(
            format!("`{name}` takes nothing"),
            "a UDF takes at least one argument: it is called with the rows' values",
        ));
    }
    if lists > 0 && lists < args.len() {
        return Err(UdfError::unusable(
            format!("`{name}` takes both Vec and single values"),
            "an aggregate takes `Vec<..>` for every argument; a scalar for none",
        ));
    }
    if lists > 0 && is_async {
        return Err(UdfError::unusable(format!("`{name}` is async and takes Vec"), "aggregates cannot be async"));
    }
    let returns = match &function.sig.output {
        ReturnType::Default => {
            return Err(UdfError::unusable(
                format!("`{name}` returns nothing"),
                "give it a return type, such as `-> f64`",
            ));
        }
        ReturnType::Type(_, rust) => of(rust, &format!("the result of `{name}`"))?.data_type,
    };
    let kind = match (is_async, lists > 0) {
        (true, _) => Kind::Async,
        (false, true) => Kind::Aggregate,
        (false, false) => Kind::Scalar,
    };
    let calling = marker(&function.attrs).filter(|_| is_async).map_or(Ok(Calling::default()), |m| calling(m, &name))?;
    Ok(Declared { name, signature: Signature { kind, args, returns }, calling })
}

/// The item type of a `Vec<..>` that is a list: `Vec<u8>` is bytes.
fn item_of(rust: &syn::Type) -> Option<&syn::Type> {
    let syn::Type::Path(path) = rust else { return None };
    let item = generic(path, "Vec")?;
    (last(item).as_deref() != Some("u8")).then_some(item)
}

/// The argument of `name<..>`.
fn generic<'a>(path: &'a TypePath, name: &str) -> Option<&'a syn::Type> {
    let segment = path.path.segments.last().filter(|s| s.ident == name)?;
    let PathArguments::AngleBracketed(arguments) = &segment.arguments else { return None };
    match arguments.args.first() {
        Some(GenericArgument::Type(inner)) => Some(inner),
        _ => None,
    }
}

/// The last word of a type's path.
fn last(rust: &syn::Type) -> Option<String> {
    match rust {
        syn::Type::Path(path) => path.path.segments.last().map(|s| s.ident.to_string()),
        _ => None,
    }
}

/// Text and bytes are lent to a function, not given.
fn lent(rust: &syn::Type, place: &str) -> Result<(), UdfError> {
    let syn::Type::Path(path) = rust else { return Ok(()) };
    if let Some(inner) = generic(path, "Option") {
        return lent(inner, place);
    }
    let (owned, borrowed) = match last(rust).as_deref() {
        Some("String") => ("String", "&str"),
        Some("Vec") => ("Vec<u8>", "&[u8]"),
        _ => return Ok(()),
    };
    let help =
        format!("write `{borrowed}`: text and bytes are lent to the function; it returns them as String and Vec<u8>");
    Err(UdfError::unusable(format!("{place} is `{owned}`"), help))
}

fn of(rust: &syn::Type, place: &str) -> Result<Arg, UdfError> {
    if let syn::Type::Path(path) = rust
        && let Some(inner) = generic(path, "Option")
    {
        return Ok(Arg { optional: true, ..of(inner, place)? });
    }
    let plain = |data_type| Ok(Arg { data_type, optional: false });
    match rust {
        syn::Type::Reference(reference) => match reference.elem.as_ref() {
            syn::Type::Slice(slice) if last(&slice.elem).as_deref() == Some("u8") => plain(Type::Bytes),
            inner if last(inner).as_deref() == Some("str") => plain(Type::String),
            inner => Err(refused(inner, place)),
        },
        syn::Type::Path(path) => {
            if generic(path, "Vec").is_some_and(|item| last(item).as_deref() == Some("u8")) {
                return plain(Type::Bytes);
            }
            match last(rust).as_deref() {
                Some("i32") => plain(Type::Int),
                Some("i64") => plain(Type::Bigint),
                Some("u32") => plain(Type::Uint),
                Some("u64") => plain(Type::Ubigint),
                Some("f32") => plain(Type::Real),
                Some("f64") => plain(Type::Double),
                Some("String") => plain(Type::String),
                _ => Err(refused(rust, place)),
            }
        }
        _ => Err(refused(rust, place)),
    }
}

/// A type that does not cross, with what to do instead.
fn refused(rust: &syn::Type, place: &str) -> UdfError {
    let word = last(rust).unwrap_or_else(|| "this type".to_owned());
    let help = match word.as_str() {
        "bool" => "use i32 with 0 and 1; in SQL: CAST(flag AS INT) to pass it, udf(..) = 1 to ask for it",
        "i8" | "i16" | "u8" | "u16" | "isize" | "usize" => "use i32 or i64",
        "i128" | "u128" => "use i64 or u64",
        "Decimal" | "BigDecimal" | "Decimal128" => {
            "use i64 and count in the smallest unit: CAST(amount * 100 AS BIGINT) passes cents"
        }
        "SystemTime" | "DateTime" | "NaiveDateTime" | "NaiveDate" | "Instant" | "Date" => {
            "use i64 with microseconds since 1970: CAST(ts AS BIGINT) passes them"
        }
        "Duration" => "use i64 with a unit of your choice",
        "Vec" | "HashMap" | "BTreeMap" => {
            "lists do not cross: pass text (a JSON array) as String, or take one value per row"
        }
        "Result" => "return Option: None is null; a panic sends the row to `.failed` with its reason",
        _ => {
            "types: i32 i64 u32 u64 f32 f64 &str &[u8] (results: String, Vec<u8>), each also in an Option; pass the fields of a struct one by one"
        }
    };
    UdfError::unusable(format!("{place} is a type that cannot be passed: `{word}`"), help)
}

/// `#[udf(ordered, timeout = "10ms", allowed_in_flight = 100)]`.
fn calling(marker: &Attribute, name: &str) -> Result<Calling, UdfError> {
    let mut calling = Calling::default();
    let Meta::List(list) = &marker.meta else { return Ok(calling) };
    let bad = |e: &dyn std::fmt::Display| {
        let help = "options: ordered, unordered, timeout = \"5s\", allowed_in_flight = 1000";
        UdfError::unusable(format!("#[udf(..)] of `{name}`: {e}"), help)
    };
    let options = list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated).map_err(|e| bad(&e))?;
    for option in options {
        let word = option.path().segments.last().map(|s| s.ident.to_string()).unwrap_or_default();
        match (word.as_str(), &option) {
            ("ordered", Meta::Path(_)) => calling.ordered = true,
            ("unordered", Meta::Path(_)) => calling.ordered = false,
            ("timeout", Meta::NameValue(pair)) => match &pair.value {
                Expr::Lit(syn::ExprLit { lit: Lit::Str(text), .. }) => {
                    let duration = duration(&text.value());
                    calling.timeout = duration.ok_or_else(|| bad(&format!("`{}` is not a duration", text.value())))?;
                }
                _ => return Err(bad(&"`timeout` is a text")),
            },
            ("allowed_in_flight", Meta::NameValue(pair)) => match &pair.value {
                Expr::Lit(syn::ExprLit { lit: Lit::Int(number), .. }) => {
                    calling.max_in_flight = number.base10_parse().map_err(|e| bad(&e))?;
                }
                _ => return Err(bad(&"`allowed_in_flight` is a number")),
            },
            (word, _) => return Err(bad(&format!("there is no option `{word}`"))),
        }
    }
    Ok(calling)
}

/// A number and a unit, as the plugin reads them.
fn duration(text: &str) -> Option<Duration> {
    let at = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(at);
    let number: u64 = number.parse().ok()?;
    Some(match unit.trim() {
        "ns" | "nanos" => Duration::from_nanos(number),
        "µs" | "micros" => Duration::from_micros(number),
        "ms" | "millis" => Duration::from_millis(number),
        "s" | "secs" | "seconds" => Duration::from_secs(number),
        "m" | "mins" | "minutes" => Duration::from_secs(number.checked_mul(60)?),
        "h" | "hrs" | "hours" => Duration::from_secs(number.checked_mul(3600)?),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Declared, UdfError> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("src")).unwrap();
        std::fs::write(folder.path().join("src/lib.rs"), text).unwrap();
        read(folder.path())
    }

    #[test]
    fn every_type_that_crosses_is_read() {
        let found = parsed("use arroyo_udf_plugin::udf;\n\
             #[udf] fn all(a: i32, b: Option<i64>, c: u32, d: u64, e: f32, f: f64, g: &str, h: Option<&str>, i: &[u8], j: Option<&[u8]>) -> Option<String> { None }")
        .unwrap();
        assert_eq!(
            found.signature.to_string(),
            "(int, bigint?, uint, ubigint, real, double, string, string?, bytes, bytes?) -> string"
        );
        assert_eq!((found.name.as_str(), found.signature.kind), ("all", Kind::Scalar));
    }

    #[test]
    fn lists_make_an_aggregate_and_bytes_do_not() {
        assert_eq!(
            parsed("#[udf] fn m(a: Vec<f64>, b: Vec<Option<i64>>) -> f64 { 0.0 }").unwrap().signature.kind,
            Kind::Aggregate
        );
        assert_eq!(parsed("#[udf] fn m(a: &[u8]) -> Vec<u8> { vec![] }").unwrap().signature.kind, Kind::Scalar);
        assert!(parsed("#[udf] fn m(a: Vec<f64>, b: i64) -> f64 { 0.0 }").unwrap_err().to_string().contains("both"));
    }

    #[test]
    fn options_of_async_ones_are_read() {
        let found = parsed("mod inner { #[arroyo_udf_plugin::udf(ordered, timeout = \"10ms\", allowed_in_flight = 7)] async fn f(a: i64) -> i64 { a } }")
            .unwrap();
        assert_eq!(found.signature.kind, Kind::Async);
        let wanted =
            Calling { ordered: true, timeout: Duration::from_millis(10), max_in_flight: 7, deterministic: false };
        assert_eq!(found.calling, wanted);
        assert!(parsed("#[udf(fast)] async fn f(a: i64) -> i64 { a }").unwrap_err().to_string().contains("`fast`"));
    }

    #[test]
    fn what_does_not_cross_is_refused_with_what_to_do_instead() {
        for (rust, help) in [
            ("bool", "CAST(flag AS INT)"),
            ("rust_decimal::Decimal", "cents"),
            ("SystemTime", "microseconds"),
            ("Vec<Vec<i64>>", "lists"),
            ("MyStruct", "one by one"),
            ("u16", "i32"),
        ] {
            let error = parsed(&format!("#[udf] fn f(a: {rust}) -> i64 {{ 0 }}")).unwrap_err();
            assert!(error.help().unwrap().contains(help), "{rust}: {error} {:?}", error.help());
        }
        let error = parsed("#[udf] fn f(a: i64) -> Result<i64, String> { Ok(a) }").unwrap_err();
        assert!(error.help().unwrap().contains("Option"), "{error}");
    }

    #[test]
    fn text_is_lent() {
        for (rust, wanted) in [("String", "&str"), ("Option<String>", "&str"), ("Vec<u8>", "&[u8]")] {
            let error = parsed(&format!("#[udf] fn f(a: {rust}) -> i64 {{ 0 }}")).unwrap_err();
            assert!(error.help().unwrap().contains(wanted), "{rust}: {error}");
        }
        assert!(parsed("#[udf] fn f(a: Vec<String>) -> i64 { 0 }").unwrap_err().help().unwrap().contains("numbers"));
    }

    #[test]
    fn one_function_is_marked() {
        assert!(parsed("fn f(a: i64) -> i64 { a }").unwrap_err().to_string().contains("no function"));
        let two = parsed("#[udf] fn f(a: i64) -> i64 { a }\n#[udf] fn g(a: i64) -> i64 { a }").unwrap_err();
        assert!(two.to_string().contains("second"));
        assert!(parsed("#[udf] fn f() -> i64 { 1 }").unwrap_err().to_string().contains("nothing"));
        assert!(parsed("fn broken(").unwrap_err().to_string().contains("src/lib.rs:1:"));
    }
}
