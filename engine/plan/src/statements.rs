//! Plans SQL nodes.

use std::sync::Arc;

use millstream_core::refusal;
use millstream_runtime::graph::{CallerNode, MakeOperator, Node, NodeKind, Port, PortRef, Routing, Stage};
use millstream_spec::model::{SqlText, Transform};
use millstream_spec::{Span, Spanned, codes};
use millstream_sql::{Catalog, Emit, PlannedQuery, QueryKind, StageContext};

use crate::planner::Planner;
use crate::ports::{Carries, PortInfo};

impl<'a> Planner<'a> {
    pub(crate) fn sql(
        &mut self,
        id: &Spanned<String>,
        text: &'a Spanned<SqlText>,
        transform: &'a Transform,
    ) -> Option<()> {
        let path = format!("transforms.{}.sql", id.value);
        let mut broken = false;
        for (name, range) in millstream_sql::streams(&text.value.text) {
            let owner = name.split('.').next().unwrap_or(&name).to_owned();
            self.ensure(&owner);
            if self.ports.get(&name).is_none() {
                broken = true;
                let span = range.map_or(text.span, |r| text.value.locate(r));
                self.port_at(&name, span, &path);
            }
        }
        if broken {
            return None;
        }
        let emit = transform.emit.unwrap_or_default();
        let sql_emit = Emit { early: emit.early, allowed_lateness: emit.allowed_lateness };
        let catalog = self.catalog();
        let read = millstream_sql::streams(&text.value.text);
        let upstream = union(read.iter().filter_map(|(name, _)| self.ports.get(name)).map(|p| p.sources.as_slice()));
        let horizon = self.horizon(&upstream);
        let planned = match millstream_sql::plan_query(&text.value.text, &catalog, &sql_emit, horizon) {
            Ok(planned) => planned,
            Err(errors) => {
                self.sql_findings(text, &path, errors);
                return None;
            }
        };
        self.sql_findings(text, &path, planned.warnings().to_vec());
        if transform.emit.is_some() && planned.kind() != QueryKind::Windowed {
            self.find(codes::EMIT_WITHOUT_WINDOW, transform.span, &path, "`emit` stands beside SQL without a window")
                .help = Some("remove `emit`, or aggregate over `tumble(stream, column, INTERVAL '..')`".to_owned());
        }
        if planned.kind() == QueryKind::Windowed {
            self.timeless(text, &planned, &path);
        }
        if !planned.keeps_every_row() {
            let filters = planned.kind() == QueryKind::Stateless;
            let why = if filters { "a filter would judge each of them" } else { "this query would count each of them" };
            for input in planned.inputs() {
                self.not_revised(input, stream_span(text, input), &path, why)?;
            }
        }
        self.add_query(id, planned)
    }

    /// Says so where rows without an event time go into a window: their arrival would decide what is late.
    fn timeless(&mut self, text: &'a Spanned<SqlText>, query: &PlannedQuery, path: &str) {
        for input in query.inputs() {
            let Some(port) = self.ports.get(input) else { continue };
            let timeless = port
                .sources
                .iter()
                .filter_map(|s| self.nodes.get(*s))
                .find(|node| matches!(&node.kind, NodeKind::Source(source) if source.event_time.is_none()));
            let Some(source) = timeless.map(|node| node.id.clone()) else { continue };
            let span = stream_span(text, input);
            let message = format!("rows of `{source}` have no event time, and a window needs one");
            let finding = self.warn(codes::NO_EVENT_TIME, span, path, message);
            finding.label = Some("the time of arrival decides what is late here".to_owned());
            finding.help = Some(format!("add `event_time: {{ column: .. }}` to the source `{source}`"));
        }
    }

    /// Whether a port gives each result once; a finding where it may give a later one for an earlier one, which only
    /// sinks can replace.
    pub(crate) fn not_revised(&mut self, name: &str, span: Span, path: &str, why: &str) -> Option<()> {
        if !self.ports.get(name).is_some_and(|p| p.revised) {
            return Some(());
        }
        let message = format!("results of `{name}` can be revised, and {why}");
        let finding = self.find(codes::REVISED_INTO_APPEND, span, path, message);
        finding.help = Some(format!(
            "read what `{name}` reads; or let nothing be revised: no `early`, no `allowed_lateness`, no `late_after` at the sources"
        ));
        None
    }

