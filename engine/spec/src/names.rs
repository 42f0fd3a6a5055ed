//! Names: ids are unique, names that nodes use are bound by the profile to a connector of the right role, reserved
//! words stay free.
//!
//! Works on the tree, so that a node which is broken elsewhere still counts as there.

use std::collections::HashMap;

use millstream_core::connector::{Registry, Role};

use crate::codes;
use crate::file::STEPS;
use crate::findings::Findings;
use crate::path;
use crate::span::Span;
use crate::suggest;
use crate::tree::{Key, Node};

/// The sections whose ids share one name space.
const SECTIONS: [&str; 4] = ["sources", "tables", "transforms", "sinks"];
/// Ports that nodes have by themselves.
const PORTS: [&str; 4] = ["raw", "rejected", "late", "failed"];
/// Keys that make a transform.
const TRANSFORMS: [&str; 5] = ["validate", "dedup", "upsert", "route", "sql"];

/// A place that uses a bound name.
struct Use<'a> {
    name: &'a str,
    span: Span,
    path: String,
    role: Role,
}

/// Checks the names of a file; `profile` is the one asked for. Returns the profile in use.
pub(crate) fn check<'a>(
    root: &'a Node,
    file: &str,
    profile: Option<&str>,
    registry: &Registry,
    findings: &mut Findings,
) -> Option<&'a str> {
    unique_ids(root, file, findings);
    udfs(root, findings);
    transforms(root, findings);
    tests(root, findings);
    let selected = select(root, profile, findings);
    let uses = uses(root);
    bound(root, selected, &uses, findings);
    roles(root, &uses, registry, findings);
    unused(root, &uses, findings);
    selected
}

/// The profile in use: the one asked for, or the first.
pub(crate) fn select<'a>(root: &'a Node, profile: Option<&str>, findings: &mut Findings) -> Option<&'a str> {
    let profiles = root.get("profiles")?.entries();
    let Some(wanted) = profile else { return profiles.first().map(|(key, _)| key.text.as_str()) };
    let found = profiles.iter().find(|(key, _)| key.text == wanted).map(|(key, _)| key.text.as_str());
    if found.is_none() {
        let place =
            root.entries().iter().find(|(key, _)| key.text == "profiles").map_or(Span::default(), |(k, _)| k.span);
        findings
            .error(codes::UNKNOWN_PROFILE, place, "profiles", format!("no profile `{wanted}`"))
            .label("the file's profiles")
            .maybe_help(suggest::help(wanted, "profiles", profiles.iter().map(|(key, _)| key.text.as_str())));
    }
    found
}

fn unique_ids(root: &Node, file: &str, findings: &mut Findings) {
    let mut seen: HashMap<&str, (&str, &Key)> = HashMap::new();
    for section in SECTIONS {
        for (key, _) in root.get(section).map(Node::entries).unwrap_or_default() {
            if let Some((other, first)) = seen.insert(&key.text, (section, key)) {
                let line = file.get(..first.span.start).unwrap_or_default().matches('\n').count() + 1;
                let (one, another) = (singular(other), singular(section));
                findings
                    .error(
                        codes::ID_TWICE,
                        key.span,
                        &path::key(section, &key.text),
                        format!("the id `{}` is taken", key.text),
                    )
                    .label(format!("a {another} with the id of the {one} on line {line}"))
                    .help("sources, tables, transforms and sinks share one set of ids: rename one of them");
            }
        }
    }
    for (key, _) in root.get("sources").map(Node::entries).unwrap_or_default() {
        if STEPS.contains(&key.text.as_str()) {
            findings
                .error(
                    codes::RESERVED_NAME,
                    key.span,
                    &path::key("sources", &key.text),
                    format!("a source cannot be called `{}`", key.text),
                )
                .help("it is a step of tests: choose another id");
        }
    }
}

/// Exactly one of `crate` and `library`; the signature beside a library only, because a crate's source has it.
fn udfs(root: &Node, findings: &mut Findings) {
    for (key, node) in root.get("udfs").map(Node::entries).unwrap_or_default() {
        let at = path::key("udfs", &key.text);
        let place = |name: &str| node.entries().iter().find(|(k, _)| k.text == name).map(|(k, _)| k.span);
        match (place("crate"), place("library")) {
            (None, None) if !node.entries().is_empty() => {
                findings
                    .error(codes::EXACTLY_ONE, key.span, &at, format!("the UDF `{}` has no code", key.text))
                    .help("one of: crate (a folder, built on demand), library (a built file)");
            }
            (Some(_), Some(second)) => {
                findings
                    .error(codes::EXACTLY_ONE, second, &at, format!("the UDF `{}` is both crate and library", key.text))
                    .help("remove one of them");
            }
            (Some(_), None) => {
                for name in ["args", "returns", "kind"] {
                    let Some(span) = place(name) else { continue };
                    findings
                        .error(
                            codes::UDF_OPTION,
                            span,
                            &path::key(&at, name),
                            format!("`{name}` stands beside `crate`"),
                        )
                        .help("remove it: it is read from the crate's source");
                }
            }
            (None, Some(library)) => {
                for name in ["args", "returns"].into_iter().filter(|name| place(name).is_none()) {
                    findings
                        .error(codes::MISSING_KEY, library, &at, format!("`{name}` is missing beside `library`"))
                        .help("a library does not say what it takes: `args: [bigint, double]`, `returns: double`");
                }
            }
            (None, None) => {}
        }
    }
}

