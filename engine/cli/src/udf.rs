//! `udf`: crates of functions: a new one, built, and tried with rows.

use std::io::{BufRead as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{Field, Schema};
use clap::{Args as ClapArgs, Subcommand};
use millstream_udf::{Calls, Kind, Udf, UdfError, compile, source, starter};

use crate::args::RowFormat;
use crate::exit::Failure;
use crate::udf_rows::{Rows, parse};
use crate::{number, rows, terminal};

/// What to do with UDFs.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum UdfCommand {
    /// Writes a crate to start from, with its test.
    New(NewArgs),
    /// Builds a crate, loads it, and says how a pipeline uses it.
    Build(BuildArgs),
    /// Calls a crate's function with rows and shows what it gives.
    Test(TestArgs),
}

/// Options of `udf new`.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct NewArgs {
    /// The crate's folder; its last part is the function's name.
    pub(crate) name: PathBuf,
    /// An async function: it may wait for a service.
    #[arg(long = "async", conflicts_with = "aggregate")]
    pub(crate) is_async: bool,
    /// An aggregate: one value per group.
    #[arg(long)]
    pub(crate) aggregate: bool,
}

/// Options of `udf build`.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct BuildArgs {
    /// Folders of crates.
    #[arg(required = true, value_name = "CRATE")]
    pub(crate) crates: Vec<PathBuf>,
}

/// Options of `udf test`.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct TestArgs {
    /// The crate's folder.
    #[arg(value_name = "CRATE")]
    pub(crate) folder: PathBuf,
    /// A row: a JSON array with one value per argument, '[12, 10]'. Several may be given; without any, lines of stdin are
    /// read.
    #[arg(long = "row", value_name = "JSON")]
    pub(crate) rows: Vec<String>,
    /// How results are shown.
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub(crate) format: RowFormat,
}

/// Runs the command.
pub(crate) fn execute(command: &UdfCommand) -> Result<(), Failure> {
    match command {
        UdfCommand::New(args) => new(args),
        UdfCommand::Build(args) => args.crates.iter().try_for_each(|folder| build(folder)),
        UdfCommand::Test(args) => test(args),
    }
}

fn failed(e: &UdfError) -> Failure {
    let failure = Failure::new(Failure::FILE, e.to_string());
    match e.help() {
        Some(help) => failure.help(help),
        None => failure,
    }
}

fn new(args: &NewArgs) -> Result<(), Failure> {
    let name = args.name.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    let is_name = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if !is_name {
        return Err(Failure::new(Failure::FILE, format!("`{name}` cannot be the name of a function"))
            .help("lower-case letters, digits and `_`, beginning with a letter: `trip_score`"));
    }
    if millstream_sql::is_built_in(name) {
        return Err(
            Failure::new(Failure::FILE, format!("SQL has a function `{name}` already")).help("choose another name")
        );
    }
    let kind = match (args.is_async, args.aggregate) {
        (true, _) => Kind::Async,
        (_, true) => Kind::Aggregate,
        _ => Kind::Scalar,
    };
    let shown = args.name.display();
    for (path, text) in starter(name, kind) {
        write(&args.name.join(path), &text)?;
    }
    terminal::line(&format!("wrote the crate {shown}: {} function with its test\n", article(kind)));
    let row = match kind {
        Kind::Scalar => "'[6, 7]'",
        Kind::Aggregate => "'[1]' --row '[9]'",
        Kind::Async => "'[7]'",
    };
    terminal::line(&format!("  millstream udf test {shown} --row {row}   {}", terminal::dim("calls it")));
    terminal::line(&format!("  cargo test --manifest-path {shown}/Cargo.toml   {}", terminal::dim("its own tests")));
    use_in_pipeline(&args.name, name);
    Ok(())
}

fn article(kind: Kind) -> &'static str {
    match kind {
        Kind::Scalar => "a scalar",
        Kind::Aggregate => "an aggregate",
        Kind::Async => "an async",
    }
}

fn use_in_pipeline(folder: &Path, name: &str) {
    terminal::line(&format!("\nin a pipeline:\n\n  udfs:\n    {name}: {{ crate: {} }}", folder.display()));
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let shown = path.display();
    let cannot = |e: std::io::Error| Failure::new(Failure::ENVIRONMENT, format!("`{shown}` cannot be written: {e}"));
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(cannot)?;
    }
    let mut file = std::fs::File::create_new(path).map_err(|e| match e.kind() {
        std::io::ErrorKind::AlreadyExists => {
            Failure::new(Failure::ENVIRONMENT, format!("`{shown}` is there already, and nothing is overwritten"))
                .help("choose another name, or remove the file")
        }
        _ => cannot(e),
    })?;
    file.write_all(text.as_bytes()).map_err(cannot)
}

