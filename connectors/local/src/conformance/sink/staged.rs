//! Rows that become visible with their checkpoint.

use millstream_core::ErrorKind;
use millstream_core::sink::Sink;

use super::{Case, Prepared, SinkUnderTest, commit, prepare};

fn has_staged(prepared: &[Prepared]) -> bool {
    prepared.iter().any(|p| p.staged.is_some())
}

pub(super) async fn rows_are_visible_at_their_commit<T: SinkUnderTest>(case: &Case<'_, T>) {
    let mut sinks = case.start("g1", 1).await;
    let nothing = prepare(&mut sinks, 1, false).await;
    assert!(!has_staged(&nothing), "without rows there is nothing to make visible");
    case.write(&mut sinks, 0, 100).await;
    for sink in &mut sinks {
        sink.poll().await.unwrap();
    }
    case.sees_first(0, "nothing is visible before its checkpoint").await;
    let first = prepare(&mut sinks, 2, false).await;
    assert!(has_staged(&first));
    case.sees_first(0, "nothing is visible before the checkpoint is claimed").await;
    // Rows of the next checkpoint come before the last one is committed.
    case.write(&mut sinks, 100, 200).await;
    commit(&mut sinks, 2, &first).await;
    case.sees_first(100, "a commit shows its own rows only").await;
    commit(&mut sinks, 2, &first).await;
    case.sees_first(100, "a second commit changes nothing").await;
    // The answer to the first `prepare` got lost.
    prepare(&mut sinks, 3, false).await;
    let again = prepare(&mut sinks, 3, false).await;
    commit(&mut sinks, 3, &again).await;
    case.sees_first(200, "what is prepared again is all there").await;
    case.write(&mut sinks, 200, 300).await;
    let last = prepare(&mut sinks, 4, true).await;
    commit(&mut sinks, 4, &last).await;
    case.sees_first(300, "later rows stand beside earlier ones").await;
    assert_eq!(case.under_test.staged(&case.options).await, 0, "nothing is left behind");
}

pub(super) async fn a_crash_before_the_checkpoint_leaves_nothing<T: SinkUnderTest>(case: &Case<'_, T>) {
    let mut crashed = case.start("g1", 1).await;
    case.write(&mut crashed, 0, 150).await;
    drop(crashed);
    let mut crashed = case.start("g2", 1).await;
    case.write(&mut crashed, 0, 150).await;
    prepare(&mut crashed, 1, false).await;
    drop(crashed);
    let mut sinks = case.start("g3", 1).await;
    case.write(&mut sinks, 0, 200).await;
    let prepared = prepare(&mut sinks, 1, false).await;
    sinks[0].clean().await.unwrap();
    commit(&mut sinks, 1, &prepared).await;
    case.sees_first(200, "what no claimed checkpoint covers is written again, and is there once").await;
    assert_eq!(case.under_test.staged(&case.options).await, 0, "nothing is left behind");
}

pub(super) async fn any_process_can_commit<T: SinkUnderTest>(case: &Case<'_, T>) {
    let mut crashed = case.start("g1", 1).await;
    case.write(&mut crashed, 0, 100).await;
    let prepared = prepare(&mut crashed, 1, true).await;
    drop(crashed);
    // It dies after its first instance's commit.
    let mut died = case.start("g2", 2).await;
    commit(&mut died[..1], 1, &prepared).await;
    drop(died);
    let mut sinks = case.start("g3", 2).await;
    commit(&mut sinks, 1, &prepared).await;
    case.sees_first(100, "a later process makes visible what an earlier one has staged").await;
    restore(&mut sinks, &[&prepared]).await;
    case.write(&mut sinks, 100, 200).await;
    let next = prepare(&mut sinks, 2, false).await;
    sinks[0].clean().await.unwrap();
    commit(&mut sinks, 2, &next).await;
    case.sees_first(200, "and goes on from there").await;
}

