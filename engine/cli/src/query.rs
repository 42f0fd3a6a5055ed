//! `query`: SQL over what a pipeline has written: its tables and the files of its keyed sinks.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use futures::TryStreamExt as _;
use millstream_core::batch::user_schema;
use millstream_core::connector::Connector;
use millstream_core::sink::WriteMode;
use millstream_runtime::graph::{Graph, Node, NodeKind, SinkNode, UpsertNode};
use millstream_spec::model::Pipeline;
use millstream_spec::{Finding, Severity, Span, codes};
use millstream_sql::{Functions, Keyed, SqlError, SqlErrorKind, lookups, run_batch_with, streams};

use crate::args::{QueryArgs, RowFormat};
use crate::exit::Failure;
use crate::load::Loaded;
use crate::{absent, number, registry, rows, run, terminal, written};

/// What the SQL is called in messages.
const NAME: &str = "<query>";

/// Something that can be queried.
type Table = (String, SchemaRef, Vec<RecordBatch>);

/// Runs the command.
pub(crate) fn execute(args: &QueryArgs) -> Result<(), Failure> {
    let registry = registry::registry();
    let (loaded, graph, _) = absent::looked_at(&args.file, &registry)?;
    run::play(async {
        let named: Vec<String> = streams(&args.sql).into_iter().map(|(name, _)| name).collect();
        let none = Functions::new();
        let functions = loaded.planned.as_ref().map_or(&none, |p| &p.functions);
        let asked = asked(&args.sql, &graph, functions);
        known(args, &loaded, &graph, &named)?;
        let tables = tables(&loaded, &graph, &named, &asked).await?;
        let found = run_batch_with(&args.sql, tables, functions).await.map_err(|errors| told(&args.sql, &errors))?;
        let schema = found.first().map_or_else(|| Arc::new(Schema::empty()), RecordBatch::schema);
        terminal::out(&rows::text(&schema, &found, args.format)?);
        let count = found.iter().map(RecordBatch::num_rows).sum::<usize>();
        if args.format == RowFormat::Table {
            terminal::note(&format!("{}\n", number::of(count as u64, "row")));
        }
        Ok(())
    })
}

/// By table, the keys that a query is about, where it is about single rows.
fn asked(sql: &str, graph: &Graph, functions: &Functions) -> BTreeMap<String, RecordBatch> {
    let keyed = |node: &Node| match &node.kind {
        NodeKind::Upsert(upsert) => Some(Keyed {
            name: upsert.table_id.clone(),
            schema: upsert.table.columns.clone(),
            key: upsert.table.key.clone(),
        }),
        _ => None,
    };
    lookups(sql, &graph.nodes.iter().filter_map(keyed).collect::<Vec<_>>(), functions)
}

/// Everything there is to query, by name; only what the query names is read.
async fn tables(
    loaded: &Loaded,
    graph: &Graph,
    named: &[String],
    asked: &BTreeMap<String, RecordBatch>,
) -> Result<Vec<Table>, Failure> {
    let pipeline = loaded.pipeline()?;
    let mut all: Vec<Table> = Vec::new();
    for node in &graph.nodes {
        match &node.kind {
            NodeKind::Upsert(upsert) => {
                let wanted = named.contains(&upsert.table_id);
                let keys = asked.get(&upsert.table_id);
                let rows = if wanted { table(loaded, pipeline, upsert, keys).await? } else { Vec::new() };
                all.push((upsert.table_id.clone(), upsert.table.columns.clone(), rows));
            }
            NodeKind::Sink(sink) if sink.connector.keeps(&sink.options) => {
                let names = names(graph, node, sink);
                let wanted = names.iter().any(|n| named.contains(n));
                let rows = if wanted { files(loaded, pipeline, sink).await? } else { Vec::new() };
                let schema = user_schema(&sink.options.schema);
                all.extend(names.into_iter().map(|n| (n, schema.clone(), rows.clone())));
            }
            _ => {}
        }
    }
    Ok(all)
}

/// What the rows of a sink are called in SQL: after the sink, and where it has all current rows of a stream, after that.
fn names(graph: &Graph, node: &Node, sink: &SinkNode) -> Vec<String> {
    let input = node.inputs.first().filter(|_| sink.options.mode == WriteMode::Overwrite);
    let input = input.and_then(|p| graph.nodes.get(p.node).map(|n| n.port_name(p.port)));
    std::iter::once(node.id.clone()).chain(input).collect()
}

/// Names of the pipeline that have no rows to query are not unknown: what to do instead depends on what they are.
fn known(args: &QueryArgs, loaded: &Loaded, graph: &Graph, named: &[String]) -> Result<(), Failure> {
    let mut can: Vec<String> = Vec::new();
    for node in &graph.nodes {
        match &node.kind {
            NodeKind::Upsert(upsert) => can.push(upsert.table_id.clone()),
            NodeKind::Sink(sink) if sink.connector.keeps(&sink.options) => can.extend(names(graph, node, sink)),
            _ => {}
        }
    }
    let help = match can.as_slice() {
        [] => "only tables, and sinks with `mode: overwrite`, keep rows to query: this pipeline has none".to_owned(),
        can => format!("what can be queried: {}", can.join(", ")),
    };
    for name in named.iter().filter(|n| !can.contains(n)) {
        let of = |node: &&Node| node.id == *name || (0..node.ports.len()).any(|port| node.port_name(port) == *name);
        let Some(node) = graph.nodes.iter().find(of) else { continue };
        let why = match &node.kind {
            NodeKind::Sink(_) if node.id == *name => "is a sink that appends".to_owned(),
            NodeKind::Upsert(upsert) if node.id == *name => {
                format!("is an upsert: its rows are in the table `{}`", upsert.table_id)
            }
            _ => {
                let file = &loaded.name;
                let profile = args.file.reading.profile.as_ref().map(|p| format!(" --profile {p}")).unwrap_or_default();
                format!(
                    "is a stream, and its rows are not kept: `millstream preview {file}{profile} {name}` shows some"
                )
            }
        };
        return Err(Failure::new(Failure::FILE, format!("`{name}` cannot be queried: it {why}")).help(help));
    }
    Ok(())
}

