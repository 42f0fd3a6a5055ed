//! A pipeline file as `millstream check` and `millstream run` read it: every finding, and the graph.

use std::collections::BTreeMap;
use std::path::Path;

use millstream_local::fault::Faults;
use millstream_plan::{Options, Planned, findings, plan};
use millstream_runtime::{Graph, RunOptions};
use millstream_spec::{Finding, ParseOptions, Parsed, Severity, parse, render};

use crate::bind::Faulty;

/// How a file is read.
#[derive(Debug, Clone, Default)]
pub struct Reading {
    /// The profile asked for.
    pub profile: Option<String>,
    /// `--set`: path and value.
    pub set: Vec<(String, String)>,
    /// Whether it is to run: variables must be set, connectors built in.
    pub run: bool,
    /// The environment: name and value.
    pub environment: Vec<(String, String)>,
}

/// A file that was read and planned.
#[derive(Debug)]
pub struct Checked {
    /// What it says.
    pub parsed: Parsed,
    /// What would run, where the file can be read.
    pub planned: Option<Planned>,
    /// Everything found, in the order of the file, each once.
    pub findings: Vec<Finding>,
}

/// Reads and plans with the bindings of the file's own profile.
pub fn check(text: &str, reading: &Reading) -> Checked {
    check_with_faults(text, reading, &BTreeMap::new())
}

/// The same; the calls at some bindings fail as their scripts say.
pub fn check_with_faults(text: &str, reading: &Reading, faults: &BTreeMap<String, Faults>) -> Checked {
    let registry = crate::registry();
    let environment =
        |name: &str| reading.environment.iter().find(|(n, _)| n == name).map(|(_, value)| value.to_owned());
    let parsed = parse(
        text,
        &ParseOptions {
            environment: &environment,
            pipeline_dir: Path::new("."),
            require_variables: reading.run,
            for_run: reading.run,
            registry: &registry,
            profile: reading.profile.as_deref(),
            set: &reading.set,
        },
    );
    let planned = parsed.pipeline.as_ref().map(|pipeline| {
        let profile = Faulty::new(pipeline, parsed.profile.as_deref(), &registry, faults);
        let options = Options { bind: &profile, tick_ms: RunOptions::default().tick_ms, all_ports: false };
        plan(pipeline, &options)
    });
    let findings = findings(&parsed.findings, planned.as_ref().map_or(&[][..], |p| &p.findings));
    Checked { parsed, planned, findings }
}

impl Checked {
    /// What a person would see, without colour.
    pub fn rendered(&self, name: &str, text: &str) -> String {
        render(&self.findings, name, text, false)
    }
    /// The graph of a file without errors; a warning is fine.
    pub fn graph(self, name: &str, text: &str) -> Graph {
        let rendered = self.rendered(name, text);
        assert!(self.findings.iter().all(|f| f.severity == Severity::Warning), "{rendered}");
        self.planned.and_then(|p| p.graph).expect("a file without errors has a graph")
    }
}
