//! `preview`: the first rows of a port, with everything behind it left out and nothing written anywhere.

use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use futures::TryStreamExt as _;
use millstream_core::table::TableStore as _;
use millstream_plan::Profile;
use millstream_runtime::graph::{Graph, NodeKind, PortRef};
use millstream_runtime::{RunOptions, start};

use crate::args::PreviewArgs;
use crate::exit::Failure;
use crate::stage::{Names, OnStage, Stage, capture, prune};
use crate::{load, number, registry, rows, run, terminal};

/// Time between two looks at what has come.
const LOOK: Duration = Duration::from_millis(10);
/// Bytes in flight: a preview need not be far ahead of itself, but two streams may have to meet.
const IN_FLIGHT: u64 = 8 << 20;
/// How long nothing comes before that is said.
const PATIENCE: Duration = Duration::from_secs(2);

/// Runs the command.
pub(crate) fn execute(args: &PreviewArgs) -> Result<(), Failure> {
    let registry = registry::registry();
    let loaded = load::for_running(&args.file.file, &args.file.reading, false, &registry)?;
    let pipeline = loaded.pipeline()?;
    let profile = Profile::new(pipeline, loaded.parsed.profile.as_deref(), &registry);
    let stage = Stage::default();
    let bind = OnStage { profile: &profile, stage: &stage, real_sources: true };
    let mut graph = load::plan(pipeline, &bind, true).graph.ok_or_else(|| Failure::silent(Failure::FILE))?;
    let (wanted, schema) = wanted(&mut graph, &stage, &args.port)?;
    let found = run::play(watch(graph, &stage, &wanted, args))?;
    let empty = rows::visible(&RecordBatch::new_empty(schema))?;
    terminal::out(&rows::text(&empty.schema(), &found, args.format)?);
    let count = found.iter().map(RecordBatch::num_rows).sum::<usize>();
    if count < args.rows as usize {
        terminal::note(&format!("{} of `{}`, and no more\n", number::of(count as u64, "row"), args.port));
    }
    Ok(())
}

/// Where the rows to show will be found on the stage.
enum Wanted {
    /// The capture with this id.
    Port(String),
    /// The table with this id.
    Table(String),
}

impl Wanted {
    fn count(&self, stage: &Stage) -> usize {
        match self {
            Self::Port(id) => stage.rows_captured(id),
            Self::Table(id) => stage.table(id).map_or(0, |t| t.len()),
        }
    }
    async fn rows(&self, stage: &Stage) -> Result<Vec<RecordBatch>, Failure> {
        match self {
            Self::Port(id) => Ok(stage.captured(id)),
            Self::Table(id) => match stage.table(id) {
                Some(table) => Ok(table.scan().await?.try_collect().await?),
                None => Ok(Vec::new()),
            },
        }
    }
}

/// Leaves of the graph what the port or table needs; gives where its rows will be, and their schema.
fn wanted(graph: &mut Graph, stage: &Stage, name: &str) -> Result<(Wanted, SchemaRef), Failure> {
    let table = graph.nodes.iter().enumerate().find_map(|(node, n)| match &n.kind {
        NodeKind::Upsert(u) if u.table_id == name => Some((PortRef { node, port: 0 }, u.table.columns.clone())),
        _ => None,
    });
    if let Some((at, columns)) = table {
        prune(graph, at);
        return Ok((Wanted::Table(name.to_owned()), columns));
    }
    let at = find(graph, name)?;
    let at = prune(graph, at);
    let schema = graph.nodes.get(at.node).and_then(|n| n.ports.get(at.port)).map(|p| p.schema.clone());
    let id = capture(graph, name, at, stage.capturing());
    match (id, schema) {
        (Some(id), Some(schema)) => Ok((Wanted::Port(id), schema)),
        _ => Err(Failure::new(Failure::RUNNING, format!("`{name}` cannot be read"))),
    }
}

fn find(graph: &Graph, name: &str) -> Result<PortRef, Failure> {
    let names = Names::of(graph);
    if let Some(port) = names.port(name) {
        return Ok(port);
    }
    let own = format!("{name}.");
    let ports: Vec<&str> = names.all().filter(|n| n.starts_with(&own)).collect();
    let failure = Failure::new(Failure::FILE, format!("no stream named `{name}`"));
    Err(match (ports.is_empty(), millstream_spec::suggest::nearest(name, names.all())) {
        (false, _) => failure.help(format!("ports: {}", ports.join(", "))),
        (true, Some(near)) => failure.help(format!("did you mean `{near}`?")),
        (true, None) => failure.help(format!("streams: {}", names.all().collect::<Vec<_>>().join(", "))),
    })
}

/// Runs until enough rows have come, the inputs end, or somebody presses Ctrl-C.
async fn watch(graph: Graph, stage: &Stage, from: &Wanted, args: &PreviewArgs) -> Result<Vec<RecordBatch>, Failure> {
    let wanted = args.rows as usize;
    let options = RunOptions { workers: 1, max_in_flight: IN_FLIGHT, ..RunOptions::default() };
    let running = start(graph, options).await?;
    let handle = running.handle();
    let mut ended = std::pin::pin!(running.wait());
    let mut look = tokio::time::interval(LOOK);
    let began = tokio::time::Instant::now();
    let mut said = false;
    loop {
        tokio::select! {
            result = &mut ended => {
                result?;
                return first(from.rows(stage).await?, wanted);
            }
            _ = tokio::signal::ctrl_c() => break,
            now = look.tick() => {
                let rows = from.count(stage);
                if rows >= wanted {
                    break;
                }
                if !said && rows == 0 && now.duration_since(began) > PATIENCE {
                    said = true;
                    let read = handle.snapshot().nodes.iter().map(|n| n.counts.input).max().unwrap_or(0);
                    terminal::note(&format!("{} read, none has come out yet; Ctrl-C ends it\n", number::of(read, "row")));
                }
            }
        }
    }
    handle.stop();
    // Connectors close what they have opened; who does not want to wait for that need not.
    let _ = tokio::time::timeout(PATIENCE, ended).await;
    first(from.rows(stage).await?, wanted)
}

/// The first rows of all.
fn first(all: Vec<RecordBatch>, mut left: usize) -> Result<Vec<RecordBatch>, Failure> {
    let mut found = Vec::new();
    for batch in all {
        let batch = rows::visible(&batch.slice(0, left.min(batch.num_rows())))?;
        left -= batch.num_rows();
        if batch.num_rows() > 0 {
            found.push(batch);
        }
    }
    Ok(found)
}
