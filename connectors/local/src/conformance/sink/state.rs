//! What a sink must not forget.

use std::sync::Arc;

use arrow::array::RecordBatch;
use millstream_core::snapshot::Layer;

use super::staged::restore;
use super::{Case, SinkUnderTest, commit, prepare};

/// Two checkpoints, each with all of the state or what changed; then a process that goes on from them.
pub(super) async fn layers_give_the_state_back<T: SinkUnderTest>(case: &Case<'_, T>, whole: [bool; 2]) {
    let mut sinks = case.start("g1", 1).await;
    case.write(&mut sinks, 0, 100).await;
    let first = prepare(&mut sinks, 1, whole[0]).await;
    commit(&mut sinks, 1, &first).await;
    case.write(&mut sinks, 100, 200).await;
    // Prepared in vain, and again with another wish.
    prepare(&mut sinks, 2, !whole[1]).await;
    let second = prepare(&mut sinks, 2, whole[1]).await;
    commit(&mut sinks, 2, &second).await;
    let stateful = first.iter().any(|p| !p.state.tables.is_empty());
    if stateful {
        let wanted = if whole[1] { Layer::Whole } else { Layer::Changes };
        assert!(second.iter().all(|p| p.state.layer == wanted), "the state is what was asked for");
        let rows: usize = second.iter().map(|p| p.state.num_rows()).sum();
        assert_eq!(rows, if whole[1] { 200 } else { 100 });
        let quiet = prepare(&mut sinks, 3, false).await;
        assert!(quiet.iter().all(|p| p.staged.is_none() && p.state.is_nothing()), "nothing has changed");
    }
    drop(sinks);
    let mut sinks = case.start("g2", 3).await;
    let layers: &[&[_]] = if whole[1] { &[&second] } else { &[&first, &second] };
    restore(&mut sinks, layers).await;
    case.write(&mut sinks, 200, 300).await;
    let third = prepare(&mut sinks, 3, false).await;
    commit(&mut sinks, 3, &third).await;
    case.sees_first(300, "rows of earlier processes stay").await;
    if !stateful {
        return;
    }
    let revised = revised(case);
    case.write_rows(&mut sinks, &revised).await;
    let fourth = prepare(&mut sinks, 4, true).await;
    commit(&mut sinks, 4, &fourth).await;
    let expected = [revised, case.rows.slice(50, 250)];
    case.sees(&expected, "a row replaces the one an earlier process wrote").await;
    assert_eq!(fourth.iter().map(|p| p.state.num_rows()).sum::<usize>(), 300, "and its state");
}

/// Other rows for the first 50 ids.
fn revised<T>(case: &Case<'_, T>) -> RecordBatch {
    let mut columns = super::every_type(1_000, 50).columns().to_vec();
    columns[0] = Arc::new(case.rows.column(0).slice(0, 50));
    RecordBatch::try_new(case.rows.schema(), columns).unwrap()
}
