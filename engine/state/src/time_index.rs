//! Which slots may be forgotten once the watermark has come so far, without looking at all of them.
//!
//! Buckets of event time, each a list threaded through the slots: four bytes per slot. A slot stands in at most
//! one bucket. A slot whose time has moved on is found in its old bucket and put into the right one then, so
//! that moving on costs nothing.

use std::collections::BTreeMap;

use crate::lane::Lane;
use crate::slots::Slot;

/// Slots in buckets of event time.
#[derive(Debug, Clone)]
pub struct TimeIndex {
    /// Width of a bucket in microseconds.
    width: i64,
    /// Bucket -> one past the first slot of its list.
    heads: BTreeMap<i64, u32>,
    /// Slot -> one past the next slot of its bucket's list; 0 ends it.
    next: Lane<u32>,
}

impl TimeIndex {
    /// An index that forgets at most `width` microseconds too late.
    pub fn new(width: i64) -> Self {
        Self { width: width.max(1), heads: BTreeMap::new(), next: Lane::new() }
    }
    /// Puts a slot that stands in no bucket into that of `time`.
    pub fn insert(&mut self, slot: Slot, time: i64) {
        let head = self.heads.entry(time.div_euclid(self.width)).or_insert(0);
        self.next.set(slot.index(), *head);
        *head = slot.0 + 1;
    }
    /// Whether the bucket of `time` lies wholly before `limit`.
    pub fn is_before(&self, time: i64, limit: i64) -> bool {
        self.before(limit)(time)
    }
    /// [`TimeIndex::is_before`] of a limit.
    pub(crate) fn before(&self, limit: i64) -> impl Fn(i64) -> bool + use<> {
        let (width, current) = (self.width, limit.div_euclid(self.width));
        move |time| time.div_euclid(width) < current
    }
    /// Takes the slots of all buckets that lie wholly before `limit` out and gives them to `each`, which says
    /// `Some(time)` to put one back at that time.
    pub fn drain_before(&mut self, limit: i64, mut each: impl FnMut(Slot) -> Option<i64>) {
        let current = limit.div_euclid(self.width);
        let mut back = Vec::new();
        while let Some(entry) = self.heads.first_entry() {
            if *entry.key() >= current {
                break;
            }
            let mut head = entry.remove();
            while head != 0 {
                let slot = Slot(head - 1);
                head = self.next.get(slot.index());
                if let Some(time) = each(slot) {
                    back.push((slot, time));
                }
            }
        }
        for (slot, time) in back {
            // Never into a bucket that was just drained: it would be met again before time has moved on.
            let bucket = time.div_euclid(self.width).max(current);
            self.insert(slot, bucket.saturating_mul(self.width));
        }
    }
    /// Bytes of memory; a bucket is taken for 32.
    pub fn bytes(&self) -> usize {
        self.next.bytes() + self.heads.len() * 32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drains_whole_buckets_in_order_of_time_and_puts_back() {
        let mut index = TimeIndex::new(10);
        for (slot, time) in [(0, 5), (1, 25), (2, 9), (3, -1)] {
            index.insert(Slot(slot), time);
        }
        let mut seen = Vec::new();
        index.drain_before(19, |s| {
            seen.push(s.0);
            (s.0 == 2).then_some(40)
        });
        assert_eq!(seen, [3, 2, 0]);
        let mut seen = Vec::new();
        index.drain_before(50, |s| {
            seen.push(s.0);
            None
        });
        assert_eq!(seen, [1, 2]);
    }
}
