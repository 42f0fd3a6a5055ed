//! The memory of a dedup: which ids were seen, when, and what the row said.

mod rows;

use hashbrown::HashTable;

use crate::bits::Bits;
use crate::lane::Lane;
use crate::slots::Slot;
use crate::spread;
use crate::time_index::TimeIndex;

/// What is known of an id that was seen: 32 bytes.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    id: u128,
    content: u64,
    /// `i64::MIN` where the row had none.
    time: i64,
}

/// What a row's id tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sighting {
    /// It was not seen at this time; now it is.
    First,
    /// It was, and the row said the same.
    Duplicate,
    /// It was, and the row said something else.
    Conflict,
}

/// Ids with the event time and content hash of the row that brought them first.
///
/// One id may be held several times, for rows further apart than the time within which they count as the same.
/// About 45 bytes each.
#[derive(Debug)]
pub struct SeenIds {
    within: i64,
    index: HashTable<u32>,
    entries: Lane<Seen>,
    used: u32,
    free: Vec<u32>,
    times: TimeIndex,
    /// Entries held that no snapshot has yet.
    new: Bits,
}

impl SeenIds {
    /// A memory in which rows at most `within` microseconds of event time apart are the same, and which forgets at
    /// most `slack` microseconds later than asked.
    pub fn new(within: i64, slack: i64) -> Self {
        Self {
            within: within.max(0),
            index: HashTable::new(),
            entries: Lane::new(),
            used: 0,
            free: Vec::new(),
            times: TimeIndex::new(slack),
            new: Bits::default(),
        }
    }
    /// A row with this id, content hash and event time. Rows without an event time count as of one time.
    pub fn see(&mut self, id: u128, content: u64, time: Option<i64>) -> Sighting {
        let hash = Self::hash(id);
        let at = time.unwrap_or(i64::MIN);
        let mut found = Sighting::First;
        for i in self.index.iter_hash(hash) {
            let seen = self.entries.get(*i as usize);
            if seen.id == id && seen.time.abs_diff(at) <= self.within.unsigned_abs() {
                if seen.content == content {
                    return Sighting::Duplicate;
                }
                found = Sighting::Conflict;
            }
        }
        if found == Sighting::First {
            self.remember(hash, Seen { id, content, time: at }, time);
        }
        found
    }
    fn remember(&mut self, hash: u64, seen: Seen, time: Option<i64>) -> Slot {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.used += 1;
            self.used - 1
        });
        self.entries.set(slot as usize, seen);
        let entries = &self.entries;
        self.index.insert_unique(hash, slot, |i| Self::hash(entries.get(*i as usize).id));
        if let Some(time) = time {
            self.times.insert(Slot(slot), time);
        }
        self.new.set(slot as usize);
        Slot(slot)
    }
    /// Forgets ids whose event time lies before `limit`, in steps of the slack: what is held depends on the limit alone,
    /// not on those before it.
    pub fn forget_before(&mut self, limit: i64) {
        let (entries, index, free, new) = (&self.entries, &mut self.index, &mut self.free, &mut self.new);
        let before = free.len();
        self.times.drain_before(limit, |slot| {
            let id = entries.get(slot.index()).id;
            if let Ok(entry) = index.find_entry(Self::hash(id), |i| *i == slot.0) {
                entry.remove();
                free.push(slot.0);
                new.clear(slot.index());
            }
            None
        });
        if free.len() > before && index.capacity() > 4 * index.len() + 1024 {
            index.shrink_to(2 * index.len(), |i| Self::hash(entries.get(*i as usize).id));
        }
    }
    fn hash(id: u128) -> u64 {
        spread((id >> 64) as u64)
    }
    /// How many ids are held.
    pub fn len(&self) -> usize {
        self.index.len()
    }
    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }
    /// Bytes of memory.
    pub fn bytes(&self) -> usize {
        self.index.allocation_size()
            + self.entries.bytes()
            + self.free.capacity() * size_of::<u32>()
            + self.times.bytes()
            + self.new.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_duplicate_within_its_time_and_new_beyond_it() {
        let mut ids = SeenIds::new(10, 1);
        assert_eq!(ids.see(1, 7, Some(100)), Sighting::First);
        assert_eq!(ids.see(1, 7, Some(110)), Sighting::Duplicate);
        assert_eq!(ids.see(1, 8, Some(90)), Sighting::Conflict);
        assert_eq!(ids.see(1, 7, Some(111)), Sighting::First);
        assert_eq!(ids.see(2, 7, None), Sighting::First);
        assert_eq!(ids.see(2, 7, None), Sighting::Duplicate);
        assert_eq!(ids.len(), 3);
    }

    #[test]
    fn forgetting_frees_what_is_old_and_only_that() {
        let mut ids = SeenIds::new(0, 1);
        for i in 0..1000_i64 {
            ids.see(i as u128 * 0x1_0000_0001_0000_0001, 0, Some(i));
        }
        ids.forget_before(900);
        assert_eq!(ids.len(), 100);
        let bytes = ids.bytes();
        for i in 0..900_i64 {
            assert_eq!(ids.see(i as u128 * 0x1_0000_0001_0000_0001, 0, Some(2000)), Sighting::First);
        }
        for i in 900..1000_i64 {
            assert_eq!(ids.see(i as u128 * 0x1_0000_0001_0000_0001, 0, Some(i)), Sighting::Duplicate);
        }
        assert!(ids.bytes() <= bytes * 4, "freed places are used again");
    }

    #[test]
    fn an_id_takes_about_45_bytes() {
        let mut ids = SeenIds::new(0, 1000);
        for i in 0..800_000_u128 {
            ids.see((i * 0x9E37_79B9_7F4A_7C15) << 32 | i, 0, Some(i as i64));
        }
        let per_id = ids.bytes() / ids.len();
        assert!(per_id <= 48, "{per_id} bytes");
    }
}
