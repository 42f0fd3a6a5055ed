//! Changes graphs for the stage: finds ports by name, captures them, leaves out what a port does not need.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use millstream_core::connector::Connector;
use millstream_core::format::{Compression, RecordFormat};
use millstream_core::refusal;
use millstream_core::sink::{Delivery, Roll, SinkOptions, WriteMode};
use millstream_runtime::graph::{Graph, Node, NodeKind, Port, PortRef, Routing, SinkNode, source_port};

/// Ids of captures begin so.
pub(super) const CAPTURE: &str = "capture:";

/// The ports of a graph by the names users write.
pub(crate) struct Names(BTreeMap<String, PortRef>);

impl Names {
    /// All of them.
    pub(crate) fn of(graph: &Graph) -> Self {
        let mut names = BTreeMap::new();
        for (node, n) in graph.nodes.iter().enumerate() {
            let sink_of_refused = matches!(&n.kind, NodeKind::Sink(s) if !s.has_failed_port);
            for (port, p) in n.ports.iter().enumerate().filter(|_| !sink_of_refused) {
                let name = match n.table_id().filter(|_| p.name == "failed") {
                    // What a table refuses is a port of the table.
                    Some(table) => format!("{table}.failed"),
                    None => n.port_name(port),
                };
                names.insert(name, PortRef { node, port });
            }
        }
        Self(names)
    }
    /// The port with this name.
    pub(crate) fn port(&self, name: &str) -> Option<PortRef> {
        self.0.get(name).copied()
    }
    /// The ports a name or a `*.port` pattern means.
    pub(crate) fn matching(&self, pattern: &str) -> Vec<(String, PortRef)> {
        match pattern.strip_prefix('*') {
            Some(end) => self.0.iter().filter(|(n, _)| n.ends_with(end)).map(|(n, p)| (n.clone(), *p)).collect(),
            None => self.port(pattern).map(|p| (pattern.to_owned(), p)).into_iter().collect(),
        }
    }
    /// All names.
    pub(crate) fn all(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

/// Lets a sink on the stage keep the rows of a port; gives the id to ask the stage for.
pub(crate) fn capture(graph: &mut Graph, name: &str, at: PortRef, connector: Arc<dyn Connector>) -> Option<String> {
    let id = format!("{CAPTURE}{name}");
    if graph.nodes.iter().any(|n| n.id == id) {
        return Some(id);
    }
    let from = graph.nodes.get_mut(at.node)?;
    let port = from.ports.get(at.port)?.clone();
    let sources = from.sources.clone();
    if let NodeKind::Source(source) = &mut from.kind {
        source.raw_is_read |= at.port == source_port::RAW;
    }
    let options = sink_options(id.clone(), graph.name.clone(), port.schema, port.key);
    let kind = NodeKind::Sink(SinkNode {
        connector,
        options,
        // In one place, so that a later row of a key comes later.
        routing: Routing::Single,
        before: None,
        delivery: Delivery::default(),
        has_failed_port: false,
    });
    let ports = vec![Port { name: "failed".into(), schema: refusal::schema(), key: Vec::new() }];
    graph.nodes.push(Node { id: id.clone(), kind, inputs: vec![at], ports, sources });
    Some(id)
}

/// The options of a sink that only keeps rows.
pub(super) fn sink_options(id: String, pipeline: String, schema: SchemaRef, key: Vec<String>) -> SinkOptions {
    SinkOptions {
        id,
        pipeline,
        schema,
        key,
        format: RecordFormat::Json,
        compression: Compression::None,
        path: None,
        mode: WriteMode::Append,
        roll: Roll { bytes: u64::MAX, every: std::time::Duration::MAX },
        subject: None,
        message: None,
        decimals_as_strings: false,
        instance: 0,
        instances: 1,
        state: String::new(),
        run: String::new(),
        generation: String::new(),
        checkpoint: 1,
    }
}

/// Leaves out every node that `wanted` does not need; gives where it is now.
pub(crate) fn prune(graph: &mut Graph, wanted: PortRef) -> PortRef {
    let mut needed = BTreeSet::from([wanted.node]);
    // Nodes come after what they read: one pass from the back finds all.
    for (i, node) in graph.nodes.iter().enumerate().rev() {
        if needed.contains(&i) {
            needed.extend(node.inputs.iter().map(|p| p.node));
            needed.extend(node.sources.iter().copied());
        }
    }
    let places: BTreeMap<usize, usize> = needed.iter().enumerate().map(|(new, old)| (*old, new)).collect();
    let place = |old: usize| places.get(&old).copied().unwrap_or(old);
    let mut index = 0;
    graph.nodes.retain(|_| {
        index += 1;
        needed.contains(&(index - 1))
    });
    for node in &mut graph.nodes {
        node.inputs.iter_mut().for_each(|p| p.node = place(p.node));
        node.sources.iter_mut().for_each(|s| *s = place(*s));
        if let NodeKind::Source(source) = &mut node.kind {
            source.raw_is_read = false;
        }
    }
    PortRef { node: place(wanted.node), port: wanted.port }
}
