//! Which slots a snapshot must hold, and how they come back.
//!
//! 1. A slot is marked if and only if it is live and its key's memory changed since the last snapshot or since it was
//!    restored. A slot that goes is unmarked: used again for another key it starts anew.
//! 2. There are no marks for keys that went. Keys go by event time only, and by a rule that depends on nothing else
//!    ([`KeyedTable::is_forgotten`]): whoever restores an old snapshot leaves out what is forgotten at its watermark. A
//!    table from which keys are removed one by one can be restored from a whole snapshot, not from changes.

use millstream_core::key::KEY_GROUPS;

use super::KeyedTable;
use crate::bits::Bits;
use crate::slots::{Meta, Slot};

impl KeyedTable {
    /// Says that what must outlive the process has changed: a column, the version, the fired bits. New keys and
    /// [`KeyedTable::touch`] say so themselves.
    #[inline]
    pub fn mark_changed(&mut self, slot: Slot) {
        self.changed.set(slot.index());
    }
    /// The slots that a snapshot must hold, in ascending order, which is the cheapest to gather in: those that changed
    /// since the last call, or all of them (`whole`). None is marked any more.
    pub fn take_changed(&mut self, whole: bool) -> Vec<Slot> {
        let mut taken = std::mem::take(&mut self.changed);
        if whole {
            taken = Bits::default();
            for slot in self.slots_of_groups(0..KEY_GROUPS) {
                taken.set(slot.index());
            }
        }
        taken.ones()
    }
    /// Whether a key whose greatest event time is `time` is forgotten once [`KeyedTable::forget_before`] was told
    /// `limit`, unless it may not go. Keys without an event time never are.
    pub fn is_forgotten(&self, time: i64, limit: i64) -> bool {
        self.times.is_before(time, limit)
    }
    /// Makes of a slot what a snapshot had of it beside its columns: nothing else is known of it, and it has not
    /// changed. `event_time` is `i64::MIN` where it had none.
    pub fn put_back(&mut self, slot: Slot, version: u64, fired: u32, event_time: i64) {
        let meta = self.meta.slot(slot.index());
        let timed = meta.flags & Meta::TIMED;
        *meta = Meta { version, fired, event_time, flags: timed, ..Meta::new(meta.hash) };
        if timed == 0 && event_time != i64::MIN {
            meta.flags |= Meta::TIMED;
            self.times.insert(slot, event_time);
        }
        self.changed.clear(slot.index());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, RecordBatch, StringArray};
    use arrow::datatypes::{DataType, Field, Schema};
    use millstream_core::key;
    use proptest::prelude::*;

    use super::*;

    fn table(slack: i64) -> KeyedTable {
        let schema = Arc::new(Schema::new(vec![Field::new("id", DataType::Utf8, false)]));
        KeyedTable::new(&schema, &[0], slack).unwrap()
    }

    fn slot(table: &mut KeyedTable, key: &str) -> Slot {
        let ids: ArrayRef = Arc::new(StringArray::from(vec![key]));
        let rows = RecordBatch::try_from_iter([("id", ids)]).unwrap();
        let mut slots = Vec::new();
        table.find_or_insert(&rows, &[0], &key::hash_rows(&rows, &[0]).unwrap(), &mut slots).unwrap();
        slots[0]
    }

    #[test]
    fn a_slot_is_taken_once_per_change_and_always_when_all_are() {
        let mut t = table(1);
        let slots: Vec<Slot> = ["a", "b", "c"].iter().map(|k| slot(&mut t, k)).collect();
        assert_eq!(t.take_changed(false), slots, "new keys");
        assert_eq!(t.take_changed(false), []);
        t.touch(slots[2], 5);
        t.mark_changed(slots[0]);
        t.mark_changed(slots[0]);
        assert_eq!(t.take_changed(false), [slots[0], slots[2]]);
        t.mark_changed(slots[1]);
        assert_eq!(t.take_changed(true), slots);
        assert_eq!(t.take_changed(false), [], "taking all takes the marks too");
    }

    #[test]
    fn a_slot_that_went_is_not_taken_and_starts_anew_with_its_next_key() {
        let mut t = table(1);
        let (old, gone) = (slot(&mut t, "old"), slot(&mut t, "gone"));
        t.touch(old, 5);
        t.forget_before(50, |_| true, |_| ());
        t.remove(gone);
        assert_eq!(t.take_changed(false), []);
        let (x, y) = (slot(&mut t, "x"), slot(&mut t, "y"));
        assert!([old, gone].contains(&x) && [old, gone].contains(&y), "the slots are used again");
        assert_eq!(t.take_changed(false).len(), 2);
        // A scratch slot is no key.
        t.remove(x);
        let scratch = t.scratch().unwrap();
        assert_eq!((scratch, t.take_changed(true)), (x, vec![y]));
    }

    #[test]
    fn what_is_put_back_is_forgotten_in_its_time_and_has_not_changed() {
        let mut t = table(1);
        let (a, b, never) = (slot(&mut t, "a"), slot(&mut t, "b"), slot(&mut t, "never"));
        for (slot, time) in [(a, 5), (b, 5), (never, i64::MIN)] {
            t.put_back(slot, 3, 0b10, time);
        }
        // A later layer.
        t.put_back(b, 4, 0b11, 60);
        assert_eq!(t.take_changed(false), []);
        let meta = t.meta(b);
        assert_eq!((meta.version, meta.fired, meta.event_time, meta.has(Meta::TIMED)), (4, 0b11, 60, true));
        let mut gone = Vec::new();
        t.forget_before(50, |_| true, |s| gone.push(s));
        assert_eq!(gone, [a]);
        t.forget_before(i64::MAX, |_| true, |s| gone.push(s));
        assert_eq!((gone, t.len()), (vec![a, b], 1));
    }

    proptest! {
        /// What is held after a watermark depends on the watermark alone, not on those before it: so a snapshot can leave
        /// out what went.
        #[test]
        fn forgetting_depends_on_the_limit_alone(
            steps in prop::collection::vec((0..6_u8, 0..100_i64, prop::option::of(0..100_i64)), 1..60), slack in 1..20_i64,
        ) {
            let mut t = table(slack);
            let (mut times, mut limit) = (std::collections::BTreeMap::new(), 0);
            for (key, time, next) in steps {
                let key = format!("key {key}");
                if !t.is_forgotten(time, limit) {
                    let slot = slot(&mut t, &key);
                    t.touch(slot, time);
                    let greatest = times.entry(key).or_insert(time);
                    *greatest = time.max(*greatest);
                }
                if let Some(next) = next.filter(|n| *n > limit) {
                    limit = next;
                    t.forget_before(limit, |_| true, |_| ());
                    times.retain(|_, time| !t.is_forgotten(*time, limit));
                }
                prop_assert_eq!(t.len(), times.len());
            }
        }
    }
}
