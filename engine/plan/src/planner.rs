//! Plans a file: node by node, each after what it reads.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use millstream_core::connector::Connector;

use millstream_runtime::Graph;
use millstream_runtime::graph::{Node, NodeKind, PortRef};
use millstream_spec::codes;
use millstream_spec::model::{Pipeline, SqlText, Transform, TransformKind};
use millstream_spec::suggest;
use millstream_spec::{Finding, Severity, Span, Spanned};
use millstream_sql::{Functions, SqlError, SqlErrorKind};

use crate::binding::{Absent, Bind, Bound};
use crate::describe::Description;
use crate::ports::{Carries, PortInfo, Ports};

/// How a file is planned.
pub struct Options<'a> {
    /// Where names lead.
    pub bind: &'a dyn Bind,
    /// Milliseconds between ticks, for what fires on them.
    pub tick_ms: u64,
    /// Whether every port gives its rows, also those that no node of the file reads (tests and previews add readers).
    pub all_ports: bool,
}

/// A planned file.
#[derive(Debug)]
pub struct Planned {
    /// What to run; `None` where a finding is an error or a connector is not in this binary.
    pub graph: Option<Graph>,
    /// Everything found, in no order.
    pub findings: Vec<Finding>,
    /// What each node does, in words.
    pub description: Description,
    /// The user's functions, for other SQL about the same file.
    pub functions: Functions,
}

/// Plans `pipeline`.
pub fn plan(pipeline: &Pipeline, options: &Options<'_>) -> Planned {
    let mut planner = Planner::new(pipeline, options);
    planner.sources();
    for (id, transform) in &pipeline.transforms {
        planner.transform(id, transform);
    }
    planner.unwritten_tables();
    planner.sinks();
    planner.finish()
}

/// Where planning stands.
pub(crate) struct Planner<'a> {
    pub(crate) pipeline: &'a Pipeline,
    pub(crate) options: &'a Options<'a>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) ports: Ports,
    pub(crate) findings: Vec<Finding>,
    pub(crate) description: Description,
    pub(crate) functions: Functions,
    /// Nodes with findings: who reads them is left out without more.
    broken: BTreeSet<String>,
    planned: BTreeSet<String>,
    /// Transforms being planned, for circles.
    stack: Vec<String>,
    /// Ports that some node reads.
    pub(crate) read: BTreeSet<PortRef>,
    /// A connector that is not in this binary was needed.
    pub(crate) incomplete: bool,
    /// A name is not bound, and what uses it is not planned; the file's structure has the finding.
    unbound: bool,
    /// Table -> the upsert that writes it.
    pub(crate) table_writers: BTreeMap<String, String>,
    /// By upsert node, which of its statuses' rows somebody reads; known only at the end.
    pub(crate) wanted: BTreeMap<usize, Arc<[AtomicBool]>>,
}

impl<'a> Planner<'a> {
    fn new(pipeline: &'a Pipeline, options: &'a Options<'a>) -> Self {
        let mut table_writers = BTreeMap::new();
        for (id, transform) in &pipeline.transforms {
            if let TransformKind::Upsert { into, .. } = &transform.kind {
                table_writers.entry(into.value.clone()).or_insert_with(|| id.value.clone());
            }
        }
        let mut findings = Vec::new();
        let functions = crate::functions::load(pipeline, &mut findings);
        Self {
            pipeline,
            options,
            nodes: Vec::new(),
            ports: Ports::default(),
            findings,
            description: Description::default(),
            functions,
            broken: BTreeSet::new(),
            planned: BTreeSet::new(),
            stack: Vec::new(),
            read: BTreeSet::new(),
            incomplete: false,
            unbound: false,
            table_writers,
            wanted: BTreeMap::new(),
        }
    }

    /// Adds a finding.
    pub(crate) fn find(
        &mut self,
        code: &'static str,
        span: Span,
        path: &str,
        message: impl Into<String>,
    ) -> &mut Finding {
        self.findings.push(Finding {
            code,
            severity: Severity::Error,
            message: message.into(),
            span,
            label: None,
            path: path.to_owned(),
            help: None,
        });
        let last = self.findings.len() - 1;
        #[expect(clippy::indexing_slicing, reason = "it was pushed two lines above")]
        &mut self.findings[last]
    }

    /// The same as a warning.
    pub(crate) fn warn(
        &mut self,
        code: &'static str,
        span: Span,
        path: &str,
        message: impl Into<String>,
    ) -> &mut Finding {
        let finding = self.find(code, span, path, message);
        finding.severity = Severity::Warning;
        finding
    }

    pub(crate) fn bind(&mut self, name: &str) -> Option<Bound> {
        let bound = self.options.bind.bind(name);
        self.unbound |= bound.is_none();
        bound
    }

    /// The connector of a binding; where this binary has none, nothing will run.
    pub(crate) fn connector(&mut self, bound: Bound) -> Arc<dyn Connector> {
        bound.connector.unwrap_or_else(|| {
            self.incomplete = true;
            Arc::new(Absent)
        })
    }

