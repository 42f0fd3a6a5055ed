//! Plans upserts and the tables they write.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use millstream_core::operator::OutPort;
use millstream_core::refusal;
use millstream_core::schema::is_json;
use millstream_core::table::{TECHNICAL, TableSchema};
use millstream_operators::upsert::{InputSpec, STATUS, StatusSpec, Upsert, UpsertSpec};
use millstream_runtime::graph::{Node, NodeKind, Port, PortRef, Routing, UpsertNode};
use millstream_spec::model::{OrderedMap, Oversize, SetSpec, SqlText, Table};
use millstream_spec::{Spanned, codes, suggest};

use crate::planner::Planner;
use crate::ports::{Carries, PortInfo};
use crate::statements::union;

/// The columns of a table, and who sets each.
struct Columns {
    fields: Vec<Field>,
    /// By column, the numbers of the inputs that set it; empty for the key and the status.
    owners: Vec<Vec<usize>>,
}

impl Columns {
    fn position(&self, name: &str) -> Option<usize> {
        self.fields.iter().position(|f| f.name() == name)
    }
    fn add(&mut self, field: Field) -> usize {
        self.fields.push(field);
        self.owners.push(Vec::new());
        self.fields.len() - 1
    }
}

impl<'a> Planner<'a> {
    pub(crate) fn upsert(
        &mut self,
        id: &Spanned<String>,
        into: &Spanned<String>,
        set: &'a OrderedMap<SetSpec>,
        status: &'a OrderedMap<Spanned<SqlText>>,
    ) -> Option<()> {
        let path = format!("transforms.{}.upsert", id.value);
        let (table_id, table) = self.table(id, into, &path)?;
        let mut inputs = Vec::new();
        for (from, spec) in set {
            let path = format!("{path}.set.{}", from.value);
            let port = self.port(from, &path);
            // A column that counts rows tells which of two revisions is the later one.
            let by = spec.latest_by.as_ref().map(|by| &by.value);
            let told = port.as_ref().is_some_and(|p| by.is_some_and(|by| p.revisions.contains(by)));
            let why = "merging does not know the later ones unless `latest_by` names a column that is COUNT(*)";
            let once = if told { Some(()) } else { self.not_revised(&from.value, from.span, &path, why) };
            inputs.push(once.and(port));
        }
        let inputs: Vec<PortInfo> = inputs.into_iter().collect::<Option<_>>()?;
        let mut columns = Columns { fields: Vec::new(), owners: Vec::new() };
        let keys = self.table_key(table_id, table, set, &inputs, &mut columns, &path)?;
        let specs = self.inputs(table, set, &inputs, &keys, &mut columns, &path)?;
        let truncate = self.truncated(table_id, table, &columns)?;
        let status_column = (!status.is_empty()).then(|| columns.add(Field::new(STATUS, DataType::Utf8, true)));
        let key: Vec<usize> = (0..table.key.len()).collect();
        let schema: SchemaRef = Arc::new(Schema::new(columns.fields.clone()));
        let statuses = self.statuses(status, &schema, &columns, &key, &path)?;
        let spec = UpsertSpec {
            // What it refuses leaves by the table's port.
            id: table_id.value.clone(),
            table: schema.clone(),
            key,
            inputs: specs,
            failed: OutPort(statuses.len()),
            statuses,
            status_column,
            forget_after: table.forget_after,
            truncate,
        };
        self.describe_upsert(id, into, set, status);
        let bound = self.bind(&table.store.value)?;
        let kind_name = bound.kind.clone();
        self.description.say(&table_id.value, "table", format!("kept in `{}` ({kind_name})", table.store.value));
        let connector = self.connector(bound);
        let table_schema = TableSchema {
            name: table_id.value.clone(),
            key: table.key.iter().map(|k| k.value.clone()).collect(),
            columns: schema,
            ttl: table.ttl,
        };
        if let Some(message) = connector.table_problem(&table_schema) {
            let path = format!("tables.{}", table_id.value);
            self.find(codes::TABLE_STORE, table_id.span, &path, message).help =
                Some(format!("`millstream docs {kind_name}` says what its tables can be"));
            return None;
        }
        self.add_upsert(id, table, spec, table_schema, connector, &inputs)
    }

