//! YAML text to a tree with places.
//!
//! Reads the parser's events directly: values alone would lose what findings need (the style of a scalar, every
//! duplicate key, the exact place of aliases). Invariants of the tree: keys of a map are unique (the first wins,
//! the others are findings), aliases are expanded, and it has at most [`MOST_NODES`] nodes.

use std::collections::HashMap;

use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, StructureStyle, Tag};

use crate::codes;
use crate::findings::Findings;
use crate::span::Span;
use crate::suggest;
use crate::tree::{Content, Key, Node, Style, plain};

/// How many nodes a file may have once its aliases are expanded: far more than any pipeline, far less than a bomb.
const MOST_NODES: usize = 100_000;

type Events<'a> = Parser<'a, granit_parser::StrInput<'a>>;

/// The tree of `text`, or nothing where it is not YAML at all; what is wrong is added to `findings`.
pub(crate) fn read(text: &str, findings: &mut Findings) -> Option<Node> {
    let options = granit_parser::options! {
        emit_comments: false, emit_anchor_events: true, emit_unresolved_aliases: true, strict_indentation: false,
    };
    let mut builder = Builder {
        text,
        events: Parser::new_from_str_with_options(text, options),
        findings,
        anchors: HashMap::new(),
        anchor_names: Vec::new(),
        nodes: 0,
        path: Vec::new(),
        open: Vec::new(),
    };
    let (document, open) = (builder.document(), builder.open.last().copied());
    match document {
        // A file of comments has no document: it is as empty as an empty one.
        Ok(node) => Some(node.unwrap_or_else(|| Node::new(Content::Null, Span::default(), Style::Plain))),
        Err(Stop::Told) => None,
        Err(Stop::Syntax(error)) => {
            syntax(text, &error, open, findings);
            None
        }
    }
}

/// Why reading stopped.
enum Stop {
    /// A finding was added.
    Told,
    /// Not YAML.
    Syntax(granit_parser::ScanError),
}

impl From<granit_parser::ScanError> for Stop {
    fn from(error: granit_parser::ScanError) -> Self {
        Self::Syntax(error)
    }
}

struct Builder<'a, 'f> {
    text: &'a str,
    events: Events<'a>,
    findings: &'f mut Findings,
    anchors: HashMap<usize, Node>,
    anchor_names: Vec<String>,
    nodes: usize,
    path: Vec<String>,
    /// Brackets and braces that are open.
    open: Vec<Span>,
}

