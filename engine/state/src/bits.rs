//! One bit per slot; slots beyond the end are zero.

use crate::slots::Slot;

/// A growable bit set.
#[derive(Debug, Default, Clone)]
pub(crate) struct Bits {
    words: Vec<u64>,
}

impl Bits {
    /// The bit of slot `i`.
    pub(crate) fn get(&self, i: usize) -> bool {
        self.words.get(i / 64).is_some_and(|w| (w >> (i % 64)) & 1 == 1)
    }
    /// Sets the bit of slot `i`.
    #[inline]
    pub(crate) fn set(&mut self, i: usize) {
        let word = i / 64;
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        if let Some(w) = self.words.get_mut(word) {
            *w |= 1 << (i % 64);
        }
    }
    /// Clears the bit of slot `i`.
    pub(crate) fn clear(&mut self, i: usize) {
        if let Some(w) = self.words.get_mut(i / 64) {
            *w &= !(1 << (i % 64));
        }
    }
    /// Whether the bits of all these slots are set.
    pub(crate) fn all(&self, slots: &[Slot]) -> bool {
        let each =
            |all: u64, slot: &Slot| all & (self.words.get(slot.index() / 64).copied().unwrap_or(0) >> (slot.0 % 64));
        // No early exit within a run: mostly all are set.
        slots.chunks(256).all(|run| run.iter().fold(1, each) & 1 == 1)
    }
    /// The slots whose bits are set, ascending.
    pub(crate) fn ones(&self) -> Vec<Slot> {
        let mut ones = Vec::with_capacity(self.words.iter().map(|w| w.count_ones() as usize).sum());
        for (i, word) in self.words.iter().enumerate() {
            let mut rest = *word;
            while rest != 0 {
                ones.push(Slot((i * 64) as u32 + rest.trailing_zeros()));
                rest &= rest - 1;
            }
        }
        ones
    }
    /// Bytes of memory.
    pub(crate) fn bytes(&self) -> usize {
        self.words.capacity() * size_of::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_which_bits_are_set_and_whether_all_are() {
        let mut bits = Bits::default();
        let set: Vec<Slot> = [0, 63, 64, 300].map(Slot).to_vec();
        set.iter().for_each(|s| bits.set(s.index()));
        assert_eq!(bits.ones(), set);
        assert!(bits.all(&set) && bits.all(&[]));
        assert!(!bits.all(&[Slot(0), Slot(1), Slot(300)]) && !bits.all(&[Slot(0), Slot(9999)]));
        bits.clear(63);
        assert!(!bits.all(&set));
        let many: Vec<Slot> = (0..1000).map(Slot).collect();
        many.iter().for_each(|s| bits.set(s.index()));
        assert!(bits.all(&many));
        bits.clear(999);
        assert!(!bits.all(&many));
    }
}