    /// Indices of the columns that `oversize` lets be cut.
    fn truncated(&mut self, table_id: &Spanned<String>, table: &'a Table, columns: &Columns) -> Option<Vec<usize>> {
        let Oversize::Truncate(names) = &table.oversize else { return Some(Vec::new()) };
        let path = format!("tables.{}.oversize", table_id.value);
        let mut found = Vec::new();
        for name in names {
            let Some(position) = columns.position(&name.value) else {
                let known: Vec<&str> = columns.fields.iter().map(|f| f.name().as_str()).collect();
                let help = suggest::help(&name.value, "columns", known);
                let message = format!("no column named `{}`", name.value);
                self.find(codes::UNKNOWN_COLUMN, name.span, &path, message).help = help;
                continue;
            };
            let field = columns.fields.get(position)?;
            let text = matches!(field.data_type(), DataType::Utf8 | DataType::Binary) && !is_json(field);
            if position < table.key.len() || !text {
                let what = if text { "is a key" } else { "is neither a text nor bytes" };
                let message = format!("`{}` cannot be cut: it {what}", name.value);
                self.find(codes::COLUMN_TYPE, name.span, &path, message).help =
                    Some("name columns of type string or bytes outside the key".to_owned());
                continue;
            }
            found.push(position);
        }
        (found.len() == names.len()).then_some(found)
    }

    fn table(
        &mut self,
        id: &Spanned<String>,
        into: &Spanned<String>,
        path: &str,
    ) -> Option<(&'a Spanned<String>, &'a Table)> {
        let path = format!("{path}.into");
        let Some((table_id, table)) = self.pipeline.tables.iter().find(|(t, _)| t.value == into.value) else {
            let tables: Vec<&str> = self.pipeline.tables.iter().map(|(t, _)| t.value.as_str()).collect();
            let help = suggest::help(&into.value, "tables", tables);
            self.find(codes::UNKNOWN_TABLE, into.span, &path, format!("no table named `{}`", into.value)).help = help;
            return None;
        };
        if let Some(writer) = self.table_writers.get(&into.value).filter(|w| **w != id.value).cloned() {
            self.find(
                codes::TABLE_WRITERS,
                into.span,
                &path,
                format!("`{writer}` writes the table `{}` already", into.value),
            )
            .help = Some(format!("let `{writer}` read both inputs, or use a second table"));
            return None;
        }
        Some((table_id, table))
    }

    /// The key's columns, first in the table; by input, where they are.
    fn table_key(
        &mut self,
        table_id: &Spanned<String>,
        table: &'a Table,
        set: &'a OrderedMap<SetSpec>,
        inputs: &[PortInfo],
        columns: &mut Columns,
        path: &str,
    ) -> Option<Vec<Vec<usize>>> {
        let mut keys = Vec::new();
        for ((from, _), input) in set.iter().zip(inputs) {
            let key = self.key_columns(&table.key, input, &from.value, &format!("tables.{}.key", table_id.value));
            keys.push(key);
        }
        let keys: Vec<Vec<usize>> = keys.into_iter().collect::<Option<_>>()?;
        let (first, first_key) = (inputs.first()?, keys.first()?);
        for (name, column) in table.key.iter().zip(first_key) {
            let data_type = first.schema.field(*column).data_type().clone();
            for ((from, spec), (input, key)) in set.iter().zip(inputs.iter().zip(&keys)) {
                let other = key.get(columns.fields.len()).map(|c| input.schema.field(*c).data_type().clone());
                if other.as_ref() != Some(&data_type) {
                    self.find(
                        codes::COLUMN_TYPE,
                        spec.span,
                        path,
                        format!("the key `{}` has another type in `{}`", name.value, from.value),
                    )
                    .help = Some("bring both to one type with `sql` and CAST".to_owned());
                    return None;
                }
            }
            columns.add(Field::new(&name.value, data_type, false));
        }
        Some(keys)
    }

    fn inputs(
        &mut self,
        table: &'a Table,
        set: &'a OrderedMap<SetSpec>,
        inputs: &[PortInfo],
        keys: &[Vec<usize>],
        columns: &mut Columns,
        path: &str,
    ) -> Option<Vec<InputSpec>> {
        let mut specs = Vec::new();
        let mut failed = false;
        for (number, ((from, spec), (input, key))) in set.iter().zip(inputs.iter().zip(keys)).enumerate() {
            let path = format!("{path}.set.{}", from.value);
            let names: Vec<Spanned<String>> = match &spec.columns {
                Some(names) => names.clone(),
                None => input.columns().into_iter().map(|c| Spanned::new(c.to_owned(), spec.span)).collect(),
            };
            let mut mapped = Vec::new();
            for name in names.iter().filter(|n| !table.key.iter().any(|k| k.value == n.value)) {
                match self.set_column(name, &from.value, input, number, set, columns, &path) {
                    Some(pair) => mapped.push(pair),
                    None => failed = true,
                }
            }
            let latest_by = match &spec.latest_by {
                None => None,
                Some(name) => {
                    let found = self.ordering_column(name, &from.value, input, &format!("{path}.latest_by"));
                    failed |= found.is_none();
                    found
                }
            };
            specs.push(InputSpec { columns: mapped, key: key.clone(), latest_by, write_nulls: spec.write_nulls });
        }
        (!failed).then_some(specs)
    }

