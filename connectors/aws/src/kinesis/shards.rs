//! Which shards of a listing can be read next, and whether they cover all keys.

use std::collections::{BTreeMap, BTreeSet};

use millstream_core::source::{self, SplitId};

/// Hash keys, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct KeyRange {
    pub(crate) first: u128,
    pub(crate) last: u128,
}

impl KeyRange {
    /// From the numbers of the service; `None` where they are none.
    pub(crate) fn parse(first: &str, last: &str) -> Option<Self> {
        Some(Self { first: first.parse().ok()?, last: last.parse().ok()? })
    }
    pub(crate) fn contains(&self, key: u128) -> bool {
        (self.first..=self.last).contains(&key)
    }
}

/// A shard as the service lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shard {
    pub(crate) id: SplitId,
    /// One, or two where it was merged.
    pub(crate) parents: Vec<SplitId>,
    pub(crate) range: Option<KeyRange>,
    /// It takes no more records.
    pub(crate) closed: bool,
}

/// A listing, as it stands to what was read.
pub(crate) struct Lineage<'a> {
    listed: BTreeMap<&'a SplitId, &'a Shard>,
    begun: &'a BTreeSet<SplitId>,
    /// Read to their ends, or skipped for good: shards that others have followed which are read.
    ended: BTreeSet<SplitId>,
}

impl<'a> Lineage<'a> {
    /// `begun` are shards that were ever named or opened, whether they have ended or not.
    pub(crate) fn new(listed: &'a [Shard], begun: &'a BTreeSet<SplitId>, finished: &BTreeSet<SplitId>) -> Self {
        let listed: BTreeMap<_, _> = listed.iter().map(|s| (&s.id, s)).collect();
        let parents = |id: &SplitId| listed.get(id).into_iter().flat_map(|s: &&Shard| &s.parents).collect::<Vec<_>>();
        let ended = source::ended(begun, finished, parents);
        Self { listed, begun, ended }
    }

    /// Shards to be read whose parents, as far as they are listed, were read to their ends: in the order of their names.
    pub(crate) fn ready(&self) -> Vec<&'a Shard> {
        let over = |p: &SplitId| self.ended.contains(p) || !(self.begun.contains(p) || self.listed.contains_key(p));
        let shards = self.listed.values().filter(|s| !self.ended.contains(&s.id) && s.parents.iter().all(over));
        shards.copied().collect()
    }

    /// Key ranges that no shard covers which is read or will be: rows of these keys would be lost. Nothing is said where a
    /// shard's range is not known.
    pub(crate) fn holes(&self) -> Vec<KeyRange> {
        if self.begun.iter().any(|id| !self.ended.contains(id) && !self.listed.contains_key(id)) {
            return Vec::new();
        }
        let live = self.listed.values().filter(|s| !self.ended.contains(&s.id));
        let Some(mut ranges) = live.map(|s| s.range).collect::<Option<Vec<_>>>() else { return Vec::new() };
        ranges.sort();
        let mut holes = Vec::new();
        let mut next = Some(0_u128);
        for range in ranges {
            let Some(from) = next else { break };
            if range.first > from {
                holes.push(KeyRange { first: from, last: range.first - 1 });
            }
            next = range.last.checked_add(1).map(|behind| behind.max(from));
        }
        holes.extend(next.map(|from| KeyRange { first: from, last: u128::MAX }));
        holes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> SplitId {
        SplitId(name.to_owned())
    }
    fn ids(names: &[&str]) -> BTreeSet<SplitId> {
        names.iter().map(|n| id(n)).collect()
    }
    /// The eighths `first..=last` of all keys.
    fn shard(name: &str, parents: &[&str], first: u128, last: u128) -> Shard {
        let eighth = 1_u128 << 125;
        let range = KeyRange { first: first * eighth, last: last * eighth + (eighth - 1) };
        Shard { id: id(name), parents: parents.iter().map(|p| id(p)).collect(), range: Some(range), closed: false }
    }
    fn ready(listed: &[Shard], begun: &[&str], finished: &[&str]) -> Vec<String> {
        let (begun, finished) = (ids(begun), ids(finished));
        Lineage::new(listed, &begun, &finished).ready().iter().map(|s| s.id.0.clone()).collect()
    }
    fn holes(listed: &[Shard], begun: &[&str], finished: &[&str]) -> Vec<KeyRange> {
        let (begun, finished) = (ids(begun), ids(finished));
        Lineage::new(listed, &begun, &finished).holes()
    }
    /// a splits into c and d; b and d are merged to e.
    fn resharded() -> Vec<Shard> {
        vec![
            shard("a", &[], 0, 3),
            shard("b", &[], 4, 7),
            shard("c", &["a"], 0, 1),
            shard("d", &["a"], 2, 3),
            shard("e", &["b", "d"], 2, 7),
        ]
    }

    #[test]
    fn parents_come_before_children() {
        let all = resharded();
        assert_eq!(ready(&all, &[], &[]), ["a", "b"]);
        assert_eq!(ready(&all, &["a", "b"], &["a"]), ["b", "c", "d"]);
        assert_eq!(ready(&all, &["a", "b", "c", "d"], &["a", "d"]), ["b", "c"], "a merged shard waits for both");
        assert_eq!(ready(&all, &["a", "b", "c", "d"], &["a", "b", "d"]), ["c", "e"]);
    }

    #[test]
    fn what_was_followed_is_never_read_again() {
        let all = resharded();
        assert_eq!(ready(&all, &["c", "d", "b"], &[]), ["b", "c", "d"], "a is forgotten and still listed");
        assert_eq!(ready(&all, &["c", "e"], &[]), ["c", "e"]);
        assert_eq!(ready(&all, &["b", "c"], &["d"]), ["b", "c"], "nor what is before one that has ended, too");
        assert_eq!(ready(&all, &[], &["b", "d"]), ["c", "e"]);
    }

    #[test]
    fn a_parent_that_is_not_listed_any_more_counts_as_read() {
        let all: Vec<Shard> = resharded().into_iter().skip(2).collect();
        assert_eq!(ready(&all, &[], &[]), ["c", "d"], "a and b are gone");
        assert_eq!(ready(&all, &["d"], &["d"]), ["c", "e"]);
        assert_eq!(ready(&all, &["b", "d"], &["d"]), ["c"], "b is not listed and is still being read");
    }

    #[test]
    fn holes_are_found() {
        let all = resharded();
        assert_eq!(holes(&all, &[], &[]), []);
        assert_eq!(holes(&all, &["a", "b", "c", "d"], &["a"]), []);
        assert_eq!(holes(&all, &["a", "b", "c", "d"], &["a", "d"]), [], "e covers d, though it waits for b");
        let without_d: Vec<Shard> = all.iter().filter(|s| s.id.0 != "d" && s.id.0 != "e").cloned().collect();
        let hole = KeyRange { first: 2 << 125, last: (4 << 125) - 1 };
        assert_eq!(holes(&without_d, &["a", "b", "c"], &["a"]), [hole]);
        assert_eq!(holes(&without_d, &["x"], &["a"]), [], "what is read and not listed may cover it");
        assert_eq!(holes(&all[..1], &[], &[]), [KeyRange { first: 4 << 125, last: u128::MAX }]);
        assert_eq!(holes(&all[1..2], &[], &[]), [KeyRange { first: 0, last: (4 << 125) - 1 }]);
        assert_eq!(holes(&[], &[], &[]), [KeyRange { first: 0, last: u128::MAX }]);
    }
}
