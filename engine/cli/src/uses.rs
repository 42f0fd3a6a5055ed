//! What a pipeline does with which connector: each source, table and sink, the checkpoints and the metrics.

use std::sync::Arc;

use millstream_core::connector::{Connector, Registry};
use millstream_core::resource::Use;
use millstream_plan::{Bind as _, Profile};
use millstream_runtime::graph::{Graph, NodeKind};
use millstream_spec::Span;
use millstream_spec::model::Pipeline;

use crate::exit::Failure;
use crate::load::Loaded;

/// A use of a connector.
#[derive(Debug)]
pub(crate) struct Used<'a> {
    /// The connector.
    pub(crate) connector: Arc<dyn Connector>,
    /// What is done with it.
    pub(crate) of: Use<'a>,
    /// Where the profile binds it: `profiles.aws.trip_table`.
    pub(crate) path: String,
    /// The place of that in the file.
    pub(crate) span: Span,
}

/// All uses, in the order of the graph; `state` names the pipeline's state.
pub(crate) fn uses<'a>(
    loaded: &'a Loaded,
    graph: &'a Graph,
    state: &'a str,
    registry: &Registry,
) -> Result<Vec<Used<'a>>, Failure> {
    let pipeline = loaded.pipeline()?;
    let profile = loaded.parsed.profile.as_deref();
    let mut all = Vec::new();
    let mut add = |connector: &Arc<dyn Connector>, of: Use<'a>, name: Option<&str>| {
        let Some(name) = name else { return };
        let (path, span) = bound(pipeline, profile, name);
        all.push(Used { connector: connector.clone(), of, path, span });
    };
    for node in &graph.nodes {
        match &node.kind {
            NodeKind::Source(source) => {
                let read =
                    pipeline.sources.iter().find(|(id, _)| id.value == node.id).map(|(_, s)| s.read.value.as_str());
                add(&source.connector, Use::Source(&source.options), read);
            }
            NodeKind::Upsert(upsert) => {
                let table = pipeline.tables.iter().find(|(id, _)| id.value == upsert.table_id);
                add(&upsert.connector, Use::Table(&upsert.table), table.map(|(_, t)| t.store.value.as_str()));
            }
            NodeKind::Sink(sink) => {
                let write =
                    pipeline.sinks.iter().find(|(id, _)| id.value == node.id).map(|(_, s)| s.write.value.as_str());
                add(&sink.connector, Use::Sink(&sink.options), write);
            }
            NodeKind::Operator(_) | NodeKind::Caller(_) => {}
        }
    }
    let store = pipeline.checkpoint.store.as_ref().map(|store| (Use::Checkpoints(state), store));
    let metrics = pipeline.metrics.as_ref().map(|metrics| (Use::Metrics(&pipeline.name.value), &metrics.write));
    for (of, binding) in store.into_iter().chain(metrics) {
        let connector = Profile::new(pipeline, profile, registry).bind(&binding.value).and_then(|b| b.connector);
        if let Some(connector) = connector {
            add(&connector, of, Some(&binding.value));
        }
    }
    Ok(all)
}

/// Where a profile binds a name.
fn bound(pipeline: &Pipeline, profile: Option<&str>, name: &str) -> (String, Span) {
    let in_use = pipeline.profiles.iter().find(|(id, _)| profile.is_none_or(|p| id.value == p));
    let Some((id, profile)) = in_use else { return (name.to_owned(), Span::default()) };
    let binding = profile.bindings.iter().find(|(bound, _)| bound.value == name);
    (format!("profiles.{}.{name}", id.value), binding.map_or_else(Span::default, |(_, b)| b.connector.span))
}