    /// Adds a node with its ports.
    pub(crate) fn add(&mut self, node: Node, ports: Vec<(String, PortInfo)>) {
        for input in &node.inputs {
            self.read.insert(*input);
        }
        self.planned.insert(node.id.clone());
        self.nodes.push(node);
        for (name, port) in ports {
            self.ports.insert(name, port);
        }
    }

    pub(crate) fn next_node(&self) -> usize {
        self.nodes.len()
    }

    pub(crate) fn break_node(&mut self, id: &str) {
        self.broken.insert(id.to_owned());
    }

    fn transform(&mut self, id: &Spanned<String>, transform: &'a Transform) {
        if self.planned.contains(&id.value) || self.broken.contains(&id.value) {
            return;
        }
        if self.stack.contains(&id.value) {
            let begin = self.stack.iter().position(|s| *s == id.value).unwrap_or(0);
            let circle = self.stack.iter().skip(begin).chain([&id.value]).map(String::as_str).collect::<Vec<_>>();
            let circle = circle.join(" -> ");
            let path = format!("transforms.{}", id.value);
            self.find(codes::CYCLE, id.span, &path, format!("`{}` reads from itself", id.value)).help =
                Some(format!("each reads the next: {circle}"));
            for node in self.stack.clone() {
                self.break_node(&node);
            }
            return;
        }
        self.stack.push(id.value.clone());
        let before = self.findings.iter().filter(|f| f.severity == Severity::Error).count();
        let planned = self.plan_transform(id, transform);
        let after = self.findings.iter().filter(|f| f.severity == Severity::Error).count();
        if planned.is_none() || after > before {
            self.break_node(&id.value);
        }
        self.stack.pop();
    }

    fn plan_transform(&mut self, id: &Spanned<String>, transform: &'a Transform) -> Option<()> {
        match &transform.kind {
            TransformKind::Validate { from, rules } => self.validate(id, from, rules),
            TransformKind::Dedup { from, key, within } => self.dedup(id, from, key, *within),
            TransformKind::Route { from, on, cases, otherwise } => self.route(id, from, on, cases, *otherwise),
            TransformKind::Upsert { into, set, status } => self.upsert(id, into, set, status),
            TransformKind::Sql(text) => self.sql(id, text, transform),
        }
    }

    /// The port a name means, after planning the node it belongs to. `None` with a finding where there is none,
    /// and without one where the node has findings of its own.
    pub(crate) fn port(&mut self, name: &Spanned<String>, path: &str) -> Option<PortInfo> {
        self.port_at(&name.value, name.span, path)
    }

    pub(crate) fn port_at(&mut self, name: &str, span: Span, path: &str) -> Option<PortInfo> {
        let owner = name.split('.').next().unwrap_or(name).to_owned();
        self.ensure(&owner);
        if let Some(port) = self.ports.get(name) {
            return Some(port.clone());
        }
        if self.is_broken(&owner) {
            return None;
        }
        let (code, message, label, help) = self.no_port(name, &owner);
        let finding = self.find(code, span, path, message);
        finding.label = label;
        finding.help = help;
        None
    }

    /// Plans the transform `owner` is or, for a table, the upsert that writes it.
    pub(crate) fn ensure(&mut self, owner: &str) {
        let writer = self.table_writers.get(owner).cloned();
        let wanted = writer.as_deref().unwrap_or(owner);
        if let Some((id, transform)) = self.pipeline.transforms.iter().find(|(id, _)| id.value == wanted) {
            self.transform(id, transform);
        }
    }

    pub(crate) fn is_broken(&self, owner: &str) -> bool {
        let writer = self.table_writers.get(owner).map_or(owner, String::as_str);
        self.broken.contains(owner) || self.broken.contains(writer)
    }

    fn no_port(&self, name: &str, owner: &str) -> (&'static str, String, Option<String>, Option<String>) {
        let of_node: Vec<&str> = self.ports.of_node(owner).collect();
        if !of_node.is_empty() || self.ports.get(owner).is_some() {
            let full: Vec<String> = of_node.iter().map(|p| format!("{owner}.{p}")).collect();
            let near = suggest::nearest(name, full.iter().map(String::as_str));
            let all = format!("ports: {}", of_node.join(", "));
            let help = near.map_or(all.clone(), |near| format!("did you mean `{near}`?  {all}"));
            let label =
                if name == owner { format!("`{owner}` has no main port") } else { format!("not a port of `{owner}`") };
            return (codes::UNKNOWN_PORT, format!("no stream named `{name}`"), Some(label), Some(help));
        }
        let known: Vec<&str> = self.ports.iter().map(|(name, _)| name).collect();
        let later: Vec<&str> = self.pipeline.transforms.iter().map(|(id, _)| id.value.as_str()).collect();
        let help = suggest::nearest(name, known.iter().chain(&later).copied())
            .map(|near| format!("did you mean `{near}`?"))
            .or_else(|| Some(format!("streams: {}", suggest::listed(&known))));
        (codes::UNKNOWN_STREAM, format!("no stream named `{name}`"), None, help)
    }

