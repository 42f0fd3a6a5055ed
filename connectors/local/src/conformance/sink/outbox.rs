//! Rows that are sent after their checkpoint, with an id by which a second sending is told.

use arrow::array::RecordBatch;
use millstream_core::sink::{BatchId, Outcome, Sink};

use super::{Case, SinkUnderTest};

fn id(checkpoint: u64, instance: usize, sequence: u64) -> BatchId {
    BatchId { run: "r1".into(), checkpoint, instance, sequence }
}

async fn send<T: SinkUnderTest>(case: &Case<'_, T>, sink: &mut dyn Sink, id: &BatchId, rows: &RecordBatch) {
    let numbers: Vec<u32> = (0..rows.num_rows() as u32).collect();
    let outcomes = sink.send(id, &numbers, &case.batch(rows)).await.unwrap();
    assert_eq!(outcomes, vec![Outcome::Done; rows.num_rows()], "one outcome per row, also of a second sending");
}

pub(super) async fn rows_are_out_when_they_are_sent<T: SinkUnderTest>(case: &Case<'_, T>) {
    let mut sinks = case.start("g1", 1).await;
    case.write(&mut sinks, 0, 100).await;
    case.sees_first(100, "rows without an id are written at once").await;
    send(case, sinks[0].as_mut(), &id(1, 0, 0), &case.rows.slice(100, 100)).await;
    send(case, sinks[1].as_mut(), &id(1, 1, 0), &case.rows.slice(200, 50)).await;
    send(case, sinks[0].as_mut(), &id(1, 0, 1), &case.rows.slice(250, 50)).await;
    case.sees_first(300, "ids differ by instance and sequence").await;
}

pub(super) async fn a_second_sending<T: SinkUnderTest>(case: &Case<'_, T>, deduplicates: bool) {
    let batches: Vec<RecordBatch> = (0..6).map(|i| case.rows.slice(i * 50, 50)).collect();
    let mut seen: Vec<RecordBatch> = Vec::new();
    let mut sink = case.start("g1", 1).await.remove(0);
    // Each batch, then it again and the one of the checkpoint before from another process, as if this one had died.
    for checkpoint in 1..=5_u64 {
        let now = &batches[checkpoint as usize];
        send(case, sink.as_mut(), &id(checkpoint, 0, 0), now).await;
        seen.push(now.clone());
        sink = case.start(&format!("g{checkpoint}"), checkpoint).await.remove(0);
        sink.clean().await.unwrap();
        for before in [checkpoint - 1, checkpoint] {
            if before > 0 {
                let rows = &batches[before as usize];
                send(case, sink.as_mut(), &id(before, 0, 0), rows).await;
                seen.extend((!deduplicates).then(|| rows.clone()));
            }
        }
        case.sees(&seen, "a batch that is sent again is there as often as was promised").await;
    }
    if deduplicates {
        send(case, sink.as_mut(), &id(1, 0, 0), &batches[1]).await;
        case.sees(&seen, "what a process sends late is there already").await;
    }
    let other = BatchId { run: "r2".into(), ..id(5, 0, 0) };
    send(case, sink.as_mut(), &other, &batches[0]).await;
    seen.push(batches[0].clone());
    case.sees(&seen, "another run has other ids").await;
}

/// Some rows of a batch are sent again while others are there; then another process sends all of it.
pub(super) async fn rows_are_told_apart<T: SinkUnderTest>(case: &Case<'_, T>, deduplicates: bool) {
    let (first, second) = (case.rows.slice(0, 40), case.rows.slice(40, 60));
    let mut sink = case.start("g1", 1).await.remove(0);
    for (from, rows) in [(0, &first), (40, &second)] {
        let numbers: Vec<u32> = (from..from + rows.num_rows() as u32).collect();
        let outcomes = sink.send(&id(1, 0, 0), &numbers, &case.batch(rows)).await.unwrap();
        assert_eq!(outcomes, vec![Outcome::Done; rows.num_rows()]);
    }
    case.sees_first(100, "rows of one batch that are sent apart are different rows").await;
    let mut sink = case.start("g2", 1).await.remove(0);
    let all = case.rows.slice(0, 100);
    send(case, sink.as_mut(), &id(1, 0, 0), &all).await;
    let again = (!deduplicates).then_some(all.clone());
    let seen: Vec<RecordBatch> = std::iter::once(all).chain(again).collect();
    case.sees(&seen, "each is known").await;
}
