//! Plans sinks, and sees to it that every refused row is read.

use std::collections::BTreeSet;
use std::sync::Arc;

use millstream_core::format::RecordFormat;
use millstream_core::refusal;
use millstream_core::sink::{Commitment, Outage, SinkOptions, WriteMode};
use millstream_operators::digest::Digest;
use millstream_runtime::graph::{MakeOperator, Node, NodeKind, Port, PortRef, Routing, SinkNode};
use millstream_spec::model::SinkSpec;
use millstream_spec::{Span, Spanned, codes};

use crate::planner::Planner;
use crate::ports::{Carries, PortInfo};
use crate::recorded::Recorded;
use crate::statements::union;

impl<'a> Planner<'a> {
    /// Sinks of accepted rows first: their refused rows are read by the others.
    pub(crate) fn sinks(&mut self) {
        let reads_refused = |planner: &mut Self, sink: &SinkSpec| {
            sink.from.iter().any(|from| match from.value.strip_prefix("*.") {
                Some(end) => is_refused(end),
                None => {
                    planner.ports.get(&from.value).is_some_and(|p| p.carries == Carries::Refused)
                        || names_refused(&from.value)
                }
            })
        };
        let (last, first): (Vec<_>, Vec<_>) =
            self.pipeline.sinks.iter().partition(|(_, sink)| reads_refused(self, sink));
        for (id, sink) in first {
            self.sink(id, sink, false);
        }
        for (id, sink) in last {
            self.sink(id, sink, true);
        }
        self.unread_refused();
    }

    fn sink(&mut self, id: &Spanned<String>, sink: &'a SinkSpec, refused: bool) -> Option<()> {
        let path = format!("sinks.{}", id.value);
        let inputs = self.sink_inputs(sink, &path);
        let bound = self.bind(&sink.write.value)?;
        let (_, first) = inputs.first()?.clone();
        self.same_columns(&inputs, &path)?;
        self.sink_rows(id, sink, &first, &inputs, &path)?;
        let digest = self.digest(sink, &first, &path)?;
        let schema = digest.as_ref().map_or(first.schema.clone(), |(schema, _)| schema.clone());
        let format = sink.format.as_ref().map_or(RecordFormat::Json, |f| f.value);
        for (text, option) in [(&sink.path, "path"), (&sink.subject, "subject"), (&sink.message, "message")] {
            self.template(text.as_ref(), &schema, &format!("{path}.{option}"))?;
        }
        self.overwritten_path(sink, &path)?;
        self.shared_path(id, sink, &path)?;
        let mut connector = self.connector(bound.clone());
        let undecided = inputs.iter().any(|(_, p)| p.undecided);
        if undecided {
            connector = Arc::new(Recorded(connector));
        }
        let mut delivery = sink.delivery;
        if refused {
            // Refused rows have nowhere else to go.
            delivery.outage = if delivery.outage == Outage::Route { Outage::Block } else { delivery.outage };
        }
        let options = SinkOptions {
            id: id.value.clone(),
            pipeline: self.pipeline.name.value.clone(),
            schema,
            key: first.key.clone(),
            format,
            compression: sink.compression,
            path: sink.path.as_ref().map(|p| p.value.clone()),
            mode: sink.mode,
            roll: sink.roll,
            subject: sink.subject.as_ref().map(|s| s.value.clone()),
            message: sink.message.as_ref().map(|m| m.value.clone()),
            decimals_as_strings: sink.decimals_as_strings,
            instance: 0,
            instances: 1,
            // Who runs the graph knows these.
            state: String::new(),
            run: String::new(),
            generation: String::new(),
            checkpoint: 1,
        };
        if let Some((option, message)) = connector.sink_problem(&options) {
            let (message, help) = told(option, &message);
            self.find(codes::SINK_OPTION, option_span(id, sink, option), &format!("{path}.{option}"), message).help =
                Some(help);
            return None;
        }
        let names: Vec<&str> = inputs.iter().map(|(name, _)| name.as_str()).collect();
        self.description.say(
            &id.value,
            "sink",
            format!("writes {} to `{}` ({})", names.join(", "), sink.write.value, bound.kind),
        );
        self.description.say(&id.value, "sink", guarantee(sink, connector.commitment(&options), refused));
        let node = self.next_node();
        let ports = vec![Port { name: "failed".into(), schema: refusal::schema(), key: Vec::new() }];
        let sources = union(inputs.iter().map(|(_, p)| p.sources.as_slice()));
        let failed = PortInfo {
            at: PortRef { node, port: 0 },
            schema: refusal::schema(),
            key: Vec::new(),
            carries: Carries::Refused,
            bounded: inputs.iter().all(|(_, p)| p.bounded),
            sources: sources.clone(),
            revised: false,
            revisions: Vec::new(),
            undecided,
        };
        let kind = NodeKind::Sink(SinkNode {
            connector,
            options,
            // One file holds all current rows of its path: one worker writes it.
            routing: if sink.mode == WriteMode::Overwrite { Routing::Single } else { Routing::Local },
            before: digest.map(|(_, make)| make),
            delivery,
            has_failed_port: !refused,
        });
        self.read_raw(&inputs);
        let inputs = inputs.iter().map(|(_, p)| p.at).collect();
        let infos = if refused { Vec::new() } else { vec![(format!("{}.failed", id.value), failed)] };
        self.add(Node { id: id.value.clone(), kind, inputs, ports, sources }, infos);
        Some(())
    }