    #[expect(clippy::too_many_arguments, reason = "one column of one input, with all it is checked against")]
    fn set_column(
        &mut self,
        name: &Spanned<String>,
        stream: &str,
        input: &PortInfo,
        number: usize,
        set: &'a OrderedMap<SetSpec>,
        columns: &mut Columns,
        path: &str,
    ) -> Option<(usize, usize)> {
        let from = self.set_source(name, stream, input, path)?;
        let field = input.schema.field(from).clone().with_nullable(true);
        if TECHNICAL.contains(&name.value.as_str()) {
            self.find(codes::RESERVED_NAME, name.span, path, format!("a table keeps `{}` itself", name.value)).help =
                Some("rename the column with `sql`, or leave it out of `set`".to_owned());
            return None;
        }
        if name.value == STATUS && !self.statusless(path) {
            self.find(codes::SHARED_COLUMN, name.span, path, "`status` is set by the statuses of this upsert").help =
                Some("rename the column with `sql`, or leave it out of `set`".to_owned());
            return None;
        }
        let to = columns.position(&name.value).unwrap_or_else(|| columns.add(field.clone()));
        let known = columns.fields.get(to)?;
        if known.data_type() != field.data_type() {
            self.find(
                codes::SHARED_COLUMN,
                name.span,
                path,
                format!("`{}` has another type in another input", name.value),
            )
            .help = Some("bring both to one type with `sql` and CAST".to_owned());
            return None;
        }
        let owners = columns.owners.get_mut(to)?;
        let unordered = |n: &usize| set.get(*n).is_some_and(|(_, s)| s.latest_by.is_none());
        if !owners.is_empty() && owners.iter().chain([&number]).any(unordered) {
            let finding = self.find(codes::SHARED_COLUMN, name.span, path, format!("two inputs set `{}`", name.value));
            finding.help = Some(
                "let one of them own it, or give both `latest_by: <column>` so that the later value wins".to_owned(),
            );
            return None;
        }
        owners.push(number);
        Some((from, to))
    }

    fn set_source(&mut self, name: &Spanned<String>, stream: &str, input: &PortInfo, path: &str) -> Option<usize> {
        if let Some((from, _)) = input.column(&name.value) {
            return Some(from);
        }
        let help = suggest::help(&name.value, "columns", input.columns());
        let finding = self.find(codes::UNKNOWN_COLUMN, name.span, path, format!("no column named `{}`", name.value));
        finding.label = Some(format!("not a column of `{stream}`"));
        finding.help = help;
        None
    }

    /// A column whose greater value wins.
    fn ordering_column(&mut self, name: &Spanned<String>, stream: &str, input: &PortInfo, path: &str) -> Option<usize> {
        let column = self.set_source(name, stream, input, path)?;
        let fits = match input.schema.field(column).data_type() {
            DataType::Int32 | DataType::Int64 | DataType::Float64 | DataType::Date32 | DataType::Timestamp(..) => true,
            DataType::Decimal128(precision, _) => *precision <= 18,
            _ => false,
        };
        if !fits {
            let message = format!("`{}` has no order that `latest_by` can go by", name.value);
            self.find(codes::COLUMN_TYPE, name.span, path, message).help =
                Some("take a timestamp, a date or a number (a decimal of at most 18 digits)".to_owned());
        }
        fits.then_some(column)
    }

    /// Whether the upsert at `path` has no statuses.
    fn statusless(&self, path: &str) -> bool {
        let id = path.split('.').nth(1).unwrap_or_default();
        self.pipeline.transforms.iter().any(|(i, t)| {
            i.value == id
                && matches!(&t.kind, millstream_spec::model::TransformKind::Upsert { status, .. } if status.is_empty())
        })
    }

