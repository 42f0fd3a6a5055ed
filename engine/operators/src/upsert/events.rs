//! The events of a batch, compared with the rows they go into.

use millstream_state::Slot;

use super::layout::{Group, Input};
use super::stamp::Stamp;

/// What an event did to its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is the event the row already has.
    Echo,
    /// A greater event had set all it sets.
    Superseded,
    /// It changed the row.
    Changed,
}

/// How an event stands to the stamp of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    First,
    Newer,
    Older,
    Echo,
}

/// The events of a batch, as far as stamps know them.
pub(super) struct Events<'a> {
    pub(super) input: &'a Input,
    pub(super) slots: &'a [Slot],
    pub(super) hashes: Vec<u64>,
    pub(super) orders: Option<Vec<i64>>,
}

impl Events<'_> {
    /// The stamp of an event in a group.
    pub(super) fn stamp(&self, row: usize, group: &Group) -> Stamp {
        let order = self.orders.as_ref().filter(|_| group.latest).and_then(|o| o.get(row)).copied().unwrap_or(0);
        Stamp { order, hash: self.hashes.get(row).copied().unwrap_or_default() }
    }
}

/// How the events of a batch stand to one group.
pub(super) struct Standing {
    pub(super) modes: Vec<Mode>,
    /// Per row, the group's stamp before it; empty where no row is newer or older.
    pub(super) before: Vec<Stamp>,
}

/// What each event did as far as the groups' stamps tell.
pub(super) fn fates(standings: &[Standing], rows: usize) -> Vec<Fate> {
    let fate = |row: usize| {
        let mut fate = Fate::Superseded;
        for mode in standings.iter().filter_map(|s| s.modes.get(row)) {
            match mode {
                Mode::First | Mode::Newer => return Fate::Changed,
                Mode::Echo => fate = Fate::Echo,
                Mode::Older => {}
            }
        }
        fate
    };
    (0..rows).map(fate).collect()
}
