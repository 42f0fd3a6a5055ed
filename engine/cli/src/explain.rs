//! `explain`: the resolved graph, the plan of each node, and what each sink guarantees.

use arrow::datatypes::{DataType, SchemaRef};
use millstream_core::batch::is_hidden;
use millstream_core::refusal;
use millstream_plan::Description;
use millstream_runtime::graph::{Graph, Node, NodeKind, PortRef};
use serde_json::{Value, json};

use crate::args::{ExplainArgs, GraphFormat};
use crate::exit::Failure;
use crate::grid::wrap;
use crate::load::Loaded;
use crate::stage::Names;
use crate::{absent, registry, terminal};

/// Columns of a page.
const PAGE: usize = 90;

/// Runs the command.
pub(crate) fn execute(args: &ExplainArgs) -> Result<(), Failure> {
    let registry = registry::registry();
    let (loaded, graph, description) = absent::looked_at(&args.file, &registry)?;
    let drawing = Drawing { names: port_names(&graph), graph: &graph, description: &description };
    terminal::out(&match args.format {
        GraphFormat::Text => drawing.text(&loaded),
        GraphFormat::Mermaid => drawing.mermaid(),
        GraphFormat::Dot => drawing.dot(),
        GraphFormat::Yaml => drawing.yaml(&loaded)?,
    });
    Ok(())
}

/// By port, the name users write.
fn port_names(graph: &Graph) -> Vec<(PortRef, String)> {
    let names = Names::of(graph);
    names.all().filter_map(|name| names.port(name).map(|port| (port, name.to_owned()))).collect()
}

struct Drawing<'a> {
    graph: &'a Graph,
    names: Vec<(PortRef, String)>,
    description: &'a Description,
}