    fn catalog(&self) -> Catalog {
        let ports: Catalog = self
            .ports
            .iter()
            .map(|(name, p)| {
                (
                    name.to_owned(),
                    millstream_sql::Port { schema: p.schema.clone(), key: p.key.clone(), bounded: p.bounded },
                )
            })
            .collect();
        ports.with_functions(self.functions.clone())
    }

    fn add_query(&mut self, id: &Spanned<String>, query: PlannedQuery) -> Option<()> {
        let inputs: Vec<PortInfo> = query.inputs().iter().map(|i| self.ports.get(i).cloned()).collect::<Option<_>>()?;
        let sources = union(inputs.iter().map(|p| p.sources.as_slice()));
        let bounded = inputs.iter().all(|p| p.bounded);
        let windowed = query.kind() == QueryKind::Windowed;
        let undecided = !query.undecided().is_empty() || inputs.iter().any(|p| p.undecided);
        let revised = query.revises() || (query.kind() == QueryKind::Stateless && inputs.iter().any(|p| p.revised));
        let node = self.next_node();
        let (mut ports, mut infos) = (Vec::new(), Vec::new());
        let mut give =
            |name: &str, schema: arrow::datatypes::SchemaRef, key: Vec<String>, carries, read: bool, revised| {
                let at = PortRef { node, port: ports.len() };
                ports.push(Port { name: name.to_owned(), schema: schema.clone(), key: key.clone() });
                let revisions = if carries == Carries::Rows { query.revisions().to_vec() } else { Vec::new() };
                if read {
                    let full = if name.is_empty() { id.value.clone() } else { format!("{}.{name}", id.value) };
                    infos.push((
                        full,
                        PortInfo {
                            at,
                            schema,
                            key,
                            carries,
                            bounded,
                            sources: sources.clone(),
                            revised,
                            revisions,
                            undecided,
                        },
                    ));
                }
            };
        give("", query.schema(), query.key().to_vec(), Carries::Rows, true, revised);
        give("late", refusal::schema(), Vec::new(), Carries::Refused, query.late_port(), false);
        give("failed", refusal::schema(), Vec::new(), Carries::Refused, query.failed_port(), false);
        let context =
            StageContext { component: id.value.clone(), tick: std::time::Duration::from_millis(self.options.tick_ms) };
        let stages = query.stages();
        let stages = stages.into_iter().map(|stage| {
            let routing = match &stage.routing {
                millstream_sql::Routing::Local => Routing::Local,
                millstream_sql::Routing::Keys(columns) => Routing::Keys(columns.clone()),
                millstream_sql::Routing::Single => Routing::Single,
            };
            let context = context.clone();
            let make: MakeOperator = Arc::new(move || stage.operator(&context));
            Stage { routing: vec![routing; inputs.len().max(1)], make }
        });
        let stages: Vec<Stage> = stages.collect();
        let kind = match query.caller() {
            Some(make) => {
                let routing = vec![Routing::Local; inputs.len().max(1)];
                NodeKind::Caller(CallerNode { routing, make: Arc::new(move |wake| make(&context, wake)) })
            }
            None => NodeKind::Operator(stages),
        };
        let name = match (&kind, windowed) {
            (NodeKind::Caller(_), _) => "async sql",
            (_, true) => "windowed sql",
            (_, false) => "sql",
        };
        self.description.say(&id.value, name, query.explain());
        let inputs = inputs.iter().map(|p| p.at).collect();
        self.add(Node { id: id.value.clone(), kind, inputs, ports, sources }, infos);
        Some(())
    }
}

/// Where a query names a stream.
fn stream_span(text: &Spanned<SqlText>, stream: &str) -> Span {
    let range = millstream_sql::streams(&text.value.text).into_iter().find(|(name, _)| name == stream);
    range.and_then(|(_, range)| range).map_or(text.span, |r| text.value.locate(r))
}

/// The distinct members of several lists, in order.
pub(crate) fn union<'s>(lists: impl Iterator<Item = &'s [usize]>) -> Vec<usize> {
    let mut all: Vec<usize> = lists.flatten().copied().collect();
    all.sort_unstable();
    all.dedup();
    all
}