fn singular(section: &str) -> &str {
    section.strip_suffix('s').unwrap_or(section)
}

/// Exactly one kind per transform, `emit` beside `sql` only, ports of their own.
fn transforms(root: &Node, findings: &mut Findings) {
    for (key, node) in root.get("transforms").map(Node::entries).unwrap_or_default() {
        let at = path::key("transforms", &key.text);
        let kinds: Vec<&Key> =
            node.entries().iter().map(|(k, _)| k).filter(|k| TRANSFORMS.contains(&k.text.as_str())).collect();
        match kinds.as_slice() {
            [] if !node.entries().is_empty() => {
                findings
                    .error(codes::EXACTLY_ONE, key.span, &at, format!("the transform `{}` does nothing", key.text))
                    .help(format!("one of: {}", TRANSFORMS.join(", ")));
            }
            [first, second, ..] => {
                let message = format!("the transform `{}` is both `{}` and `{}`", key.text, first.text, second.text);
                let help = "make it two transforms, the second one reading from the first";
                findings.error(codes::EXACTLY_ONE, second.span, &at, message).help(help);
            }
            _ => {}
        }
        if let Some((emit, _)) = node.entries().iter().find(|(k, _)| k.text == "emit")
            && let [kind] = kinds.as_slice()
            && kind.text != "sql"
        {
            findings
                .error(
                    codes::EMIT_WITHOUT_WINDOW,
                    emit.span,
                    &path::key(&at, "emit"),
                    format!("`emit` has no meaning beside `{}`", kind.text),
                )
                .help("only windows in `sql` have a time to give their results: remove it");
        }
        ports(node, &at, findings);
    }
}

fn ports(node: &Node, at: &str, findings: &mut Findings) {
    let named = [("upsert", "status"), ("route", "cases")];
    for (kind, section) in named {
        let Some(ports) = node.get(kind).and_then(|n| n.get(section)) else { continue };
        let at = path::key(&path::key(at, kind), section);
        let mut seen: HashMap<String, &Key> = HashMap::new();
        for (key, _) in ports.entries() {
            let port = if kind == "upsert" { key.text.to_lowercase() } else { key.text.clone() };
            if PORTS.contains(&port.as_str()) {
                findings
                    .error(
                        codes::RESERVED_NAME,
                        key.span,
                        &path::key(&at, &key.text),
                        format!("`{}` would make the port `{port}`, which nodes have by themselves", key.text),
                    )
                    .help("choose another name");
            }
            if let Some(first) = seen.insert(port.clone(), key) {
                findings
                    .error(
                        codes::DUPLICATE_KEY,
                        key.span,
                        &path::key(&at, &key.text),
                        format!("`{}` and `{}` make the same port `{port}`", first.text, key.text),
                    )
                    .help("choose names that differ by more than their case");
            }
        }
    }
}

fn tests(root: &Node, findings: &mut Findings) {
    let sources: Vec<&str> = ids(root, "sources");
    let mut bindings: Vec<&str> =
        profiles(root).flat_map(|(_, node)| node.entries()).map(|(k, _)| k.text.as_str()).collect();
    bindings.sort_unstable();
    bindings.dedup();
    for (i, test) in root.get("tests").map(Node::items).unwrap_or_default().iter().enumerate() {
        let at = path::key(&path::item("tests", i), "steps");
        for (j, step) in test.get("steps").map(Node::items).unwrap_or_default().iter().enumerate() {
            let at = path::item(&at, j);
            for (key, value) in step.entries() {
                if !STEPS.contains(&key.text.as_str()) && !sources.contains(&key.text.as_str()) {
                    let known = sources.iter().copied().filter(|id| !STEPS.contains(id)).chain(STEPS.iter().copied());
                    findings
                        .error(codes::TEST_NAME, key.span, &at, format!("no source `{}` to feed", key.text))
                        .maybe_help(suggest::help(&key.text, "sources and steps", known));
                }
                if key.text == "fault"
                    && let Some(name) = value.get("at")
                    && let Some(text) = name.text().filter(|text| !bindings.contains(text))
                {
                    findings
                        .error(codes::TEST_NAME, name.span, &at, format!("no profile binds `{text}`"))
                        .maybe_help(suggest::help(text, "bound names", bindings.iter().copied()));
                }
            }
        }
    }
}