    /// The ports a sink reads, each once.
    fn sink_inputs(&mut self, sink: &'a SinkSpec, path: &str) -> Vec<(String, PortInfo)> {
        let mut inputs: Vec<(String, PortInfo)> = Vec::new();
        for (i, from) in sink.from.iter().enumerate() {
            let path = format!("{path}.from[{i}]");
            let found = if from.value.contains('*') {
                let found = self.ports.matching(&from.value);
                let valid = from.value.strip_prefix("*.").is_some_and(|end| is_refused(end) || end == "raw");
                if !valid {
                    self.find(
                        codes::UNKNOWN_PORT,
                        from.span,
                        &path,
                        format!("`{}` is not a pattern of ports", from.value),
                    )
                    .help = Some("patterns: *.rejected, *.late, *.failed, *.raw".to_owned());
                } else if found.is_empty() {
                    self.warn(codes::EMPTY_PATTERN, from.span, &path, format!("no node has a port `{}`", from.value))
                        .help = Some("it reads nothing: remove it".to_owned());
                }
                found
            } else {
                self.port(from, &path).map(|p| (from.value.clone(), p)).into_iter().collect()
            };
            inputs.extend(found);
        }
        let mut seen = BTreeSet::new();
        inputs.retain(|(_, p)| seen.insert(p.at));
        inputs
    }

    fn same_columns(&mut self, inputs: &[(String, PortInfo)], path: &str) -> Option<()> {
        let (first_name, first) = inputs.first()?;
        let shape = |p: &PortInfo| {
            let schema = p.user_schema();
            schema.fields().iter().map(|f| (f.name().clone(), f.data_type().clone())).collect::<Vec<_>>()
        };
        let Some((name, _)) = inputs.iter().find(|(_, p)| shape(p) != shape(first)) else { return Some(()) };
        let span = self.sink_span(path);
        self.find(
            codes::SINK_INPUTS,
            span,
            &format!("{path}.from"),
            format!("`{first_name}` and `{name}` have different columns"),
        )
        .help = Some("use one sink for each, or bring both to the same columns with `sql`".to_owned());
        None
    }

    fn sink_span(&self, path: &str) -> Span {
        let id = path.strip_prefix("sinks.").unwrap_or(path);
        let sink = self.pipeline.sinks.iter().find(|(i, _)| i.value == id);
        sink.and_then(|(_, s)| s.from.first()).map_or_else(Span::default, |f| f.span)
    }

