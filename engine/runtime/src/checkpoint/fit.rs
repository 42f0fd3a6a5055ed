//! Whether what a checkpoint has stored fits the pipeline that is to go on from it.

use std::collections::{BTreeMap, BTreeSet};

use millstream_core::batch::is_hidden;
use millstream_core::error::Result;
use millstream_core::operator::Operator as _;
use millstream_core::sink::Commitment;
use millstream_core::snapshot::StateLayout;
use millstream_state::checkpoint::Manifest;

use crate::graph::{Graph, NodeKind, SinkNode};

/// What becomes of a node's stored state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It is taken back.
    Kept,
    /// The node has none yet: it begins empty.
    New,
    /// The node is not in the pipeline any more.
    Gone,
    /// It does not fit: why.
    Misfit(Vec<String>),
}

/// A node and what becomes of its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fit {
    /// The node's id.
    pub node: String,
    /// What remembers: `source`, `upsert`, ..
    pub kind: String,
    /// What becomes of it.
    pub fate: Fate,
    /// Rows stored, or splits of a source.
    pub rows: u64,
}

/// The name of a node's stage; of its only one, the node's.
pub(crate) fn stage_name(node: &str, stage: usize, stages: usize) -> String {
    if stages <= 1 { node.to_owned() } else { format!("{node}.{stage}") }
}

/// The name of the digest of a sink.
pub(crate) fn digest_name(node: &str) -> String {
    format!("{node}.digest")
}

/// What a sink remembers looks like.
pub(crate) fn sink_layout(sink: &SinkNode) -> Option<StateLayout> {
    let kind = match sink.connector.commitment(&sink.options) {
        Commitment::Direct | Commitment::Keyed => return None,
        Commitment::Staged => "files",
        Commitment::Outbox { .. } => "outbox",
    };
    let layout = StateLayout::new(kind).fixed("key", sink.options.key.join(", "));
    let fields = sink.options.schema.fields().iter().filter(|f| !is_hidden(f.name()));
    Some(fields.fold(layout, |l, f| l.column(f.name(), f.data_type().to_string())))
}

/// The layout of a place of a node. What windows have given depends on the watermark, and so on which sources there are.
pub(crate) fn place_layout(layout: StateLayout, graph: &Graph, node: usize) -> StateLayout {
    if layout.kind != "window" {
        return layout;
    }
    let sources = graph.nodes.get(node).map(|n| n.sources.as_slice()).unwrap_or_default();
    let ids = sources.iter().filter_map(|s| graph.nodes.get(*s)).map(|n| n.id.as_str()).collect::<Vec<_>>();
    layout.fixed("sources", ids.join(", "))
}

/// All places with state of a graph, each with what its state looks like.
///
/// # Errors
/// What making an operator says.
pub(crate) fn place_layouts(graph: &Graph) -> Result<BTreeMap<String, StateLayout>> {
    let mut layouts = BTreeMap::new();
    let mut add = |name: String, layout: Option<StateLayout>| {
        if let Some(layout) = layout {
            layouts.insert(name, layout);
        }
    };
    for (i, node) in graph.nodes.iter().enumerate() {
        match &node.kind {
            NodeKind::Source(_) | NodeKind::Caller(_) => {}
            NodeKind::Operator(stages) => {
                for (s, stage) in stages.iter().enumerate() {
                    let layout = (stage.make)()?.layout().map(|l| place_layout(l, graph, i));
                    add(stage_name(&node.id, s, stages.len()), layout);
                }
            }
            NodeKind::Upsert(upsert) => add(node.id.clone(), (upsert.make)()?.layout()),
            NodeKind::Sink(sink) => {
                if let Some(make) = &sink.before {
                    add(digest_name(&node.id), make()?.layout());
                }
                add(node.id.clone(), sink_layout(sink));
            }
        }
    }
    Ok(layouts)
}

/// What would become of what `manifest` has stored if `graph` went on from it, node by node.
///
/// # Errors
/// What making an operator says.
pub fn fit(graph: &Graph, manifest: &Manifest) -> Result<Vec<Fit>> {
    let layouts = place_layouts(graph)?;
    let owner = |place: &str| place.split('.').next().unwrap_or(place).to_owned();
    let mut fits: BTreeMap<String, Fit> = BTreeMap::new();
    for (place, stored) in &manifest.places {
        let rows = stored.parts.iter().map(|p| p.rows).sum::<u64>();
        let fate = match layouts.get(place) {
            _ if stored.parts.is_empty() => continue,
            None => Fate::Gone,
            Some(now) => match now.differences(&stored.layout) {
                differences if differences.is_empty() => Fate::Kept,
                differences => Fate::Misfit(differences),
            },
        };
        let node = owner(place);
        let kind = stored.layout.kind.clone();
        let fit = fits.entry(node.clone()).or_insert(Fit { node, kind, fate: Fate::Kept, rows: 0 });
        fit.rows += rows;
        if fit.fate == Fate::Kept {
            fit.fate = fate;
        }
    }
    let nodes: BTreeSet<&str> = graph.nodes.iter().map(|n| n.id.as_str()).collect();
    for (source, state) in &manifest.sources {
        let fate = if nodes.contains(source.as_str()) { Fate::Kept } else { Fate::Gone };
        let rows = state.splits.len() as u64;
        fits.insert(source.clone(), Fit { node: source.clone(), kind: "source".into(), fate, rows });
    }
    let fresh = layouts.iter().map(|(place, layout)| (owner(place), layout.kind.clone()));
    let sources = graph.nodes.iter().filter(|n| matches!(n.kind, NodeKind::Source(_)));
    for (node, kind) in fresh.chain(sources.map(|n| (n.id.clone(), "source".to_owned()))) {
        // It ran, and had nothing to remember.
        let fate = if manifest.counters.contains_key(&node) { Fate::Kept } else { Fate::New };
        fits.entry(node.clone()).or_insert(Fit { node, kind, fate, rows: 0 });
    }
    Ok(fits.into_values().collect())
}
