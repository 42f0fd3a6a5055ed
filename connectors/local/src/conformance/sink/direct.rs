//! Rows that are out when they are written.

use super::{Case, SinkUnderTest, prepare};

pub(super) async fn rows_are_out_at_once<T: SinkUnderTest>(case: &Case<'_, T>) {
    let mut sinks = case.start("g1", 1).await;
    case.write(&mut sinks, 0, 200).await;
    case.sees_first(200, "rows are out as soon as they are written").await;
    let prepared = prepare(&mut sinks, 1, false).await;
    assert!(prepared.iter().all(|p| p.staged.is_none() && p.state.is_nothing()), "there is nothing to commit");
    case.write(&mut sinks, 200, 300).await;
    case.sees_first(300, "later rows stand beside earlier ones").await;
}

pub(super) async fn rows_replace_those_of_their_key<T: SinkUnderTest>(case: &Case<'_, T>) {
    let mut sinks = case.start("g1", 1).await;
    case.write(&mut sinks, 0, 200).await;
    let prepared = prepare(&mut sinks, 1, false).await;
    assert!(prepared.iter().all(|p| p.staged.is_none()), "there is nothing to commit");
    drop(sinks);
    let mut sinks = case.start("g2", 1).await;
    case.write(&mut sinks, 100, 300).await;
    case.sees_first(300, "what is written again is there once").await;
}
