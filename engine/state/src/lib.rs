//! Keyed state: in-memory columnar tables that operators keep between batches.
//!
//! ```text
//! key bytes -> 64-bit hash -> shard of key groups -> slot -> typed columns, one cell per slot
//! ```
//!
//! Everything an operator remembers per key is a column of a [`KeyedTable`] or a field of its slot's [`Meta`], so
//! that a snapshot of the slots that changed, read back by key group, is the whole state of the operator.
//! [`SeenIds`] is the leaner memory of a dedup.

mod arena;
mod bits;
mod cells;
pub mod checkpoint;
mod column;
pub mod content;
mod gather;
mod lane;
mod nested;
mod seen;
mod slots;
mod table;
mod time_index;

pub use cells::Cells;
pub use column::Column;
pub use lane::Lane;
pub use seen::{SeenIds, Sighting};
pub use slots::{Meta, Slot};
pub use table::KeyedTable;
pub use time_index::TimeIndex;

/// Mixes a hash so that any of its bits reaches all of the result's: the rows of one worker share bits of
/// their key hashes, which would otherwise crowd a hash index.
pub(crate) fn spread(hash: u64) -> u64 {
    let product = u128::from(hash) * 0x9E37_79B9_7F4A_7C15;
    (product as u64) ^ ((product >> 64) as u64)
}