fn ids<'a>(root: &'a Node, section: &str) -> Vec<&'a str> {
    root.get(section).map(Node::entries).unwrap_or_default().iter().map(|(k, _)| k.text.as_str()).collect()
}

fn profiles(root: &Node) -> impl Iterator<Item = (&Key, &Node)> {
    root.get("profiles").map(Node::entries).unwrap_or_default().iter().map(|(key, node)| (key, node))
}

/// All places that use a bound name.
fn uses(root: &Node) -> Vec<Use<'_>> {
    let mut uses = Vec::new();
    let sections =
        [("sources", "read", Role::Source), ("tables", "store", Role::Table), ("sinks", "write", Role::Sink)];
    for (section, option, role) in sections {
        for (key, node) in root.get(section).map(Node::entries).unwrap_or_default() {
            if let Some(name) = node.get(option)
                && let Some(text) = name.text().filter(|_| !name.unresolved)
            {
                let path = path::key(&path::key(section, &key.text), option);
                uses.push(Use { name: text, span: name.span, path, role });
            }
        }
    }
    let single = [("checkpoint", "store", Role::Checkpoints), ("metrics", "write", Role::Metrics)];
    for (section, option, role) in single {
        if let Some(name) = root.get(section).and_then(|node| node.get(option))
            && let Some(text) = name.text().filter(|_| !name.unresolved)
        {
            uses.push(Use { name: text, span: name.span, path: format!("{section}.{option}"), role });
        }
    }
    uses
}

fn bound(root: &Node, selected: Option<&str>, uses: &[Use<'_>], findings: &mut Findings) {
    let Some(selected) = selected else { return };
    let Some((_, bindings)) = profiles(root).find(|(key, _)| key.text == selected) else { return };
    for used in uses.iter().filter(|used| bindings.get(used.name).is_none()) {
        let others: Vec<&str> =
            profiles(root).filter(|(_, node)| node.get(used.name).is_some()).map(|(k, _)| k.text.as_str()).collect();
        let names = bindings.entries().iter().map(|(key, _)| key.text.as_str());
        let help = match others.as_slice() {
            [] => suggest::help(used.name, "bound names", names)
                .unwrap_or_else(|| format!("add `{}: {{ connector: {{ .. }} }}` to the profile", used.name)),
            others => format!(
                "bound by {}: add `{}` to `profiles.{selected}`, too, or run with `--profile {}`",
                others.iter().map(|p| format!("`{p}`")).collect::<Vec<_>>().join(", "),
                used.name,
                others.first().copied().unwrap_or_default(),
            ),
        };
        findings
            .error(
                codes::NOT_BOUND,
                used.span,
                &used.path,
                format!("the profile `{selected}` does not bind `{}`", used.name),
            )
            .help(help);
    }
}

fn roles(root: &Node, uses: &[Use<'_>], registry: &Registry, findings: &mut Findings) {
    for used in uses {
        let role = used.role;
        for (profile, bindings) in profiles(root) {
            let Some([(connector, _)]) = bindings.get(used.name).map(Node::entries) else { continue };
            let Some(kind) = registry.kind(&connector.text) else { continue };
            if kind.roles.contains(&role) {
                continue;
            }
            let (verb, able) = match role {
                Role::Source => ("be read", "sources"),
                Role::Sink => ("be written to", "sinks"),
                Role::Table => ("store a table", "tables"),
                Role::Checkpoints => ("keep checkpoints", "checkpoints"),
                Role::Metrics => ("keep metrics", "metrics"),
            };
            let kinds: Vec<&str> =
                registry.kinds().iter().filter(|kind| kind.roles.contains(&role)).map(|kind| kind.name).collect();
            findings
                .error(codes::WRONG_ROLE, used.span, &used.path, format!("`{}` cannot {verb}", used.name))
                .label(format!("bound to `{}` by the profile `{}`", kind.name, profile.text))
                .help(format!("connectors for {able}: {}", suggest::listed(&kinds)));
            break;
        }
    }
}

fn unused(root: &Node, uses: &[Use<'_>], findings: &mut Findings) {
    for (profile, bindings) in profiles(root) {
        let at = path::key("profiles", &profile.text);
        for (key, _) in bindings.entries() {
            if !uses.iter().any(|used| used.name == key.text) {
                findings
                    .warning(
                        codes::UNUSED_BINDING,
                        key.span,
                        &path::key(&at, &key.text),
                        format!("nothing uses `{}`", key.text),
                    )
                    .maybe_help(
                        suggest::nearest(&key.text, uses.iter().map(|used| used.name))
                            .filter(|near| bindings.get(near).is_none())
                            .map(|near| format!("did you mean `{near}`?"))
                            .or_else(|| Some("remove it, or read, store or write by this name".to_owned())),
                    );
            }
        }
    }
}
