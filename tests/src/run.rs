//! Graphs through the real runtime, to their end.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use futures::TryStreamExt as _;
use millstream_core::connector::Connector;
use millstream_core::table::TableSchema;
use millstream_runtime::graph::NodeKind;
use millstream_runtime::metrics::Snapshot;
use millstream_runtime::run::RunError;
use millstream_runtime::{Graph, RunOptions, start};

/// Longer than any test's run; reached only by one that hangs.
const PATIENCE: Duration = Duration::from_secs(300);

/// The tables of a graph, to be read after its run.
#[derive(Debug, Clone)]
pub struct Tables(Vec<(Arc<dyn Connector>, TableSchema)>);

impl Tables {
    /// Those the graph writes.
    pub fn of(graph: &Graph) -> Self {
        let table = |kind: &NodeKind| match kind {
            NodeKind::Upsert(upsert) => Some((upsert.connector.clone(), upsert.table.clone())),
            _ => None,
        };
        Self(graph.nodes.iter().filter_map(|n| table(&n.kind)).collect())
    }
    /// The rows of a table.
    pub fn rows(&self, name: &str) -> Vec<RecordBatch> {
        let (connector, schema) = self.0.iter().find(|(_, schema)| schema.name == name).expect("a table of the graph");
        block_on(async {
            let table = connector.table(schema).await.unwrap();
            table.scan().await.unwrap().try_collect().await.unwrap()
        })
    }
}

/// Runs a future on threads of its own.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    // `RUST_LOG=millstream=debug` shows what a failing test did.
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let result = std::panic::catch_unwind(AssertUnwindSafe(|| runtime.block_on(future)));
    // A run that hangs would hold its threads for ever.
    runtime.shutdown_background();
    result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Runs a graph of bounded inputs to its end.
pub fn run(graph: Graph, workers: usize) -> Result<Snapshot, RunError> {
    block_on(async {
        let running = start(graph, RunOptions { workers, ..RunOptions::default() }).await?;
        let handle = running.handle();
        match tokio::time::timeout(PATIENCE, running.wait()).await {
            Ok(ended) => ended,
            Err(_) => panic!("the run does not end: {:#?}", handle.snapshot()),
        }
    })
}

/// Runs a graph until it has done enough, then stops it: what is in flight is finished.
pub fn run_until(graph: Graph, workers: usize, enough: impl Fn(&Snapshot) -> bool) -> Result<Snapshot, RunError> {
    block_on(async {
        let running = start(graph, RunOptions { workers, ..RunOptions::default() }).await?;
        let handle = running.handle();
        let watched = async {
            while !enough(&handle.snapshot()) && !handle.has_failed() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            handle.stop();
            running.wait().await
        };
        match tokio::time::timeout(PATIENCE, watched).await {
            Ok(ended) => ended,
            Err(_) => panic!("the run does not come so far: {:#?}", handle.snapshot()),
        }
    })
}

/// Runs to the end, and every row is accounted for: at every node, on every edge, on every port of refused rows.
pub fn run_and_account(graph: Graph, workers: usize) -> Snapshot {
    let snapshot = run(graph, workers).unwrap_or_else(|e| panic!("{e}"));
    account(&snapshot);
    snapshot
}

/// Checks the ledger of a run that has ended.
pub fn account(snapshot: &Snapshot) {
    for node in &snapshot.nodes {
        assert!(node.adds_up(), "the ledger of {} does not add up: {node:#?}", node.id);
        assert_eq!(node.counts.held, 0, "{} holds rows after the end", node.id);
        let given = |end: &str| {
            let ports = node.ports.iter().filter(|p| p.name.rsplit_once('.').is_some_and(|(_, port)| port == end));
            ports.map(|p| p.given).sum::<u64>()
        };
        if node.kind == "source" || node.kind == "operator" {
            assert_eq!(given("rejected"), node.counts.rejected, "{}: {node:#?}", node.id);
            assert_eq!(given("late"), node.counts.late, "{}: {node:#?}", node.id);
        }
        if let Some(table) = &node.table {
            assert_eq!(table.counts.held, 0, "{} has rows that were not written", table.id);
        }
    }
    assert!(snapshot.adds_up());
}
