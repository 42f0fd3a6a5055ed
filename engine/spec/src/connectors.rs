//! Profiles: each name is bound to one connector, whose options are checked against the connector's own schema and
//! then read by the connector itself.

use millstream_core::connector::{ConnectorKind, Registry};

use crate::check::{At, Unresolved, Walker};
use crate::codes;
use crate::findings::Findings;
use crate::path;
use crate::span::Span;
use crate::suggest;
use crate::tree::{Content, Key, Node, Style};
use crate::variables::Variables;

/// Checks the bindings of all profiles.
pub(crate) struct Bindings<'a> {
    /// The kinds of connectors there are.
    pub(crate) registry: &'a Registry,
    /// The text of the file.
    pub(crate) file: &'a str,
    /// Whether the pipeline is to run: a connector that is not built in is then an error.
    pub(crate) for_run: bool,
    /// Hides what came from variables.
    pub(crate) variables: &'a Variables<'a>,
}

impl Bindings<'_> {
    /// Checks every binding below `profiles`; `selected` is the profile in use.
    pub(crate) fn check(&self, profiles: &mut Node, selected: Option<&str>, findings: &mut Findings) {
        let Content::Map(profiles) = &mut profiles.content else { return };
        for (profile, bindings) in profiles {
            let in_use = selected == Some(profile.text.as_str());
            let at = path::key("profiles", &profile.text);
            let Content::Map(bindings) = &mut bindings.content else { continue };
            for (name, binding) in bindings {
                let at = At::new(path::key(&at, &name.text), name.span);
                self.binding(binding, &at, in_use, findings);
            }
        }
    }

    fn binding(&self, binding: &mut Node, at: &At, in_use: bool, findings: &mut Findings) {
        if binding.unresolved {
            return;
        }
        let found = binding.described();
        let span = binding.span.first_line(self.file);
        let text = binding.text().filter(|_| binding.template.is_none()).map(str::to_owned);
        let (connector, options) = match &mut binding.content {
            Content::Map(entries) if entries.len() == 1 => match entries.first_mut() {
                Some(entry) => (&entry.0, &mut entry.1),
                None => return,
            },
            Content::Map(entries) => {
                let keys: Vec<&str> = entries.iter().map(|(key, _)| key.text.as_str()).collect();
                let place = entries.get(1).map_or(at.key, |(key, _)| key.span);
                let message = match keys.as_slice() {
                    [] => "a binding without a connector".to_owned(),
                    _ => format!("a binding has one connector, found `{}`", keys.join("` and `")),
                };
                let help = "write `name: { connector: { option: value } }`";
                findings.error(codes::EXACTLY_ONE, place, &at.path, message).help(help);
                return;
            }
            _ => {
                let place = if span.start == span.end { at.key } else { span };
                let kind = text.as_deref().filter(|text| self.registry.kind(text).is_some()).unwrap_or("connector");
                findings
                    .error(
                        codes::WRONG_TYPE,
                        place,
                        &at.path,
                        format!("expected a connector with its options, found {found}"),
                    )
                    .help(format!("write `{{ {kind}: {{ option: value }} }}`"));
                return;
            }
        };
        match self.registry.kind(&connector.text) {
            Some(kind) => self.known(kind, connector, options, at, in_use, findings),
            None => {
                let names = self.registry.kinds().iter().map(|kind| kind.name);
                let message = format!("no connector `{}`", connector.text);
                let near = suggest::help(&connector.text, "connectors", names.clone());
                let help =
                    near.or_else(|| Some(format!("connectors: {}", suggest::listed(&names.collect::<Vec<_>>()))));
                findings
                    .error(codes::UNKNOWN_CONNECTOR, connector.span, &path::key(&at.path, &connector.text), message)
                    .maybe_help(help);
            }
        }
    }

    fn known(
        &self,
        kind: &ConnectorKind,
        connector: &Key,
        options: &mut Node,
        at: &At,
        in_use: bool,
        findings: &mut Findings,
    ) {
        let at = At::new(path::key(&at.path, &connector.text), connector.span);
        if matches!(options.content, Content::Null) {
            *options = Node::new(Content::Map(Vec::new()), connector.span, Style::Collection);
        }
        let schema = (kind.options)().to_value();
        let fits = Walker::new(&schema, self.file, Unresolved::Accept, findings).check(options, &at);
        if !kind.built_in {
            return self.not_built_in(kind, &at, in_use, findings);
        }
        if !fits || options.has_unresolved() {
            return;
        }
        let place = self.place(options, at.key);
        match (kind.parse)(options.to_json()) {
            Ok(configured) => {
                for problem in configured.problems() {
                    findings
                        .error(codes::BAD_OPTIONS, place, &at.path, self.variables.redacted(&problem))
                        .help(format!("`millstream docs {}` lists its options", kind.name));
                }
            }
            Err(message) => {
                let message = format!("`{}` refuses its options: {}", kind.name, self.variables.redacted(&message));
                findings
                    .error(codes::BAD_OPTIONS, place, &at.path, message)
                    .help(format!("`millstream docs {}` lists its options", kind.name));
            }
        }
    }

    fn not_built_in(&self, kind: &ConnectorKind, at: &At, in_use: bool, findings: &mut Findings) {
        if !in_use {
            return;
        }
        let message = format!("the connector `{}` is known, but not part of this binary", kind.name);
        let built_in: Vec<&str> = self.registry.kinds().iter().filter(|k| k.built_in).map(|k| k.name).collect();
        let help = format!("built in: {}; `--profile` picks another environment", suggest::listed(&built_in));
        if self.for_run {
            findings.error(codes::NOT_BUILT_IN, at.key, &at.path, message).help(help);
        } else {
            findings
                .warning(codes::NOT_BUILT_IN_HERE, at.key, &at.path, message)
                .help(format!("`run` would refuse it; {help}"));
        }
    }

    fn place(&self, options: &Node, key: Span) -> Span {
        let text = self.file.get(options.span.start..options.span.end).unwrap_or_default();
        if text.contains('\n') || text.is_empty() { key } else { options.span }
    }
}
