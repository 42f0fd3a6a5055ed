//! A caller that is slow: sources read on only as its rows are answered.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use millstream_core::caller::{Answered, Caller};

use super::*;

/// So many rows may wait.
const ENOUGH: u64 = 300;
const ROWS: usize = 20_000;

/// Answers one batch whenever it is looked at, by giving it on.
#[derive(Default)]
struct Slow {
    waiting: VecDeque<(u64, Batch)>,
    most: Arc<AtomicU64>,
}

impl Caller for Slow {
    fn on_batch(&mut self, _: InPort, batch: Batch, ticket: u64) -> Result<()> {
        self.waiting.push_back((ticket, batch));
        self.most.fetch_max(self.held(), Ordering::Relaxed);
        Ok(())
    }

    fn take(&mut self) -> Result<Vec<Answered>> {
        let answered = self.waiting.pop_front().map(|(ticket, batch)| {
            let mut out = Output::default();
            out.counts.out += batch.num_rows() as u64;
            out.give(OutPort(0), batch);
            Answered { ticket, out, done: true }
        });
        Ok(answered.into_iter().collect())
    }

    fn held(&self) -> u64 {
        self.waiting.iter().map(|(_, batch)| batch.num_rows() as u64).sum()
    }

    fn is_full(&self) -> bool {
        self.held() >= ENOUGH
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sources_wait_while_a_caller_has_enough() {
    let name = "slow";
    let memory = memory::handle(name);
    let padding = "x".repeat(1000);
    let line = format!(r#"{{"k":"a","t":"2024-05-25T00:00:00Z","padding":"{padding}"}}"#);
    for _ in 0..ROWS / 100 {
        memory.push_records("s", std::iter::repeat_n(line.as_str(), 100), Instant(1_800_000_000_000_000));
    }
    memory.finish("s");
    memory.close();
    let most = Arc::new(AtomicU64::new(0));
    let mut graph = graph(name, None);
    let (seen, rows) = (most.clone(), graph.nodes[0].ports[0].schema.clone());
    let make = move |_| -> Result<Box<dyn Caller>> { Ok(Box::new(Slow { most: seen.clone(), ..Slow::default() })) };
    graph.nodes[1].kind = NodeKind::Caller(CallerNode { routing: vec![Routing::Local], make: Arc::new(make) });
    graph.nodes[1].ports = vec![port("", rows.clone())];
    graph.nodes[2] = sink(connector(name), "answered", PortRef { node: 1, port: 0 }, rows, true);
    let options = RunOptions { workers: 1, ..RunOptions::default() };
    let snapshot = start(graph, options).await.unwrap().wait().await.unwrap();
    assert!(snapshot.adds_up(), "{snapshot:#?}");
    assert_eq!(memory.rows_written("answered"), ROWS);
    // What a source reads in one turn comes on top.
    let most = most.load(Ordering::Relaxed);
    assert!(most >= ENOUGH && most < ROWS as u64 / 4, "{most} rows waited");
}