impl Drawing<'_> {
    fn name(&self, port: PortRef) -> &str {
        self.names.iter().find(|(p, _)| *p == port).map_or("", |(_, name)| name)
    }
    /// What a node is, and what it does line by line.
    fn words(&self, node: &Node) -> (&str, &[String]) {
        let found = self.description.nodes().iter().find(|d| d.id == node.id);
        found.map_or((node.kind.name(), &[]), |d| (d.kind.as_str(), d.lines.as_slice()))
    }
    /// The ports of a node with their readers.
    fn ports(&self, index: usize, node: &Node) -> Vec<(String, SchemaRef, Vec<String>)> {
        let all = node.ports.iter().enumerate().filter_map(|(port, p)| {
            let at = PortRef { node: index, port };
            let name = self.name(at);
            let readers = self.graph.readers(at).filter_map(|(n, _)| self.graph.nodes.get(n)).map(|n| n.id.clone());
            (!name.is_empty()).then(|| (name.to_owned(), p.schema.clone(), readers.collect()))
        });
        all.collect()
    }

    fn text(&self, loaded: &Loaded) -> String {
        let profile = loaded.parsed.profile.as_deref().unwrap_or("-");
        let mut out = format!("{}, profile {profile}\n", terminal::bold(&self.graph.name));
        for (index, node) in self.graph.nodes.iter().enumerate() {
            let (kind, lines) = self.words(node);
            out.push_str(&format!("\n{}  {}\n", terminal::bold(&node.id), terminal::dim(kind)));
            lines.iter().for_each(|line| out.push_str(&format!("  {line}\n")));
            if let Some(table) = self.description.nodes().iter().find(|d| node.table_id() == Some(d.id.as_str())) {
                table.lines.iter().for_each(|line| out.push_str(&format!("  table {}: {line}\n", table.id)));
            }
            for (name, schema, readers) in self.ports(index, node) {
                let refused = schema == refusal::schema();
                if readers.is_empty() && refused {
                    continue;
                }
                let to = if readers.is_empty() { terminal::dim("nobody") } else { readers.join(", ") };
                out.push_str(&format!("  {} {name} → {to}\n", terminal::green("▸")));
                if !refused && !readers.is_empty() {
                    for line in wrap(&columns(&schema), PAGE) {
                        out.push_str(&format!("      {}\n", terminal::dim(&line)));
                    }
                }
            }
        }
        out
    }

    fn mermaid(&self) -> String {
        let mut out = String::from("flowchart LR\n");
        for node in &self.graph.nodes {
            let (kind, _) = self.words(node);
            let (open, close) = match node.kind {
                NodeKind::Source(_) => ("([", "])"),
                NodeKind::Upsert(_) => ("[(", ")]"),
                NodeKind::Sink(_) => ("[/", "/]"),
                NodeKind::Operator(_) | NodeKind::Caller(_) => ("[", "]"),
            };
            out.push_str(&format!("  {id}{open}\"{id}<br/><small>{kind}</small>\"{close}\n", id = node.id));
        }
        for (from, to, label) in self.edges() {
            let label = if label.is_empty() { String::new() } else { format!("|{label}|") };
            out.push_str(&format!("  {from} -->{label} {to}\n"));
        }
        out
    }

    fn dot(&self) -> String {
        let mut out = format!("digraph \"{}\" {{\n  rankdir=LR;\n  node [fontname=\"sans-serif\"];\n", self.graph.name);
        for node in &self.graph.nodes {
            let (kind, _) = self.words(node);
            let shape = match node.kind {
                NodeKind::Source(_) => "oval",
                NodeKind::Upsert(_) => "cylinder",
                NodeKind::Sink(_) => "parallelogram",
                NodeKind::Operator(_) | NodeKind::Caller(_) => "box",
            };
            out.push_str(&format!("  \"{id}\" [shape={shape}, label=\"{id}\\n{kind}\"];\n", id = node.id));
        }
        for (from, to, label) in self.edges() {
            out.push_str(&format!("  \"{from}\" -> \"{to}\" [label=\"{label}\"];\n"));
        }
        out.push_str("}\n");
        out
    }

    /// From, to, and the port where it is not the main one.
    fn edges(&self) -> Vec<(String, String, String)> {
        let mut edges = Vec::new();
        for node in &self.graph.nodes {
            for input in &node.inputs {
                let Some(from) = self.graph.nodes.get(input.node) else { continue };
                let port = from.ports.get(input.port).map(|p| p.name.clone()).unwrap_or_default();
                edges.push((from.id.clone(), node.id.clone(), port));
            }
        }
        edges
    }

    fn yaml(&self, loaded: &Loaded) -> Result<String, Failure> {
        let nodes = self.graph.nodes.iter().enumerate().map(|(index, node)| {
            let (kind, lines) = self.words(node);
            let ports = self.ports(index, node).into_iter().map(|(name, schema, readers)| {
                let fields = schema.fields().iter().filter(|f| !is_hidden(f.name()));
                let columns: serde_json::Map<String, Value> =
                    fields.map(|f| (f.name().clone(), json!(type_name(f.data_type())))).collect();
                json!({ "port": name, "columns": columns, "read_by": readers })
            });
            json!({
                "id": node.id,
                "kind": kind,
                "plan": lines,
                "reads": node.inputs.iter().map(|p| self.name(*p)).collect::<Vec<_>>(),
                "table": node.table_id(),
                "gives": ports.collect::<Vec<_>>(),
            })
        });
        let all = json!({
            "pipeline": self.graph.name,
            "profile": loaded.parsed.profile,
            "nodes": nodes.collect::<Vec<_>>(),
        });
        serde_yaml::to_string(&all).map_err(|e| Failure::new(Failure::RUNNING, format!("the graph is not YAML: {e}")))
    }
}

/// `trip_id string, fare_amount decimal(10,2)`.
fn columns(schema: &SchemaRef) -> String {
    let fields = schema.fields().iter().filter(|f| !is_hidden(f.name()));
    fields.map(|f| format!("{} {}", f.name(), type_name(f.data_type()))).collect::<Vec<_>>().join(", ")
}

/// A type as the language writes it.
fn type_name(found: &DataType) -> String {
    match found {
        DataType::Utf8 => "string".to_owned(),
        DataType::Int32 => "int".to_owned(),
        DataType::Int64 => "bigint".to_owned(),
        DataType::Float64 => "double".to_owned(),
        DataType::Boolean => "bool".to_owned(),
        DataType::Date32 => "date".to_owned(),
        DataType::Binary => "bytes".to_owned(),
        DataType::Timestamp(..) => "timestamp".to_owned(),
        DataType::Decimal128(precision, scale) => format!("decimal({precision},{scale})"),
        DataType::List(item) => format!("list<{}>", type_name(item.data_type())),
        DataType::Struct(fields) => {
            let fields = fields.iter().map(|f| format!("{}: {}", f.name(), type_name(f.data_type())));
            format!("struct<{}>", fields.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}
