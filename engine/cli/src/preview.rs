//! `preview`: the first rows of a port, with everything behind it left out and nothing written anywhere.

use std::time::Duration;

use arrow::array::RecordBatch;
use millstream_plan::Profile;
use millstream_runtime::graph::{Graph, PortRef};
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
    let at = find(&graph, &args.port)?;
    let at = prune(&mut graph, at);
    let id = capture(&mut graph, &args.port, at, stage.capturing());
    let id = id.ok_or_else(|| Failure::new(Failure::RUNNING, "the port cannot be read"))?;
    let schema = graph.nodes.get(at.node).and_then(|n| n.ports.get(at.port)).map(|p| p.schema.clone());
    let runtime = run::runtime()?;
    let found = runtime.block_on(watch(graph, &stage, &id, args))?;
    // What still runs writes nothing that anybody will read.
    runtime.shutdown_background();
    let schema = schema.ok_or_else(|| Failure::new(Failure::RUNNING, "the port cannot be read"))?;
    let empty = rows::visible(&RecordBatch::new_empty(schema))?;
    terminal::out(&rows::text(&empty.schema(), &found, args.format)?);
    let count = found.iter().map(RecordBatch::num_rows).sum::<usize>();
    if count < args.rows as usize {
        terminal::note(&format!("{} of `{}`, and no more\n", number::of(count as u64, "row"), args.port));
    }
    Ok(())
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
async fn watch(graph: Graph, stage: &Stage, id: &str, args: &PreviewArgs) -> Result<Vec<RecordBatch>, Failure> {
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
                return first(stage, id, wanted);
            }
            _ = tokio::signal::ctrl_c() => break,
            now = look.tick() => {
                let rows = stage.rows_captured(id);
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
    first(stage, id, wanted)
}

/// The first rows captured.
fn first(stage: &Stage, id: &str, mut left: usize) -> Result<Vec<RecordBatch>, Failure> {
    let mut found = Vec::new();
    for batch in stage.captured(id) {
        let batch = rows::visible(&batch.slice(0, left.min(batch.num_rows())))?;
        left -= batch.num_rows();
        if batch.num_rows() > 0 {
            found.push(batch);
        }
    }
    Ok(found)
}
