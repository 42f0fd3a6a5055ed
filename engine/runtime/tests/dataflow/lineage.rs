//! Splits that end and have children, as shards of a stream: what follows what, watermarks from one to the other, and what
//! a checkpoint must remember of them.

use std::collections::BTreeSet;
use std::time::Duration;

use millstream_core::source::Position;
use millstream_local::memory::{self, Memory};
use millstream_runtime::checkpoint::Checkpoints;
use millstream_runtime::metrics::NodeSnapshot;
use millstream_runtime::run::{Handle, Running};
use millstream_state::checkpoint::{Epochs, SplitState};

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

fn minute(n: u32) -> String {
    format!("2024-05-25T{:02}:{:02}:00Z", 10 + n / 60, n % 60)
}

fn row(key: &str, n: u32) -> String {
    format!(r#"{{"k":"{key}","t":"{}"}}"#, minute(n))
}

/// Pushes rows of these minutes, whose keys name split and minute.
fn push(memory: &Memory, split: &str, minutes: &[u32]) {
    let rows: Vec<String> = minutes.iter().map(|n| row(&format!("{split}{n}"), *n)).collect();
    memory.push_records(split, rows.iter().map(String::as_str), Instant(1_800_000_000_000_000));
}

/// source -> sink, and late rows to another.
fn rows_graph(name: &str) -> Graph {
    let events = source(connector(name), HOUR);
    let rows = events.ports[0].schema.clone();
    let kept = sink(connector(name), "kept", PortRef { node: 0, port: 0 }, rows, true);
    let late = sink(connector(name), "late", PortRef { node: 0, port: 3 }, refusal::schema(), false);
    Graph { name: "p".into(), nodes: vec![events, kept, late], checkpoint_every: HOUR }
}

/// Where a test keeps its checkpoints, and how it goes on from them.
struct World {
    name: &'static str,
    memory: Memory,
    workers: usize,
}

impl World {
    fn new(name: &'static str, workers: usize) -> Self {
        Self { name, memory: memory::handle(name), workers }
    }

    async fn epochs(&self) -> Epochs {
        Epochs::new(connector(self.name).checkpoints("p").await.unwrap())
    }

    async fn start(&self) -> Running {
        let store = connector(self.name).checkpoints("p").await.unwrap();
        let options = RunOptions {
            workers: self.workers,
            checkpoints: Some(Checkpoints::new(store)),
            generation: millstream_runtime::run::generation(&millstream_runtime::clock::SystemClock),
            ..RunOptions::default()
        };
        start(rows_graph(self.name), options).await.unwrap()
    }

    /// What a checkpoint remembers of the splits.
    async fn splits(&self, checkpoint: u64) -> BTreeMap<String, SplitState> {
        let manifest = self.epochs().await.manifest(checkpoint).await.unwrap();
        let splits = manifest.sources.get("events").map(|s| s.splits.clone()).unwrap_or_default();
        splits.into_iter().map(|(id, state)| (id.0, state)).collect()
    }

    /// The keys of the visible rows.
    fn keys(&self, sink: &str) -> Vec<String> {
        let mut keys: Vec<String> = Vec::new();
        for batch in self.memory.written(sink) {
            keys.extend(batch.rows.column(0).as_string::<i32>().iter().flatten().map(str::to_owned));
        }
        keys.sort();
        keys
    }
}

async fn until(handle: &Handle, what: &str, seen: impl Fn(&NodeSnapshot) -> bool) {
    let wait = async {
        while !seen(&handle.snapshot().nodes[0]) {
            assert!(!handle.has_failed(), "the run failed before {what}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(60), wait).await;
    assert!(waited.is_ok(), "{what} never came: {:#?}", handle.snapshot().nodes[0]);
}

/// Ends a run as a crash does. Whoever has a handle holds the checkpoints.
async fn kill(handle: Handle, running: Running) {
    handle.kill();
    running.wait().await.unwrap_err();
}

fn at(n: u32) -> Option<Instant> {
    Some(Instant(1_716_631_200_000_000 + i64::from(n) * 60_000_000))
}

async fn reaches(handle: &Handle, n: u32) {
    until(handle, &format!("watermark {}", minute(n)), |source| source.watermark == at(n)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn children_follow_their_parents_over_any_number_of_workers() {
    for (name, workers) in [("lineage1", 1), ("lineage2", 2), ("lineage3", 3)] {
        let world = World::new(name, workers);
        let memory = &world.memory;
        push(memory, "a", &[1, 10]);
        push(memory, "b", &[60]);
        let running = world.start().await;
        let handle = running.handle();
        reaches(&handle, 10).await;
        memory.reshard(&["a"], &["c", "d"]);
        until(&handle, "children", |s| s.splits == 4 && s.awaiting_children == 0).await;
        // Silent children stand where their parent ended; what is behind that is late.
        assert_eq!(handle.snapshot().nodes[0].watermark, at(10));
        push(memory, "c", &[9, 30]);
        push(memory, "d", &[40]);
        reaches(&handle, 30).await;
        // A merged split waits for both, and stands where the further one ended.
        memory.reshard(&["b", "d"], &["e"]);
        push(memory, "e", &[59, 70]);
        push(memory, "c", &[80]);
        reaches(&handle, 70).await;
        until(&handle, "the end of the streams", NodeSnapshot::caught_up).await;
        handle.stop();
        let snapshot = running.wait().await.unwrap();
        assert!(snapshot.adds_up(), "{snapshot:#?}");
        assert_eq!(world.keys("kept"), ["a1", "a10", "b60", "c30", "c80", "d40", "e70"], "{workers} workers");
        assert_eq!(memory.rows_written("late"), 2, "c9 and e59");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_finished_split_is_remembered_until_its_children_are_in_a_checkpoint() {
    let world = World::new("remembered", 2);
    let memory = &world.memory;
    push(memory, "a", &[10]);
    push(memory, "b", &[60]);
    let running = world.start().await;
    let handle = running.handle();
    reaches(&handle, 10).await;
    // e waits for b: a has ended, and nothing follows it yet.
    memory.split("e", &["a", "b"]);
    memory.finish("a");
    until(&handle, "the end of a", |s| s.awaiting_children == 1).await;
    let first = handle.checkpoint().await.unwrap();
    assert!(world.splits(first).await["a"].finished);
    kill(handle, running).await;

    // The next process still holds the watermark back for what follows a.
    let running = world.start().await;
    let handle = running.handle();
    until(&handle, "the end of a again", |s| s.awaiting_children == 1).await;
    push(memory, "b", &[70]);
    until(&handle, "b", |s| s.counts.input == 3).await;
    assert_eq!(handle.snapshot().nodes[0].watermark, at(10));
    memory.finish("b");
    until(&handle, "the child", |s| s.awaiting_children == 0 && s.splits == 3).await;
    let second = handle.checkpoint().await.unwrap();
    let splits = world.splits(second).await;
    assert_eq!(splits.keys().collect::<Vec<_>>(), ["a", "b", "e"], "until the children are in a committed checkpoint");
    assert_eq!(splits["e"].floor, at(70), "it stands where the further parent ended");
    let third = handle.checkpoint().await.unwrap();
    assert_eq!(world.splits(third).await.keys().collect::<Vec<_>>(), ["e"], "then the parents are forgotten");
    push(memory, "e", &[75]);
    reaches(&handle, 75).await;
    handle.checkpoint().await.unwrap();
    kill(handle, running).await;

    // Forgotten parents are not read again.
    push(memory, "e", &[80]);
    let running = world.start().await;
    let handle = running.handle();
    reaches(&handle, 80).await;
    assert_eq!(handle.snapshot().nodes[0].splits, 1);
    handle.stop();
    running.wait().await.unwrap();
    assert_eq!(world.keys("kept"), ["a10", "b60", "b70", "e75", "e80"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_a_stream_is_in_a_checkpoint_before_it_is_read_from() {
    let world = World::new("latest", 2);
    let memory = &world.memory;
    memory.from_latest();
    push(memory, "a", &[1, 2]);
    let running = world.start().await;
    let handle = running.handle();
    until(&handle, "a", |s| s.splits == 1).await;
    push(memory, "a", &[3]);
    until(&handle, "a row", |s| s.counts.input == 1).await;
    // The checkpoint was taken for that alone: no other was asked for.
    assert_eq!(world.splits(1).await["a"].position, Some(Position::Offset(2)));
    kill(handle, running).await;
    push(memory, "a", &[4]);
    let running = world.start().await;
    let handle = running.handle();
    until(&handle, "rows", |s| s.counts.input == 2).await;
    handle.stop();
    running.wait().await.unwrap();
    assert_eq!(world.keys("kept"), ["a3", "a4"], "what came between the start and the crash is not lost");
    let keys: BTreeSet<String> = world.keys("kept").into_iter().collect();
    assert_eq!(keys.len(), 2);
}
