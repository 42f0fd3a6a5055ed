//! `test`: the tests inside a pipeline file, through the real runtime on a stage.
//!
//! ```text
//! steps --runner--> stage (real operators, connectors in memory) --expect--> differences --report--> terminal
//!           |
//!           +-- crash, restart: the process ends, another goes on from the same checkpoints on the same stage
//! ```

mod crash;
mod expect;
mod process;
mod record;
mod report;
mod runner;
mod scene;
mod value;

use std::path::Path;
use std::time::Duration;

use millstream_core::connector::Registry;
use millstream_plan::Profile;
use millstream_spec::Span;
use millstream_spec::model::{Pipeline, Test};

use crate::args::TestArgs;
use crate::exit::Failure;
use crate::load::{self, Loaded, Purpose};
use crate::{number, registry, run, terminal};

/// A test that was run.
struct Outcome {
    name: String,
    span: Span,
    took: Duration,
    /// Empty where it passed.
    problems: Vec<Problem>,
}

/// Something that is not as the test says.
#[derive(Debug)]
struct Problem {
    /// Where the file says so.
    span: Span,
    message: String,
    help: Option<String>,
    /// Rows that differ.
    difference: Option<expect::Difference>,
}

impl Problem {
    fn new(span: Span, message: impl Into<String>) -> Self {
        Self { span, message: message.into(), help: None, difference: None }
    }
}

/// A file with its tests' outcomes.
struct Tested {
    loaded: Loaded,
    outcomes: Vec<Outcome>,
}

/// Runs the command.
pub(crate) fn execute(args: &TestArgs) -> Result<(), Failure> {
    let registry = registry::registry();
    let mut files = Vec::new();
    for path in &args.files {
        files.push(run::play(file(path, args, &registry))?);
    }
    if args.json {
        terminal::line(&format!("{:#}", report::document(&files)));
    }
    let all = || files.iter().flat_map(|f| &f.outcomes);
    let failed = all().filter(|o| !o.problems.is_empty()).count();
    let broken = files.iter().filter(|f| f.loaded.has_errors()).count();
    if !args.json && (broken == 0 || all().count() > 0) {
        report::tally(all().count(), failed, args.filter.as_deref());
    }
    // A filter that names no test is a slip: nothing was tested.
    let slipped = args.filter.is_some() && all().count() == 0;
    if failed + broken > 0 || slipped { Err(Failure::silent(Failure::FILE)) } else { Ok(()) }
}

/// Runs the tests of one file; of a file with errors none.
async fn file(path: &Path, args: &TestArgs, registry: &Registry) -> Result<Tested, Failure> {
    let loaded = load::load(path, &args.reading, Purpose::Looking, registry)?;
    let mut outcomes = Vec::new();
    if loaded.has_errors() {
        if !args.json {
            load::print(&loaded);
            terminal::note(&format!("{}: {}\n", loaded.name, load::tally(&[&loaded])));
        }
        return Ok(Tested { loaded, outcomes });
    }
    let pipeline = loaded.pipeline()?;
    let profile = Profile::new(pipeline, loaded.parsed.profile.as_deref(), registry);
    if !args.json {
        let count = number::of(pipeline.tests.len() as u64, "test");
        terminal::line(&format!("{}: {count}", terminal::bold(&loaded.name)));
    }
    let wanted = |test: &&Test| args.filter.as_ref().is_none_or(|f| test.name.value.contains(f.as_str()));
    for test in pipeline.tests.iter().filter(wanted) {
        let outcome = one(pipeline, &profile, test, usize::from(args.workers)).await;
        if !args.json {
            report::print(&loaded, &outcome);
        }
        outcomes.push(outcome);
    }
    Ok(Tested { loaded, outcomes })
}

async fn one(pipeline: &Pipeline, profile: &Profile<'_>, test: &Test, workers: usize) -> Outcome {
    let began = tokio::time::Instant::now();
    let problems = runner::run(pipeline, profile, test, workers).await;
    Outcome { name: test.name.value.clone(), span: test.name.span, took: began.elapsed(), problems }
}
