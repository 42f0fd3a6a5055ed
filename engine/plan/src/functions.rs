//! The user's functions: built, loaded, and known to SQL before any of it is planned.

use std::path::Path;

use millstream_spec::model::{Pipeline, UdfFrom, UdfSpec};
use millstream_spec::{Finding, Severity, Span, Spanned, codes};
use millstream_sql::{Functions, is_built_in};
use millstream_udf::{Arg, Calling, Kind, Signature, Type, Udf, UdfError, compile, source};

/// What is wrong with one: code, place, message, help.
type Wrong = (&'static str, Span, String, Option<String>);

/// The functions of a file; what is wrong with one is put down, and nothing more is said of what calls it.
pub(crate) fn load(pipeline: &Pipeline, findings: &mut Vec<Finding>) -> Functions {
    let mut functions = Functions::new();
    for (id, spec) in &pipeline.udfs {
        match named(id, &functions).and_then(|()| udf(id, spec)) {
            Ok(udf) => functions.insert(udf),
            Err((code, span, message, help)) => {
                let path = format!("udfs.{}", id.value);
                findings.push(Finding { code, severity: Severity::Error, message, span, label: None, path, help });
                if code != codes::UDF_NAME {
                    functions.insert_unusable(&id.value);
                }
            }
        }
    }
    functions
}

/// Whether a name is free.
fn named(id: &Spanned<String>, functions: &Functions) -> Result<(), Wrong> {
    let taken = |message: String| Err((codes::UDF_NAME, id.span, message, Some("choose another id".to_owned())));
    if is_built_in(&id.value) {
        return taken(format!("SQL has a function `{}` already", id.value.to_lowercase()));
    }
    if let Some(other) = functions.udf(&id.value) {
        return taken(format!(
            "`{}` and `{}` are one name in SQL, which does not mind case here",
            other.name(),
            id.value
        ));
    }
    Ok(())
}

/// Builds and loads one.
fn udf(id: &Spanned<String>, spec: &UdfSpec) -> Result<Udf, Wrong> {
    let (signature, calling, place, library) = match &spec.from {
        UdfFrom::Crate(folder) => {
            let path = Path::new(&folder.value);
            if !path.join("Cargo.toml").is_file() {
                // Says so, with what to do.
                compile::library(path, &compile::cache()).map_err(|e| unusable(folder.span, &e))?;
            }
            let declared = source::read(path).map_err(|e| signature_of(folder.span, &e))?;
            options(id, spec, declared.signature.kind)?;
            let library = compile::library(path, &compile::cache()).map_err(|e| unusable(folder.span, &e))?;
            (declared.signature, declared.calling, folder.span, library)
        }
        UdfFrom::Library { path, args, returns, kind } => {
            let kind = match *kind {
                "aggregate" => Kind::Aggregate,
                "async" => Kind::Async,
                _ => Kind::Scalar,
            };
            options(id, spec, kind)?;
            let of = |name: &str| Type::named(name).unwrap_or(Type::String);
            let args = args.iter().map(|(name, optional)| Arg { data_type: of(name), optional: *optional }).collect();
            let signature = Signature { kind, args, returns: of(returns) };
            (signature, Calling::default(), path.span, Path::new(&path.value).to_path_buf())
        }
    };
    let calling = Calling {
        ordered: spec.ordered.unwrap_or(calling.ordered),
        timeout: spec.timeout.unwrap_or(calling.timeout),
        max_in_flight: spec.max_in_flight.unwrap_or(calling.max_in_flight).max(1),
        deterministic: spec.deterministic.unwrap_or(false),
    };
    Udf::load(&id.value, signature, calling, &library).map_err(|e| unusable(place, &e))
}

/// Options that only async ones have.
fn options(id: &Spanned<String>, spec: &UdfSpec, kind: Kind) -> Result<(), Wrong> {
    let given = [
        ("ordered", spec.ordered.is_some()),
        ("timeout", spec.timeout.is_some()),
        ("max_in_flight", spec.max_in_flight.is_some()),
        ("deterministic", spec.deterministic.is_some()),
    ];
    match given.iter().find(|(_, given)| *given && kind != Kind::Async) {
        Some((option, _)) => Err((
            codes::UDF_OPTION,
            id.span,
            format!("`{option}` has no meaning for `{}`, which is {}", id.value, article(kind)),
            Some("remove it, or make its function an `async fn`".to_owned()),
        )),
        None => Ok(()),
    }
}

fn article(kind: Kind) -> &'static str {
    match kind {
        Kind::Scalar => "a scalar",
        Kind::Aggregate => "an aggregate",
        Kind::Async => "async",
    }
}

fn unusable(span: Span, e: &UdfError) -> Wrong {
    (codes::UDF_UNUSABLE, span, e.to_string(), e.help().map(str::to_owned))
}

fn signature_of(span: Span, e: &UdfError) -> Wrong {
    (codes::UDF_SIGNATURE, span, e.to_string(), e.help().map(str::to_owned))
}