    /// Findings about SQL, in the user's file.
    pub(crate) fn sql_findings(&mut self, text: &Spanned<SqlText>, path: &str, errors: Vec<SqlError>) {
        for error in errors {
            let span = error.range.clone().map_or(text.span, |r| text.value.locate(r));
            let finding = self.find(sql_code(error.kind), span, path, error.message);
            finding.label = error.label;
            finding.help = error.help;
            if error.warning {
                finding.severity = Severity::Warning;
                finding.code = match error.kind {
                    SqlErrorKind::NoEarlyResults => codes::NO_EARLY_RESULTS,
                    _ => codes::ORDER_DEPENDENT,
                };
            }
        }
    }

    /// The greatest `late_after` of these sources.
    pub(crate) fn horizon(&self, sources: &[usize]) -> Duration {
        sources
            .iter()
            .filter_map(|s| match &self.nodes.get(*s)?.kind {
                NodeKind::Source(source) => source.event_time.as_ref().map(|e| e.late_after),
                _ => None,
            })
            .max()
            .unwrap_or_default()
    }

    fn unwritten_tables(&mut self) {
        let exists = |table: &String| self.pipeline.tables.iter().any(|(id, _)| id.value == *table);
        if !self.table_writers.keys().all(exists) {
            // The writer of a table without one may be the one whose table does not exist.
            return;
        }
        let unwritten = |id: &str| !self.table_writers.contains_key(id);
        let tables: Vec<_> =
            self.pipeline.tables.iter().filter(|(id, _)| unwritten(&id.value)).map(|(id, _)| id).collect();
        for id in tables {
            let path = format!("tables.{}", id.value);
            self.find(codes::TABLE_WRITERS, id.span, &path, format!("no transform writes the table `{}`", id.value))
                .help =
                Some(format!("add a transform with `upsert: {{ into: {}, set: .. }}`, or remove the table", id.value));
        }
    }

    fn finish(mut self) -> Planned {
        self.unread_nodes();
        if self.unbound || self.findings.iter().any(|f| f.severity == Severity::Error) {
            self.findings.retain(|f| !crate::findings::may_follow(f));
        }
        for (node, statuses) in &self.wanted {
            for (port, wanted) in statuses.iter().enumerate() {
                wanted.fetch_or(self.read.contains(&PortRef { node: *node, port }), Ordering::Relaxed);
            }
        }
        let failed = self.incomplete || self.unbound || self.findings.iter().any(|f| f.severity == Severity::Error);
        let graph = (!failed).then(|| Graph {
            name: self.pipeline.name.value.clone(),
            nodes: self.nodes,
            checkpoint_every: self.pipeline.checkpoint.every,
        });
        Planned { graph, findings: self.findings, description: self.description, functions: self.functions }
    }

    fn unread_nodes(&mut self) {
        let mut unread = Vec::new();
        for (index, node) in self.nodes.iter().enumerate() {
            let reads = |port: usize| self.read.contains(&PortRef { node: index, port });
            let rows =
                |port: &usize| self.ports.get(&node.port_name(*port)).is_some_and(|p| p.carries == Carries::Rows);
            let any_rows_read = (0..node.ports.len()).filter(rows).any(reads);
            if !any_rows_read && matches!(node.kind, NodeKind::Operator(_) | NodeKind::Caller(_) | NodeKind::Source(_))
            {
                unread.push(node.id.clone());
            }
        }
        for id in unread {
            let (span, path) = (self.id_span(&id), format!("{}.{id}", self.section(&id)));
            self.warn(codes::UNREAD_NODE, span, &path, format!("nothing reads the rows of `{id}`")).help =
                Some("read them in a transform or a sink, or remove the node".to_owned());
        }
    }
}

/// The finding code of an SQL error.
fn sql_code(kind: SqlErrorKind) -> &'static str {
    match kind {
        SqlErrorKind::Parse => codes::SQL_SYNTAX,
        SqlErrorKind::UnknownPort => codes::UNKNOWN_PORT,
        SqlErrorKind::UnknownColumn => codes::SQL_UNKNOWN_COLUMN,
        SqlErrorKind::UnknownFunction => codes::SQL_UNKNOWN_FUNCTION,
        SqlErrorKind::UdfArguments => codes::UDF_CALL,
        SqlErrorKind::Volatile => codes::SQL_VOLATILE,
        SqlErrorKind::DecimalOverflow => codes::SQL_DECIMAL_OVERFLOW,
        SqlErrorKind::NeedsWindow => codes::SQL_NEEDS_WINDOW,
        SqlErrorKind::NotBoolean => codes::SQL_NOT_BOOLEAN,
        SqlErrorKind::OrderDependent => codes::SQL_ORDER_DEPENDENT,
        SqlErrorKind::Unsupported => codes::SQL_NOT_STREAMING,
        SqlErrorKind::NotAQuery => codes::SQL_NOT_A_QUERY,
        SqlErrorKind::BadWindow => codes::SQL_BAD_WINDOW,
        _ => codes::SQL_PLAN,
    }
}