    /// Whether the sink's mode fits its rows.
    fn sink_rows(
        &mut self,
        id: &Spanned<String>,
        sink: &'a SinkSpec,
        first: &PortInfo,
        inputs: &[(String, PortInfo)],
        path: &str,
    ) -> Option<()> {
        if sink.mode == WriteMode::Overwrite && (first.key.is_empty() || inputs.len() > 1) {
            let what = if inputs.len() > 1 { "several streams have no common key" } else { "its rows have no key" };
            self.find(
                codes::OVERWRITE_WITHOUT_KEY,
                id.span,
                &format!("{path}.mode"),
                format!("`mode: overwrite` needs rows with a key, and {what}"),
            )
            .help =
                Some("a window's GROUP BY columns that are in its SELECT, and an upsert's key, are keys".to_owned());
            return None;
        }
        if let Some((name, _)) = inputs.iter().find(|(_, p)| p.revised)
            && sink.mode == WriteMode::Append
        {
            let name = name.clone();
            self.find(codes::REVISED_INTO_APPEND, id.span, path, format!("results of `{name}` can be revised, and this sink only appends"))
                .help = Some("add `mode: overwrite`; or let nothing be revised: no `early`, no `allowed_lateness`, no `late_after` at the sources".to_owned());
            return None;
        }
        Some(())
    }

    fn digest(
        &mut self,
        sink: &'a SinkSpec,
        input: &PortInfo,
        path: &str,
    ) -> Option<Option<(arrow::datatypes::SchemaRef, MakeOperator)>> {
        let Some(digest) = &sink.digest else { return Some(None) };
        let refused = input.carries == Carries::Refused;
        let mut known = input.columns();
        if refused {
            known.push("rule");
        }
        for column in &digest.by {
            if !known.contains(&column.value.as_str()) {
                let help = millstream_spec::suggest::help(&column.value, "columns", known.iter().copied());
                self.find(
                    codes::UNKNOWN_COLUMN,
                    column.span,
                    &format!("{path}.digest.by"),
                    format!("no column named `{}`", column.value),
                )
                .help = help;
                return None;
            }
        }
        let by: Vec<String> = digest.by.iter().map(|b| b.value.clone()).collect();
        let (every, samples, tick_ms) = (digest.every, digest.samples, self.options.tick_ms);
        let schema = Digest::schema(&by);
        Some(Some((schema, Arc::new(move || Ok(Box::new(Digest::new(by.clone(), every, samples, tick_ms)))))))
    }

    /// Whoever reads a source's bytes makes the source give them.
    fn read_raw(&mut self, inputs: &[(String, PortInfo)]) {
        for (_, port) in inputs.iter().filter(|(_, p)| p.carries == Carries::Raw) {
            if let Some(Node { kind: NodeKind::Source(source), .. }) = self.nodes.get_mut(port.at.node) {
                source.raw_is_read = true;
            }
        }
    }

    /// Every port of refused rows is read, or said to be dropped.
    fn unread_refused(&mut self) {
        let mut dropped: BTreeSet<String> = BTreeSet::new();
        for (i, pattern) in self.pipeline.drop.iter().enumerate() {
            let path = format!("drop[{i}]");
            let found: Vec<String> = if pattern.value.contains('*') {
                self.ports
                    .matching(&pattern.value)
                    .into_iter()
                    .filter(|(_, p)| p.carries == Carries::Refused)
                    .map(|(n, _)| n)
                    .collect()
            } else {
                self.port(pattern, &path).map(|_| pattern.value.clone()).into_iter().collect()
            };
            for name in &found {
                let read = self.ports.get(name).is_some_and(|p| self.read.contains(&p.at));
                if read && !pattern.value.contains('*') {
                    self.find(
                        codes::READ_AND_DROPPED,
                        pattern.span,
                        &path,
                        format!("`{name}` is read by a sink and declared dropped"),
                    )
                    .help = Some("remove it here, or from the sink".to_owned());
                }
            }
            dropped.extend(found);
        }
        let unread: Vec<(String, usize)> = self
            .ports
            .iter()
            .filter(|(name, p)| p.carries == Carries::Refused && !self.read.contains(&p.at) && !dropped.contains(*name))
            .filter(|(name, _)| !self.named_by_a_sink(name))
            .map(|(name, p)| (name.to_owned(), p.at.node))
            .collect();
        for (name, _) in unread {
            let owner = name.split('.').next().unwrap_or(&name);
            let end = name.rsplit('.').next().unwrap_or(&name);
            let span = self.id_span(owner);
            let section = self.section(owner);
            self.find(
                codes::UNREAD_PORT,
                span,
                &format!("{section}.{owner}"),
                format!("nothing reads the refused rows of `{name}`"),
            )
            .help = Some(format!(
                "let a sink read them: `from: [\"*.{end}\"]`, or say that they may be lost: `drop: [{name}]`"
            ));
        }
    }

