//! Slots and what is known of each beside its columns.

/// A place in a keyed table. Valid until its key is forgotten; then it is used again for another key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Slot(pub u32);

impl Slot {
    /// As an index.
    #[inline]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// What is known of a slot beside its columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta {
    /// The hash of its key (`core::key`): names its key group.
    pub hash: u64,
    /// How many distinct events went into it.
    pub version: u64,
    /// The version of its row in the store, as far as that is known; 0 where it is not.
    pub written: u64,
    /// The greatest event time that went into it, in microseconds; `i64::MIN` where there was none.
    pub event_time: i64,
    /// One bit per status that has fired.
    pub fired: u32,
    /// Free for use within a batch: an operator marks the slots it has met.
    pub mark: u32,
    /// See the constants.
    pub flags: u8,
}

impl Meta {
    /// It changed since it was last handed to the store.
    pub const DIRTY: u8 = 1;
    /// A write of it is under way.
    pub const IN_FLIGHT: u8 = 1 << 1;
    /// The store has said what it has of this key.
    pub const CONTACTED: u8 = 1 << 2;
    /// Some of its columns have stamps of their own.
    pub const MIXED: u8 = 1 << 3;
    /// It stands in the time index.
    pub const TIMED: u8 = 1 << 4;
    /// It was removed while it stood in the time index; it becomes free when that meets it.
    pub const DEAD: u8 = 1 << 5;
    /// It stands in its operator's queue of slots to be written.
    pub const QUEUED: u8 = 1 << 6;

    /// A slot just taken for the key of this hash.
    pub fn new(hash: u64) -> Self {
        Self { hash, version: 0, written: 0, event_time: i64::MIN, fired: 0, mark: 0, flags: 0 }
    }
    /// Whether all of `flags` are set.
    pub fn has(&self, flags: u8) -> bool {
        self.flags & flags == flags
    }
}

impl Default for Meta {
    fn default() -> Self {
        Self::new(0)
    }
}
