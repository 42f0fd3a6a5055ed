//! Plans `validate`, `dedup` and `route`.

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::DataType;
use humantime::format_duration;
use millstream_core::refusal;
use millstream_formats::template::Template;
use millstream_operators::dedup::Dedup;
use millstream_operators::route::{Otherwise, Route};
use millstream_operators::validate::{Rule as RuntimeRule, RuleReason, Validate};
use millstream_runtime::graph::{MakeOperator, Node, NodeKind, Port, PortRef, Routing, Stage};
use millstream_spec::model::{OrderedMap, RouteElse, Rule};
use millstream_spec::{Spanned, codes, suggest};

use crate::planner::Planner;
use crate::ports::{Carries, PortInfo};

impl<'a> Planner<'a> {
    pub(crate) fn validate(
        &mut self,
        id: &Spanned<String>,
        from: &Spanned<String>,
        rules: &'a OrderedMap<Rule>,
    ) -> Option<()> {
        let path = format!("transforms.{}.validate", id.value);
        let input = self.port(from, &format!("{path}.from"))?;
        self.not_revised(&from.value, from.span, &format!("{path}.from"), "a rule would judge each of them")?;
        let mut planned = Vec::new();
        for (rule, Rule { check, reason }) in rules {
            let path = format!("{path}.rules.{}", rule.value);
            let reason_text = match reason {
                Some(text) => {
                    self.template(Some(text), &input.schema, &format!("{path}.reason"));
                    match Template::parse(&text.value).and_then(|t| t.bind(&input.schema)) {
                        Ok(bound) => RuleReason::Template(bound),
                        Err(_) => continue,
                    }
                }
                None => RuleReason::Text(format!("{} does not hold: {}", rule.value, check.value.text.trim())),
            };
            match millstream_sql::plan_predicate_with(&check.value.text, &input.schema, &self.functions) {
                Ok(predicate) => planned.push(RuntimeRule {
                    id: rule.value.clone(),
                    predicate: predicate.predicate(),
                    reason: reason_text,
                }),
                Err(errors) => self.sql_findings(check, &format!("{path}.check"), errors),
            }
        }
        let names: Vec<&str> = rules.iter().map(|(r, _)| r.value.as_str()).collect();
        self.description.say(&id.value, "validate", format!("rows of {} keep: {}", from.value, names.join(", ")));
        let rules: Arc<[RuntimeRule]> = planned.into();
        let component = id.value.clone();
        let make: MakeOperator = Arc::new(move || Ok(Box::new(Validate::new(component.clone(), rules.clone()))));
        self.add_operator(
            id,
            std::slice::from_ref(&input),
            Routing::Local,
            make,
            vec![("", PortInfo { carries: Carries::Rows, ..input.clone() }), ("rejected", refused(&input))],
        );
        Some(())
    }

    pub(crate) fn dedup(
        &mut self,
        id: &Spanned<String>,
        from: &Spanned<String>,
        key: &'a [Spanned<String>],
        within: Duration,
    ) -> Option<()> {
        let path = format!("transforms.{}.dedup", id.value);
        let input = self.port(from, &format!("{path}.from"))?;
        self.not_revised(&from.value, from.span, &format!("{path}.from"), "a dedup would keep the first of them")?;
        let columns = self.key_columns(key, &input, &from.value, &format!("{path}.key"))?;
        let horizon = self.horizon(&input.sources);
        let names: Vec<&str> = key.iter().map(|k| k.value.as_str()).collect();
        self.description.say(
            &id.value,
            "dedup",
            format!(
                "rows of {} once per {} within {} of event time",
                from.value,
                names.join(", "),
                format_duration(within)
            ),
        );
        let routing = Routing::Keys(columns.clone());
        let schema = input.schema.clone();
        let make: MakeOperator =
            Arc::new(move || Ok(Box::new(Dedup::new(columns.clone(), within, horizon).named(&schema))));
        self.add_operator(id, std::slice::from_ref(&input), routing, make, vec![("", input.clone())]);
        Some(())
    }