    /// Whether a sink means a port, also one that has findings and is not planned.
    fn named_by_a_sink(&self, port: &str) -> bool {
        let means = |from: &str| from == port || from.strip_prefix('*').is_some_and(|end| port.ends_with(end));
        self.pipeline.sinks.iter().any(|(_, sink)| sink.from.iter().any(|from| means(&from.value)))
    }

    pub(crate) fn id_span(&self, id: &str) -> Span {
        let p = self.pipeline;
        let ids = p.sources.iter().map(|(i, _)| i).chain(p.tables.iter().map(|(i, _)| i));
        let mut ids = ids.chain(p.transforms.iter().map(|(i, _)| i)).chain(p.sinks.iter().map(|(i, _)| i));
        ids.find(|i| i.value == id).map_or_else(Span::default, |i| i.span)
    }

    pub(crate) fn section(&self, id: &str) -> &'static str {
        let p = self.pipeline;
        match () {
            () if p.sources.iter().any(|(i, _)| i.value == id) => "sources",
            () if p.tables.iter().any(|(i, _)| i.value == id) => "tables",
            () if p.transforms.iter().any(|(i, _)| i.value == id) => "transforms",
            () => "sinks",
        }
    }
}

/// What is wrong with an option, and what to do: many a connector says both.
fn told(option: &str, message: &str) -> (String, String) {
    if let Some((wrong, help)) = message.split_once(": ") {
        return (wrong.to_owned(), help.to_owned());
    }
    let remove = if option == "mode" { "write with `mode: append`".to_owned() } else { format!("remove `{option}`") };
    let elsewhere = "or write to a connector that takes it: see the table under `sinks` in docs/language.md";
    (message.to_owned(), format!("{remove}, {elsewhere}"))
}

/// Where an option of a sink stands, as far as that is known.
fn option_span(id: &Spanned<String>, sink: &SinkSpec, option: &str) -> Span {
    let text = match option {
        "path" => &sink.path,
        "subject" => &sink.subject,
        "message" => &sink.message,
        _ => &None,
    };
    let format = sink.format.as_ref().filter(|_| option == "format").map(|f| f.span);
    text.as_ref().map(|t| t.span).or(format).unwrap_or(id.span)
}

fn is_refused(end: &str) -> bool {
    matches!(end, "rejected" | "late" | "failed")
}

fn names_refused(port: &str) -> bool {
    port.rsplit_once('.').is_some_and(|(_, end)| is_refused(end))
}

/// What a sink's reader may rely on.
fn guarantee(sink: &SinkSpec, commitment: Commitment, refused: bool) -> String {
    let what = match (sink.mode, sink.digest.is_some()) {
        (WriteMode::Overwrite, _) => "each key's last result",
        (WriteMode::Append, true) => "one message per group and time",
        (WriteMode::Append, false) => "each row",
    };
    let after_a_crash = match commitment {
        Commitment::Staged => "once, visible from the checkpoint on that covers it",
        Commitment::Keyed => "at once; written again after a crash it is the same",
        Commitment::Outbox { deduplicates: true } => "once, sent after the checkpoint that covers it",
        Commitment::Outbox { deduplicates: false } => {
            "sent after the checkpoint that covers it, and again only where the process dies while it sends"
        }
        Commitment::Direct => "at once; what came since the last checkpoint is written again after a crash",
    };
    let rows = format!("{what}: {after_a_crash}");
    let outage = match (refused, sink.delivery.outage) {
        (true, Outage::Block | Outage::Route) | (false, Outage::Block) => "an outage holds the sources back",
        (false, Outage::Route) => "after give_up_after the rows leave by .failed",
        (_, Outage::Fail) => "after give_up_after the pipeline stops",
    };
    format!("guarantee: {rows}; {outage}")
}
