//! What every source of finite splits promises.

use std::collections::BTreeSet;
use std::time::Duration;

use millstream_core::source::{Position, RawRecords, Read, Split, SplitReader, SplitSource};
use tokio::time::timeout;

/// A record with where it stands.
type Placed = (Vec<u8>, Position);

/// The promises of `SplitSource` and `SplitReader`, for sources that end or fall idle. `expected` are all its
/// records, in any order; with `None` they are taken from the first reading.
pub async fn source(open: impl AsyncFn() -> Box<dyn SplitSource>, expected: Option<Vec<Vec<u8>>>) {
    let source = open().await;
    let splits = all_splits(source.as_ref()).await;
    let mut all = Vec::new();
    for split in &splits {
        let records = read(source.open(split, None).await.unwrap().as_mut(), source.bounded()).await;
        resumes_anywhere(source.as_ref(), split, &records).await;
        loses_nothing_when_cancelled(source.as_ref(), split, &records).await;
        all.extend(records.into_iter().map(|r| r.0));
    }
    if let Some(mut expected) = expected {
        all.sort();
        expected.sort();
        assert!(all == expected, "the splits together hold every record once: {} of {}", all.len(), expected.len());
    }
    let again = open().await;
    let names = |splits: &[Split]| splits.iter().map(|s| s.id.clone()).collect::<Vec<_>>();
    assert_eq!(names(&all_splits(again.as_ref()).await), names(&splits), "splits are stable");
}

/// The promises of a source whose splits end and have children: what follows what, and what is not read again after a
/// restart that remembers only what it must. `open` gives a source as a new process has it, over a stream in which at
/// least one split has children.
pub async fn lineage(open: impl AsyncFn() -> Box<dyn SplitSource>) {
    let source = open().await;
    let mut rounds = vec![source.discover(&BTreeSet::new()).await.unwrap()];
    let mut finished = BTreeSet::new();
    while let Some(round) = rounds.last().filter(|r| !r.is_empty()).cloned() {
        let ids: BTreeSet<_> = round.iter().map(|s| s.id.clone()).collect();
        assert!(finished.is_disjoint(&ids), "a finished split does not come again");
        for split in &round {
            assert!(split.parents.iter().all(|p| finished.contains(p)), "{} comes after its parents", split.id);
        }
        if !finished.is_empty() {
            // A process that knows only the children, and what nothing follows yet.
            let again = open().await;
            again.resume(&ids);
            let followed: BTreeSet<_> = rounds.iter().flatten().flat_map(|s| s.parents.clone()).collect();
            let kept: BTreeSet<_> = finished.difference(&followed).cloned().collect();
            let named = again.discover(&kept).await.unwrap();
            let old: Vec<_> = named.iter().filter(|s| finished.contains(&s.id)).collect();
            assert!(old.is_empty(), "what children have followed is not read again: {old:?}");
            // One that died before it knew them.
            let again = open().await;
            let named = again.discover(&finished).await.unwrap();
            assert!(ids.iter().all(|id| named.iter().any(|s| s.id == *id)), "finished splits lead to their children");
        }
        finished.extend(ids);
        rounds.push(source.discover(&finished).await.unwrap());
    }
    let followed = rounds.iter().flatten().flat_map(|s| &s.parents).collect::<BTreeSet<_>>();
    assert!(!followed.is_empty(), "a split has children");
    assert!(followed.iter().all(|p| source.has_children(p)), "a split that has children says so");
}

/// Discovers round by round, until all splits are finished.
async fn all_splits(source: &dyn SplitSource) -> Vec<Split> {
    let mut finished = BTreeSet::new();
    let mut all = Vec::new();
    loop {
        let found = source.discover(&finished).await.unwrap();
        if found.is_empty() {
            return all;
        }
        for split in found {
            assert!(split.parents.iter().all(|p| finished.contains(p)), "a child comes after its parents");
            assert!(!finished.contains(&split.id), "a finished split does not come again");
            all.push(split);
        }
        finished.extend(all.iter().map(|s| s.id.clone()));
    }
}

fn placed(records: &RawRecords) -> Vec<Placed> {
    (0..records.records.len()).map(|i| (records.bytes(i).to_vec(), records.records[i].position.clone())).collect()
}

/// All records to the end, or until the split is idle.
async fn read(reader: &mut dyn SplitReader, bounded: bool) -> Vec<Placed> {
    let mut all = Vec::new();
    loop {
        match reader.next().await.unwrap() {
            Read::Records { records, upto, .. } => {
                all.extend(placed(&records));
                if let (Some(last), Position::Offset(upto)) = (records.records.last(), &upto) {
                    let Position::Offset(last) = &last.position else { panic!("two kinds of positions") };
                    assert!(upto >= last, "upto covers the run");
                }
            }
            Read::Finished => {
                assert!(matches!(reader.next().await.unwrap(), Read::Finished), "the end stays the end");
                return all;
            }
            Read::Idle if bounded => {}
            Read::Behind(_) => {}
            Read::Idle => return all,
        }
    }
}

async fn resumes_anywhere(source: &dyn SplitSource, split: &Split, all: &[Placed]) {
    let step = (all.len() / 7).max(1);
    for (i, (_, position)) in all.iter().enumerate().step_by(step) {
        let mut reader = source.open(split, Some(position.clone())).await.unwrap();
        let rest = read(reader.as_mut(), source.bounded()).await;
        assert!(rest == all[i + 1..], "a reader opened after a record gives exactly what follows");
    }
}

async fn loses_nothing_when_cancelled(source: &dyn SplitSource, split: &Split, all: &[Placed]) {
    let mut reader = source.open(split, None).await.unwrap();
    let mut seen = Vec::new();
    let mut patience = Duration::ZERO;
    while seen.len() < all.len() {
        match timeout(patience, reader.next()).await {
            // Dropped at many moments of a call, however long it takes.
            Err(_) => patience += patience / 4 + Duration::from_micros(50),
            Ok(Ok(Read::Records { records, .. })) => {
                seen.extend(placed(&records));
                patience = Duration::ZERO;
            }
            Ok(Ok(Read::Idle | Read::Behind(_))) => {}
            Ok(other) => panic!("{other:?} before all records were read"),
        }
    }
    assert!(seen == all, "a dropped `next` loses no record");
}