pub(super) async fn a_late_commit_changes_nothing<T: SinkUnderTest>(case: &Case<'_, T>) {
    let mut zombie = case.start("g1", 1).await;
    case.write(&mut zombie, 0, 100).await;
    let prepared = prepare(&mut zombie, 1, true).await;
    let mut sinks = case.start("g2", 2).await;
    commit(&mut sinks, 1, &prepared).await;
    restore(&mut sinks, &[&prepared]).await;
    case.write(&mut sinks, 100, 200).await;
    let next = prepare(&mut sinks, 2, false).await;
    commit(&mut sinks, 2, &next).await;
    commit(&mut zombie, 1, &prepared).await;
    case.sees_first(200, "a process that wakes up late changes nothing").await;
    sinks[0].clean().await.unwrap();
    commit(&mut zombie, 1, &prepared).await;
    case.sees_first(200, "nor after its traces are gone").await;
}

pub(super) async fn cleaning_removes_what_others_staged<T: SinkUnderTest>(case: &Case<'_, T>) {
    let mut crashed = case.start("g1", 1).await;
    case.write(&mut crashed, 0, 100).await;
    prepare(&mut crashed, 1, false).await;
    drop(crashed);
    let theirs = case.under_test.staged(&case.options).await;
    let mut sinks = case.start("g2", 1).await;
    assert_eq!(case.under_test.staged(&case.options).await, theirs, "a start removes nothing");
    case.write(&mut sinks, 0, 100).await;
    let prepared = prepare(&mut sinks, 1, false).await;
    let all = case.under_test.staged(&case.options).await;
    assert!(theirs > 0 && all > theirs, "both are staged");
    sinks[0].clean().await.unwrap();
    assert_eq!(case.under_test.staged(&case.options).await, all - theirs, "only what others staged is removed");
    commit(&mut sinks, 1, &prepared).await;
    case.sees_first(100, "own rows stay").await;
}

pub(super) async fn cleaning_leaves_what_others_will_commit<T: SinkUnderTest>(case: &Case<'_, T>) {
    let mut paused = case.start("g1", 1).await;
    case.write(&mut paused, 0, 100).await;
    let first = prepare(&mut paused, 1, true).await;
    // It claims that, and sleeps. Its successor goes on from there.
    let mut successor = case.start("g2", 2).await;
    commit(&mut successor, 1, &first).await;
    restore(&mut successor, &[&first]).await;
    case.write(&mut successor, 100, 200).await;
    let second = prepare(&mut successor, 2, false).await;
    let staged = case.under_test.staged(&case.options).await;
    commit(&mut paused, 1, &first).await;
    paused[0].clean().await.unwrap();
    assert_eq!(case.under_test.staged(&case.options).await, staged, "a process that wakes up late removes nothing");
    // Nor does a pipeline with checkpoints elsewhere, over the same place.
    let mut other = case.start_on("s2", "g3", 9).await;
    other[0].clean().await.unwrap();
    assert_eq!(case.under_test.staged(&case.options).await, staged, "what belongs to other checkpoints stays");
    commit(&mut successor, 2, &second).await;
    case.sees_first(200, "the successor goes on").await;
}

pub(super) async fn what_is_gone_is_told<T: SinkUnderTest>(case: &Case<'_, T>) {
    let mut crashed = case.start("g1", 1).await;
    case.write(&mut crashed, 0, 100).await;
    let prepared = prepare(&mut crashed, 1, false).await;
    drop(crashed);
    let mut sinks = case.start("g2", 1).await;
    sinks[0].clean().await.unwrap();
    let staged = prepared[0].staged.clone().unwrap();
    let error = sinks[0].commit(1, &staged).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Environment, "{error}");
    assert!(error.to_string().contains("lost"), "{error}");
}

/// Gives each instance the state of all of them.
pub(super) async fn restore(sinks: &mut [Box<dyn Sink>], layers: &[&[Prepared]]) {
    let tables: Vec<_> = layers.iter().flat_map(|l| l.iter()).flat_map(|p| p.state.tables.clone()).collect();
    if tables.is_empty() {
        return;
    }
    for sink in sinks {
        sink.restore(tables.clone()).await.unwrap();
    }
}
