//! Dead letters of a table taken as own rows, to be merged into the store by the rule by which everything is.
//!
//! Such an operator has no state of the pipeline and gets no events: it is made for some letters and dropped when they
//! are written. As everywhere, the first write of a key is sent as version 1, so that nothing in the store is overwritten
//! unseen; then it is brought up to the letter's version.

use millstream_core::Result;
use millstream_core::table::TableRows;

use super::Upsert;
use super::stored::put_rows;

impl Upsert {
    /// Takes rows that the store could not take when they were written, at most one per key; each is to be written.
    ///
    /// # Errors
    /// `Bug` where the rows are not of the table.
    pub fn take_letters(&mut self, letters: &TableRows) -> Result<()> {
        let rows = self.aligned(&letters.rows)?;
        let stamps: Vec<Option<&str>> = letters.stamps.iter().map(Option::as_deref).collect();
        let contents = self.contents(&rows)?;
        let slots = put_rows(&mut self.own, &rows, &stamps, &contents)?;
        for (slot, version) in slots.into_iter().zip(&letters.versions) {
            self.own.table.meta_mut(slot).version = *version;
            self.mark_dirty(slot);
        }
        Ok(())
    }
    /// Keys whose row the store has under a lower version than the letter's are to be written again, under that.
    pub fn raise_versions(&mut self) {
        let behind: Vec<_> = self
            .own
            .table
            .slots_of_groups(0..millstream_core::key::KEY_GROUPS)
            .filter(|slot| {
                let meta = self.own.table.meta(*slot);
                meta.has(millstream_state::Meta::CONTACTED) && meta.written < meta.version
            })
            .collect();
        behind.into_iter().for_each(|slot| self.mark_dirty(slot));
    }
}