    fn statuses(
        &mut self,
        status: &'a OrderedMap<Spanned<SqlText>>,
        schema: &SchemaRef,
        columns: &Columns,
        key: &[usize],
        path: &str,
    ) -> Option<Vec<StatusSpec>> {
        let mut specs = Vec::new();
        for (number, (name, check)) in status.iter().enumerate() {
            let path = format!("{path}.status.{}", name.value);
            let predicate = match millstream_sql::plan_predicate_with(&check.value.text, schema, &self.functions) {
                Ok(predicate) => predicate,
                Err(errors) => {
                    self.sql_findings(check, &path, errors);
                    continue;
                }
            };
            if !(predicate.null_to_value_monotone() && predicate.presence_only()) {
                self.warn(
                    codes::STATUS_NOT_MONOTONE,
                    check.span,
                    &path,
                    format!("`{}` can stop to hold after a row has entered it", name.value),
                )
                .help = Some(
                    "a status fires once, when its condition first holds: build it from `IS NOT NULL` of columns"
                        .to_owned(),
                );
            }
            let index = |name: &str| schema.index_of(name).ok();
            let required: Vec<usize> = predicate.required_columns().iter().filter_map(|c| index(c)).collect();
            let inputs = union(required.iter().filter_map(|c| columns.owners.get(*c)).map(Vec::as_slice));
            let owned = |c: &usize| columns.owners.get(*c).is_some_and(|o| o.iter().any(|i| inputs.contains(i)));
            let shown: Vec<usize> = (0..columns.fields.len()).filter(|c| key.contains(c) || owned(c)).collect();
            specs.push(StatusSpec {
                name: name.value.clone(),
                reads: predicate.columns().iter().filter_map(|c| index(c)).collect(),
                predicate: predicate.predicate(),
                columns: shown,
                port: OutPort(number),
                wanted: true,
            });
        }
        (specs.len() == status.len()).then_some(specs)
    }

    fn describe_upsert(
        &mut self,
        id: &Spanned<String>,
        into: &Spanned<String>,
        set: &'a OrderedMap<SetSpec>,
        status: &'a OrderedMap<Spanned<SqlText>>,
    ) {
        let inputs: Vec<&str> = set.iter().map(|(s, _)| s.value.as_str()).collect();
        self.description.say(&id.value, "upsert", format!("merges {} into `{}` by key", inputs.join(", "), into.value));
        let statuses: Vec<&str> = status.iter().map(|(s, _)| s.value.as_str()).collect();
        if !statuses.is_empty() {
            self.description.say(&id.value, "upsert", format!("statuses, first true wins: {}", statuses.join(", ")));
        }
    }

    fn add_upsert(
        &mut self,
        id: &Spanned<String>,
        table: &'a Table,
        spec: UpsertSpec,
        table_schema: TableSchema,
        connector: Arc<dyn millstream_core::connector::Connector>,
        inputs: &[PortInfo],
    ) -> Option<()> {
        let node = self.next_node();
        let sources = union(inputs.iter().map(|p| p.sources.as_slice()));
        let bounded = inputs.iter().all(|p| p.bounded);
        let undecided = inputs.iter().any(|p| p.undecided);
        let info = |port, schema: SchemaRef, key, carries| PortInfo {
            at: PortRef { node, port },
            schema,
            key,
            carries,
            bounded,
            sources: sources.clone(),
            revised: false,
            revisions: Vec::new(),
            undecided,
        };
        let (mut ports, mut infos) = (Vec::new(), Vec::new());
        for (port, status) in spec.statuses.iter().enumerate() {
            let (name, schema) = (status.name.to_lowercase(), spec.transition_schema(port));
            ports.push(Port { name: name.clone(), schema: schema.clone(), key: table_schema.key.clone() });
            infos.push((format!("{}.{name}", id.value), info(port, schema, table_schema.key.clone(), Carries::Rows)));
        }
        infos.push((
            format!("{}.failed", table_schema.name),
            info(ports.len(), refusal::schema(), Vec::new(), Carries::Refused),
        ));
        ports.push(Port { name: "failed".into(), schema: refusal::schema(), key: Vec::new() });
        let routing = spec.inputs.iter().map(|i| Routing::Keys(i.key.clone())).collect();
        let wanted: Arc<[AtomicBool]> = spec.statuses.iter().map(|_| AtomicBool::new(self.options.all_ports)).collect();
        self.wanted.insert(node, wanted.clone());
        let schemas: Vec<SchemaRef> = inputs.iter().map(|i| i.schema.clone()).collect();
        let make = Arc::new(move || {
            let mut spec = spec.clone();
            for (status, wanted) in spec.statuses.iter_mut().zip(wanted.iter()) {
                status.wanted = wanted.load(Ordering::Relaxed);
            }
            Ok(Upsert::new(Arc::new(spec))?.named(&schemas))
        });
        let kind = NodeKind::Upsert(UpsertNode {
            routing,
            make,
            table_id: table_schema.name.clone(),
            connector,
            table: table_schema,
            delivery: table.delivery,
            after_checkpoint: undecided,
        });
        let inputs = inputs.iter().map(|p| p.at).collect();
        self.add(Node { id: id.value.clone(), kind, inputs, ports, sources }, infos);
        Some(())
    }
}