/// The function of a crate, built where it has to be; and its library.
fn load(folder: &Path) -> Result<(Udf, PathBuf), Failure> {
    let usable = || {
        if !folder.join("Cargo.toml").is_file() {
            compile::library(folder, &compile::cache())?;
        }
        let declared = source::read(folder)?;
        let library = compile::library(folder, &compile::cache())?;
        let udf = Udf::load(&declared.name, declared.signature, declared.calling, &library)?;
        Ok((udf, library))
    };
    usable().map_err(|e| failed(&e))
}

fn build(folder: &Path) -> Result<(), Failure> {
    let (udf, library) = load(folder)?;
    let what = udf.signature();
    terminal::line(&format!("{} {}{what}   {}", terminal::green("✓"), udf.name(), terminal::dim(what.kind.name())));
    terminal::line(&format!("  {}", library.display()));
    use_in_pipeline(folder, udf.name());
    Ok(())
}

fn test(args: &TestArgs) -> Result<(), Failure> {
    let (udf, _) = load(&args.folder)?;
    let mut texts = args.rows.clone();
    if texts.is_empty() {
        let lines = std::io::stdin().lock().lines();
        let read = |e: std::io::Error| Failure::new(Failure::ENVIRONMENT, format!("stdin cannot be read: {e}"));
        for line in lines {
            texts.push(line.map_err(read)?);
        }
        texts.retain(|line| !line.trim().is_empty());
    }
    if texts.is_empty() {
        return Err(Failure::new(Failure::FILE, "no rows to call it with").help(format!(
            "--row '[..]' with {} values: {}{}",
            udf.signature().args.len(),
            udf.name(),
            udf.signature()
        )));
    }
    let given = parse(&udf, &texts)?;
    let (results, failures) = call(&udf, &given)?;
    let mut fields: Vec<Field> = (given.columns.iter().enumerate())
        .map(|(i, c)| Field::new(format!("argument {}", i + 1), c.data_type().clone(), true))
        .collect();
    let mut columns = given.columns.clone();
    if udf.signature().kind == Kind::Aggregate {
        (fields, columns) = (Vec::new(), Vec::new());
    }
    fields.push(Field::new(udf.name(), results.data_type().clone(), true));
    columns.push(results);
    let schema = Arc::new(Schema::new(fields));
    let shown = RecordBatch::try_new(schema.clone(), columns)
        .map_err(|e| Failure::new(Failure::RUNNING, format!("the results cannot be shown: {e}")))?;
    terminal::out(&rows::text(&schema, &[shown], args.format)?);
    for (row, why) in &failures {
        terminal::note(&format!("row {}: {why}\n", row + 1));
    }
    if failures.is_empty() {
        return Ok(());
    }
    terminal::note(&format!("{} of {} failed\n", failures.len(), number::of(texts.len() as u64, "row")));
    Err(Failure::silent(Failure::FILE))
}

/// What the function gives for each row.
fn each(udf: &Udf, given: &Rows) -> Result<Vec<Result<ArrayRef, UdfError>>, Failure> {
    if udf.signature().kind == Kind::Async {
        let calls = Calls::start(udf, || {}).map_err(|e| failed(&e))?;
        calls.call(0, &given.columns);
        return Ok(calls.wait().into_iter().map(|(_, answer)| answer).collect());
    }
    let one = |row| udf.call(&given.columns.iter().map(|c| c.slice(row, 1)).collect::<Vec<ArrayRef>>());
    Ok((0..given.len).map(one).collect())
}

/// What the function gives, null for rows it fails on, and why it does.
type Called = (ArrayRef, Vec<(usize, String)>);

fn call(udf: &Udf, given: &Rows) -> Result<Called, Failure> {
    if udf.signature().kind == Kind::Aggregate {
        let result = udf.aggregate(&given.sorted()?).map_err(|e| failed(&e))?;
        return Ok((result, Vec::new()));
    }
    let mut failures = Vec::new();
    let mut results = Vec::new();
    for (row, result) in each(udf, given)?.into_iter().enumerate() {
        results.push(result.unwrap_or_else(|e| {
            failures.push((row, e.to_string()));
            arrow::array::new_null_array(&udf.signature().returns.arrow(), 1)
        }));
    }
    let parts: Vec<&dyn arrow::array::Array> = results.iter().map(AsRef::as_ref).collect();
    let results = arrow::compute::concat(&parts).map_err(|e| Failure::new(Failure::RUNNING, e.to_string()))?;
    Ok((results, failures))
}