impl<'a> Builder<'a, '_> {
    fn next(&mut self) -> Result<(Event<'a>, Span), Stop> {
        match self.events.next() {
            Some(Ok((event, span))) => Ok((event, place(&span, self.text))),
            Some(Err(error)) => Err(error.into()),
            None => Ok((Event::StreamEnd, Span::new(self.text.len(), self.text.len()))),
        }
    }

    fn document(&mut self) -> Result<Option<Node>, Stop> {
        let mut root = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => break,
                Event::StreamStart | Event::DocumentEnd => {}
                Event::DocumentStart(..) if root.is_some() => {
                    self.findings
                        .error(codes::YAML_UNSUPPORTED, span.first_line(self.text), "", "a second document in one file")
                        .help("one file is one pipeline: put the other one into a file of its own");
                    return Ok(root);
                }
                Event::DocumentStart(..) => {}
                event => root = Some(self.node(event, span)?),
            }
        }
        Ok(root)
    }

    /// The node that begins with `event`.
    fn node(&mut self, event: Event<'a>, span: Span) -> Result<Node, Stop> {
        self.count(1, span)?;
        let (node, anchor) = match event {
            Event::Scalar(value, style, anchor, tag) => (self.scalar(&value, style, tag.as_deref(), span), anchor),
            Event::SequenceStart(style, anchor, tag) => {
                self.refuse_tag(tag.as_deref(), span);
                (self.collection(style, span, Self::list)?, anchor)
            }
            Event::MappingStart(style, anchor, tag) => {
                self.refuse_tag(tag.as_deref(), span);
                (self.collection(style, span, Self::map)?, anchor)
            }
            Event::Alias(id) => return self.alias(id, span),
            Event::UnresolvedAlias(name) => {
                let path = joined(&self.path);
                let names = self.anchor_names.iter().map(String::as_str);
                if name.starts_with('.') {
                    self.findings
                        .error(codes::YAML_ALIAS, span, &path, format!("`*{name}` without quotes is an alias of YAML"))
                        .label("a pattern of ports needs quotes")
                        .help(format!("write `\"*{name}\"`"));
                    return Ok(Node { unresolved: true, ..Node::new(Content::Null, span, Style::Plain) });
                }
                self.findings
                    .error(codes::YAML_ALIAS, span, &path, format!("no anchor named `&{name}`"))
                    .label("nothing above has this anchor")
                    .help(
                        suggest::help(&name, "anchors", names)
                            .unwrap_or_else(|| format!("write `&{name}` before the value that is meant, above this")),
                    );
                return Ok(Node { unresolved: true, ..Node::new(Content::Null, span, Style::Plain) });
            }
            _ => return Ok(Node::new(Content::Null, span, Style::Plain)),
        };
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn count(&mut self, nodes: usize, span: Span) -> Result<(), Stop> {
        self.nodes += nodes;
        if self.nodes <= MOST_NODES {
            return Ok(());
        }
        self.findings
            .error(
                codes::YAML_TOO_LARGE,
                span.first_line(self.text),
                &joined(&self.path),
                format!("more than {MOST_NODES} values, aliases expanded"),
            )
            .label("reading stops here")
            .help("aliases of aliases multiply: write the values out, or put test data into fewer steps");
        Err(Stop::Told)
    }

    /// A copy of an anchor's node that stands where the alias stands.
    fn alias(&mut self, id: usize, span: Span) -> Result<Node, Stop> {
        let Some(node) = self.anchors.get(&id).cloned() else {
            let path = joined(&self.path);
            self.findings
                .error(codes::YAML_ALIAS, span, &path, "an anchor cannot contain itself")
                .help("write the value out");
            return Ok(Node { unresolved: true, ..Node::new(Content::Null, span, Style::Plain) });
        };
        self.count(node.size(), span)?;
        // The style goes with the place: SQL behind an alias cannot be mapped to the alias.
        let style = if node.style == Style::Collection { Style::Collection } else { Style::Folded };
        Ok(Node { span, style, ..node })
    }

    fn scalar(&mut self, value: &str, style: ScalarStyle, tag: Option<&Tag>, span: Span) -> Node {
        let text = || Content::Text(value.to_owned());
        let (content, style) = match style {
            ScalarStyle::Plain => (plain(value), Style::Plain),
            ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => (text(), Style::Quoted),
            ScalarStyle::Literal => (text(), Style::Literal),
            ScalarStyle::Folded => (text(), Style::Folded),
        };
        let content = match tag {
            Some(tag) if tag.is_yaml_core_schema() && tag.suffix() == "str" => text(),
            tag => {
                self.refuse_tag(tag, span);
                content
            }
        };
        let mut span = span;
        if matches!(style, Style::Literal | Style::Folded) {
            span.end = span.start + self.text.get(span.start..span.end).unwrap_or_default().trim_end().len();
        }
        Node::new(content, span, style)
    }

    fn refuse_tag(&mut self, tag: Option<&Tag>, span: Span) {
        if let Some(tag) = tag {
            let path = joined(&self.path);
            self.findings
                .error(codes::YAML_UNSUPPORTED, span.first_line(self.text), &path, format!("the YAML tag `{tag}`"))
                .label("this value has a tag")
                .help("the pipeline language has no tags: remove it");
        }
    }

    /// A list or map; where reading it fails, its bracket stays open.
    fn collection(
        &mut self,
        style: StructureStyle,
        start: Span,
        read: fn(&mut Self, Span) -> Result<Node, Stop>,
    ) -> Result<Node, Stop> {
        if style == StructureStyle::Block {
            return read(self, start);
        }
        self.open.push(start);
        let node = read(self, start)?;
        self.open.pop();
        Ok(node)
    }

    fn list(&mut self, start: Span) -> Result<Node, Stop> {
        let mut items = Vec::new();
        let mut end = start.end;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::SequenceEnd | Event::StreamEnd => {
                    end = end.max(if span.start == span.end { 0 } else { span.end });
                    break;
                }
                Event::Anchor(_, name) => self.anchor_names.push(name.into_owned()),
                event => {
                    self.path.push(format!("[{}]", items.len()));
                    let node = self.node(event, span)?;
                    self.path.pop();
                    end = end.max(node.span.end);
                    items.push(node);
                }
            }
        }
        Ok(Node::new(Content::List(items), Span::new(start.start, end), Style::Collection))
    }

    fn map(&mut self, start: Span) -> Result<Node, Stop> {
        let mut entries: Vec<(Key, Node)> = Vec::new();
        let mut merged: Vec<Node> = Vec::new();
        let mut end = start.end;
        loop {
            let (event, span) = self.next()?;
            let key = match event {
                Event::MappingEnd | Event::StreamEnd => {
                    end = end.max(if span.start == span.end { 0 } else { span.end });
                    break;
                }
                Event::Anchor(_, name) => {
                    self.anchor_names.push(name.into_owned());
                    continue;
                }
                event => self.key(event, span)?,
            };
            self.path.push(key.as_ref().map(|key| key.text.clone()).unwrap_or_default());
            let value = self.value()?;
            self.path.pop();
            let Some(key) = key else { continue };
            end = end.max(value.span.end).max(key.span.end);
            if key.text == "<<" {
                merged.push(value);
            } else if let Some((first, _)) = entries.iter().find(|(k, _)| k.text == key.text) {
                duplicate(self.text, first, &key, &self.path, self.findings);
            } else {
                entries.push((key, value));
            }
        }
        for node in merged {
            merge(&mut entries, node, &joined(&self.path), self.findings);
        }
        Ok(Node::new(Content::Map(entries), Span::new(start.start, end), Style::Collection))
    }

    /// The next node; an anchor's name may come before it.
    fn value(&mut self) -> Result<Node, Stop> {
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::Anchor(_, name) => self.anchor_names.push(name.into_owned()),
                event => return self.node(event, span),
            }
        }
    }

    /// A key; none where it is no text, which is told.
    fn key(&mut self, event: Event<'a>, span: Span) -> Result<Option<Key>, Stop> {
        let node = match event {
            Event::Scalar(text, ..) => return Ok(Some(Key { text: text.into_owned(), span })),
            event => self.node(event, span)?,
        };
        if let Content::Text(text) = node.content {
            return Ok(Some(Key { text, span }));
        }
        let path = joined(&self.path);
        self.findings
            .error(codes::YAML_UNSUPPORTED, span.first_line(self.text), &path, "a key that is not text")
            .help("keys are names; a value such as `{VAR}` or `{column}` needs quotes");
        Ok(None)
    }
}

