//! The figures of a run, as a service keeps them: counted since the last time, or looked at every second in between.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use millstream_core::metrics::{Metric, MetricStore, Unit};
use millstream_core::time::EventTime;

use crate::clock::Clock;
use crate::metrics::Snapshot;
use crate::run::Handle;

/// Time between two looks at what goes up and down.
const LOOK: Duration = Duration::from_secs(1);
/// How long a service may take to keep the figures of a period; the next ones come then.
const PATIENCE: Duration = Duration::from_secs(20);

/// Name of a figure, and the node it is about.
type Of = (&'static str, Option<String>);

/// Gathers figures of a run between two times they are kept.
#[derive(Debug, Default)]
pub struct Figures {
    /// Totals when they were kept last.
    totals: BTreeMap<Of, u64>,
    /// What was seen since, and how often.
    seen: BTreeMap<Of, (Unit, BTreeMap<u64, u64>)>,
}

impl Figures {
    /// Figures of a run that begins with these totals: what was counted before is not counted again.
    pub fn new(begins: &Snapshot) -> Self {
        Self { totals: totals(begins).into_iter().collect(), ..Self::default() }
    }

    /// Looks at what goes up and down.
    pub fn look(&mut self, snapshot: &Snapshot, now: EventTime) {
        for (of, unit, value) in gauges(snapshot, now) {
            *self.seen.entry(of).or_insert_with(|| (unit, BTreeMap::new())).1.entry(value).or_default() += 1;
        }
    }

    /// All figures since the last time.
    pub fn take(&mut self, snapshot: &Snapshot, now: EventTime) -> Vec<Metric> {
        let mut metrics = Vec::new();
        for (of, total) in totals(snapshot) {
            let before = self.totals.insert(of.clone(), total).unwrap_or_default();
            let values = vec![(total.saturating_sub(before) as f64, 1)];
            metrics.push(Metric { name: of.0, node: of.1, unit: Unit::Count, values, at: now });
        }
        for ((name, node), (unit, seen)) in std::mem::take(&mut self.seen) {
            let values = seen.into_iter().map(|(value, count)| (value as f64, count)).collect();
            metrics.push(Metric { name, node, unit, values, at: now });
        }
        metrics
    }
}

/// What only grows. Of the whole pipeline, records in are those read, and records out those written by sinks and tables.
fn totals(snapshot: &Snapshot) -> Vec<(Of, u64)> {
    let mut all: BTreeMap<Of, u64> = BTreeMap::new();
    for node in &snapshot.nodes {
        let counts = &node.counts;
        let written = match (&node.table, node.kind.as_str()) {
            (Some(table), _) => table.counts.out,
            (None, "sink") => counts.out,
            _ => 0,
        };
        let table_failed = node.table.as_ref().map_or(0, |t| t.counts.failed);
        let failed = counts.failed + table_failed + node.failed_results();
        let of_node = [
            ("RecordsIn", counts.input, if node.kind == "source" { counts.input } else { 0 }),
            ("RecordsOut", counts.out + counts.produced + node.table.as_ref().map_or(0, |t| t.counts.out), written),
            ("RecordsRejected", counts.rejected, counts.rejected),
            ("RecordsLate", counts.late, counts.late),
            ("RecordsDeadLettered", failed, failed),
        ];
        for (name, of_node, of_all) in of_node {
            all.insert((name, Some(node.id.clone())), of_node);
            *all.entry((name, None)).or_default() += of_all;
        }
    }
    all.into_iter().collect()
}

/// What goes up and down.
fn gauges(snapshot: &Snapshot, now: EventTime) -> Vec<(Of, Unit, u64)> {
    let since = |t: i64| u64::try_from(now.0.saturating_sub(t)).unwrap_or(0);
    let mut all = Vec::new();
    for node in snapshot.nodes.iter().filter(|n| n.kind == "source") {
        if let Some(t) = node.event_time {
            all.push((("EventTimeLag", Some(node.id.clone())), Unit::Seconds, since(t.0) / 1_000_000));
        }
        all.push((("MillisBehindLatest", Some(node.id.clone())), Unit::Milliseconds, node.behind_millis));
    }
    if let Some(last) = snapshot.checkpoint {
        let age = since(i64::try_from(last.at).unwrap_or(i64::MAX)) / 1_000_000;
        all.push((("CheckpointAge", None), Unit::Seconds, age));
        all.push((("CheckpointDuration", None), Unit::Milliseconds, last.took / 1000));
    }
    all.push((("BytesInFlight", None), Unit::Bytes, snapshot.in_flight_bytes));
    all
}

/// Has the figures of a run kept every so often until it is told to end, and once more then. What goes wrong is logged and
/// counted: a pipeline does not fail because nobody can see how it does.
///
/// Gives how often they could not be kept.
pub async fn keep(
    handle: Handle,
    mut store: Box<dyn MetricStore>,
    every: Duration,
    clock: Arc<dyn Clock>,
    ended: impl Future<Output = ()>,
) -> u64 {
    let now = || EventTime(i64::try_from(clock.micros()).unwrap_or(i64::MAX));
    let mut figures = Figures::new(&handle.snapshot());
    let mut look = tokio::time::interval(LOOK.min(every));
    let mut due = tokio::time::interval(every);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    due.tick().await;
    let (mut ended, mut failures) = (std::pin::pin!(ended), 0);
    loop {
        let last = tokio::select! {
            biased;
            () = &mut ended => true,
            _ = due.tick() => false,
            _ = look.tick() => {
                figures.look(&handle.snapshot(), now());
                continue;
            }
        };
        figures.look(&handle.snapshot(), now());
        let metrics = figures.take(&handle.snapshot(), now());
        let put = tokio::time::timeout(PATIENCE, store.put(&metrics)).await;
        let why = match put {
            Ok(Ok(())) => None,
            Ok(Err(e)) => Some(e.to_string()),
            Err(_) => Some(format!("there was no answer within {}s", PATIENCE.as_secs())),
        };
        if let Some(why) = why {
            failures += 1;
            tracing::warn!(failures, "metrics of this period are lost, the pipeline goes on: {why}");
        }
        if last {
            return failures;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{CheckpointMetrics, NodeSnapshot, TableSnapshot};
    use millstream_core::ledger::Counts;

    fn snapshot(read: u64, behind: u64) -> Snapshot {
        let node = |id: &str, kind: &str, counts| NodeSnapshot {
            id: id.into(),
            kind: kind.into(),
            counts,
            ..NodeSnapshot::default()
        };
        let source = Counts { input: read, out: read - 1, late: 1, ..Counts::default() };
        let table = Counts { input: read - 1, out: read - 2, failed: 1, ..Counts::default() };
        Snapshot {
            nodes: vec![
                NodeSnapshot {
                    event_time: Some(EventTime(40_000_000)),
                    behind_millis: behind,
                    ..node("rides", "source", source)
                },
                NodeSnapshot {
                    table: Some(TableSnapshot { id: "state".into(), counts: table, ..TableSnapshot::default() }),
                    ..node("merged", "upsert", Counts { input: read - 1, merged: read - 1, ..Counts::default() })
                },
            ],
            checkpoint: Some(CheckpointMetrics { at: 90_000_000, took: 7_000, ..CheckpointMetrics::default() }),
            ..Snapshot::default()
        }
    }

    #[test]
    fn counts_are_since_the_last_time_and_gauges_are_all_that_was_seen() {
        let mut figures = Figures::new(&snapshot(10, 0));
        for behind in [5, 5, 900] {
            figures.look(&snapshot(20, behind), EventTime(100_000_000));
        }
        let metrics = figures.take(&snapshot(30, 0), EventTime(100_000_000));
        let of = |name: &str, node: Option<&str>| {
            let found = metrics.iter().find(|m| m.name == name && m.node.as_deref() == node);
            found.unwrap_or_else(|| panic!("{name} {node:?}")).values.clone()
        };
        assert_eq!(of("RecordsIn", None), [(20.0, 1)], "what was counted before the run is not counted again");
        assert_eq!(of("RecordsIn", Some("rides")), [(20.0, 1)]);
        assert_eq!(of("RecordsOut", None), [(20.0, 1)]);
        assert_eq!(of("RecordsLate", None), [(0.0, 1)]);
        assert_eq!(of("RecordsDeadLettered", Some("merged")), [(0.0, 1)]);
        assert_eq!(of("MillisBehindLatest", Some("rides")), [(5.0, 2), (900.0, 1)]);
        assert_eq!(of("EventTimeLag", Some("rides")), [(60.0, 3)]);
        assert_eq!(of("CheckpointAge", None), [(10.0, 3)]);
        assert!(figures.take(&snapshot(30, 0), EventTime(0)).iter().all(|m| m.values == [(0.0, 1)]));
    }
}