/// The rows of a table, or those with these keys. Opening a store may make it, so what is not there yet is not opened.
async fn table(
    loaded: &Loaded,
    pipeline: &Pipeline,
    upsert: &UpsertNode,
    keys: Option<&RecordBatch>,
) -> Result<Vec<RecordBatch>, Failure> {
    let nothing = || {
        Failure::new(Failure::ENVIRONMENT, format!("the table `{}` has not been written yet", upsert.table_id))
            .help(format!("run the pipeline first: `millstream run {}`", loaded.name))
    };
    let store = pipeline.tables.iter().find(|(id, _)| id.value == upsert.table_id).map(|(_, t)| &t.store.value);
    let path = store.and_then(|name| written::option(pipeline, loaded.parsed.profile.as_deref(), name, "path"));
    if let Some(path) = path {
        set(&path)?;
        if !Path::new(&path).exists() {
            return Err(nothing());
        }
    }
    here(&upsert.connector, &upsert.table_id)?;
    if upsert.connector.kind() == "memory" {
        return Err(Failure::new(
            Failure::ENVIRONMENT,
            format!("the table `{}` lives in memory and ended with its run", upsert.table_id),
        )
        .help("bind its store to `embedded` to keep it"));
    }
    let table = upsert.connector.table(&upsert.table).await?;
    if let Some(keys) = keys {
        return Ok(table.get(keys).await?.into_iter().flatten().map(|found| found.row).collect());
    }
    Ok(table.scan().await?.try_collect().await?)
}

/// Whether this binary has what a profile binds.
fn here(connector: &Arc<dyn Connector>, id: &str) -> Result<(), Failure> {
    if connector.kind() == absent::ABSENT {
        let message =
            format!("what `{id}` is bound to is not part of this binary, or cannot be read without its variables");
        return Err(Failure::new(Failure::FILE, message).help("`--profile` picks another environment"));
    }
    Ok(())
}

/// An option whose variable is not set stays as it was written.
fn set(path: &str) -> Result<(), Failure> {
    if path.contains("${") {
        return Err(Failure::new(Failure::ENVIRONMENT, format!("the variable in `{path}` is not set")));
    }
    Ok(())
}

async fn files(loaded: &Loaded, pipeline: &Pipeline, sink: &SinkNode) -> Result<Vec<RecordBatch>, Failure> {
    here(&sink.connector, &sink.options.id)?;
    let declared = pipeline.sinks.iter().find(|(id, _)| id.value == sink.options.id).map(|(_, s)| &s.write.value);
    let profile = loaded.parsed.profile.as_deref();
    if let Some(path) = declared.and_then(|name| written::option(pipeline, profile, name, "path")) {
        set(&path)?;
    }
    let found = sink.connector.written(&sink.options).await?;
    if found.is_empty() {
        let message = format!("the sink `{}` has not written anything yet", sink.options.id);
        return Err(Failure::new(Failure::ENVIRONMENT, message)
            .help(format!("run the pipeline `{}` first", pipeline.name.value)));
    }
    Ok(found)
}

/// Prints what is wrong with the SQL, with carets.
fn told(sql: &str, errors: &[SqlError]) -> Failure {
    let findings: Vec<Finding> = errors
        .iter()
        .map(|e| {
            let range = e.range.clone().unwrap_or(0..sql.len());
            let severity = if e.warning { Severity::Warning } else { Severity::Error };
            Finding {
                code: code(e.kind),
                severity,
                message: e.message.clone(),
                span: Span::new(range.start, range.end),
                label: e.label.clone(),
                path: String::new(),
                help: e.help.clone(),
            }
        })
        .collect();
    terminal::note(&millstream_spec::render(&findings, NAME, sql, terminal::colored_stderr()));
    Failure::silent(Failure::FILE)
}

fn code(kind: SqlErrorKind) -> &'static str {
    match kind {
        SqlErrorKind::Parse => codes::SQL_SYNTAX,
        SqlErrorKind::UnknownPort => codes::UNKNOWN_PORT,
        SqlErrorKind::UnknownColumn => codes::SQL_UNKNOWN_COLUMN,
        SqlErrorKind::UnknownFunction => codes::SQL_UNKNOWN_FUNCTION,
        SqlErrorKind::UdfArguments => codes::UDF_CALL,
        SqlErrorKind::DecimalOverflow => codes::SQL_DECIMAL_OVERFLOW,
        SqlErrorKind::NotBoolean => codes::SQL_NOT_BOOLEAN,
        _ => codes::SQL_PLAN,
    }
}