/// Adds the entries of `<<: *other` that are not written out.
fn merge(entries: &mut Vec<(Key, Node)>, node: Node, path: &str, findings: &mut Findings) {
    match node.content {
        Content::Map(others) => {
            for (key, value) in others {
                if !entries.iter().any(|(k, _)| k.text == key.text) {
                    entries.push((key, value));
                }
            }
        }
        Content::List(items) => items.into_iter().for_each(|item| merge(entries, item, path, findings)),
        _ if node.unresolved => {}
        _ => {
            findings
                .error(codes::WRONG_TYPE, node.span, path, "`<<` takes a map")
                .help("`<<: *anchor` adds the keys of another map");
        }
    }
}

fn duplicate(text: &str, first: &Key, again: &Key, path: &[String], findings: &mut Findings) {
    let line = line(text, first.span.start);
    let path = crate::path::key(&joined(path), &again.text);
    findings
        .error(codes::DUPLICATE_KEY, again.span, &path, format!("the key `{}` stands twice in one map", again.text))
        .label(format!("first on line {line}"))
        .help("remove or rename one of them");
}

fn syntax(text: &str, error: &granit_parser::ScanError, open: Option<Span>, findings: &mut Findings) {
    let start = error.marker().byte_offset().unwrap_or_default().min(text.len());
    // At the end of the text the caret goes behind the last thing that is written.
    let start =
        if text.get(start..).is_some_and(|rest| rest.trim().is_empty()) { text.trim_end().len() } else { start };
    let len = text.get(start..).and_then(|rest| rest.chars().next()).filter(|c| *c != '\n').map_or(0, char::len_utf8);
    let help = match error.kind() {
        ErrorKind::TabNotAllowed | ErrorKind::TabInBlockIndentation | ErrorKind::TabInIndentation => {
            "YAML is indented with spaces, never with tabs"
        }
        ErrorKind::UnclosedQuotedScalar => "close the quotes",
        ErrorKind::UnclosedFlowCollection { open: '{' }
        | ErrorKind::UnexpectedEofFlowMapping
        | ErrorKind::ExpectedFlowMappingSeparator => {
            "a map in braces is `{ key: value, key: value }`; a value with `,`, `: `, `{`, `}`, `[` or `]` in it needs quotes"
        }
        ErrorKind::UnclosedFlowCollection { .. }
        | ErrorKind::UnexpectedEofFlowSequence
        | ErrorKind::ExpectedFlowSequenceSeparator => {
            "a list in brackets is `[a, b]`; a value with `,` or `]` in it needs quotes"
        }
        ErrorKind::MappingValueNotAllowed | ErrorKind::SimpleKeyExpected | ErrorKind::InvalidSimpleKey => {
            "a value with `: ` in it needs quotes; and keys of one map begin in the same column"
        }
        ErrorKind::UnexpectedCharacter { .. } | ErrorKind::MissingAnchorOrAliasName => {
            "a value that begins with `*`, `&`, `%`, `@` or a backtick needs quotes"
        }
        ErrorKind::UnknownQuotedScalarEscape => {
            "in double quotes a backslash is written `\\\\`; in single quotes it stands for itself"
        }
        _ => "check the indentation and the quotes around here",
    };
    let told = findings
        .error(codes::YAML_SYNTAX, Span::new(start, start + len), "", format!("not valid YAML: {}", error.info()))
        .help(help);
    if let Some(open) = open {
        let sign = text.get(open.start..open.start + 1).unwrap_or_default();
        told.label(format!("the `{sign}` on line {} is still open here", line(text, open.start)));
    }
}

fn line(text: &str, byte: usize) -> usize {
    text.get(..byte).unwrap_or_default().matches('\n').count() + 1
}

fn joined(path: &[String]) -> String {
    path.iter().fold(String::new(), |all, part| match part.strip_prefix('[') {
        Some(_) => all + part,
        None => crate::path::key(&all, part),
    })
}

fn place(span: &granit_parser::Span, text: &str) -> Span {
    let range = span.byte_range().unwrap_or_default();
    Span::new(range.start.min(text.len()), range.end.clamp(range.start, text.len().max(range.start)))
}
