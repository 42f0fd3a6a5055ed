//! Text to model: YAML, `--set`, variables, structure, names, connectors, model; every finding of all of them.

use std::collections::HashMap;
use std::path::Path;

use millstream_core::connector::Registry;

use crate::check::{At, Unresolved, Walker};
use crate::codes;
use crate::columns;
use crate::connectors::Bindings;
use crate::diagnostic::Finding;
use crate::editor;
use crate::file::File;
use crate::findings::Findings;
use crate::lower::Lowering;
use crate::model::Pipeline;
use crate::names;
use crate::overrides;
use crate::path;
use crate::read;
use crate::span::Span;
use crate::tree::{Content, Node};
use crate::variables::Variables;
use crate::yaml;

/// What a file is read with.
#[derive(Clone, Copy)]
pub struct ParseOptions<'a> {
    /// Value of an environment variable.
    pub environment: &'a dyn Fn(&str) -> Option<String>,
    /// The file's folder: `${PIPELINE_DIR}`.
    pub pipeline_dir: &'a Path,
    /// Whether an unset variable is an error (in the profile in use, and outside profiles). Otherwise its `${..}`
    /// stays as text.
    pub require_variables: bool,
    /// Whether the pipeline is to run: connectors of the profile in use must then be built in.
    pub for_run: bool,
    /// The connectors there are.
    pub registry: &'a Registry,
    /// The profile in use; the first of the file where `None`.
    pub profile: Option<&'a str>,
    /// `--set`: dotted path and YAML scalar.
    pub set: &'a [(String, String)],
}

/// A read file.
#[derive(Debug)]
pub struct Parsed {
    /// The pipeline, unless an error makes it unreadable. It may be there beside errors that do not concern its
    /// shape (an unknown key, an unbound name), so that the plan can find more.
    pub pipeline: Option<Pipeline>,
    /// The profile in use.
    pub profile: Option<String>,
    /// Everything found, in the order of the file.
    pub findings: Vec<Finding>,
    /// Values that came from the environment, each with the name of its variable: never to be printed.
    pub secrets: Vec<(String, String)>,
}

/// Reads a pipeline file.
pub fn parse(text: &str, options: &ParseOptions<'_>) -> Parsed {
    let mut findings = Findings::default();
    let mut variables =
        Variables { environment: options.environment, pipeline_dir: folder(options.pipeline_dir), secrets: Vec::new() };
    let mut profile = None;
    let pipeline = yaml::read(text, &mut findings)
        .and_then(|root| document(root, text, &mut findings))
        .and_then(|root| typed(root, text, options, &mut variables, &mut profile, &mut findings));
    Parsed { pipeline, profile, findings: findings.sorted(), secrets: variables.secrets }
}

fn folder(path: &Path) -> String {
    if path.as_os_str().is_empty() { ".".to_owned() } else { path.display().to_string() }
}

/// The root, where it is a map.
fn document(root: Node, text: &str, findings: &mut Findings) -> Option<Node> {
    let help =
        "a pipeline file is a map with `version`, `name`, `profiles`, `sources`, ..; `millstream new NAME` writes one";
    match root.content {
        Content::Map(_) => Some(root),
        Content::Null => {
            findings.error(codes::NOT_A_PIPELINE, Span::default(), "", "the file is empty").help(help);
            None
        }
        _ => {
            let message = format!("expected a map, found {}", root.described());
            findings.error(codes::NOT_A_PIPELINE, root.span.first_line(text), "", message).help(help);
            None
        }
    }
}

fn typed(
    mut root: Node,
    text: &str,
    options: &ParseOptions<'_>,
    variables: &mut Variables<'_>,
    profile: &mut Option<String>,
    findings: &mut Findings,
) -> Option<Pipeline> {
    for (name, value) in options.set {
        overrides::set(&mut root, name, value, findings);
    }
    let selected = names::select(&root, options.profile, &mut Findings::default()).map(str::to_owned);
    substitute(&mut root, selected.as_deref(), options.require_variables, variables, findings);
    let schema = editor::file_schema();
    let unresolved = if options.require_variables { Unresolved::Accept } else { Unresolved::Text };
    let top = At::new(String::new(), Span::default());
    Walker::new(&schema, text, unresolved, findings).check(&mut root, &top);
    if let Some(profiles) = root.get_mut("profiles") {
        let bindings = Bindings { registry: options.registry, file: text, for_run: options.for_run, variables };
        bindings.check(profiles, selected.as_deref(), findings);
    }
    columns::check(&root, findings);
    names::check(&root, text, options.profile, options.registry, findings);
    *profile = selected;
    let mut keys = HashMap::new();
    key_places(&root, "", &mut keys);
    match read::read::<File>(&root, Span::default(), text) {
        Ok(file) => {
            let mut lowering = Lowering { findings, complete: true, keys: &keys };
            let pipeline = lowering.pipeline(file);
            lowering.complete.then_some(pipeline)
        }
        Err(error) => {
            if !findings.has_errors() {
                findings.error(codes::UNREADABLE, error.span.unwrap_or_default().first_line(text), "", error.message);
            }
            None
        }
    }
}

/// Substitutes variables; those of profiles that are not in use may be unset.
fn substitute(
    root: &mut Node,
    selected: Option<&str>,
    required: bool,
    variables: &mut Variables<'_>,
    findings: &mut Findings,
) {
    let Content::Map(sections) = &mut root.content else { return };
    for (section, node) in sections {
        match &mut node.content {
            Content::Map(profiles) if section.text == "profiles" => {
                for (profile, bindings) in profiles {
                    let required = required && selected == Some(profile.text.as_str());
                    variables.substitute(bindings, &path::key("profiles", &profile.text), required, findings);
                }
            }
            _ => variables.substitute(node, &section.text, required, findings),
        }
    }
}

/// Where each key stands, by structural path.
fn key_places(node: &Node, at: &str, places: &mut HashMap<String, Span>) {
    for (key, value) in node.entries() {
        let at = path::key(at, &key.text);
        key_places(value, &at, places);
        places.insert(at, key.span);
    }
}
