//! A vector that grows by chunks: no copying of everything on growth, and no more than a chunk of slack.

use crate::slots::Slot;

/// Items per chunk.
const CHUNK: usize = 1 << SHIFT;
const SHIFT: usize = 13;

/// A growable column of `Copy` values. Reading beyond its end gives the default value, writing there grows it: a
/// column that no row has set takes no memory.
#[derive(Debug, Clone, Default)]
pub struct Lane<T> {
    chunks: Vec<Vec<T>>,
}

impl<T: Copy + Default> Lane<T> {
    /// An empty lane.
    pub fn new() -> Self {
        Self { chunks: Vec::new() }
    }
    /// The value of slot `i`; the default where none was set.
    #[inline]
    pub fn get(&self, i: usize) -> T {
        self.chunks.get(i >> SHIFT).and_then(|c| c.get(i & (CHUNK - 1))).copied().unwrap_or_default()
    }
    /// The values of these slots, fastest where they ascend.
    pub fn gather(&self, slots: &[Slot]) -> Vec<T> {
        let (mut at, mut chunk): (usize, &[T]) = (usize::MAX, &[]);
        let value = |slot: &Slot| {
            let i = slot.index();
            if i >> SHIFT != at {
                at = i >> SHIFT;
                chunk = self.chunks.get(at).map(Vec::as_slice).unwrap_or_default();
            }
            chunk.get(i & (CHUNK - 1)).copied().unwrap_or_default()
        };
        slots.iter().map(value).collect()
    }
    /// A reference to the value of slot `i`, where one was set.
    #[inline]
    pub fn at(&self, i: usize) -> Option<&T> {
        self.chunks.get(i >> SHIFT).and_then(|c| c.get(i & (CHUNK - 1)))
    }
    /// Sets the value of slot `i`.
    #[inline]
    pub fn set(&mut self, i: usize, value: T) {
        *self.slot(i) = value;
    }
    /// The value of slot `i`, to be changed; grows the lane as far as `i`.
    #[inline]
    #[expect(clippy::indexing_slicing, reason = "the hot path of every state access; `grow` makes the slot exist")]
    pub fn slot(&mut self, i: usize) -> &mut T {
        let (chunk, offset) = (i >> SHIFT, i & (CHUNK - 1));
        if self.chunks.get(chunk).is_none_or(|c| c.len() <= offset) {
            self.grow(chunk, offset);
        }
        &mut self.chunks[chunk][offset]
    }
    #[cold]
    fn grow(&mut self, chunk: usize, offset: usize) {
        while self.chunks.len() <= chunk {
            if let Some(last) = self.chunks.last_mut() {
                last.resize(CHUNK, T::default());
            }
            // The first chunk grows by doubling: most operators of a small pipeline never fill it.
            let capacity = if self.chunks.is_empty() { 0 } else { CHUNK };
            self.chunks.push(Vec::with_capacity(capacity));
        }
        if let Some(c) = self.chunks.get_mut(chunk) {
            c.resize(offset + 1, T::default());
        }
    }
    /// Bytes of memory.
    pub fn bytes(&self) -> usize {
        self.chunks.iter().map(|c| c.capacity() * size_of::<T>()).sum::<usize>()
            + self.chunks.capacity() * size_of::<Vec<T>>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_was_set_across_chunks_and_defaults_elsewhere() {
        let mut lane = Lane::new();
        lane.set(3 * CHUNK + 5, 7_u32);
        lane.set(2, 9);
        assert_eq!((lane.get(2), lane.get(3 * CHUNK + 5), lane.get(CHUNK), lane.get(99 * CHUNK)), (9, 7, 0, 0));
    }

    #[test]
    fn an_unused_lane_takes_no_memory() {
        assert_eq!(Lane::<u64>::new().bytes(), 0);
    }
}
