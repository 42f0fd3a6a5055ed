//! Plans sources.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use millstream_core::batch::{TIMESTAMP, hidden_fields};
use millstream_core::connector::SourceOptions;
use millstream_core::refusal;
use millstream_runtime::graph::{EventTime, Node, NodeKind, Port, PortRef, SourceNode};
use millstream_spec::model::Source;
use millstream_spec::{Spanned, codes, suggest};

use crate::planner::Planner;
use crate::ports::{Carries, PortInfo};

impl<'a> Planner<'a> {
    pub(crate) fn sources(&mut self) {
        for (id, source) in &self.pipeline.sources {
            if self.source(id, source).is_none() {
                self.break_node(&id.value);
            }
        }
    }

    fn source(&mut self, id: &Spanned<String>, source: &'a Source) -> Option<()> {
        let path = format!("sources.{}", id.value);
        let event_time = self.event_time(source, &path);
        let bound = self.bind(&source.read.value)?;
        self.description.say(&id.value, "source", format!("reads `{}` ({})", source.read.value, bound.kind));
        // A connector of another binary is taken for a stream, so that everything behind it can be checked.
        let (offsets, bounded) = match &bound.connector {
            Some(c) => (c.positions_are_offsets(), c.bounded()),
            None => (false, false),
        };
        let position = if offsets { DataType::UInt64 } else { DataType::Utf8 };
        let hidden = || hidden_fields(position.clone());
        let mut fields: Vec<Field> = source.schema.arrow().fields().iter().map(|f| f.as_ref().clone()).collect();
        fields.extend(hidden());
        let raw = std::iter::once(Field::new("raw", DataType::Binary, false)).chain(hidden()).collect::<Vec<_>>();
        let ports: Vec<(&str, SchemaRef, Carries)> = vec![
            ("", Arc::new(Schema::new(fields)), Carries::Rows),
            ("raw", Arc::new(Schema::new(raw)), Carries::Raw),
            ("rejected", refusal::schema(), Carries::Refused),
            ("late", refusal::schema(), Carries::Refused),
        ];
        let node = self.next_node();
        let graph_ports = ports.iter().map(|(name, schema, _)| Port {
            name: (*name).to_owned(),
            schema: schema.clone(),
            key: Vec::new(),
        });
        let graph_ports: Vec<Port> = graph_ports.collect();
        let infos = ports
            .into_iter()
            .enumerate()
            // A source without event time has no late rows, and nobody must read that port.
            .filter(|(_, (name, ..))| *name != "late" || source.event_time.is_some())
            .map(|(port, (name, schema, carries))| {
                let full = if name.is_empty() { id.value.clone() } else { format!("{}.{name}", id.value) };
                let at = PortRef { node, port };
                (
                    full,
                    PortInfo {
                        at,
                        schema,
                        key: Vec::new(),
                        carries,
                        bounded,
                        sources: vec![node],
                        revised: false,
                        revisions: Vec::new(),
                        undecided: false,
                    },
                )
            })
            .collect();
        let connector = self.connector(bound);
        if let Err(e) = millstream_formats::decoder(connector.record_format(), Arc::new(source.schema.clone())) {
            self.find(codes::COLUMN_TYPE, source.read.span, &path, e.message().to_owned()).help =
                Some("change the schema, or the `format` of the binding".to_owned());
            return None;
        }
        let options = SourceOptions {
            id: id.value.clone(),
            pipeline: self.pipeline.name.value.clone(),
            schema: Arc::new(source.schema.clone()),
        };
        let kind = NodeKind::Source(SourceNode { connector, options, event_time: event_time?, raw_is_read: false });
        self.add(
            Node { id: id.value.clone(), kind, inputs: Vec::new(), ports: graph_ports, sources: vec![node] },
            infos,
        );
        Some(())
    }

    /// `Some(None)` where the source declares none, `None` where it declares a wrong one.
    fn event_time(&mut self, source: &'a Source, path: &str) -> Option<Option<EventTime>> {
        let Some(spec) = &source.event_time else { return Some(None) };
        let name = &spec.column.value;
        let path = format!("{path}.event_time.column");
        let columns: Vec<&str> = source.schema.columns.iter().map(|c| c.name.as_str()).collect();
        let Some(column) = columns.iter().position(|c| c == name) else {
            let help = suggest::help(name, "columns", columns);
            self.find(codes::UNKNOWN_COLUMN, spec.column.span, &path, format!("no column named `{name}`")).help = help;
            return None;
        };
        let found = source.schema.columns.get(column).map(|c| c.column_type.arrow());
        if found != Some(TIMESTAMP) {
            self.find(codes::COLUMN_TYPE, spec.column.span, &path, format!("`{name}` is not a timestamp")).help =
                Some("declare it with `type: timestamp` and its `formats`".to_owned());
            return None;
        }
        Some(Some(EventTime {
            column,
            name: name.clone(),
            max_delay: spec.max_delay,
            late_after: spec.late_after,
            idle_after: spec.idle_after,
            max_future: spec.max_future,
        }))
    }
}
