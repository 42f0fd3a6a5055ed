//! The functions of a file: what they take and give, what becomes of nulls, how calls are made.

use millstream_spec::Severity;
use millstream_udf::{Arg, Kind, Udf};
use serde_json::{Value, json};

use crate::exit::Failure;
use crate::grid::Grid;
use crate::load::{self, Loaded};
use crate::terminal;

/// Lists the functions of a file, in its order. What is wrong with the file is told, and those that can be used are listed.
pub(crate) fn print(file: &Loaded, json: bool) -> Result<(), Failure> {
    let (Some(planned), Ok(pipeline)) = (&file.planned, file.pipeline()) else {
        load::print(file);
        return Err(Failure::silent(Failure::FILE));
    };
    let udfs: Vec<&Udf> = pipeline.udfs.iter().filter_map(|(id, _)| planned.functions.udf(&id.value)).collect();
    if json {
        terminal::line(&format!("{:#}", json!({ "udfs": udfs.iter().map(|u| entry(u)).collect::<Vec<_>>() })));
    } else if pipeline.udfs.is_empty() {
        terminal::line(&format!("{} has no functions of its own: `udfs:` names them", file.name));
    } else if !udfs.is_empty() {
        let mut grid = Grid::new([("function", false), ("kind", false), ("nulls", false), ("calls", false)]);
        for udf in &udfs {
            let name = format!("{}{}", udf.name(), udf.signature());
            grid.row(vec![name, udf.signature().kind.name().to_owned(), nulls(udf), calls(udf)]);
        }
        terminal::out(&grid.render());
    }
    if udfs.len() == pipeline.udfs.len() {
        return Ok(());
    }
    let of_udfs = |f: &millstream_spec::Finding| f.severity == Severity::Error && f.path.starts_with("udfs.");
    let findings: Vec<_> = file.findings().into_iter().filter(of_udfs).collect();
    terminal::note(&millstream_spec::render(&findings, &file.name, &file.text, terminal::colored_stderr()));
    Err(Failure::silent(Failure::FILE))
}

fn entry(udf: &Udf) -> Value {
    let (signature, calling) = (udf.signature(), udf.calling());
    let arg = |a: &Arg| json!({ "type": a.data_type.name(), "optional": a.optional });
    let mut entry = json!({
        "name": udf.name(),
        "kind": signature.kind.name(),
        "args": signature.args.iter().map(arg).collect::<Vec<_>>(),
        "returns": signature.returns.name(),
    });
    if let (Kind::Async, Some(entry)) = (signature.kind, entry.as_object_mut()) {
        entry.insert("ordered".to_owned(), calling.ordered.into());
        entry.insert("timeout".to_owned(), humantime::format_duration(calling.timeout).to_string().into());
        entry.insert("max_in_flight".to_owned(), calling.max_in_flight.into());
        entry.insert("deterministic".to_owned(), calling.deterministic.into());
    }
    entry
}

/// What the function makes of nulls.
fn nulls(udf: &Udf) -> String {
    let args = &udf.signature().args;
    let all = args.iter().all(|a| a.optional);
    match udf.signature().kind {
        Kind::Aggregate if all => "it gets them".to_owned(),
        _ if all => "it is called with them".to_owned(),
        Kind::Aggregate if args.iter().any(|a| a.optional) => format!("it gets those of {}", optional(args)),
        Kind::Aggregate => "left out".to_owned(),
        _ if args.iter().any(|a| a.optional) => format!("give null, but for {}", optional(args)),
        _ => "give null".to_owned(),
    }
}

/// `argument 2`, `arguments 1, 3`: those that may be null.
fn optional(args: &[Arg]) -> String {
    let numbers = args.iter().zip(1..).filter(|(a, _)| a.optional).map(|(_, n)| n.to_string());
    let numbers: Vec<String> = numbers.collect();
    format!("argument{} {}", if numbers.len() == 1 { "" } else { "s" }, numbers.join(", "))
}

/// How calls are made.
fn calls(udf: &Udf) -> String {
    let calling = udf.calling();
    match udf.signature().kind {
        Kind::Scalar => "one per batch".to_owned(),
        Kind::Aggregate => "one per group".to_owned(),
        Kind::Async => format!(
            "{} at once, {} each, {}, {}",
            calling.max_in_flight,
            humantime::format_duration(calling.timeout),
            if calling.ordered { "in order" } else { "in any order" },
            if calling.deterministic { "deterministic" } else { "seen after a checkpoint" },
        ),
    }
}