    pub(crate) fn route(
        &mut self,
        id: &Spanned<String>,
        from: &Spanned<String>,
        on: &Spanned<String>,
        cases: &'a OrderedMap<Spanned<String>>,
        otherwise: RouteElse,
    ) -> Option<()> {
        let path = format!("transforms.{}.route", id.value);
        let input = self.port(from, &format!("{path}.from"))?;
        self.not_revised(&from.value, from.span, &format!("{path}.from"), "each of them could go another way")?;
        let columns = self.key_columns(std::slice::from_ref(on), &input, &from.value, &format!("{path}.on"))?;
        let column = *columns.first()?;
        let values: Vec<String> = cases.iter().map(|(_, v)| v.value.clone()).collect();
        let runtime_otherwise = match otherwise {
            RouteElse::Reject => Otherwise::Reject,
            RouteElse::Drop => Otherwise::Drop,
        };
        let (component, schema) = (id.value.clone(), input.schema.clone());
        let fits = |values: &[String]| Route::new(&component, &schema, column, values, runtime_otherwise).err();
        if let Some(error) = fits(&values) {
            let misfit = cases.iter().find(|(_, value)| fits(std::slice::from_ref(&value.value)).is_some());
            let span = misfit.map_or(on.span, |(_, value)| value.span);
            self.find(codes::COLUMN_TYPE, span, &path, error.to_string()).help =
                Some(format!("write a value that `{}` can have", on.value));
            return None;
        }
        let make: MakeOperator =
            Arc::new(move || Ok(Box::new(Route::new(&component, &schema, column, &values, runtime_otherwise)?)));
        let mut ports: Vec<(&str, PortInfo)> =
            cases.iter().map(|(port, _)| (port.value.as_str(), input.clone())).collect();
        if otherwise == RouteElse::Reject {
            ports.push(("rejected", refused(&input)));
        }
        let names: Vec<&str> = cases.iter().map(|(p, _)| p.value.as_str()).collect();
        self.description.say(
            &id.value,
            "route",
            format!("rows of {} by {} to {}", from.value, on.value, names.join(", ")),
        );
        self.add_operator(id, &[input], Routing::Local, make, ports);
        Some(())
    }

    /// Columns by name, each with a finding where it does not exist or cannot be a key.
    pub(crate) fn key_columns(
        &mut self,
        key: &[Spanned<String>],
        input: &PortInfo,
        stream: &str,
        path: &str,
    ) -> Option<Vec<usize>> {
        let mut columns = Vec::new();
        for name in key {
            match input.column(&name.value) {
                Some((_, DataType::Float64)) => {
                    self.find(
                        codes::COLUMN_TYPE,
                        name.span,
                        path,
                        format!("`{}` is a double, and doubles are no keys", name.value),
                    )
                    .help = Some("declare it as a decimal, a bigint or a string".to_owned());
                }
                Some((i, _)) => columns.push(i),
                None => {
                    let help = suggest::help(&name.value, "columns", input.columns());
                    let finding =
                        self.find(codes::UNKNOWN_COLUMN, name.span, path, format!("no column named `{}`", name.value));
                    finding.label = Some(format!("not a column of `{stream}`"));
                    finding.help = help;
                }
            }
        }
        (columns.len() == key.len()).then_some(columns)
    }

    /// Adds a node with one operator; `at` of the ports is filled in.
    fn add_operator(
        &mut self,
        id: &Spanned<String>,
        inputs: &[PortInfo],
        routing: Routing,
        make: MakeOperator,
        ports: Vec<(&str, PortInfo)>,
    ) {
        let node = self.next_node();
        let (mut graph_ports, mut infos) = (Vec::new(), Vec::new());
        for (port, (name, mut info)) in ports.into_iter().enumerate() {
            info.at = PortRef { node, port };
            graph_ports.push(Port { name: name.to_owned(), schema: info.schema.clone(), key: info.key.clone() });
            infos.push((if name.is_empty() { id.value.clone() } else { format!("{}.{name}", id.value) }, info));
        }
        let sources = crate::statements::union(inputs.iter().map(|p| p.sources.as_slice()));
        let kind = NodeKind::Operator(vec![Stage { routing: vec![routing; inputs.len()], make }]);
        let inputs = inputs.iter().map(|p| p.at).collect();
        self.add(Node { id: id.value.clone(), kind, inputs, ports: graph_ports, sources }, infos);
    }
}

/// A port of what a node with this input refuses.
pub(crate) fn refused(input: &PortInfo) -> PortInfo {
    PortInfo {
        schema: refusal::schema(),
        key: Vec::new(),
        carries: Carries::Refused,
        revised: false,
        revisions: Vec::new(),
        ..input.clone()
    }
}
