//! From a path to a plan: reads the file, parses it, plans it, and prints everything found.

use std::path::Path;

use millstream_core::connector::Registry;
use millstream_plan::{Bind, Options, Planned, Profile};
use millstream_runtime::RunOptions;
use millstream_spec::model::Pipeline;
use millstream_spec::{Finding, ParseOptions, Parsed, Severity};
use serde_json::json;

use crate::args::ReadArgs;
use crate::exit::Failure;
use crate::{number, terminal};

/// What a file is read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To look at it: variables may be unset, connectors may be those of another binary.
    Looking,
    /// To run it.
    Running,
}

/// A file, read and planned.
pub(crate) struct Loaded {
    /// The file's name as the user wrote it.
    pub(crate) name: String,
    /// Its text.
    pub(crate) text: String,
    /// What it says.
    pub(crate) parsed: Parsed,
    /// The plan, where the file could be read.
    pub(crate) planned: Option<Planned>,
}

impl Loaded {
    /// Everything found, in the order of the file, each once.
    pub(crate) fn findings(&self) -> Vec<Finding> {
        let planned = self.planned.as_ref().map_or(&[][..], |p| &p.findings);
        millstream_plan::findings(&self.parsed.findings, planned)
    }
    /// Whether something found is an error.
    pub(crate) fn has_errors(&self) -> bool {
        self.findings().iter().any(|f| f.severity == Severity::Error)
    }
    /// The pipeline of a file without errors.
    pub(crate) fn pipeline(&self) -> Result<&Pipeline, Failure> {
        self.parsed.pipeline.as_ref().ok_or_else(|| Failure::silent(Failure::FILE))
    }
}

/// Reads a file's text.
pub(crate) fn text(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|e| {
        let shown = path.display();
        let failure = match e.kind() {
            std::io::ErrorKind::NotFound => Failure::new(Failure::ENVIRONMENT, format!("there is no file `{shown}`")),
            std::io::ErrorKind::InvalidData => {
                return Failure::new(Failure::FILE, format!("`{shown}` is not UTF-8 text"));
            }
            _ => Failure::new(Failure::ENVIRONMENT, format!("`{shown}` cannot be read: {e}")),
        };
        match near(path) {
            Some(near) => failure.help(format!("did you mean `{near}`?")),
            None => failure.help("`millstream new NAME` writes a pipeline to start from"),
        }
    })
}

/// A file beside or below that the user may have meant.
fn near(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folders = [folder.to_path_buf(), folder.join("pipelines")];
    let found = folders.iter().flat_map(|f| std::fs::read_dir(f).into_iter().flatten().flatten()).map(|e| e.path());
    let yaml = found.filter(|p| p.extension().is_some_and(|e| e == "yaml" || e == "yml")).collect::<Vec<_>>();
    let names = yaml.iter().filter_map(|p| p.file_name()?.to_str()).collect::<Vec<_>>();
    let wanted = if name.contains('.') { name.to_owned() } else { format!("{name}.yaml") };
    let near = millstream_spec::suggest::nearest(&wanted, names.iter().copied())?;
    let near = yaml.iter().find(|p| p.file_name().is_some_and(|n| n.to_str() == Some(near)))?;
    Some(near.strip_prefix("./").unwrap_or(near).display().to_string())
}

/// Reads and plans a file with the bindings of its profile.
pub(crate) fn load(path: &Path, args: &ReadArgs, purpose: Purpose, registry: &Registry) -> Result<Loaded, Failure> {
    let text = text(path)?;
    let running = purpose == Purpose::Running;
    let parsed = millstream_spec::parse(
        &text,
        &ParseOptions {
            environment: &|name| std::env::var(name).ok(),
            pipeline_dir: path.parent().unwrap_or(Path::new("")),
            require_variables: running,
            for_run: running,
            registry,
            profile: args.profile.as_deref(),
            set: &args.set,
        },
    );
    let planned = parsed.pipeline.as_ref().map(|pipeline| {
        let profile = Profile::new(pipeline, parsed.profile.as_deref(), registry);
        plan(pipeline, &profile, false)
    });
    Ok(Loaded { name: path.display().to_string(), text, parsed, planned })
}

/// Plans a pipeline with these bindings.
pub(crate) fn plan(pipeline: &Pipeline, bind: &dyn Bind, all_ports: bool) -> Planned {
    let options = Options { bind, tick_ms: RunOptions::default().tick_ms, all_ports };
    millstream_plan::plan(pipeline, &options)
}

/// Reads a file that is to run; whatever is found is printed, and an error ends it here.
pub(crate) fn for_running(path: &Path, args: &ReadArgs, json: bool, registry: &Registry) -> Result<Loaded, Failure> {
    let loaded = load(path, args, Purpose::Running, registry)?;
    let failed = loaded.has_errors() || loaded.planned.as_ref().is_none_or(|p| p.graph.is_none());
    if failed && json {
        terminal::line(&format!("{:#}", json!({ "findings": findings_json(&[&loaded]) })));
    } else {
        print(&loaded);
    }
    if !failed {
        return Ok(loaded);
    }
    if !loaded.has_errors() {
        let message = "the pipeline needs connectors that are not part of this binary";
        return Err(Failure::new(Failure::FILE, message).help("`--profile` picks another environment"));
    }
    if !json {
        terminal::note(&format!("{}\n", tally(&[&loaded])));
    }
    Err(Failure::silent(Failure::FILE))
}

/// Prints what was found in a file to stderr.
pub(crate) fn print(loaded: &Loaded) {
    let findings = loaded.findings();
    if !findings.is_empty() {
        terminal::note(&millstream_spec::render(&findings, &loaded.name, &loaded.text, terminal::colored_stderr()));
    }
}

/// What was found in files, for programs.
pub(crate) fn findings_json(files: &[&Loaded]) -> serde_json::Value {
    let each = files.iter().flat_map(|l| match millstream_spec::to_json(&l.findings(), &l.name, &l.text) {
        serde_json::Value::Array(findings) => findings,
        other => vec![other],
    });
    each.collect()
}

/// `2 errors, 1 warning`.
pub(crate) fn tally(files: &[&Loaded]) -> String {
    let count = |severity| {
        let in_file = |l: &&Loaded| l.findings().iter().filter(|f| f.severity == severity).count();
        files.iter().map(in_file).sum::<usize>() as u64
    };
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    match (errors, warnings) {
        (0, w) => number::of(w, "warning"),
        (e, 0) => number::of(e, "error"),
        (e, w) => format!("{}, {}", number::of(e, "error"), number::of(w, "warning")),
    }
}
